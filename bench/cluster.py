"""The cases of the cluster: a session of two workers beside a `multiprocessing.Pool` of two.

The pool is forked before anything of splice is started, so that it copies no threads.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pool
from typing import Any

from bench.items import busy, durations, first, noop, square
from bench.measuring import SPLICE, Figure, Scale, Target, alternate, now

POOL = "mp.Pool"


def start(scale: Scale) -> list[Figure]:
    """A fresh program starts a session of two, has a result from each, and closes it."""
    programs = {SPLICE: "bench.start_session", POOL: "bench.start_pool"}
    values: dict[str, dict[str, list[float]]] = {
        part: {name: [] for name in programs} for part in ("ready", "closed", "both")
    }
    for program in programs.values():
        _run(program)
    for _ in range(scale.repeats):
        for name, program in programs.items():
            ready, closed = _run(program)
            values["ready"][name].append(ready)
            values["closed"][name].append(closed)
            values["both"][name].append(ready + closed)
    target = Target("< 0.5 s", most=0.5)
    return [
        Figure(case, title, "s", values[part], True, target if part == "both" else None)
        for part, case, title in (
            ("both", "C1_start_stop", "session(2) used and closed"),
            ("ready", "C1_start", "of which: first result from each"),
            ("closed", "C1_stop", "of which: closed"),
        )
    ]


def _run(program: str) -> tuple[float, float]:
    command = [sys.executable, "-m", program]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stderr[-600:]}")
    ready, closed = json.loads(done.stdout.splitlines()[-1])
    return ready, closed


def noops(scale: Scale) -> list[Figure]:
    """Items that do nothing, one message each."""
    count = scale.size(10_000)
    return _compared(
        Figure(
            "C2_noop",
            f"map, {count:,} no-ops, chunksize=1",
            "items/s",
            {},
            target=Target(">= 55 k/s", least=55e3),
        ),
        scale,
        lambda c: (
            lambda: count / _timed(lambda: c.map(noop, range(count), chunksize=1))
        ),
        lambda p: lambda: count / _timed(lambda: p.map(noop, range(count), 1)),
    )


def million(scale: Scale) -> list[Figure]:
    """Trivial items in batches of the library's own choice."""
    count = scale.size(1_000_000)

    def go(mapped: Callable[..., list[int]]) -> float:
        start = now()
        answers = mapped(square, range(count))
        seconds = now() - start
        assert len(answers) == count
        assert answers[-1] == (count - 1) ** 2
        return count / seconds

    return _compared(
        Figure(
            "C3_map_1M",
            f"map, {count:,} trivial items",
            "items/s",
            {},
            target=Target(">= 6 M/s", least=6e6),
        ),
        scale,
        lambda c: lambda: go(c.map),
        lambda p: lambda: go(p.map),
    )


def skewed(scale: Scale) -> list[Figure]:
    """200 items of 5 to 50 ms: the ideal time over the time it took."""
    items = durations()
    items = items[: scale.size(len(items), 20)]
    ideal = sum(items) / 2000
    return _compared(
        Figure(
            "C4_efficiency",
            f"map, {len(items)} skewed items",
            "ideal/elapsed",
            {},
            target=Target(">= 0.98", least=0.98),
        ),
        scale,
        lambda c: lambda: ideal / _timed(lambda: c.map(busy, items)),
        lambda p: lambda: ideal / _timed(lambda: p.map(busy, items)),
    )


def shared(scale: Scale) -> list[Figure]:
    """100 items that all need one array of 64 MiB."""
    import numpy as np

    array = np.ones(scale.size(64 * 2**20 // 8))
    expected = [1.0] * 100

    def mine(c: Any) -> float:
        start = now()
        assert c.map(first, range(100), array) == expected
        return now() - start

    def floor(p: Any) -> float:
        start = now()
        assert p.map(functools.partial(first, array=array), range(100)) == expected
        return now() - start

    return _compared(
        Figure(
            "C5_common_array",
            "map, 100 items on one 64 MiB array",
            "s",
            {},
            less_is_better=True,
            target=Target("< 0.12 s", most=0.12),
        ),
        scale,
        lambda c: lambda: mine(c),
        lambda p: lambda: floor(p),
    )


def _compared(
    figure: Figure,
    scale: Scale,
    mine: Callable[[Any], Callable[[], float]],
    floor: Callable[[Any], Callable[[], float]],
) -> list[Figure]:
    """Fill in `figure`: `mine` measures on a session, `floor` on a pool."""
    with Pool(2) as pool:
        pool.map(noop, range(100))
        from splice.cluster import session  # after the fork

        with session(worker_count=2) as cluster:
            figure.values, figure.calls = alternate(
                scale.repeats, {SPLICE: mine(cluster), POOL: floor(pool)}
            )
    return [figure]


def _timed(function: Callable[[], Any]) -> float:
    start = now()
    function()
    return now() - start
