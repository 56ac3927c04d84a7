"""Scatter splice processes across many nodes."""

from splice import Process, ProcessMeta, runtime, sync, syncmany


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return some_param, runtime.address


destinations = runtime.fork(3)
procs = runtime.spawn_scatter(destinations, MyProc)
print(len(procs))  # 3

answers = syncmany(procs.some_handler("hello"))
print(answers == [("hello", address) for address in destinations])  # True
print(sync(procs[1].some_handler("you"))[0])  # you
