"""Closing: how a scheduler ends: in order, with its loop gone, or as a copy that owns nothing.

::

    close ───► hooks run, parked handlers are unwound ─► closed, and the inbox is served on the spot
    abandon ─► the loop is gone: what is owed fails ───► closed
    disown ──► a copy made by os.fork ─► whoever uses it first finds no loop ─► abandon

Called by the methods of `Scheduler` of the same names, on the node's thread or in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlet import getcurrent

from splice.actor.blocking import Threads
from splice.actor.cleaning import with_hooks
from splice.actor.context import Worker
from splice.actor.endings import abandon as abandon_process
from splice.actor.endings import end, finish, kill
from splice.actor.promise import PENDING
from splice.errors import ProcessStopped

if TYPE_CHECKING:
    import asyncio

    from splice.actor.scheduler import Scheduler


def close(scheduler: Scheduler) -> None:
    """End every process and unwind its handlers; see `Scheduler.close`."""
    scheduler.is_retiring = scheduler.is_closing = True
    _fail_deferred(scheduler)
    cells = scheduler.directory.cells()
    kinds = with_hooks(cells)
    for cell in cells:
        if cell.runner is not None:
            kill(cell, "shutdown")
        elif type(cell.object) in kinds:
            finish(cell, "shutdown")
        else:
            end(cell, "shutdown")
    scheduler.unwind()
    scheduler.threads.close()
    scheduler.timers.close()
    scheduler.inbox.serve_closed()


def abandon(scheduler: Scheduler) -> None:
    """Fail what is owed by a scheduler whose loop is gone; nothing of it can be unwound."""
    if scheduler.is_closed:
        return
    scheduler.is_retiring = scheduler.is_closing = True
    scheduler.is_closed = scheduler.scheduled = True
    _fail_deferred(scheduler)
    for cell in scheduler.directory.cells():
        abandon_process(cell)
    scheduler.threads.close()
    scheduler.timers.close()
    if scheduler.on_abandon is not None:
        scheduler.on_abandon()


def disown(scheduler: Scheduler, loop: asyncio.AbstractEventLoop) -> None:
    """Have whoever uses this copy of a scheduler find it abandoned.

    Nothing is done before, in case nobody does; but in the copy of a handler it is done at once,
    for there the code that waits is a thread like others now.

    Args:
        loop: a closed one, in place of the parent's.
    """
    scheduler.loop = loop
    scheduler.thread = (
        0  # nobody's: threads of this OS process may be given the old one
    )
    # locks of the parent may be held for ever, by threads that are not here
    scheduler.threads = Threads(1)
    scheduler.inbox.disown()
    if type(getcurrent()) is Worker:
        scheduler.inbox.close()


def _fail_deferred(scheduler: Scheduler) -> None:
    for ref in scheduler.deferred.valuerefs():
        promise = ref()
        if promise is not None and promise.state == PENDING:
            text = "the node was shut down before the answer came"
            promise.reject(ProcessStopped(text, reason="shutdown"))
