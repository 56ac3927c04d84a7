"""The handler table of a class: its public methods by name, and how each is run.

A plain handler has its function in ``call`` and the scheduler runs it in its loop.  Every other
kind has None there and a `start` that takes over: an ``async def`` handler becomes a task of the
node's loop, a ``@blocking`` one goes to a thread, construct and stop are the engine's own.
"""

from __future__ import annotations

import inspect
from _thread import get_ident
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from greenlet import getcurrent

from splice.actor.cleaning import hook_of
from splice.actor.context import Worker, context_of
from splice.actor.endings import answer, bury, failed, is_fatal, note_late, report
from splice.actor.promise import PENDING, Promise
from splice.actor.running import RunningTask, RunningThread
from splice.errors import Cancelled, NoSuchHandler, SpliceError

if TYPE_CHECKING:
    import asyncio

    from splice.actor.cell import Cell
    from splice.actor.scheduler import Scheduler

F = TypeVar("F", bound=Callable[..., Any])


def blocking(function: F) -> F:
    """Mark a handler that may block: it runs on a thread, still one message at a time.

    Raises:
        TypeError: `function` is an ``async def``: that runs on the loop, and never blocks it; or it
            is no function.
    """
    if not callable(function):
        raise TypeError(f"blocking marks a method of a process, not {function!r}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{function.__qualname__} is async def and cannot be @blocking; make it one of both"
        )
    function.__splice_blocking__ = True  # type: ignore[attr-defined]
    return function


class Handler:
    """One handler of a process class, plain unless a subclass says otherwise."""

    __slots__ = ("call", "function", "name")

    is_mail: ClassVar[bool] = True
    """Whether its messages are for whoever bears the name, and wait while a process restarts."""

    is_stop: ClassVar[bool] = False
    """Whether its messages are for the end of the process, and any end of it answers them."""

    def __init__(
        self, name: str, function: Callable[..., Any] | None, *, is_plain: bool
    ) -> None:
        self.name = name
        self.function = function
        self.call = function if is_plain else None

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        """Begin to handle `message`; True when it is done, False when it goes on elsewhere."""
        raise AssertionError(f"{self.name} is run by the scheduler itself")

    def left_over(self, cell: Cell, message: Promise) -> None:
        """Settle a message that the process will never handle: it has ended."""
        bury(cell, message)

    def withdrawn(self, cell: Cell, message: Promise) -> None:
        """Take note that `message`, in the mailbox of `cell`, is being cancelled."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class AsyncHandler(Handler):
    """An ``async def`` method: a task on the node's loop."""

    __slots__ = ()

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        """Begin to handle `message` as a task of the loop."""
        assert self.function is not None
        work = _shielded(self.function, cell.object, message.args, message.kwargs or {})
        task = scheduler.loop.create_task(work, context=context_of(cell))
        cell.runner = RunningTask(message, task)
        task.add_done_callback(lambda done: _task_done(cell, message, done))
        return False


class _Fatal:
    """SystemExit or KeyboardInterrupt of an async handler; raised, it would end the loop."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _shielded(
    function: Callable[..., Any],
    owner: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    try:
        return await function(owner, *args, **kwargs)
    except (SystemExit, KeyboardInterrupt) as error:
        return _Fatal(error)


def _task_done(cell: Cell, message: Promise, task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        # given up by who asked, or by itself: no failure of the process
        report(message, Cancelled(f"{message.describe()} was cancelled"))
        finished(cell, message, None, None)
        return
    raised = task.exception()
    value: Any = None if raised else task.result()
    if type(value) is _Fatal:
        finished(cell, message, None, value.error)
    else:
        finished(cell, message, value, raised)


class BlockingHandler(Handler):
    """A ``@blocking`` method: a thread of the node's pool."""

    __slots__ = ()

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        """Begin to handle `message` on a thread."""
        assert self.function is not None
        on_given_up = partial(finished, cell, message, None, None)
        cell.runner = running = RunningThread(message, on_given_up)
        scheduler.threads.submit(
            partial(self._refused, cell, message, running),
            self._work,
            self.function,
            cell.object,
            cell,
            message,
            running,
        )
        return False

    @staticmethod
    def _refused(
        cell: Cell, message: Promise, running: RunningThread, why: RuntimeError
    ) -> None:
        if not running.begin():
            return  # cancelled meanwhile, and taken back by that
        error = SpliceError(
            f"{message.describe()} was not run: no thread could be started for it ({why})"
        )
        cell.scheduler.post(finished, cell, message, None, error)

    @staticmethod
    def _work(
        function: Callable[..., Any],
        owner: Any,
        cell: Cell,
        message: Promise,
        running: RunningThread,
    ) -> None:
        if cell.has_ended or message.target is not cell or not running.begin():
            return  # cancelled or killed while it waited for a thread
        running.thread = get_ident()
        error: BaseException | None = None
        value: Any = None
        try:
            with running.interrupt:
                value = context_of(cell).run(
                    function, owner, *message.args, **(message.kwargs or {})
                )
        except BaseException as raised:
            error = raised
        running.thread = None
        cell.scheduler.post(finished, cell, message, value, error)
        # else what a killed handler has raised and this frame would be a ring
        del error, value


class _Fail(Handler):
    """Ends a process that has failed elsewhere: here, on a worker, its clean-up hook may wait."""

    __slots__ = ()
    is_mail = False

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        """End the process as if its handler had run here."""
        message.resolve(None)
        failed_message, error = message.args
        worker = getcurrent()
        assert type(worker) is Worker
        worker.stack[-1] = failed_message  # it is at hand again until the hook is done
        failed(cell, failed_message, error)
        return True

    def left_over(self, cell: Cell, message: Promise) -> None:
        """Answer for the handler: the process has ended for another reason since."""
        message.resolve(None)
        answer(*message.args)


_FAIL: Final = _Fail("fail", None, is_plain=False)


def finished(
    cell: Cell, message: Promise, value: Any, error: BaseException | None
) -> None:
    """Take back a process whose handler went on elsewhere."""
    if cell.has_ended or message.target is not cell:
        # threads fail in many ways when their node ends: those that wait for it, for one
        if error is not None and not cell.scheduler.is_closing:
            note_late(message, error)
        return
    message.args, message.kwargs = (), None
    if error is None:
        if message.state == PENDING:
            message.settle(value)
    elif is_fatal(cell, error) and hook_of(type(cell.object)) is not None:
        cell.put_first(Promise(cell, _FAIL, (message, error)))
    else:
        failed(cell, message, error)
    if not cell.has_ended:
        cell.scheduler.stand_down(cell)


class NamedHandler(Handler):
    """A handler known by its name only: it is looked up when the message is handled."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(name, None, is_plain=False)

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        """Find the handler and have it handle `message`."""
        try:
            message.handler = find_handler(type(cell.object), self.name)
        except NoSuchHandler as error:
            report(message, error)  # a mistake of who asked
            return True
        return scheduler.handle(cell, message)


class Hook(Handler):
    """A plain hook: what the engine tells a process, and only the one that lives now."""

    __slots__ = ()
    is_mail = False


class _AsyncHook(AsyncHandler):
    __slots__ = ()
    is_mail = False


class _BlockingHook(BlockingHandler):
    __slots__ = ()
    is_mail = False


_HOOKS: Final[dict[type, type[Handler]]] = {
    Handler: Hook,
    AsyncHandler: _AsyncHook,
    BlockingHandler: _BlockingHook,
}


def hook(cls: type, name: str) -> Handler | None:
    """Return the method `name` of `cls`, one with the prefix ``sp_``, as a handler, or None."""
    function = inspect.getattr_static(cls, name, None)
    if function is None or not _is_method(function):
        return None
    made = _make(name, function)
    return _HOOKS[type(made)](name, function, is_plain=made.call is not None)


def find_handler(cls: type, name: str) -> Handler:
    """Return the handler `name` of `cls`.

    Raises:
        NoSuchHandler: there is none; the text lists those there are.
    """
    table = handlers_of(cls)
    handler = table.get(name)
    if handler is None:
        known = ", ".join(sorted(table)) or "none"
        raise NoSuchHandler(f"{cls.__name__} has no handler {name!r}; it has: {known}")
    return handler


def handlers_of(cls: type) -> dict[str, Handler]:
    """Return the handlers of `cls` by name: all its public methods.

    Public is what has no leading underscore and no ``sp_`` prefix; class methods, static
    methods and properties are none.  The table is made once and kept on the class.
    """
    table: dict[str, Handler] | None = cls.__dict__.get("_sp_handlers")
    if table is None:
        table = _table(cls)
        type.__setattr__(cls, "_sp_handlers", table)
    return table


def _table(cls: type) -> dict[str, Handler]:
    table: dict[str, Handler] = {}
    for name in dir(cls):
        if name.startswith(("_", "sp_")):
            continue
        function = inspect.getattr_static(cls, name)
        if _is_method(function):
            table[name] = _make(name, function)
    return table


def _is_method(found: Any) -> bool:
    # not only functions: what a decorator or a compiler has made of one is called alike
    return (
        callable(found)
        and hasattr(type(found), "__get__")
        and not isinstance(found, (type, classmethod, staticmethod))
    )


def _make(name: str, function: Callable[..., Any]) -> Handler:
    if getattr(function, "__splice_blocking__", False):
        return BlockingHandler(name, function, is_plain=False)
    if inspect.iscoroutinefunction(function):
        return AsyncHandler(name, function, is_plain=False)
    return Handler(name, function, is_plain=True)
