"""Info: what a process is doing, read off its record; nothing is counted or timed for it.

What is told is what the engine knows anyway, so a message costs no more for it: the time of a state
is that of the turn in which it began, and how many messages a process has handled nobody counts.

::

    Cell.runner: None ─► idle, queued
                 Worker ─► running, waiting (parked, or under a direct call)
                 RunningTask, RunningThread ─► running, waiting
                 Ended ─► ended

Any thread may read: what it gets is true of some moment, and may be out of date by a message.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import CodeType, FrameType
from typing import Any, Final, Literal

from splice.actor.cell import Cell
from splice.actor.context import Ended, Worker
from splice.actor.promise import PENDING, TAKEN_OUT, Promise
from splice.actor.running import RunningTask, RunningThread
from splice.actor.scheduler import Scheduler
from splice.config import RUN_SECONDS
from splice.errors import shown
from splice.uri import Resource, plain, url

State = Literal["idle", "queued", "running", "waiting", "ended"]

_RUN: Final[CodeType] = Scheduler.run.__code__
_ENGINE: Final = ("splice.", "asyncio.")

_Url = url


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What a process is doing.

    Attributes:
        id: its name, or its id on its node.
        url: its url; None while its node has no address, for nothing asked for one.
        class_name: of its class; empty when that is not known any more.
        state: ``"idle"``, ``"queued"`` (it has mail and waits for its turn), ``"running"``,
            ``"waiting"`` (its handler waits for something) or ``"ended"``.
        mailbox: messages in its mailbox, without the one at hand.
        handler: the name of the handler at hand, or None.
        seconds: for how long the handler has run, or waited if it waits, to within a turn of
            the loop; None without a handler.
        waiting_for: whom it waits for, as ``"Till 3.pay at tcp://10.1.1.15:54321/3"``; empty
            when it waits for no process.
        line: where its handler stands, as ``"shop.py:12 in sell"``; empty when not known.
        reason: why it has ended, as text.
        links: whom it is linked to, as ``"Till 3 at tcp://10.1.1.15:54321/3"``, one on another
            node by its url.
        monitors: whom it monitors, likewise.
        supervisor: who restarts it, likewise; empty when nobody does.
    """

    id: Resource
    url: _Url | None
    class_name: str
    state: State
    mailbox: int = 0
    handler: str | None = None
    seconds: float | None = None
    waiting_for: tuple[str, ...] = ()
    line: str = ""
    reason: str = ""
    links: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()
    supervisor: str = ""


def info_of(cell: Cell, where: url | None) -> ProcessInfo:
    """Tell what a process is doing; see `ProcessInfo`.

    Args:
        cell: its record.
        where: its url, if its node has an address.
    """
    doing, extra = _doing(cell, where), cell.extra
    if extra is None:
        return doing
    return replace(
        doing,
        # lists first, in one step: the node's thread goes on meanwhile
        links=tuple(_named(end) for end in list(extra.links)),
        monitors=tuple(_named(monitor.watched) for monitor in list(extra.watching)),
        supervisor="" if extra.keeper is None else _named(extra.keeper.supervisor),
    )


def _doing(cell: Cell, where: url | None) -> ProcessInfo:
    runner, ident = cell.runner, plain(cell.ident)
    if type(runner) is Ended:
        kind, reason = runner.kind, shown(runner.reason)
        return ProcessInfo(ident, where, kind, "ended", reason=reason)
    owner = cell.object
    kind = "" if owner is None else type(owner).__qualname__
    mailbox = count_mail(cell)
    handling = _handling(cell, runner)
    if handling is None:
        state: State = "queued" if mailbox else "idle"
        return ProcessInfo(ident, where, kind, state, mailbox)
    state, message, since, promise, frame = handling
    now = cell.scheduler.loop.time()
    return ProcessInfo(
        ident,
        where,
        kind,
        state,
        mailbox,
        message.handler.name if message.handler is not None else None,
        max(0.0, now - (since - RUN_SECONDS)),
        tuple(_whom(promise)) if state == "waiting" else (),
        "" if frame is None else line_of(frame),
    )


def count_mail(cell: Cell) -> int:
    """Count the messages in a mailbox that were not cancelled, from any thread."""
    count, message = 0, cell.head
    # one that is taken out meanwhile leads nowhere
    while message is not None and message is not TAKEN_OUT:
        count += message.handler is not None
        message = message.next
    return count


def line_of(frame: FrameType) -> str:
    """Say where a frame stands."""
    code = frame.f_code
    file = code.co_filename.rpartition("/")[2]
    return f"{file}:{frame.f_lineno} in {code.co_name}"


def is_users(frame: FrameType) -> bool:
    """Tell whether a frame is neither splice's nor asyncio's."""
    return not str(frame.f_globals.get("__name__")).startswith(_ENGINE)


_Handling = tuple[State, Promise, float, Promise | None, FrameType | None]


def _handling(cell: Cell, runner: Any) -> _Handling | None:
    """Return state, message, since when, what is waited for, and the handler's frame."""
    if type(runner) is Worker:
        return _on_worker(cell, runner)
    if type(runner) is RunningTask:
        return _in_task(cell, runner)
    if type(runner) is RunningThread:
        users = _first_of_user(sys._current_frames().get(runner.thread or 0))
        waiting = _waited_for(runner)
        if waiting is None:
            return "running", runner.message, runner.since, None, users
        return "waiting", runner.message, runner.waits_since, waiting, users
    return None


def _on_worker(cell: Cell, worker: Worker) -> _Handling | None:
    stack = list(worker.stack)
    levels = [n for n, message in enumerate(stack) if message.target is cell]
    if not levels:
        return None  # between two messages
    level = levels[-1]
    scheduler = cell.scheduler
    if worker in scheduler.parked:
        since, top = worker.since, worker.gr_frame
    else:
        since, top = scheduler.deadline, sys._current_frames().get(scheduler.thread)
    frame = _at_level(top, len(stack) - 1 - level)
    if level < len(stack) - 1:  # by a direct call
        return "waiting", stack[level], since, stack[level + 1], frame
    state: State = "waiting" if worker in scheduler.parked else "running"
    return state, stack[level], since, worker.waiting, frame


def _at_level(frame: FrameType | None, above: int) -> FrameType | None:
    """Return the user's uppermost frame of the handler that has `above` others on top."""
    while frame is not None and above:
        above -= frame.f_code is _RUN
        frame = frame.f_back
    return _first_of_user(frame)


def _first_of_user(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_code is not _RUN:
        if is_users(frame):
            return frame
        frame = frame.f_back
    return None


def _in_task(cell: Cell, runner: RunningTask) -> _Handling:
    import asyncio  # loaded with the first node

    task = runner.task
    frames = list(_frames_of(task.get_coro()))
    users = [frame for frame in frames if is_users(frame)]
    frame = users[-1] if users else None
    is_running = asyncio.current_task(cell.scheduler.loop) is task
    state: State = "running" if is_running else "waiting"
    waiting = _waited_for(runner)
    since = runner.since if waiting is None else runner.waits_since
    return state, runner.message, since, waiting, frame


def _waited_for(runner: RunningTask | RunningThread) -> Promise | None:
    """Return the promise that a handler waits for, if it is not settled yet."""
    waiting = runner.waiting
    return waiting if waiting is not None and waiting.state == PENDING else None


def _frames_of(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine that waits, the outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = coroutine.cr_await


def _whom(promise: Promise | None) -> Iterator[str]:
    """Yield who owes a promise, found through those that it follows."""
    to_do: list[Any] = [promise]
    seen: set[int] = set()
    while to_do:
        owed = to_do.pop()
        # seen from another thread, a list may be the user's: an answer that is just coming
        if not isinstance(owed, Promise) or owed.state != PENDING or id(owed) in seen:
            continue
        seen.add(id(owed))
        others = owed.value
        if isinstance(others, Promise):
            to_do.append(others)
        elif type(others) is list and others:
            to_do += reversed(others)
        elif owed.handler is not None:  # also where its process will settle a Deferred
            yield f"{owed.describe()}{_where(owed.target)}"


def _named(target: Any) -> str:
    return f"{target}{_where(target)}"


def _where(target: Any) -> str:
    if isinstance(target, Cell):
        address = getattr(target.scheduler.home, "known_address", None)
        return f" at {address}/{target.ident}" if address else ""
    return ""  # a far process is called by its url
