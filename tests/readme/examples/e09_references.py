"""Send splice process references."""

from splice import Process, ProcessMeta, runtime, sync


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return list(some_param)

    def call(self, proc, some_param):
        return sync(proc.echo(some_param))

    def call_inside(self, order):
        return sync(order.to["echo"][0].echo(order.what))

    def next_of(self, order):
        return [next(order.to) for _ in range(2)]


class Echo(Process, metaclass=ProcessMeta):
    def echo(self, some_param):
        return some_param, runtime.address

    def send_me_to(self, proc):
        return proc.call(self, "from a process")


class Order:
    def __init__(self, to, what):
        self.to = to
        self.what = what


def some_coro(arg1, arg2):
    yield from range(arg1, arg2)


address, other = runtime.fork(2)
proc = runtime.spawn(MyProc, sp_dest=address)
coro = runtime.spawn(some_coro, 0, 5)

# Send a reference of the coroutine to a remote process
proc.some_handler(coro)

coro = runtime.spawn(some_coro, 0, 5)
print(sync(proc.some_handler(coro)))  # [0, 1, 2, 3, 4]

# of a process, as an argument; of one here, and of one on a third node
here, third = runtime.spawn(Echo), runtime.spawn(Echo, sp_dest=other)
print(sync(proc.call(here, 1)) == (1, runtime.address))  # True
print(sync(proc.call(third, 2)) == (2, other))  # True

# as fields of nested objects
print(sync(proc.call_inside(Order({"echo": [third]}, 3))) == (3, other))  # True
coro = runtime.spawn(some_coro, 5, 10)
print(sync(proc.next_of(Order(coro, None))))  # [5, 6]
print(next(coro))  # 7

# a process that hands on itself
print(sync(third.send_me_to(proc)) == ("from a process", other))  # True
print(sync(here.send_me_to(proc))[0])  # from a process
