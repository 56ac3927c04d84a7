"""Retiring: has the processes that clean up do so before their node is closed.

::

    with a clean-up hook ─► stopped, all at once ─► their hooks are done ─┐
    all others           ─► live on, so hooks may wait for them           ├─► close
    time is up           ─────────────────────────────────────────────────┘

One that has a hook and was not begun yet is not made at all.
A stop goes ahead of the mail, but the handler at hand is let finish, and so is a hook that is at
work already.  A coroutine at work has its stop too, but nobody waits for that: its generator may
wait for ever, and has not asked for time.

A process without a hook costs one look here, at its class.  Supervisors and outposts are not asked
to end: a child has its own hook and the time that its spec gives it, and is not restarted any more;
mail that waits for its next life fails.

Called by the node when it is shut down, on its thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from splice.actor.cleaning import at_work, cleans_up, with_hooks
from splice.actor.coroutine import Drawn
from splice.actor.endings import will_return
from splice.actor.promise import PENDING, Promise
from splice.actor.spawning import CONSTRUCT, depart
from splice.errors import ProcessStopped
from splice.log import logger

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.actor.scheduler import Scheduler

SHOWN: Final = 10
"""Processes that are named in a warning: enough to find their class."""

_log = logger("actor")


async def retire(scheduler: Scheduler, patience: float) -> bool:
    """Have the processes that clean up do so, and end; no process is made meanwhile.

    Args:
        patience: seconds for all of them together; `Scheduler.close` ends who is not done then.

    Returns:
        Whether there was anybody.
    """
    import asyncio  # loaded with the loop

    scheduler.is_retiring = True
    cells = scheduler.directory.cells()
    kinds = {type(None), *with_hooks(cells)}
    cells = [cell for cell in cells if type(cell.object) in kinds]
    leaving = [(cell, _retire(cell)) for cell in cells if _is_to_end(cell)]
    has_any = bool(leaving or at_work(scheduler))
    leaving = [(cell, ending) for cell, ending in leaving if not _may_never_end(cell)]
    try:
        async with asyncio.timeout(patience):
            await _see_out(scheduler, [ending for _, ending in leaving])
    except TimeoutError:
        late = [cell for cell, _ in leaving if not cell.has_ended]
        _warn([*late, *at_work(scheduler).values()], patience)
    return has_any


def _is_to_end(cell: Cell) -> bool:
    """Tell whether a process has to clean up, or is none now, and shall not become one."""
    if cell.object is not None:
        return cleans_up(type(cell.object))
    order = _order_of(cell)
    return will_return(cell) if order is None else cleans_up(order.args[0])


def _order_of(cell: Cell) -> Promise | None:
    """Return the message that makes a process which was not begun yet."""
    first: Promise | None = cell.head
    return first if first is not None and first.handler is CONSTRUCT else None


def _may_never_end(cell: Cell) -> bool:
    return cell.runner is not None and isinstance(cell.object, Drawn)


def _retire(cell: Cell) -> Promise | None:
    order = _order_of(cell)
    if order is not None:
        order.add_done_callback(Promise.exception)  # that it is not made is no news
    keeper = None if cell.extra is None else cell.extra.keeper
    if keeper is None:
        ending: Promise | None = depart(cell, "shutdown", None)
    else:
        ending = keeper.stop(will_return=False)
    if ending is not None:
        ending.add_done_callback(Promise.exception)  # `close` may kill it unseen
    return ending


async def _see_out(scheduler: Scheduler, endings: list[Promise | None]) -> None:
    import asyncio  # as above

    for ending in endings:
        if ending is not None and ending.state == PENDING:
            with suppress(ProcessStopped):  # it was killed at it
                await ending
    # of processes that have ended before, or have ended by themselves since
    while tasks := at_work(scheduler):
        await asyncio.wait(tasks)


def _warn(late: list[Cell], patience: float) -> None:
    late = list(dict.fromkeys(late))
    names = ", ".join(map(str, late[:SHOWN]))
    more = f", … ({len(late)} in all)" if len(late) > SHOWN else ""
    text = "not cleaned up within %.3g s (see shutdown_timeout): %s%s"
    _log.warning(text, patience, names, more)
