"""Spawn a splice process instance locally."""

from splice import Process, ProcessMeta, runtime, sync


class MyProc(Process, metaclass=ProcessMeta):
    def __init__(self, arg1, kwarg1=None):
        self.given = arg1, kwarg1

    def some_handler(self, some_param):
        return *self.given, some_param


arg1 = "a cow says"
proc = runtime.spawn(MyProc, arg1, kwarg1="moof")
print(sync(proc.some_handler("!")))  # ('a cow says', 'moof', '!')
