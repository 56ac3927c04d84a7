"""Cleaning: calls the clean-up hooks of processes, ``sp_terminate``.

::

    plain      ─► here: on a worker, where it may wait; in `Scheduler.close` on the loop
    async def  ─► a task of the loop ◄─ a process that is stopped ends when it is done,
    @blocking  ─► a thread for a task       one that ends itself does not wait for it

Whatever a hook raises is logged, and the process ends.  Node's thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from splice.actor.context import context_of
from splice.actor.interrupts import Interrupt
from splice.errors import ProcessKilled
from splice.log import logger

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from splice.actor.cell import Cell
    from splice.actor.scheduler import Scheduler

    _Work = CoroutineType[Any, Any, Any]

_Hook = TypeVar("_Hook", bound=Callable[..., Any])

_log = logger("actor")

_tasks: dict[asyncio.Task[None], Cell] = {}
"""Those that run clean-up hooks, and of whom: a loop itself keeps no hold of its tasks."""


def clean_up(cell: Cell, reason: Any) -> _Work | None:
    """Call the clean-up hook of a process; of one that is not plain the work is returned."""
    owner = cell.object
    hook = hook_of(type(owner))
    if hook is None:
        return None
    call = partial(_call, cell, owner, reason)
    is_blocking = getattr(hook, "__splice_blocking__", False)
    work = _on_thread(cell, call) if is_blocking else call()
    return work if type(work) is CoroutineType else None


def background(cell: Cell, work: _Work) -> asyncio.Task[None]:
    """Have the work of a clean-up hook done on the loop."""
    loop = cell.scheduler.loop
    task = loop.create_task(_cleaning(cell, work), context=context_of(cell))
    _tasks[task] = cell
    task.add_done_callback(_tasks.pop)
    # one that is cancelled before its first step has begun nothing, and Python would complain
    task.add_done_callback(lambda _: work.close())
    return task


def at_work(scheduler: Scheduler) -> dict[asyncio.Task[None], Cell]:
    """Return the clean-up hooks that are at work in the background, and of whom."""
    mine = _tasks.copy().items()  # other nodes live on other threads
    return {task: cell for task, cell in mine if cell.scheduler is scheduler}


def outlives(hook: _Hook) -> _Hook:
    """Mark a clean-up hook that does nothing when the node is shut down.

    Its process is needed until the others have cleaned up, and ends after them.
    """
    hook.__splice_outlives__ = True  # type: ignore[attr-defined]
    return hook


def hook_of(cls: type) -> Any:
    """Return the clean-up hook of a class, as a function, or None.

    Objects are not asked: one that hands on whatever it lacks may wait, raise, or find one.
    """
    return getattr(cls, "sp_terminate", None)


def with_hooks(cells: Iterable[Cell]) -> set[type]:
    """Return the classes of those that have a hook; to ask each of a million would be felt."""
    kinds = {type(cell.object) for cell in cells}
    return {kind for kind in kinds if hook_of(kind) is not None}


def cleans_up(cls: type) -> bool:
    """Tell whether processes of a class have to clean up before their node is closed."""
    hook = hook_of(cls)
    return hook is not None and not hasattr(hook, "__splice_outlives__")


def _call(cell: Cell, owner: Any, reason: Any) -> Any:
    try:
        return context_of(cell).run(lambda: owner.sp_terminate(reason))
    except BaseException:
        # whatever it is, the process ends
        _log.exception("sp_terminate of %s failed", cell)


async def _cleaning(cell: Cell, work: _Work) -> None:
    from asyncio import CancelledError  # loaded with the loop

    try:
        await work
    except CancelledError:
        raise
    except BaseException:
        # whatever it is, neither the process nor the loop hangs on it
        _log.exception("sp_terminate of %s failed", cell)


async def _on_thread(cell: Cell, call: Callable[[], Any]) -> None:
    """Have a ``@blocking`` hook called on a thread, unless this is cancelled before one is free."""
    from asyncio import CancelledError, wrap_future  # loaded with the loop
    from concurrent.futures import Future  # 8 ms that few programs need

    done: Future[None] = Future()
    interrupt = Interrupt()
    run = partial(_settle, done, interrupt, call)
    # at the end of the interpreter no thread can be started, and nobody is held up any more
    cell.scheduler.threads.submit(lambda _: cell.scheduler.post(run), run)
    try:
        await wrap_future(done)
    except CancelledError:
        interrupt.throw(ProcessKilled(f"the clean-up of {cell} was given up"))
        raise


def _settle(done: Future[None], interrupt: Interrupt, call: Callable[[], Any]) -> None:
    if done.set_running_or_notify_cancel():
        with interrupt:
            call()
        done.set_result(None)
