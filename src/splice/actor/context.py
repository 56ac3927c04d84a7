"""Worker and the current process: which process the running code belongs to.

A Worker is a greenlet that lends its stack to one handler after another.  Plain handlers run on
workers; async and ``@blocking`` handlers run elsewhere and are found by a context variable.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from collections.abc import Iterator
from contextvars import Context, ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from greenlet import getcurrent, greenlet

from splice.config import DIRECT_DEPTH
from splice.errors import CannotWait

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.actor.promise import Promise
    from splice.actor.scheduler import Scheduler


class Worker(greenlet):
    """A pooled greenlet of one scheduler.

    Attributes:
        stack: the messages being handled on it, bottom first; direct calls add to it.
        credit: direct calls that it may still make before it looks at the run queue.
        waiting: the promise it is parked for, or None while it runs or is ready.
        since: the end of the turn in which it was parked, at the latest.
        has_timeout: that wait ends by itself, so it can close no ring of waits.
        wait_number: which wait that is, once a probe has come by; 0 until then.
        injected: an exception to raise when it is resumed.
        callbacks: callbacks of promises running on it just now; they must not park it.
        behalf: the process that has given the innermost of them, or None.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler.work, scheduler.hub)
        self.scheduler = scheduler
        self.stack: list[Promise] = []
        self.credit = 0
        self.waiting: Promise | None = None
        self.since = 0.0
        self.has_timeout = False
        self.wait_number = 0
        self.injected: BaseException | None = None
        self.callbacks = 0
        self.behalf: Cell | None = None
        # one context for each depth: a context cannot be entered twice; a handler that
        # sets a variable in it has it replaced afterwards, so nothing leaks to the next
        self.contexts = [Context() for _ in range(DIRECT_DEPTH + 1)]

    def take_injected(self) -> BaseException:
        """Return the exception to raise; whoever raises it keeps no name of it, and no ring."""
        error, self.injected = self.injected, None
        assert error is not None
        return error


class Ended:
    """Stands in ``Cell.runner`` of a process that has ended.

    Attributes:
        kind: the name of its class, for messages to people.
        reason: why it has ended.
        kept: its mail, while its supervisor is about to restart it; else None.
        runner: who ran its handler when it ended, if it may have another life.
    """

    __slots__ = ("kept", "kind", "reason", "runner")

    def __init__(self, kind: str, reason: Any) -> None:
        self.kind = kind
        self.reason = reason
        self.kept: list[Promise] | None = None
        self.runner: Any = None


class Elsewhere(Protocol):
    """Stands in ``Cell.runner`` while a handler runs off the workers: async, blocking.

    Attributes:
        message: the message being handled.
        waiting: the promise that the handler waits for without a timeout, or None.
        waiter: what stands among the waiters of that promise for the handler.
        wait_number: which wait that is, once a probe has come by; 0 until then.
    """

    message: Promise
    waiting: Promise | None
    waiter: Any
    wait_number: int

    def wait_for(self, promise: Promise, waiter: Any) -> None:
        """Take note that the handler waits for `promise` from now on."""

    def frames(self) -> list[FrameType]:
        """Return where the handler is, innermost first."""

    def is_here(self) -> bool:
        """Whether the running code is that handler itself."""

    def cancel(self, is_begun_too: bool = True) -> bool:
        """Stop the handler, or keep it from beginning; False when that cannot be done."""

    def unwind(self, error: BaseException) -> None:
        """Have the handler of a process that was killed end, as soon as it waits."""


_elsewhere: ContextVar[Any] = ContextVar("splice_process", default=None)


def current_worker() -> Worker | None:
    """Return the worker this code runs on, or None outside plain handlers."""
    here = getcurrent()
    return here if type(here) is Worker else None


def current_cell() -> Cell | None:
    """Return the record of the process whose handler, or callback, is running here, or None."""
    here = getcurrent()
    if type(here) is Worker:
        if here.callbacks:
            return here.behalf
        return here.stack[-1].target if here.stack else None
    cell: Cell | None = _elsewhere.get()
    return cell


def current_scheduler() -> Scheduler:
    """Return the scheduler of the process whose handler is running here.

    Raises:
        CannotWait: no handler is running here.
    """
    cell = current_cell()
    if cell is None:
        raise CannotWait("no process is running here; this works in a handler only")
    return cell.scheduler


def current_message() -> Promise | None:
    """Return the message whose handler is running here, or None."""
    here = getcurrent()
    if type(here) is Worker:
        return here.stack[-1] if here.stack and not here.callbacks else None
    runner = current_elsewhere()
    return None if runner is None else runner.message


def current_elsewhere() -> Elsewhere | None:
    """Return the async or blocking handler that the running code is, or None.

    None also in a task or a thread that such a handler has started: it may wait there for
    one thing and here for another, so a wait there is not a wait of the process.
    """
    cell = _elsewhere.get()
    runner: Elsewhere | None = None if cell is None else cell.runner
    is_here = getattr(runner, "is_here", None)
    return runner if is_here is not None and is_here() else None


def is_ended_here(handler: Elsewhere | None) -> bool:
    """Tell whether the process has ended whose async code is running here.

    Args:
        handler: what was `current_elsewhere` when the code began to wait.
    """
    # that process may have another life by now, and `handler` belongs to a ghost then
    owner: Any = current_cell() if handler is None else handler.message.target
    return owner is not None and owner.has_ended


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield `frame` and those that called it, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def context_of(cell: Cell) -> Context:
    """Return a fresh context in which `current_cell` is `cell`."""
    context = Context()
    context.run(_elsewhere.set, cell)
    return context


def is_on_loop(thread: int) -> bool:
    """Tell whether waiting here would stop a node's loop: that on `thread`, or our own."""
    here = getcurrent()
    if get_ident() == thread:
        return True
    if type(here) is Worker:
        return (
            not here.scheduler.is_closed
        )  # else in a copy made by os.fork: no loop runs
    cell = _elsewhere.get()
    return cell is not None and bool(cell.scheduler.thread == get_ident())


def may_wait_for(thread: int) -> bool:
    """Tell whether code may wait here for a node whose loop is on `thread`.

    A handler on a worker is put aside meanwhile; others must not stop a loop.
    """
    here = getcurrent()
    return (type(here) is Worker and not here.callbacks) or not is_on_loop(thread)


def current_giver() -> Any:
    """Return who gives a callback here: the process, in its present life, or None."""
    cell = current_cell()
    extra = None if cell is None else cell.extra
    return cell if extra is None or extra.keeper is None else (cell, extra.lives)


class on_behalf_of:  # noqa: N801 - reads as a statement
    """Have a callback belong to the process that has given it, for the time of the block.

    It runs on the stack of whoever settles the promise, and must not wait there.

    Args:
        giver: as `current_giver` has returned it.
    """

    __slots__ = ("_before", "_cell", "_worker")

    def __init__(self, giver: Any) -> None:
        self._cell: Cell | None = giver
        if type(giver) is tuple:  # one that a supervisor may have restarted since
            cell, life = giver
            self._cell = cell if cell.extra.lives == life else cell.ghost()

    def __enter__(self) -> None:
        self._worker = worker = current_worker()
        if worker is None:
            self._before: Any = _elsewhere.set(self._cell)
        else:
            worker.callbacks += 1
            self._before, worker.behalf = worker.behalf, self._cell

    def __exit__(self, *exc_info: object) -> None:
        worker = self._worker
        if worker is None:
            _elsewhere.reset(self._before)
        else:
            worker.callbacks -= 1
            worker.behalf = self._before


# ---- threads that give up their place while they wait


class Slot(Protocol):
    """The place of a pool's thread, to be given up while it waits; several waits may overlap."""

    def release(self) -> None:
        """Give it up, unless it is given up already."""

    def take(self) -> None:
        """Take it again, when the last wait is over."""


_slot = threading.local()


def set_slot(slot: Slot | None) -> None:
    """Say which place the current thread occupies."""
    _slot.here = slot


class slot_released:  # noqa: N801 - reads as a statement
    """Give up the current thread's place, if it has one, for the time of the block."""

    __slots__ = ("_held",)

    def __enter__(self) -> None:
        self._held: Slot | None = getattr(_slot, "here", None)
        if self._held is not None:
            self._held.release()

    def __exit__(self, *exc_info: object) -> None:
        if self._held is not None:
            self._held.take()
