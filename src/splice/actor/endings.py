"""Endings: how handlers end and how processes end; the scheduler and the handlers call it.

::

    handler ─► returned ─► Promise.settle
            ─► raised ───► failed ─► an exception answers the caller, and ends the process
                             ▲       if that is linked or supervised: finish
                             │    ─► Exit, SystemExit … : finish ─► clean-up hook ─► end
               mailbox, if it ran in a task or a thread: on a worker the hook may wait
    kill ─────────────────────────────────────────────────────────────────────────► end
                                                                                 │
                                         links, monitors, supervisor ◄───────────┘

A process whose supervisor will restart it keeps its mail and its name; `revive` begins its next
life in the same cell, so all proxies of it stay good.

Node's thread only.
"""

from __future__ import annotations

from _thread import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent

from splice.actor.cleaning import background, clean_up
from splice.actor.context import Ended, Worker
from splice.actor.promise import PENDING, TAKEN_OUT, Promise, Tell
from splice.errors import (
    Cancelled,
    CoroutineEnded,
    Exit,
    ProcessKilled,
    ProcessStopped,
    shown,
)
from splice.log import logger

if TYPE_CHECKING:
    from splice.actor.cell import Cell

_log = logger("actor")

_HERE = __name__.rpartition(".")[0]


def failed(cell: Cell, message: Promise, error: BaseException) -> None:
    """Settle `message` with what its handler raised, and end the process if need be."""
    if isinstance(error, GreenletExit) and cell.scheduler.is_closed:
        raise error
    if message.target is not cell:  # a handler of an earlier life is unwound
        _reject_at_hand(message, "killed")
        note_late(message, error)
        return
    error.__traceback__ = _users_part(error.__traceback__)
    if isinstance(error, ProcessKilled):
        end(cell, "killed")
    elif is_fatal(cell, error):
        finish(cell, error.reason if isinstance(error, Exit) else error)
    answer(message, error)


def is_fatal(cell: Cell, error: BaseException) -> bool:
    """Tell whether what a handler of `cell` has raised ends the process in order."""
    if isinstance(error, Exception):
        extra = cell.extra
        # the end of a generator is an answer, but only of its own coroutine
        is_answer = isinstance(error, getattr(type(cell.object), "sp_answers", ()))
        return extra is not None and extra.fails and not is_answer
    # SystemExit, KeyboardInterrupt and their like end the process, never the node
    return not isinstance(error, ProcessKilled)


def answer(message: Promise, error: BaseException) -> None:
    """Settle `message` with what its handler raised."""
    if isinstance(error, Exit):
        if message.state == PENDING:
            message.settle(error.answer)
    elif isinstance(error, Exception):
        report(message, error)
    else:
        is_kill = isinstance(error, ProcessKilled)
        _reject_at_hand(message, "killed" if is_kill else error)


def finish(cell: Cell, reason: Any) -> None:
    """End a process in order: its clean-up hook runs first, if not plain it runs on after it."""
    life = life_of(cell)
    work = clean_up(cell, reason)
    if work is not None:
        background(cell, work)
    if (
        life_of(cell) == life
    ):  # else it was killed in its hook, and this is another life
        end(cell, reason)


def end(cell: Cell, reason: Any) -> None:
    """End a process: its mail fails, its name is free, its object is let go.

    The mail of one that its supervisor will restart waits for that.
    """
    if cell.has_ended:
        return
    owner, cell.object = cell.object, None
    kind = "process" if owner is None else type(owner).__name__
    extra = cell.extra
    ended = Ended(kind, reason)
    if extra is not None and extra.keeper is not None:  # it may have another life
        ended.runner = cell.runner
        ended.kept = [] if extra.keeps_mail(reason) else None
    cell.runner = ended
    message, cell.head, cell.tail = cell.head, None, None
    if ended.kept is None:
        cell.scheduler.directory.remove(cell.ident, reason)
    while message is not None:
        following = message.next
        _leave(cell, message, ended.kept)
        message = following
    for message in cell.scheduler.owed.pop(cell, ()):
        _reject_at_hand(message, reason)
    if extra is not None:
        extra.ended(cell, reason)
    on_end = cell.scheduler.on_end
    if on_end is not None:
        on_end(cell, reason)
    del owner  # only now may it be gone: its finalizer is the user's


def _leave(cell: Cell, message: Promise, kept: list[Promise] | None) -> None:
    """Fail a message that its process has not handled, or keep it for the next life."""
    handler = message.handler
    if handler is None:  # cancelled
        message.next = TAKEN_OUT
    elif kept is not None and handler.is_mail:
        message.next = None
        kept.append(message)
    else:
        message.next = TAKEN_OUT
        if message.state == PENDING:
            handler.left_over(cell, message)
        elif type(message) is Tell:  # delivered, and yet it will not be handled
            bury(cell, message)


def bury(cell: Cell, message: Promise, sender: Cell | None = None) -> None:
    """Fail a message that its process will never handle, for it has ended: a dead letter."""
    error = cell.stopped_error(message)
    is_told = type(message) is not Tell and not _is_deaf(message.waiter)
    if message.state == PENDING:
        message.reject(error)
    note = cell.scheduler.on_dead_letter
    if note is None or not _is_mail(message):  # what the engine sends is no mail
        return
    if type(message) is Tell:
        message.look()  # noted here, and not once more when its promise is let go
    # a node that is shut down leaves mail behind by the way
    if cell.scheduler.is_retiring:
        return
    name = message.handler.name  # type: ignore[union-attr]
    note(cell, name, error, sender, is_told=is_told)


def _is_deaf(waiter: Any) -> bool:
    """Whether it only waits until a message was handled, and tells its sender nothing."""
    return getattr(waiter, "is_deaf", False)


def _is_mail(message: Promise) -> bool:
    return message.handler is not None and message.handler.is_mail


def life_of(cell: Cell) -> int:
    """Return which life of `cell` this is: one more after each restart by its supervisor."""
    return 0 if cell.extra is None else cell.extra.lives


def will_return(cell: Cell) -> bool:
    """Whether `cell` has ended, and its mail waits for its next life."""
    ended = cell.runner
    return type(ended) is Ended and ended.kept is not None


def release(cell: Cell) -> None:
    """Give up a process whose mail waits: it will not be restarted after all."""
    ended = cell.runner
    if type(ended) is Ended and ended.kept is not None:
        kept, ended.kept = ended.kept, None
        cell.scheduler.directory.remove(cell.ident, ended.reason)
        for message in kept:
            _leave(cell, message, None)


def revive(cell: Cell, first: Promise) -> None:
    """Begin another life of a process that has ended.

    What is left of the last one goes on beside it, as a process that has ended: a thread or a
    task that is not over yet, and a handler that stands on a stack below what it has called.

    Args:
        first: its first message, which constructs it; the mail that has waited follows.
    """
    ended = cell.runner
    assert type(ended) is Ended, "a process has one life at a time"
    if ended.kept is None:
        cell.scheduler.directory.add(cell)
    for message in _at_hand(ended.runner):
        if message.target is cell:
            message.target = cell.ghost()
    cell.extra.lives += 1
    cell.runner = None
    cell.put(first)
    for message in ended.kept or ():
        if message.handler is not None:
            cell.put(message)


def is_unwound(cell: Cell) -> bool:
    """Whether no handler of a process that has ended stands on the stack of a worker any more."""
    runner = getattr(cell.runner, "runner", None)
    return type(runner) is not Worker or all(
        message.target is not cell for message in runner.stack
    )


def kill(cell: Cell, reason: Any = "killed") -> None:
    """End a process at once, without its clean-up hook; its stack is unwound later."""
    runner = cell.runner
    scheduler = cell.scheduler
    scheduler.kills += 1
    end(cell, reason)
    if type(runner) is Worker:
        for message in runner.stack:
            if message.target is cell:
                _reject_at_hand(message, reason)
        if runner.stack and runner.stack[-1].target is cell:
            if runner is getcurrent():  # by a callback on its own stack
                scheduler.loop.call_soon(_unwind, runner, runner.stack[-1])
            else:
                _unwind(runner, runner.stack[-1])
    elif hasattr(runner, "is_here"):
        _reject_at_hand(runner.message, reason)
        why = "" if reason == "killed" else f" ({shown(reason)})"
        runner.unwind(ProcessKilled(f"{cell} was killed{why}"))


def given_up(promise: Promise, why: str) -> ProcessKilled:
    """Make what unwinds a killed handler that waits for `promise`, whose end is no news then."""
    nobody, waiter = promise.nobody, promise.waiter
    is_there = nobody is None or waiter is nobody
    is_there = is_there or (type(waiter) is list and nobody in waiter)
    if not is_there and promise.scheduler.thread == get_ident():
        promise.add_waiter(nobody)
    return ProcessKilled(why)


def _unwind(worker: Worker, message: Promise) -> None:
    """Have a handler end that waits; one that is called by it is let finish before."""
    if worker.stack and worker.stack[-1] is message:
        error = ProcessKilled(f"{message.target} was killed")
        worker.scheduler.inject(worker, error)


def abandon(cell: Cell) -> None:
    """End a process whose node's loop is gone; nothing of it can be unwound any more."""
    runner = cell.runner
    end(cell, "shutdown")
    for message in _at_hand(runner):
        _reject_at_hand(message, "shutdown")


def _at_hand(runner: Any) -> list[Promise]:
    """Return the messages whose handlers `runner` runs; on a worker those of others as well."""
    if type(runner) is Worker:
        return runner.stack
    message = getattr(runner, "message", None)
    return [] if message is None else [message]


def report(message: Promise, error: Exception) -> None:
    """Answer `message` with an error; where nobody waits for that any more it is logged."""
    if message.state == PENDING:
        message.reject(error)
    elif type(message) is Tell:
        report_unasked(message, error)
    else:
        note_late(message, error)


def report_unasked(message: Promise, error: BaseException) -> None:
    """Log the failure of a message that nobody waits for."""
    _log.error("%s failed, and nobody asked", message.describe(), exc_info=error)


def note_late(message: Promise, error: BaseException) -> None:
    """Log what a handler raised that was given up: mostly, its clean-up has failed."""
    # that it was cancelled is no news, and the end of a generator no failure
    if isinstance(error, Exception) and not isinstance(
        error, Cancelled | CoroutineEnded
    ):
        error.__traceback__ = _users_part(error.__traceback__)
        text = "%s failed when its outcome was settled already"
        _log.error(text, message.describe(), exc_info=error)


def _reject_at_hand(message: Promise, reason: Any) -> None:
    if message.state != PENDING:
        return
    if message.handler is not None and message.handler.is_stop:
        message.resolve(None)  # its clean-up hook was at it: what was wanted
    else:
        message.reject(
            ProcessStopped(
                f"{message.describe()} did not finish: the process ended ({shown(reason)})",
                reason=reason,
                verdict="unknown",
            )
        )


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    # our own frames would keep themselves alive through the error that they hold
    while trace is not None and trace.tb_next is not None:
        if not str(trace.tb_frame.f_globals.get("__name__")).startswith(_HERE):
            break
        trace = trace.tb_next
    return trace
