"""Running: what stands in ``Cell.runner`` while a handler is at work off the workers.

See `splice.actor.context.Elsewhere` for what others ask of it.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from splice.actor.context import frames_from
from splice.actor.interrupts import Interrupt
from splice.config import RUN_SECONDS

if TYPE_CHECKING:
    import asyncio

    from splice.actor.promise import Promise


class _Running:
    """A handler at work off the workers; see `splice.actor.context.Elsewhere`.

    Attributes:
        since: the end of the turn in which it began, at the latest.
        waits_since: likewise for `waiting`.
    """

    __slots__ = ("message", "since", "wait_number", "waiter", "waiting", "waits_since")

    def __init__(self, message: Promise) -> None:
        self.message = message
        self.waiting: Promise | None = None
        self.waiter: Any = None
        self.wait_number = 0
        self.since: float = message.scheduler.deadline
        self.waits_since = self.since

    def wait_for(self, promise: Promise, waiter: Any) -> None:
        """Take note that it waits for `promise` from now on; thread of its node."""
        self.waiting, self.waiter, self.wait_number = promise, waiter, 0
        # a task goes on between two turns: the deadline may be that of long ago
        self.waits_since = self.message.scheduler.loop.time() + RUN_SECONDS


class RunningTask(_Running):
    """In ``Cell.runner``: an async handler at work."""

    __slots__ = ("task",)

    def __init__(self, message: Promise, task: asyncio.Task[Any]) -> None:
        super().__init__(message)
        self.task = task

    def is_here(self) -> bool:
        """Whether the running code is the handler's own task."""
        import asyncio  # loaded with the first node

        try:
            return asyncio.current_task() is self.task
        except RuntimeError:  # a thread without a loop, given the handler's context
            return False

    def cancel(self, is_begun_too: bool = True) -> bool:
        """Cancel the task."""
        return is_begun_too and self.task.cancel()

    def unwind(self, error: BaseException) -> None:
        """Have it end, for its process was killed: by asyncio's own error."""
        self.task.cancel()

    def frames(self) -> list[FrameType]:
        """Return where the coroutine awaits, innermost first."""
        frames: list[FrameType] = []
        awaited: Any = self.task.get_coro()
        while (frame := getattr(awaited, "cr_frame", None)) is not None:
            frames.insert(0, frame)
            awaited = awaited.cr_await
        return frames


class RunningThread(_Running):
    """In ``Cell.runner``: a blocking handler; once it has begun, only its waits can be ended.

    Attributes:
        on_given_up: called on the node's thread when it was kept from beginning.
        begin: called once with True for an answer, by who begins it or by who gives it up.
        interrupt: ends its waits.
        thread: which thread it runs on, while it does.
    """

    __slots__ = ("begin", "interrupt", "on_given_up", "thread")

    def __init__(self, message: Promise, on_given_up: Callable[[], None]) -> None:
        super().__init__(message)
        self.on_given_up = on_given_up
        # a lock, for the pool's thread and that of the node may want it at the same time
        self.begin: Callable[[], bool] = partial(allocate_lock().acquire, False)
        self.interrupt = Interrupt()
        self.thread: int | None = None

    def is_here(self) -> bool:
        """Whether the running code is on the handler's own thread."""
        return self.thread == get_ident()

    def cancel(self, is_begun_too: bool = True) -> bool:
        """Keep it from beginning; False when it has begun."""
        if not self.begin():
            return False
        # later, when who gives it up has settled it
        self.message.scheduler.post(self.on_given_up)
        return True

    def unwind(self, error: BaseException) -> None:
        """Have it end, for its process was killed: `error` is raised where it waits next."""
        if not self.cancel():
            self.interrupt.throw(error)

    def frames(self) -> list[FrameType]:
        """Return where the thread is, innermost first."""
        thread = self.thread
        here = None if thread is None else sys._current_frames().get(thread)
        return list(frames_from(here))
