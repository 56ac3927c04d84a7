"""Elsewhere: how a thread and a coroutine wait for a promise, off the workers.

`Promise` calls it, on the thread that waits.  That may be the node's own, where an async handler
awaits; any other has the node register its wait, and forget it::

    thread ─► wait ───────────────────────────────────► error or answer
               │ post                                    ▲
    node       └─► register: may it wait? ─► refuse, or settled; or a kill interrupts it

A ``@blocking`` handler that runs an asyncio loop waits for what it awaits there if nothing else can
happen on that loop meanwhile: else several waits at once would be taken for one, or one for lasting
that a timer ends.
"""

from __future__ import annotations

import time
from _thread import get_ident
from collections.abc import Generator
from contextlib import nullcontext
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
from splice.actor.interrupts import interrupt_here, interruptible, is_interrupted
from splice.actor.rings import check_ring
from splice.actor.waiters import PENDING, LoopWaiter, ThreadWaiter
from splice.errors import CannotWait, DeadlockError

if TYPE_CHECKING:
    from splice.actor.promise import Promise


def block(promise: Promise, timeout: float | None, *, is_brief: bool = False) -> None:
    """Block this thread until `promise` is settled.

    Args:
        promise: what is waited for.
        timeout: seconds, None for ever.
        is_brief: the node's thread settles it as soon as it can: nothing interrupts this.
    """
    scheduler = promise.scheduler
    if is_on_loop(scheduler.thread):
        raise CannotWait(
            f"waiting for {promise.describe()} here would stop the node's loop; await the "
            "promise, or give it a callback with then()"
        )
    waiter = ThreadWaiter()
    handler = None if is_brief or timeout is not None else current_elsewhere()
    scheduler.post(_register, promise, waiter, handler)
    is_over = False
    try:
        with slot_released(), nullcontext() if is_brief else interruptible(waiter):
            is_over = waiter.wait(timeout)
    finally:
        if not is_over:  # too late, refused, interrupted, or Ctrl-C
            scheduler.post(_forget, promise, waiter, handler, is_interrupted())
    if not is_over:
        raise promise.timed_out(timeout)


def sleep(seconds: float) -> None:
    """Have this thread sleep, unless the work that runs on it is interrupted."""
    if interrupt_here() is None:
        time.sleep(seconds)
        return
    waiter = ThreadWaiter()
    with interruptible(waiter):
        waiter.wait(seconds)


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
    handler = current_elsewhere()
    here = get_ident()
    is_near = here == promise.scheduler.thread
    if not is_near and not _is_at_home(handler, here):
        is_known = handler is not None and _is_alone(loop)
        yield from _stand_by(promise, loop, handler if is_known else None)
        return
    waiter = LoopWaiter(loop)
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
    promise: Promise, loop: Any, handler: Elsewhere | None
) -> Generator[Any, None, None]:
    """Wait on a thread that is no node's; `handler` is who waits, if it can be known."""
    waiter = LoopWaiter(loop)
    scheduler = promise.scheduler
    scheduler.post(_register, promise, waiter, handler)
    try:
        with slot_released(), interruptible(waiter):
            yield from waiter.future
    finally:
        if promise.state == PENDING:  # refused, interrupted, or its task was cancelled
            scheduler.post(_forget, promise, waiter, handler, is_interrupted())
        del waiter  # else its error and this frame would be a ring


def _forget(
    promise: Promise,
    waiter: ThreadWaiter | LoopWaiter,
    handler: Elsewhere | None,
    is_killed: bool,
) -> None:
    promise.drop_waiter(waiter, is_killed)
    if handler is not None and handler.waiter is waiter:
        handler.waiting = handler.waiter = None
