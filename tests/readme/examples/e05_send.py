"""Send a message to a process."""

from splice import Process, ProcessMeta, runtime, sync, syncmany


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return some_param


proc = runtime.spawn(MyProc)
result = proc.some_handler("Hello World!")

print(result.get())  # Hello World!
result.get()

result = sync(proc.some_handler("Hello World!"))
print(result)  # Hello World!

promises = [proc.some_handler(number) for number in range(5)]
results = syncmany(promises)
print(results)  # [0, 1, 2, 3, 4]

# the same from afar
proc = runtime.spawn(MyProc, sp_dest=runtime.fork(1)[0])
print(proc.some_handler("Hello World!").get())  # Hello World!
print(sync(proc.some_handler("Hello World!")))  # Hello World!
print(syncmany(proc.some_handler(number) for number in range(5)))  # [0, 1, 2, 3, 4]
