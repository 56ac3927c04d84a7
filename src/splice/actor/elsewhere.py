"""Elsewhere: how a thread and a coroutine wait for a promise, off the workers.

`Promise` calls it, on the thread that waits.  That may be the node's own, where an async handler
awaits; any other has the node register its wait, and forget it::

    thread ─► wait ─────────────────────────────► error or answer
               │ post                              ▲
    node       └─► register: may it wait? ─► refuse or settled

A ``@blocking`` handler that runs an asyncio loop waits for what it awaits there if nothing else can
happen on that loop meanwhile: else several waits at once would be taken for one, or one for lasting
that a timer ends.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from splice.actor.context import (
    Elsewhere,
    Worker,
    current_elsewhere,
    is_ended_here,
    is_on_loop,
    slot_released,
)
from splice.actor.rings import check_ring
from splice.actor.waiters import PENDING, LoopWaiter, ThreadWaiter
from splice.errors import CannotWait, DeadlockError

if TYPE_CHECKING:
    from splice.actor.promise import Promise


def block(promise: Promise, timeout: float | None) -> None:
    """Block this thread until `promise` is settled."""
    scheduler = promise.scheduler
    if is_on_loop(scheduler.thread):
        raise CannotWait(
            f"waiting for {promise.describe()} here would stop the node's loop; await the "
            "promise, or give it a callback with then()"
        )
    waiter = ThreadWaiter()
    handler = current_elsewhere() if timeout is None else None
    scheduler.post(_register, promise, waiter, handler)
    is_over = False
    try:
        with slot_released():
            is_over = waiter.wait(timeout)
    finally:
        if not is_over:  # too late, or Ctrl-C
            scheduler.post(_forget, promise, waiter, handler)
    if not is_over:
        raise promise.timed_out(timeout)
    if waiter.error is not None:
        raise waiter.error


def _register(
    promise: Promise, waiter: ThreadWaiter | LoopWaiter, handler: Elsewhere | None
) -> None:
    if handler is not None:
        try:
            check_ring(handler, promise)
        except DeadlockError as error:
            waiter.refuse(error)
            return
        handler.wait_for(promise, waiter)
    promise.add_waiter(waiter)


def stand_by(promise: Promise) -> Generator[Any, None, None]:
    """Have the coroutine that runs here wait until `promise` is settled."""
    if type(getcurrent()) is Worker:
        raise CannotWait("a plain handler cannot await; use .get() or sync(...)")
    import asyncio  # 40 ms, and whoever awaits has loaded it

    loop = asyncio.get_running_loop()
    waiter = LoopWaiter(loop)
    handler = current_elsewhere()
    here = get_ident()
    is_near = here == promise.scheduler.thread
    if not is_near and not _is_at_home(handler, here):
        is_known = handler is not None and _is_alone(loop)
        yield from _stand_by(promise, waiter, handler if is_known else None)
        return
    if handler is not None:
        check_ring(handler, promise)
        handler.wait_for(promise, waiter)
    if is_near:  # the ordinary case
        promise.add_waiter(waiter)
    else:
        promise.add_waiter_threadsafe(waiter)
    try:
        yield from waiter.future
    finally:
        if handler is not None:
            handler.waiting = None
        if promise.state == PENDING:  # the awaiting task was cancelled
            promise.drop_waiter_threadsafe(waiter, is_ended_here(handler))


def _is_at_home(handler: Elsewhere | None, thread: int) -> bool:
    """Tell whether `thread` is that of the node to which `handler` belongs."""
    return handler is not None and handler.message.scheduler.thread == thread


def _is_alone(loop: Any) -> bool:
    """Tell whether the task that runs on `loop` is all there is, so that only it can end its wait.

    A loop that does not show its timers may have some.
    """
    import asyncio  # loaded by who awaits

    timers = getattr(loop, "_scheduled", None)
    if timers is None or not all(timer.cancelled() for timer in timers):
        return False
    return asyncio.all_tasks(loop) == {asyncio.current_task(loop)}


def _stand_by(
    promise: Promise, waiter: LoopWaiter, handler: Elsewhere | None
) -> Generator[Any, None, None]:
    """Wait on a thread that is no node's; `handler` is who waits, if it can be known."""
    scheduler = promise.scheduler
    scheduler.post(_register, promise, waiter, handler)
    try:
        with slot_released():
            yield from waiter.future
    finally:
        if promise.state == PENDING:  # refused, or the awaiting task was cancelled
            scheduler.post(_forget, promise, waiter, handler)


def _forget(
    promise: Promise, waiter: ThreadWaiter | LoopWaiter, handler: Elsewhere | None
) -> None:
    promise.drop_waiter(waiter)
    if handler is not None and handler.waiter is waiter:
        handler.waiting = handler.waiter = None
