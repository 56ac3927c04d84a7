"""A flood to a node that takes nothing for a minute: what that costs in memory, on both sides."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil

from bench.measuring import SPLICE, Figure, Scale, Target
from splice import Process, runtime, tell

PART = b"x" * 1000
HELD_SECONDS = 60
QUICK_SECONDS = 2
MIB = 2**20


class Sink(Process):
    """Counts what it takes, in order, and sleeps when it is told to."""

    def __init__(self) -> None:
        self.count = 0

    def pid(self) -> int:
        """Return the number of its OS process."""
        return os.getpid()

    def sleep(self, seconds: float) -> None:
        """Handle nothing for a while."""
        runtime.sleep(seconds)

    def take(self, number: int, part: bytes) -> None:
        """Take the next message."""
        assert number == self.count
        self.count += 1

    def taken(self) -> int:
        """Return how many messages have come."""
        return self.count


class Flooder(Process):
    """Sends until the time is over; its handler parks while there is no room."""

    def flood(self, sink: Any, seconds: float) -> int:
        """Return how many messages were sent."""
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            tell(sink.take, sent, PART)
            sent += 1
        return sent


def flood_far(scale: Scale) -> list[Figure]:
    """A process floods one whose handler sleeps, and one whose OS process is stopped."""
    seconds = QUICK_SECONDS if scale.is_quick else HELD_SECONDS
    runtime.config(overload_timeout=10.0 * seconds, loss_timeout=10.0 * seconds)
    (there,) = runtime.fork(1)
    sink = runtime.spawn(Sink, sp_dest=there)
    os_process = psutil.Process(sink.pid().get())

    def sleep() -> None:
        tell(sink.sleep, seconds)

    found = _flood(sink, os_process, "asleep", seconds, sleep, lambda: None)
    return found + _flood(
        runtime.spawn(Sink, sp_dest=there),
        os_process,
        "stopped",
        seconds,
        lambda: os_process.send_signal(signal.SIGSTOP),
        lambda: os_process.send_signal(signal.SIGCONT),
    )


def _flood(
    sink: Any,
    receiver: psutil.Process,
    how: str,
    seconds: float,
    hold: Callable[[], None],
    wake: Callable[[], None],
) -> list[Figure]:
    """Hold the receiver and flood it; the growth of both nodes, full and afterwards."""
    sides = {"sender": psutil.Process(), "receiver": receiver}
    begun = {side: it.memory_info().rss for side, it in sides.items()}
    hold()
    sent = runtime.spawn(Flooder).flood(sink, seconds)
    peaks: dict[str, list[int]] = {side: [] for side in sides}
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(seconds / 60)
            for side, it in sides.items():
                peaks[side].append(it.memory_info().rss)
    finally:
        wake()
    assert sent.get() == sink.taken().get(), "nothing is lost"
    found = []
    for side, sizes in peaks.items():
        full = sizes[len(sizes) // 3]  # it is reached in a few seconds
        title = f"flood, {how}: {side}"
        grown = [(full - begun[side]) / MIB]
        later = [(max(sizes[len(sizes) // 3 :]) - full) / MIB]
        found += [
            _figure(f"F_{how}_{side}", f"{title}, a third of the time", grown, None),
            _figure(f"F_{how}_{side}_later", f"{title}, more after that", later, 8.0),
        ]
    return found


def _figure(case: str, title: str, values: list[float], most: float | None) -> Figure:
    target = None if most is None else Target(f"<= {most:g} MiB: flat", most=most)
    return Figure(
        case, title, "MiB", {SPLICE: values}, less_is_better=True, target=target
    )
