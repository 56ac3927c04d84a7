"""A generator on a forked node: read ahead of, and item by item."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measuring import SPLICE, Figure, Scale, Target, alternate, now
from bench.one_node import Driver
from splice import runtime

PREFETCHES = (32, 512)
ITEM_BY_ITEM = "item by item"


def numbers(count: int) -> Iterator[int]:
    """Yield `count` numbers; what the coroutine runs."""
    yield from range(count)


def stream_rate(there: str, count: int, prefetch: int) -> float:
    """Iterate over a far generator; its items a second.  No `prefetch`: one by one."""
    coroutine = runtime.spawn(numbers, count, sp_dest=there)
    items = coroutine.stream(prefetch) if prefetch else coroutine
    start = now()
    got = sum(1 for _ in items)
    seconds = now() - start
    assert got == count
    runtime.stop(coroutine)
    return count / seconds


def stream(scale: Scale) -> list[Figure]:
    """A process streams numbers from a forked node, beside asking for each by itself."""
    (there,) = runtime.fork(1)
    driver = runtime.spawn(Driver)
    many, few = scale.size(50_000), scale.size(3_000)
    found = []
    for prefetch in PREFETCHES:

        def ahead(prefetch: int = prefetch) -> float:
            rate: float = driver.run(lambda: stream_rate(there, many, prefetch)).get()
            return rate

        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: ahead,
                ITEM_BY_ITEM: lambda: driver.run(
                    lambda: stream_rate(there, few, 0)
                ).get(),
            },
        )
        title = f"far stream, prefetch {prefetch}"
        target = Target(">= 10x item by item", of_floor=10)
        case = f"B5_stream_{prefetch}"
        found.append(Figure(case, title, "items/s", values, target=target, calls=calls))
    return found
