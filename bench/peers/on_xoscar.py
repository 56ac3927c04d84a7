"""xoscar: actors in one pool, or from the main pool to an actor in a pool of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import xoscar as xo

from bench.measuring import Contender, Scale, now
from bench.peers.contender import Case
from bench.peers.memory import resident

RING = 503

Measure = Callable[[str, int], Coroutine[Any, Any, float]]


class Echo(xo.Actor):
    def echo(self, value: Any) -> Any:
        return value


class Caller(xo.Actor):
    """Asks an echo in sequence."""

    async def rate(self, echo: Any, count: int) -> float:
        start = now()
        for i in range(count):
            await echo.echo(i)
        return count / (now() - start)


class Count(xo.Actor):
    def __init__(self) -> None:
        self.count = 0

    def one(self, number: int) -> None:
        self.count += 1

    def total(self) -> int:
        return self.count


class Teller(xo.Actor):
    """Tells a counter, and asks until all have come."""

    async def rate(self, counter: Any, count: int) -> float:
        start = now()
        for i in range(count):
            await counter.one.tell(i)
        while await counter.total() != count:
            pass
        return count / (now() - start)


class Ring(xo.Actor):
    async def join(self, following: Any, end: Any) -> None:
        self.following, self.end = following, end

    async def hop(self, left: int) -> None:
        await (self.following.hop.tell(left - 1) if left else self.end.reach.tell())


class End(xo.Actor):
    def __init__(self) -> None:
        self.reached = asyncio.Event()

    def reach(self) -> None:
        self.reached.set()

    @xo.no_lock
    async def wait(self) -> None:
        await self.reached.wait()


class Sky(xo.Actor):
    async def grow(self, number: int, size: int) -> int:
        if size == 1:
            return number
        size //= 10
        made = (xo.create_actor(Sky, address=self.address) for _ in range(10))
        branches = await asyncio.gather(*made)
        grown = (b.grow(number + i * size, size) for i, b in enumerate(branches))
        return sum(await asyncio.gather(*grown))


class Idle(xo.Actor):
    pass


def _case(measure: Measure, count: int, *, is_far: bool = False) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = scale.size(count)
        with asyncio.Runner() as runner:
            pool = runner.run(_pool(is_far))
            address = pool.external_address
            if is_far:
                addresses = pool._config.get_external_addresses()
                address = next(a for a in addresses if a != address)
            yield lambda: runner.run(measure(address, size))
            runner.run(pool.stop())

    return case


async def _pool(is_far: bool) -> Any:
    return await xo.create_actor_pool("127.0.0.1", n_process=int(is_far))


async def _ask(address: str, count: int) -> float:
    echo = await xo.create_actor(Echo, address=address)
    caller = await xo.create_actor(Caller, address=address)
    return float(await caller.rate(echo, count))


async def _tell(address: str, count: int) -> float:
    counter = await xo.create_actor(Count, address=address)
    teller = await xo.create_actor(Teller, address=address)
    return float(await teller.rate(counter, count))


async def _ring(address: str, hops: int) -> float:
    end = await xo.create_actor(End, address=address)
    members = [await xo.create_actor(Ring, address=address) for _ in range(RING)]
    for i, member in enumerate(members):
        await member.join(members[(i + 1) % RING], end)
    start = now()
    await members[0].hop.tell(hops)
    await end.wait()
    return hops / (now() - start)


async def _skynet(address: str, leaves: int) -> float:
    root = await xo.create_actor(Sky, address=address)
    start = now()
    assert await root.grow(0, leaves) == leaves * (leaves - 1) // 2
    return now() - start


def skynet(scale: Scale) -> Iterator[Contender]:
    leaves = 1000 if scale.is_quick else 10_000
    return _case(_skynet, leaves)(Scale())


async def _idle(address: str, count: int) -> tuple[float, float]:
    before, start = resident(), now()
    idle = [await xo.create_actor(Idle, address=address) for _ in range(count)]
    seconds = now() - start
    cost = (resident() - before) / count
    for actor in idle:
        await xo.destroy_actor(actor)
    return count / seconds, cost


async def _spawn(address: str, count: int) -> float:
    return (await _idle(address, count))[0]


async def _memory(address: str, count: int) -> float:
    return (await _idle(address, count))[1]


async def _far_ask(address: str, count: int) -> float:
    echo = await xo.create_actor(Echo, address=address)
    start = now()
    for i in range(count):
        await echo.echo(i)
    return count / (now() - start)


async def _far_piped(address: str, count: int) -> float:
    echo = await xo.create_actor(Echo, address=address)
    start = now()
    await asyncio.gather(*[echo.echo(i) for i in range(count)])
    return count / (now() - start)


async def _far_tell(address: str, count: int) -> float:
    counter = await xo.create_actor(Count, address=address)
    start = now()
    for i in range(count):
        await counter.one.tell(i)
    while await counter.total() != count:
        pass
    return count / (now() - start)


CASES: dict[str, Case] = {
    "ask": _case(_ask, 10_000),
    "tell": _case(_tell, 20_000),
    "ring": _case(_ring, 20_000),
    "skynet-small": skynet,
    "spawn": _case(_spawn, 10_000),
    "memory": _case(_memory, 10_000),
    "far-ask": _case(_far_ask, 2_000, is_far=True),
    "far-piped": _case(_far_piped, 10_000, is_far=True),
    "far-tell": _case(_far_tell, 10_000, is_far=True),
}
