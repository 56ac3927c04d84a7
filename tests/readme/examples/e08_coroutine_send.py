"""Coroutines also support bidirectional communication."""

from splice import runtime, sync, syncmany


def some_coro():
    acc = 0
    for _ in range(10):
        acc += yield acc


coro = runtime.spawn(some_coro)

# Coroutines are asynchronous by default as well
promise = coro.send(5)

# One can use `sync`
result = sync(coro.send(5))

print(promise.get(), result)  # 5 10

address = runtime.fork(1)[0]
coro = runtime.spawn(some_coro, sp_dest=address)
print(syncmany([coro.send(5), coro.send(5), coro.send(1)]))  # [5, 10, 11]
