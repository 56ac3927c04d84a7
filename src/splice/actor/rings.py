"""Rings: finds processes that wait for each other, at the moment when a wait closes the ring.

::

    A.run waits for the answer of B.fetch ──► B.fetch waits for the answer of A.state
      ▲                                                                        │
      └──────────────── queued behind A.run, which has not ended ◄─────────────┘

`far_ends` is for rings over several nodes, which `splice.node.prober` finds: it says where the
waits of one node lead to another.

Mail that waits for the next life of a process is held up by the supervisor that shall restart it;
so the end of a process can close a ring, too.

A wait with a timeout closes no ring, it ends by itself; neither does one for a `Deferred`, which
anybody may settle.  The timeout of an async handler (``asyncio.timeout``, a scope of anyio) is only
a timer of the loop: timers are looked at when a ring was found, and not before.

Node's thread only.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from splice.actor.context import Worker
from splice.actor.lines import Call, call_of, ring_text
from splice.actor.waiters import NOBODY, PENDING
from splice.errors import DeadlockError

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.actor.promise import Promise
    from splice.actor.scheduler import Scheduler


def check_ring(goal: Any, promise: Promise) -> None:
    """Raise DeadlockError if `goal` can never see `promise` settled.

    Args:
        goal: who is about to wait for `promise`: a worker, an async or blocking handler, or a
            promise that is to be settled likewise.
        promise: what is waited for.

    Raises:
        DeadlockError: the debtor of `promise` waits, over any number of others, for `goal`;
            the text names all of them.  What was asked in vain is taken back.
    """
    is_idle = getattr(promise.target, "runner", None) is None
    if is_idle and promise.value is None and promise is not goal:
        return  # its debtor waits for nobody: the ordinary case
    ring = _closed(goal, promise)
    if ring is not None:
        error = DeadlockError(_text(ring, goal))
        take_back(promise)
        raise error


def check_standing(goal: Any) -> None:
    """Break the rings in which `goal` waits by now, if it does.

    What is owed to others changes hands when a process ends whose mail waits for another life: its
    supervisor owes it then, which may wait already.  Who waits for that gets the error, as it would
    if it asked now.

    Args:
        goal: the new debtor: a worker, an async or blocking handler, or anything else.
    """
    while (promise := _waiting(goal)) is not None and promise.state == PENDING:
        ring = _closed(goal, promise)
        if not ring:
            return
        last = ring[-2] if len(ring) > 1 else ring[-1]
        refuse(last.runner, DeadlockError(_text(ring, goal)))


def refuse(runner: Any, error: DeadlockError) -> None:
    """Raise `error` in the wait of `runner`, and take back what it has asked for in vain."""
    promise = runner.waiting
    if type(runner) is Worker:
        runner.scheduler.inject(runner, error)
    else:
        waiter = runner.waiter
        promise.drop_waiter(waiter)
        runner.waiting = runner.waiter = None
        waiter.refuse(error)
    take_back(promise)


def root_of(promise: Promise) -> Promise:
    """Return what settles `promise` in the end: before each `then`, behind what was handed on."""
    while promise.state == PENDING:
        settled_by = promise.value
        if settled_by is None or type(settled_by) is list:
            break
        promise = settled_by
    return promise


def take_back(promise: Promise) -> None:
    """Cancel what the wait for `promise`, which was refused, has asked for in vain.

    Not what has begun already, nor what others wait for as well.
    """
    if promise.waiter is not None or promise.scheduler.thread != get_ident():
        return
    promise.add_waiter(NOBODY)  # what it was refused for is no news to anybody
    to_do = [promise]
    while to_do:
        waited = to_do.pop()
        owed = waited.value
        if owed is not None:  # by others, of which this one is made
            parts = owed if type(owed) is list else [owed]
            to_do += [part for part in parts if type(part.waiter) is not list]
        elif waited.handler is not None and waited.scheduler.thread == get_ident():
            waited.withdraw()


def _timed_tasks(loop: Any) -> set[Any]:
    """Return the tasks of asyncio that a timer of `loop` will cancel.

    What sets a deadline for a task tells nobody but the loop: its timer calls a method of an
    object that holds the task.  A loop that does not show its timers has none here.
    """
    found = set()
    for timer in getattr(loop, "_scheduled", ()):
        owner = getattr(timer._callback, "__self__", None)
        task = getattr(owner, "_task", None) or getattr(owner, "_host_task", None)
        if task is not None:
            found.add(task)
    return found


def ends_by_itself(runners: Collection[Any], loop: Any) -> bool:
    """Tell whether a timer of asyncio will end the wait of one of `runners`, all on `loop`."""
    timed = _timed_tasks(loop)
    return any(_is_timed(runner, timed) for runner in runners)


def _is_timed(runner: Any, timed: Collection[Any]) -> bool:
    return bool(timed) and getattr(runner, "task", None) in timed


def _waiting(runner: Any) -> Promise | None:
    """Return what `runner` waits for without a timeout."""
    if getattr(runner, "has_timeout", False):
        return None
    waiting: Promise | None = getattr(runner, "waiting", None)
    return waiting


def _closed(goal: Any, promise: Promise) -> list[Wait] | None:
    """Return the waits from `promise` to `goal`, of which none ends by itself, or None."""
    ring = _find(goal, promise)
    if ring is not None and (timed := _timed_tasks(promise.scheduler.loop)):
        return None if _is_timed(goal, timed) else _find(goal, promise, timed)
    return ring


def _find(
    goal: Any, promise: Promise, timed: Collection[Any] = ()
) -> list[Wait] | None:
    """Search from `promise` through debtors and what they wait for; the waits passed, or None.

    Those who run in one of the tasks `timed` wait for nobody.
    """
    steps: list[_Step] = []
    to_do: list[tuple[Promise, int]] = [(promise, -1)]
    seen: set[int] = set()
    while to_do:
        waited, before = to_do.pop()
        if waited is goal:
            return _way(steps, before)
        if waited.state != PENDING:
            continue
        settled_by = waited.value
        if settled_by is not None:
            others = settled_by if type(settled_by) is list else [settled_by]
            to_do.extend((other, before) for other in others)
            continue
        handlers, runner, following = _debtor(waited)
        if runner is goal:
            steps.append((Wait(runner, handlers), before))
            return _way(steps, len(steps) - 1)
        if following is None or _is_timed(runner, timed):
            continue
        if id(runner) not in seen:
            seen.add(id(runner))
            steps.append((Wait(runner, handlers), before))
            to_do.append((following, len(steps) - 1))
    return None


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait without a timeout, on the way from a promise to what its debtor waits for.

    Attributes:
        runner: who waits: a worker, or an async or blocking handler.
        handlers: the messages at hand there, of which the last one waits.
    """

    runner: Any
    handlers: list[Promise]


_Step = tuple[Wait, int]
"""A wait, and the index of the step before."""


def far_ends(
    promise: Promise, scheduler: Scheduler
) -> list[tuple[Promise, list[Wait]]]:
    """Follow the waits of this node from `promise` to where they leave it.

    Args:
        promise: one that this node owes to another.
        scheduler: that of this node; what belongs to others is not looked at.

    Returns:
        The promises owed by other nodes without which `promise` is never settled, each with
        the waits that lead to it, in order.
    """
    seen: set[int] = set()
    steps: list[_Step] = []
    to_do: list[tuple[Promise, int]] = [(promise, -1)]
    ends: list[tuple[Promise, list[Wait]]] = []
    while to_do:
        waited, before = to_do.pop()
        target: Any = waited.target
        if waited.state != PENDING or target is None:
            continue
        if target.scheduler is not scheduler or id(waited) in seen:
            continue
        seen.add(id(waited))
        settled_by = waited.value
        if settled_by is not None:
            others = settled_by if type(settled_by) is list else [settled_by]
            to_do.extend((other, before) for other in others)
        elif (sign := _sign_of_restart(target)) is not None:
            to_do.append((sign, before))
        elif target.is_near:
            handlers, runner, following = _debtor(waited)
            if following is not None and id(runner) not in seen:
                seen.add(id(runner))
                steps.append((Wait(runner, handlers), before))
                to_do.append((following, len(steps) - 1))
        elif waited.handler is not None:
            ends.append((waited, _way(steps, before)))
    return ends


def _way(steps: list[_Step], index: int) -> list[Wait]:
    way: list[Wait] = []
    while index >= 0:
        wait, index = steps[index]
        way.insert(0, wait)
    return way


def _sign_of_restart(target: Any) -> Promise | None:
    """Return what a far supervisor owes that shall restart `target`, whose mail waits for that."""
    while target.is_near and getattr(target.runner, "kept", None) is not None:
        keeper = target.extra.keeper
        if not keeper.supervisor.is_near:
            sign: Promise = keeper.sign()
            return sign
        target = keeper.supervisor
    return None


def _debtor(waited: Promise) -> tuple[list[Promise], Any, Promise | None]:
    """Return the handlers that hold `waited` up, who runs them, and what that waits for."""
    target: Any = waited.target
    if not target.is_near or target.scheduler.thread != get_ident():
        return [], None, None
    while getattr(target.runner, "kept", None) is not None:
        target = target.extra.keeper.supervisor  # which has to restart it first
        if not target.is_near:
            return [], None, None
    runner = target.runner
    if type(runner) is Worker:
        return _from(target, runner), runner, _waiting(runner)
    if hasattr(runner, "is_here"):
        return [runner.message], runner, runner.waiting
    return [], None, None


def _from(cell: Cell, worker: Worker) -> list[Promise]:
    """Return the messages on the stack of `worker` from that of `cell` upwards."""
    stack = worker.stack
    for index in range(len(stack) - 1, -1, -1):
        if stack[index].target is cell:
            return stack[index:]
    return stack[-1:]


def _text(ring: list[Wait], goal: Any) -> str:
    """Say who waits for whom; where nobody does, `goal` is a promise that would settle itself."""
    calls: list[Call] = [
        call_of(wait.runner, message) for wait in ring for message in wait.handlers
    ]
    return ring_text(calls or [(goal.describe(), "this node", "")])
