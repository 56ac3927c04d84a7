"""Elsewhere: how a thread and a coroutine wait for a promise, off the workers.

`Promise` calls it, on the thread that waits, which may be the node's own.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from splice.actor.context import (
    Elsewhere,
    Worker,
    current_elsewhere,
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
    scheduler.post(_add_thread, promise, waiter, handler)
    is_over = False
    try:
        with slot_released():
            is_over = waiter.wait(timeout)
    finally:
        if not is_over:  # too late, or Ctrl-C
            scheduler.post(promise.drop_waiter, waiter)
    if not is_over:
        raise promise.timed_out(timeout)
    if waiter.error is not None:
        raise waiter.error


def _add_thread(
    promise: Promise, waiter: ThreadWaiter, handler: Elsewhere | None
) -> None:
    if handler is not None:
        try:
            check_ring(handler, promise)
        except DeadlockError as error:
            waiter.refuse(error)
            return
        handler.waiting, handler.waiter, handler.wait_number = promise, waiter, 0
    promise.add_waiter(waiter)


def stand_by(promise: Promise) -> Generator[Any, None, None]:
    """Have the coroutine that runs here wait until `promise` is settled."""
    if type(getcurrent()) is Worker:
        raise CannotWait("a plain handler cannot await; use .get() or sync(...)")
    import asyncio  # 40 ms, and whoever awaits has loaded it

    waiter = LoopWaiter(asyncio.get_running_loop())
    handler = current_elsewhere()
    if handler is not None:
        check_ring(handler, promise)
        handler.waiting, handler.waiter, handler.wait_number = promise, waiter, 0
    promise.add_waiter_threadsafe(waiter)
    try:
        yield from waiter.future
    finally:
        if handler is not None:
            handler.waiting = None
        if promise.state == PENDING:  # the awaiting task was cancelled
            promise.drop_waiter_threadsafe(waiter)
