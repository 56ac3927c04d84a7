"""A message costs the same however many processes are idle beside it."""

from __future__ import annotations

import statistics

from bench import floors
from bench.measuring import SPLICE, Figure, Scale, Target, alternate
from bench.one_node import Driver, Echo, Idle, ask_rate
from splice import runtime

SIZES = (10, 1_000, 100_000, 1_000_000)

SHARE = 0.7
"""Of the rate beside 10 idle processes: what a shared machine may take away by itself."""


def flat(scale: Scale) -> list[Figure]:
    """A process asks an echo beside 10 to 1,000,000 idle processes."""
    asks = scale.size(100_000)
    driver, echo = runtime.spawn(Driver), runtime.spawn(Echo)
    kept, found, first = [], [], 0.0
    for size in SIZES[:3] if scale.is_quick else SIZES:
        kept.append(runtime.spawn_many(size - sum(map(len, kept)), Idle))
        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: lambda: driver.run(lambda: ask_rate(echo, asks)).get(),
                "callback": lambda: floors.ask_rate(asks),
            },
        )
        first = first or statistics.median(values[SPLICE])
        target = Target("as beside 10", least=SHARE * first)
        title = f"ask beside {size:,} idle processes"
        found.append(
            Figure(
                f"F1_flat_{size}", title, "asks/s", values, target=target, calls=calls
            )
        )
    return found
