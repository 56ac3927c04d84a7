"""Spawn a coroutine."""

from splice import runtime


def some_coro(arg1, arg2):
    acc = arg1
    for _ in range(10):
        yield acc
        acc += arg2


coro = runtime.spawn(some_coro, 10, 5)

for item in coro:
    print(item)  # 10, 15, 20, 25, 30, 35, 40, 45, 50, 55

address = runtime.fork(1)[0]
coro = runtime.spawn(some_coro, 10, 5, sp_dest=address)
print(list(coro))  # [10, 15, 20, 25, 30, 35, 40, 45, 50, 55]
