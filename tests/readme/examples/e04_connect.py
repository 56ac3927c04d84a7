"""Connect to an existing process."""

import splice.uri
from splice import Process, ProcessMeta, runtime, sync


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return some_param


address = runtime.fork(1)[0]
there = runtime.spawn(MyProc, sp_id="my_proc", sp_dest=address)
proc = runtime.connect(splice.uri.url("my_proc", address))
print(sync(proc.some_handler("by url")))  # by url

proc = runtime.connect(f"{address}/my_proc")
print(sync(proc.some_handler("by text")))  # by text

here = runtime.spawn(MyProc, sp_id="my_proc")
proc = runtime.connect(splice.uri.url("my_proc", runtime.address))
print(sync(proc.some_handler("on this node")))  # on this node
