"""Timers: many deadlines, of which one is with the loop.

A loop's own timer costs microseconds to set and more to cancel, and a channel's deadline moves
with every frame.  So a deadline that moves away is not touched: its owner is woken too early,
finds nothing to do and names the next one.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final

TICK: Final = 1e-6
"""Seconds that a timer may be early: a loop compares times with a resolution of its own."""


class Sleeper:
    """Who can be woken; `wake_at` is for `Timers` only."""

    __slots__ = ("wake_at",)

    def __init__(self) -> None:
        self.wake_at = inf

    def wake(self, now: float) -> None:
        """Do what is due, and name the next deadline."""
        raise NotImplementedError


class Timers:
    """The deadlines of one node; on its loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._counter = count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = inf

    @property
    def next(self) -> float:
        """When somebody is to be woken; `inf` for never."""
        return self._heap[0][0] if self._heap else inf

    def set(self, sleeper: Sleeper, when: float) -> None:
        """Wake `sleeper` at `when`, or earlier if it is to be woken earlier already."""
        if when >= sleeper.wake_at:
            return
        sleeper.wake_at = when
        heappush(self._heap, (when, next(self._counter), sleeper))
        if when < self._armed_for:
            self._arm()

    def run(self) -> None:
        """Wake all whose time has come; called by the loop, and while it stands still."""
        self._armed_for = inf
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now + TICK:
            when, _, sleeper = heappop(self._heap)
            if sleeper.wake_at == when:  # else it was set anew since
                sleeper.wake_at = inf
                sleeper.wake(max(now, when))
        self._arm()

    def close(self) -> None:
        """Forget everybody."""
        self._heap.clear()
        self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._armed_for = self.next
        if self._heap:
            self._handle = self._loop.call_at(self._armed_for, self.run)
