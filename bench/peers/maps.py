"""The cases of worker pools, the same for every library: it says how it maps, these what."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from bench.items import busy, durations, first, noop, square
from bench.measuring import Contender, Scale, now
from bench.peers.contender import Case


class Pool(Protocol):
    """Two workers of a library, started."""

    def each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Map with one message for each item."""

    def bulk(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Map as the library does it best for many small items."""

    def shared(self, count: int, array: Any) -> list[Any]:
        """Compute `first` of `count` indices with one array that all need."""

    def close(self) -> None:
        """Stop the workers."""


def cases(name: str, start: Callable[[], Pool]) -> dict[str, Case]:
    """Return the cases of a library.

    Args:
        name: what `bench.peers.starting` calls it.
        start: starts two workers.
    """

    def pooled(rate: Callable[[Pool, Scale], Contender]) -> Case:
        def case(scale: Scale) -> Iterator[Contender]:
            pool = start()
            try:
                pool.each(noop, range(100))
                yield rate(pool, scale)
            finally:
                pool.close()

        return case

    def starts(scale: Scale) -> Iterator[Contender]:
        command = [sys.executable, "-m", "bench.peers.starting", name]
        yield lambda: float(subprocess.check_output(command, text=True).split()[-1])

    return {
        "start": starts,
        "noops": pooled(_noops),
        "million": pooled(_million),
        "skewed": pooled(_skewed),
        "shared": pooled(_shared),
    }


def _noops(pool: Pool, scale: Scale) -> Contender:
    items = range(scale.size(10_000))
    return lambda: len(items) / _timed(lambda: pool.each(noop, items))


def _million(pool: Pool, scale: Scale) -> Contender:
    items = range(scale.size(1_000_000))
    return lambda: len(items) / _timed(lambda: pool.bulk(square, items))


def _skewed(pool: Pool, scale: Scale) -> Contender:
    items = durations()
    items = items[: scale.size(len(items), 20)]
    ideal = sum(items) / 2000
    return lambda: ideal / _timed(lambda: pool.each(busy, items))


def _shared(pool: Pool, scale: Scale) -> Contender:
    import numpy as np  # this case only

    array = np.ones(scale.size(64 * 2**20 // 8))
    assert pool.shared(3, array) == [first(0, array)] * 3
    return lambda: _timed(lambda: pool.shared(100, array))


def _timed(function: Callable[[], list[Any]]) -> float:
    start = now()
    answers = function()
    seconds = now() - start
    assert len(answers) > 1
    return seconds
