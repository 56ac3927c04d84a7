"""Spawn a splice process instance on a remote node."""

import os

from splice import Process, ProcessMeta, runtime, sync


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return some_param

    def os_process(self):
        return os.getpid()


address = runtime.fork(1)[0]
proc = runtime.spawn(MyProc, sp_dest=address)
print(sync(proc.some_handler("Hello World!")))  # Hello World!
print(proc.sp_url.address == address)  # True
print(sync(proc.os_process()) == os.getpid())  # False
