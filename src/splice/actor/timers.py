"""Timers: what a node does later, with one timer of its loop for all of it.

::

    after, every ─► heap of (when, number, Timer) ─► one call_at, for the earliest
                                                          │ run: all that is due
                                       Timer.fire ◄───────┘

To set one costs a push onto a heap, far less than a timer of the loop; to cancel one costs nothing:
it stays in the heap until its time, or until the heap is swept.  `Timers` belongs to the node's
thread; a `Timer` may be cancelled from any.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

TICK: Final = 1e-6
"""Seconds that a timer may be early: a loop compares times with a resolution of its own."""

SWEEP_FROM: Final = 64
"""Entries from which on those that were cancelled are swept out, each time the heap has
doubled: so a sweep costs each entry a constant."""


class Timer:
    """Something to be done later, once or again and again; made by `runtime.send_after`.

    Attributes:
        what: what it does, in words.
        every: seconds between two times; None for one that fires once.
    """

    __slots__ = ("_due", "_is_wanted", "every", "what", "when")

    def __init__(
        self,
        due: Callable[[], Any],
        when: float,
        *,
        every: float | None = None,
        what: str = "",
        is_wanted: Callable[[], bool] | None = None,
    ) -> None:
        self.when = when
        self.every = every
        self.what = what
        self._is_wanted = is_wanted
        # a list, for to take something out of it is one step for all threads
        self._due = [due]

    def cancel(self) -> bool:
        """Stop it.  Thread-safe.

        Returns:
            True when it was still to fire, False when it has fired, was cancelled before, or
            the process that set it or the one it is for has ended.
        """
        is_wanted = self.is_running
        try:
            self._due.pop()
        except IndexError:
            return False
        return is_wanted

    @property
    def is_running(self) -> bool:
        """Whether it will fire, as things are.  Thread-safe."""
        return bool(self._due) and (self._is_wanted is None or self._is_wanted())

    def fire(self) -> None:
        """Do what is due; node's thread only."""
        try:
            due = self._due[0] if self.every is not None else self._due.pop()
        except IndexError:  # cancelled
            return
        if self._is_wanted is None or self._is_wanted():
            due()

    def __repr__(self) -> str:
        every = "" if self.every is None else f" every {self.every:g} s"
        state = "" if self.is_running else ", over"
        return f"<Timer {self.what}{every}{state}>"


class Timers:
    """The timers of one node; node's thread only.

    Args:
        loop: the node's: its clock and its timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = inf
        self._sweep_at = SWEEP_FROM
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._heap)

    def pending(self) -> list[Timer]:
        """Return the timers that will fire, the next one first.

        Any thread may ask: what it gets is true of some moment.
        """
        entries = sorted(self._heap.copy(), key=lambda entry: entry[:2])
        return [timer for _, _, timer in entries if timer.is_running]

    def after(self, seconds: float, function: Callable[..., Any], *args: Any) -> Timer:
        """Have ``function(*args)`` called in `seconds`."""
        due = (lambda: function(*args)) if args else function
        timer = Timer(due, self._loop.time() + seconds)
        self.add(timer)
        return timer

    def add(self, timer: Timer) -> None:
        """Have `timer` fire at its time, ``timer.when`` by the clock of the loop."""
        if self._is_closed:
            timer.cancel()
            return
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        heappush(self._heap, (timer.when, next(self._numbers), timer))
        if timer.when < self._armed_for:
            self._arm()

    def run(self) -> None:
        """Fire all whose time has come; called by the loop."""
        self._handle = None
        self._armed_for = inf
        now = self._loop.time()
        heap = self._heap
        try:
            while heap and heap[0][0] <= now + TICK:
                timer = heappop(heap)[2]
                # first: what it does may raise, and an every-timer goes on nevertheless
                if timer.every is not None and timer.is_running:
                    self._again(timer, timer.every, now)
                timer.fire()
        finally:
            self._arm()

    def close(self) -> None:
        """Cancel all, and take no more."""
        self._is_closed = True
        for timer in self.pending():
            timer.cancel()
        self._heap.clear()
        self._arm()

    def _again(self, timer: Timer, every: float, now: float) -> None:
        # times that were missed, for the loop was busy, are left out; the beat is kept
        timer.when += every * max(1, (now + TICK - timer.when) // every + 1)
        heappush(self._heap, (timer.when, next(self._numbers), timer))

    def _sweep(self) -> None:
        self._heap[:] = [entry for entry in self._heap if entry[2].is_running]
        heapify(self._heap)
        self._sweep_at = max(SWEEP_FROM, 2 * len(self._heap))

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._armed_for = self._heap[0][0] if self._heap else inf
        if self._heap:
            self._handle = self._loop.call_at(self._armed_for, self.run)
