"""splice itself, at the work of its peers: by the functions that its own table is measured with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench.measuring import Contender, Scale, now
from bench.one_node import (
    BURST,
    RING,
    Count,
    Driver,
    Echo,
    Idle,
    Ring,
    ask_rate,
    piped_rate,
    ring_rate,
    skynet_seconds,
    tell_rate,
)
from bench.peers import maps
from bench.peers.contender import Case
from bench.peers.memory import resident
from bench.peers.on_session import OfSplice
from splice import runtime, syncmany


def _driven(measure: Callable[[], float]) -> Contender:
    driver = runtime.spawn(Driver)
    return lambda: float(driver.run(measure).get())


def ask(scale: Scale) -> Iterator[Contender]:
    count, echo = scale.size(100_000), runtime.spawn(Echo)
    yield _driven(lambda: ask_rate(echo, count))


def tell(scale: Scale) -> Iterator[Contender]:
    count, counter = scale.size(300_000, BURST), runtime.spawn(Count)
    yield _driven(lambda: tell_rate(counter, count, BURST))


def ring(scale: Scale) -> Iterator[Contender]:
    members, hops = runtime.spawn_many(RING, Ring), scale.size(300_000)
    yield _driven(lambda: ring_rate(members, hops))


def skynet(leaves: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = 1000 if scale.is_quick else leaves
        yield _driven(lambda: skynet_seconds(size))

    return case


def spawn(scale: Scale) -> Iterator[Contender]:
    count = scale.size(100_000)

    def rate() -> float:
        start = now()
        view = runtime.spawn_many(count, Idle)
        seconds = now() - start
        syncmany(view.quit())
        return count / seconds

    yield rate


def memory(scale: Scale) -> Iterator[Contender]:
    count = scale.size(100_000)
    kept: list[Any] = [runtime.spawn_many(100, Idle)]

    def cost() -> float:
        before = resident()
        kept.append(runtime.spawn_many(count, Idle))
        return (resident() - before) / count

    yield cost


def _far(cls: type) -> Any:
    (there,) = runtime.fork(1)
    return runtime.spawn(cls, sp_dest=there)


def far_ask(scale: Scale) -> Iterator[Contender]:
    echo, count = _far(Echo), scale.size(5_000)
    yield _driven(lambda: ask_rate(echo, count))


def far_piped(scale: Scale) -> Iterator[Contender]:
    echo, count = _far(Echo), scale.size(20_000)
    yield _driven(lambda: piped_rate(echo, count, count))


def far_tell(scale: Scale) -> Iterator[Contender]:
    counter, count = _far(Count), scale.size(100_000)
    yield _driven(lambda: tell_rate(counter, count))


CASES: dict[str, Case] = {
    "ask": ask,
    "tell": tell,
    "ring": ring,
    "skynet": skynet(100_000),
    "skynet-small": skynet(10_000),
    "skynet-million": skynet(1_000_000),
    "spawn": spawn,
    "memory": memory,
    "far-ask": far_ask,
    "far-piped": far_piped,
    "far-tell": far_tell,
    **maps.cases("splice", OfSplice),
}
