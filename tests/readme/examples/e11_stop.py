"""Stop a splice process."""

from splice import Process, ProcessMeta, ProcessStopped, runtime, sync


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return some_param

    def leave(self):
        runtime.stop(self)
        return "stopping myself"


def is_stopped(proc):
    return isinstance(proc.some_handler(1).exception(), ProcessStopped)


proc = runtime.spawn(MyProc)
runtime.stop(proc)  # `proc` can be a process reference or a proxy
print(is_stopped(proc))  # True

proc = runtime.spawn(MyProc)
print(sync(proc.leave()), is_stopped(proc))  # stopping myself True

# the same from afar
address = runtime.fork(1)[0]
proc = runtime.spawn(MyProc, sp_dest=address)
runtime.stop(proc)
print(is_stopped(proc))  # True

proc = runtime.spawn(MyProc, sp_dest=address)
print(sync(proc.leave()), is_stopped(proc))  # stopping myself True
