"""What one writes without a library: an actor is an asyncio task that reads its queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from bench.measuring import Contender, Scale, now
from bench.peers.contender import Case
from bench.peers.memory import resident

RING = 503

Queue = asyncio.Queue[Any]


def _case(measure: Callable[[int], Coroutine[Any, Any, float]], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = scale.size(count)
        yield lambda: asyncio.run(measure(size))

    return case


async def _ask(count: int) -> float:
    mail: Queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def echo() -> None:
        while True:
            value, answer = await mail.get()
            answer.set_result(value)

    async def caller() -> float:
        start = now()
        for i in range(count):
            answer = loop.create_future()
            mail.put_nowait((i, answer))
            await answer
        return count / (now() - start)

    echoing = asyncio.create_task(echo())
    rate = await asyncio.create_task(caller())
    echoing.cancel()
    return rate


async def _tell(count: int) -> float:
    mail: Queue = asyncio.Queue()

    async def counter() -> None:
        for _ in range(count):
            await mail.get()

    counting = asyncio.create_task(counter())
    await asyncio.sleep(0)
    start = now()
    for i in range(count):
        mail.put_nowait(i)
    await counting
    return count / (now() - start)


async def _ring(hops: int) -> float:
    mails: list[Queue] = [asyncio.Queue() for _ in range(RING)]
    done = asyncio.Event()

    async def member(mine: Queue, following: Queue) -> None:
        while left := await mine.get():
            following.put_nowait(left - 1)
        done.set()

    members = [
        asyncio.create_task(member(mails[i], mails[(i + 1) % RING]))
        for i in range(RING)
    ]
    await asyncio.sleep(0)
    start = now()
    mails[0].put_nowait(hops)
    await done.wait()
    rate = hops / (now() - start)
    for task in members:
        task.cancel()
    return rate


async def _branch(number: int, size: int, parent: Queue) -> None:
    if size == 1:
        parent.put_nowait(number)
        return
    mail: Queue = asyncio.Queue()
    size //= 10
    # The loop holds tasks weakly: without these they could be collected.
    branches = [
        asyncio.create_task(_branch(number + i * size, size, mail)) for i in range(10)
    ]
    parent.put_nowait(sum([await mail.get() for _ in branches]))


async def _skynet_seconds(leaves: int) -> float:
    mail: Queue = asyncio.Queue()
    start = now()
    root = asyncio.create_task(_branch(0, leaves, mail))
    total = await mail.get()
    seconds = now() - start
    await root
    assert total == leaves * (leaves - 1) // 2
    return seconds


def skynet(leaves: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = 1000 if scale.is_quick else leaves
        yield lambda: asyncio.run(_skynet_seconds(size))

    return case


async def _idle(count: int) -> tuple[float, float]:
    async def idle(mail: Queue) -> None:
        await mail.get()

    before, start = resident(), now()
    mails: list[Queue] = [asyncio.Queue() for _ in range(count)]
    tasks = [asyncio.create_task(idle(mail)) for mail in mails]
    await asyncio.sleep(0)
    seconds = now() - start
    cost = (resident() - before) / count
    for mail in mails:
        mail.put_nowait(None)
    await asyncio.gather(*tasks)
    return count / seconds, cost


async def _spawn(count: int) -> float:
    return (await _idle(count))[0]


async def _memory(count: int) -> float:
    return (await _idle(count))[1]


CASES: dict[str, Case] = {
    "ask": _case(_ask, 50_000),
    "tell": _case(_tell, 300_000),
    "ring": _case(_ring, 200_000),
    "skynet": skynet(100_000),
    "skynet-small": skynet(10_000),
    "skynet-million": skynet(1_000_000),
    "spawn": _case(_spawn, 100_000),
    "memory": _case(_memory, 100_000),
}
