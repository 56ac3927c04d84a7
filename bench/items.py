"""What the map cases compute: importable by every worker, so that no code travels."""

from __future__ import annotations

import os
import random
import time
from typing import Any


def noop(value: Any) -> Any:
    """Return the item."""
    return value


def square(value: int) -> int:
    """Return the square of the item."""
    return value * value


def busy(milliseconds: float) -> float:
    """Use that much time of a CPU: of this thread, so that a shared core shows."""
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass
    return milliseconds


def first(index: int, array: Any) -> float:
    """Return the first element of an array that all items share."""
    return float(array[0])


def number_of_process(_: Any = None) -> int:
    """Return the number of the OS process; slowly, so that no worker does all of them."""
    time.sleep(0.02)
    return os.getpid()


def durations() -> list[float]:
    """Return 200 durations of 5 to 50 ms, skewed to the short side, the same each time."""
    chance = random.Random(42)
    return [5 + 45 * chance.random() ** 3 for _ in range(200)]
