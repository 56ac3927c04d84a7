"""Threads: the pool on which ``@blocking`` handlers run.

A thread that waits for a promise, or whose own asyncio loop awaits one, gives up its place for that
time, so handlers that wait for each other can never use up the pool.  Where no thread can be
started (too many in the OS process, or the interpreter ends) and none will be free, work is refused
instead of waiting for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from splice.actor.context import set_slot


class _Work(NamedTuple):
    refuse: Callable[[RuntimeError], None]
    function: Callable[..., Any]
    args: tuple[Any, ...]


class Threads:
    """At most `limit` pieces of work at once, each on a thread that is kept for the next.

    Thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._idle = 0
        self._is_closed = False
        self._work: deque[_Work] = deque()
        self._changed = threading.Condition()

    def submit(
        self,
        refuse: Callable[[RuntimeError], None],
        function: Callable[..., Any],
        *args: Any,
    ) -> None:
        """Run ``function(*args)`` when a place is free; it must not raise.

        Args:
            refuse: called instead, on whichever thread, when there is none to run it.
        """
        with self._changed:
            self._work.append(_Work(refuse, function, args))
            self._serve_one_more()

    def close(self) -> None:
        """Let idle threads end; work at hand is not waited for, the rest is not begun."""
        with self._changed:
            self._is_closed = True
            self._work.clear()
            self._changed.notify_all()

    def give_up(self, place: _Place) -> None:
        """Let others have `place` while something is waited for there."""
        with self._changed:
            place.waits += 1
            if place.waits == 1 and not place.is_over:
                self._running -= 1
                self._serve_one_more()

    def take_again(self, place: _Place) -> None:
        """Note the end of a wait; the limit may be passed for a moment, nobody waits here."""
        with self._changed:
            place.waits -= 1
            if place.waits == 0 and not place.is_over:
                self._running += 1

    def _serve_one_more(self) -> None:
        if len(self._work) <= self._idle:
            self._changed.notify()
            return
        if self._running + self._idle >= self._limit:
            return  # the next thread that gets free takes it
        self._idle += 1
        # a daemon: a handler that never returns must not keep the OS process alive
        thread = threading.Thread(
            target=self._serve, name="splice-blocking", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._idle -= 1
            self._do_without(error)

    def _do_without(self, error: RuntimeError) -> None:
        if self._running + self._idle:
            return  # the next thread that gets free takes it
        while self._work:
            self._work.popleft().refuse(error)

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            place = _Place(self)
            set_slot(place)
            work.function(*work.args)
            del work
            with self._changed:
                place.is_over = True
                self._running -= not place.waits  # else it is given up already
                self._idle += 1

    def _next(self) -> _Work | None:
        with self._changed:
            while not (self._work and self._running < self._limit):
                if self._is_closed:
                    return None
                self._changed.wait()
            self._idle -= 1
            self._running += 1
            return self._work.popleft()


class _Place:
    """The place of one piece of work among those that run; see `splice.actor.context.Slot`.

    Coroutines on a loop of its thread may wait for several things at once, and the garbage
    collector may end what is left of such waits later, on any thread.

    Attributes:
        waits: how many things are waited for there.
        is_over: the work is done; waits that have outlived it count no more.
    """

    __slots__ = ("_threads", "is_over", "waits")

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self.waits = 0
        self.is_over = False

    def release(self) -> None:
        """Give it up for one more wait."""
        self._threads.give_up(self)

    def take(self) -> None:
        """Take it again when that was the last."""
        self._threads.take_again(self)
