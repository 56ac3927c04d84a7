"""Loop: the asyncio loop that a node lives on, which outlives what the user runs there.

asyncio ends a loop with the SystemExit or KeyboardInterrupt of any task and any callback on it.  A
node's loop belongs to all its processes; what becomes of such an error depends on where it is::

    raised in a handler              ─► its process ends; never seen here
    in a task that a handler made,
    in a callback or a hearer        ─► that ends, it is logged, and the loop goes on
    by a signal handler, by Ctrl-C   ─► the loop ends, in order
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine
from traceback import walk_tb
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from splice.log import logger

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_log = logger("node")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a loop of its own, on this thread; as `asyncio.run` does.

    Returns:
        What `main` has returned.

    Raises:
        BaseException: what `main` raised, or a signal handler.
    """
    import asyncio  # 40 ms, at the first use of a node

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while not task.done():
            _run(loop, task)
        return task.result()


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Run until `task` is done, or until what it is not to blame for is passed over."""
    try:
        loop.run_until_complete(task)
    except (SystemExit, KeyboardInterrupt) as error:
        if _is_by_signal(error, loop):
            raise
        if _is_of(error, task):
            return
        _log.warning(
            "%r in a task or a callback ended that, and the node goes on; "
            "a process ends by what its handler raises",
            error,
            exc_info=error,
        )


def _is_of(error: BaseException, task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is error


def _is_by_signal(error: BaseException, loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a signal handler raised `error`, in whatever code was running."""
    if threading.current_thread() is not threading.main_thread():
        return False  # signals are handled on the main thread
    if isinstance(error, KeyboardInterrupt) and _is_ctrl_c():
        return True
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    handlers = _codes_of_handlers()
    if any(frame.f_code in handlers for frame in frames):
        return True
    return not _is_in_callback(frames, loop)


def _is_ctrl_c() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _codes_of_handlers() -> set[CodeType]:
    installed = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [getattr(handler, "__code__", None) for handler in installed]
    return {code for code in codes if code is not None}


def _is_in_callback(frames: list[FrameType], loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a task or a callback of the user was running, and not loop or engine."""
    from asyncio import Handle  # loaded with the loop

    called = Handle._run.__code__
    for frame, inner in zip(frames, [*frames[1:], None], strict=True):
        if frame.f_code is called:
            return not (
                frame.f_locals.get("self") in _signal_handles(loop)
                or (inner is not None and _is_of_engine(inner))
            )
    return False


def _signal_handles(loop: Any) -> list[Any]:
    """Return what was given to ``loop.add_signal_handler``; a loop may not show it."""
    return list(getattr(loop, "_signal_handlers", {}).values())


def _is_of_engine(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("splice.")
