"""Measuring: contenders take turns, and what comes of it is a figure with its floor and target.

The machine's speed drifts by a factor of two from minute to minute, so a ratio is only ever taken
between two measurements that were made one right after the other: A B A B, not A A B B.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.floors import call_seconds

SPLICE = "splice"

now = time.perf_counter

Contender = Callable[[], float]
"""Measures once and returns the value in the unit of its figure."""


@dataclass(frozen=True)
class Target:
    """What section 9 of the design asks of a figure; each bound is optional.

    Attributes:
        text: as it is printed.
        least, most: bounds of splice's median.
        of_floor: bound of the ratio to the floor.
    """

    text: str
    least: float | None = None
    most: float | None = None
    of_floor: float | None = None

    def is_met(self, value: float, ratio: float | None) -> bool:
        """Tell whether a median, and its ratio to the floor, are good enough."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (
                self.of_floor is None or (ratio is not None and ratio >= self.of_floor)
            )
        )


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        repeats: measurements of each contender, at least.
        is_quick: a twentieth of the size: shows that a case works, says little about speed.
        is_full: the cases of a million as well that take minutes.
    """

    repeats: int = 5
    is_quick: bool = False
    is_full: bool = False

    def size(self, count: int, least: int = 1) -> int:
        """Return `count`, or less of it in a quick run."""
        return max(count // 20, least) if self.is_quick else count


@dataclass
class Figure:
    """One line of the table: the measurements of splice and of its floors.

    Attributes:
        case: its id, as in the peers' scripts, so that the lines compare.
        title: for people.
        unit: of all values; a rate ("asks/s") or a cost ("s", "B/process").
        values: by contender, in the order measured; the first floor is the one compared with.
        less_is_better: whether it is a cost.
        target: what the design asks for.
        calls: seconds of one Python function call, measured in each round.
    """

    case: str
    title: str
    unit: str
    values: dict[str, list[float]]
    less_is_better: bool = False
    target: Target | None = None
    calls: list[float] = field(default_factory=list)

    def records(self, version: str) -> list[dict[str, Any]]:
        """Return one record for each contender, in the form of the peers' scripts."""
        return [
            {
                "peer": peer,
                "version": version if peer == SPLICE else "",
                "case": self.case,
                "title": self.title,
                "unit": self.unit,
                **spread("value", values),
                "n": len(values),
                **(self._verdict() if peer == SPLICE else {}),
            }
            for peer, values in self.values.items()
        ]

    def _verdict(self) -> dict[str, Any]:
        mine = self.values[SPLICE]
        found: dict[str, Any] = {"less_is_better": self.less_is_better}
        ratio = None
        floor = next((name for name in self.values if name != SPLICE), None)
        if floor is not None:
            ratios = self.gains(floor)
            ratio = statistics.median(ratios)
            found |= {"floor": floor, **spread("ratio", ratios)}
        if self.calls and self.unit.endswith("/s") and not self.unit.startswith("MB"):
            per_message = [1 / (v * c) for v, c in zip(mine, self.calls, strict=True)]
            found["calls"] = _rounded(statistics.median(per_message))
        if self.target is not None:
            value = statistics.median(mine)
            found |= {
                "target": self.target.text,
                "met": self.target.is_met(value, ratio),
            }
        return found

    def gains(self, other: str) -> list[float]:
        """Return by rounds how many times better splice is than another contender."""
        pairs = zip(self.values[SPLICE], self.values[other], strict=True)
        return [b / a if self.less_is_better else a / b for a, b in pairs]


def alternate(
    repeats: int, contenders: dict[str, Contender], *, warm_up: bool = True
) -> tuple[dict[str, list[float]], list[float]]:
    """Let the contenders take turns.

    Args:
        repeats: rounds; each measures every contender once.
        contenders: by name, splice first.
        warm_up: measure one round more before, and throw it away.

    Returns:
        The values by contender, and the seconds of a Python function call in each round.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    calls = []
    if warm_up:
        for measure in contenders.values():
            measure()
    for _ in range(repeats):
        calls.append(call_seconds())
        for name, measure in contenders.items():
            values[name].append(measure())
    return values, calls


def spread(name: str, values: list[float]) -> dict[str, Any]:
    """Return the median under `name`, and the least and greatest value beside it."""
    both = "spread" if name == "value" else f"{name}_spread"
    return {
        name: _rounded(statistics.median(values)),
        both: [_rounded(min(values)), _rounded(max(values))],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
