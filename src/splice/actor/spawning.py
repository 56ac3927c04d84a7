"""Spawning and stopping: the messages of the engine itself to a process.

A process is made empty, with a message that constructs its object at the head of its mailbox: so
constructors run like handlers, may wait, and their errors answer whoever spawned.  To stop is a
message too, one that jumps the mailbox.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, cast

from splice.actor.cell import Cell
from splice.actor.cleaning import background, clean_up
from splice.actor.endings import end, failed, kill
from splice.actor.handlers import Handler
from splice.actor.limited import limited_cell
from splice.actor.process import Process
from splice.actor.promise import PENDING, VALUE, Promise
from splice.actor.proxy import Proxy, proxy_class
from splice.actor.running import RunningTask
from splice.actor.scheduler import Scheduler
from splice.actor.waiters import Callback, Then
from splice.errors import Exit, ProcessStopped, shown

_set_cell: Final[Any] = cast(Any, Process)._sp_cell.__set__


class _Construct(Handler):
    """The first message of a process: make its object."""

    __slots__ = ()
    is_mail = False

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        cls, args, kwargs = message.args
        try:
            proxy = Context().run(_construct, cell, cls, args, kwargs)
        except BaseException as error:
            self._failed(cell, message, error)
        else:
            if message.state == PENDING:
                message.resolve(proxy)
        return True

    @staticmethod
    def _failed(cell: Cell, message: Promise, error: BaseException) -> None:
        if message.target is cell:  # else it was killed, and this is another life
            # ended first, without its clean-up hook: it is half made, and its name shall be free
            end(cell, error.reason if isinstance(error, Exit) else error)
        if isinstance(error, Exit):
            if message.state == PENDING:
                text = f"{cell} ended in its constructor ({shown(error.reason)})"
                message.reject(ProcessStopped(text, reason=error.reason))
        else:
            failed(cell, message, error)

    def withdrawn(self, cell: Cell, message: Promise) -> None:
        message.handler = None  # so that the end leaves its outcome to who cancels it
        end(cell, "killed")


class _Stop(Handler):
    """The last message of a process: clean up and end."""

    __slots__ = ()
    is_mail = False
    is_stop = True

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        (reason,) = message.args
        work = clean_up(cell, reason)
        if work is None:
            self._end(cell, message, reason)
            return True
        task = background(cell, work)
        cell.runner = RunningTask(message, task)
        task.add_done_callback(lambda _: self._end(cell, message, reason))
        return False

    @staticmethod
    def _end(cell: Cell, message: Promise, reason: Any) -> None:
        if message.target is cell:  # else it was killed, and this is another life
            end(cell, reason)
        if message.state == PENDING:
            message.resolve(None)

    def left_over(self, cell: Cell, message: Promise) -> None:
        message.resolve(None)  # it has ended for another reason: what was wanted


CONSTRUCT: Final = _Construct("__init__", None, is_plain=False)
STOP: Final = _Stop("stop", None, is_plain=False)


def spawn(
    scheduler: Scheduler,
    cls: type,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None = None,
) -> Promise:
    """Make a process of `cls`; node's thread only.

    Returns:
        A promise of its proxy, settled when the constructor has run; what the constructor raises,
        the promise raises, and there is no process then.

    Raises:
        NameTaken: another process has that name.
        ValueError: the name is malformed.
        ProcessStopped: the node is being shut down.
    """
    if scheduler.is_retiring:
        raise refusal(cls)
    directory = scheduler.directory
    if name is not None:
        directory.check_name(name)
    choose = scheduler.cell_class
    kind = Cell if choose is None else choose(cls)
    ident = directory.ident_for(name)
    cell = kind(scheduler, ident)
    limit = cls.sp_mailbox_limit  # type: ignore[attr-defined]  # of a Process
    if limit is not None:
        cell = limited_cell(kind, scheduler, ident, limit)
    directory.add(cell)
    message = Promise(cell, CONSTRUCT, (cls, args, kwargs))
    cell.put(message)
    if name is not None and directory.on_name is not None:
        directory.on_name(name)  # after `put`: early mail for it stands behind this
    return message


def refusal(cls: type) -> ProcessStopped:
    """Make the error of a process that is not made, for its node is being shut down."""
    text = f"no {cls.__name__} was made: the node is shut down"
    return ProcessStopped(text, reason="shutdown")


class Made(Promise):
    """The promise of a process that comes by way of another one, that of its making.

    To give it up is to give up the making, so that no process is left which nobody knows.
    """

    __slots__ = ()

    def describe(self) -> str:
        """Say which making this is the answer of."""
        making = self.value
        is_under_way = self.state == PENDING and isinstance(making, Promise)
        return making.describe() if is_under_way else super().describe()

    def call_off(self, verdict: Promise, *, is_begun_too: bool = True) -> None:
        """Give the making up, and settle `verdict` with whether that came in time."""
        making = self.value
        if self.state != PENDING or not isinstance(making, Promise):
            super().call_off(verdict, is_begun_too=is_begun_too)
            return
        verdict.add_waiter(Callback(self._note))
        making.call_off(verdict, is_begun_too=is_begun_too)

    def _note(self, verdict: Promise) -> None:
        if verdict.state == VALUE and verdict.value is True:
            self.look()  # it has failed as was wanted: that is no news


def made_of(making: Promise, function: Callable[[Any], Any]) -> Made:
    """Return the promise of ``function(answer)`` of what makes a process.  Thread-safe."""
    made = Made(making.target)
    made.value = making
    making.add_waiter_threadsafe(Then(function, made))
    return made


def forsake(made: Promise) -> None:
    """Have the process that is promised stopped when it is made: nobody will know it."""
    made.add_done_callback(_stop_made)


def _stop_made(made: Promise) -> None:
    if made.exception() is None:
        made.get()._sp_target.stop().add_done_callback(Promise.exception)


def _construct(
    cell: Cell, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Proxy:
    owner: Any = cls.__new__(cls, *args, **kwargs)
    # before the constructor, which may hand its proxy on, and past a __setattr__ of the user's
    _set_cell(owner, cell)
    cell.object = owner
    owner.__init__(*args, **kwargs)
    return proxy_class(cls)(cell)


def stop(scheduler: Scheduler, cell: Cell, reason: Any, *, drain: bool) -> Promise:
    """Send the message that ends a process; node's thread only.

    It goes ahead of the mail, or behind it with `drain`.  A process that has ended, or ends for
    another reason first, counts as stopped.
    """
    message = Promise(cell, STOP, (reason,))
    if cell.has_ended:
        message.resolve(None)
    elif drain:
        cell.put(message)
    else:
        cell.put_first(message)
    return message


EXIT_PATIENCE: Final = 5.0
"""Seconds for the handler at hand of a process that an exit ends: as long as `runtime.stop` has."""


def depart(
    cell: Cell,
    reason: Any,
    timeout: float | None = EXIT_PATIENCE,
    kill_reason: Any = None,
) -> Promise:
    """Stop a process for `reason`, ahead of its mail; kill it if it takes too long.

    Args:
        timeout: seconds for the handler at hand and the clean-up hook; None waits for ever.
        kill_reason: why it has ended when it was killed; `reason` when None.

    Returns:
        A promise of its end.
    """
    stopped = stop(cell.scheduler, cell, reason, drain=False)
    if timeout is not None and stopped.state == PENDING:
        timer = cell.scheduler.loop.call_later(
            timeout, _too_long, cell, stopped, kill_reason or reason
        )
        stopped.add_waiter(Callback(lambda _: timer.cancel()))
    return stopped


def _too_long(cell: Cell, stopped: Promise, reason: Any) -> None:
    if stopped.state == PENDING:
        kill(cell, reason)
        if stopped.state == PENDING:  # its clean-up hook was at it
            stopped.resolve(None)
