"""Many: makes many processes in one go, or none; the loop serves others in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from splice.actor.promise import ERROR, PENDING, Promise
from splice.actor.spawning import forsake
from splice.config import SPAWN_PORTION

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler


async def make_many(
    scheduler: Scheduler, count: int, make: Callable[[], Promise], parts: list[Promise]
) -> list[Any]:
    """Make `count` processes; their proxies.  If one fails, those made are stopped.

    Args:
        make: begins to make one; a promise of its proxy.
        parts: where those are noted that are being made, for the search for rings.
    """
    made: list[Any] = []
    try:
        for start in range(0, count, SPAWN_PORTION):
            number = min(SPAWN_PORTION, count - start)
            parts[:] = [make() for _ in range(number)]
            made += await _all_of(scheduler, list(parts))
    except BaseException:  # also that the node is shut down meanwhile
        for proxy in made:
            proxy._sp_target.stop()
        raise
    return made


async def _all_of(scheduler: Scheduler, promises: list[Promise]) -> list[Any]:
    """Return the processes that are promised; none of them is left if one fails."""
    all_made = Promise(scheduler)
    promises[-1].add_waiter(_AllMade(promises, all_made))
    await all_made
    failed = [promise for promise in promises if promise.state == ERROR]
    if failed:
        for promise in promises:
            forsake(promise)
        raise failed[0].error()
    return [promise.value for promise in promises]


class _AllMade:
    """Settles a promise when many are settled, one way or the other."""

    __slots__ = ("_all_made", "_left")

    def __init__(self, promises: Iterable[Promise], all_made: Promise) -> None:
        self._left = iter(promises)
        self._all_made = all_made

    def settled(self, promise: Promise) -> None:
        """Go on to the next that is pending, or settle."""
        for waited in self._left:
            if waited.state == PENDING:  # one whose constructor waits
                waited.add_waiter(self)
                return
        self._all_made.resolve(None)
