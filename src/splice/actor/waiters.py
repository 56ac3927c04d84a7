"""Waiters: who is told that a promise is settled: threads, loops, callbacks, other promises.

Each is told once, on the thread of the promise's node, and hands the news on to where it belongs.
A worker that is parked for a promise stands among the waiters as itself.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from splice.actor.context import Worker, current_giver, on_behalf_of
from splice.log import logger

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from splice.actor.promise import Promise

PENDING: Final = 0
VALUE: Final = 1
ERROR: Final = 2

_log = logger("actor")


class Waiter(Protocol):
    """Is told once, on the node's thread, that a promise is settled."""

    def settled(self, promise: Promise) -> None:
        """Take note that `promise` is settled."""


def wake(waiter: Any, promise: Promise) -> None:
    """Tell `waiter` (a worker, a waiter or a list of them) that `promise` is settled."""
    if type(waiter) is Worker:
        waiter.scheduler.resume(waiter, promise)
    elif type(waiter) is list:
        for one in waiter:
            wake(one, promise)
    else:
        waiter.settled(promise)


def hand_on(messages: list[Promise]) -> None:
    """Tell who brought them that their handlers wait, or are done and the answers promises.

    Mail from other nodes counts as unhandled no longer then: what the handler waits for may need
    the same way, and would wait for it.
    """
    for message in messages:
        told = getattr(message.waiter, "handed_on", None)
        if told is not None:
            told(message)


DEEPEST: Final = 50
"""Promises that may settle one another on one stack, at four frames each and those of a callback; a
chain of thousands of `then` is settled in so many steps at a time."""


class _Chain(threading.local):
    """The promises that settle one another just now, on one thread."""

    def __init__(self) -> None:
        self.depth = 0
        self.late: deque[tuple[Callable[[Promise], None], Promise]] = deque()


_chain = _Chain()


def in_turn(settle: Callable[[Promise], None], promise: Promise) -> None:
    """Call ``settle(promise)``, which settles other promises; later, where the stack is deep."""
    chain = _chain
    if chain.depth == DEEPEST:
        chain.late.append((settle, promise))
        return
    chain.depth += 1
    try:
        settle(promise)
        while chain.late and chain.depth == 1:
            settle_late, earlier = chain.late.popleft()
            settle_late(earlier)
    finally:
        chain.depth -= 1


class ThreadWaiter:
    """A thread that sleeps on a lock of its own."""

    __slots__ = ("_error", "_lock")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._error: BaseException | None = None

    def wait(self, timeout: float | None) -> bool:
        """Sleep until it is settled; False when that took longer than `timeout` seconds.

        Raises:
            BaseException: the wait was refused, or interrupted.
        """
        seconds = -1 if timeout is None else max(0.0, timeout)
        is_over = self._lock.acquire(timeout=seconds)
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # else it and this frame would be a ring
        return is_over

    def refuse(self, error: BaseException) -> None:
        """Let the thread go on with an error of the wait itself."""
        self._error = error
        self._wake()

    def settled(self, promise: Promise) -> None:
        """Let the thread go on."""
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it was woken by another, and has not gone on yet
            self._lock.release()


class LoopWaiter:
    """A coroutine that awaits on some asyncio loop."""

    __slots__ = ("_loop", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[None] = loop.create_future()

    def refuse(self, error: BaseException) -> None:
        """Let the coroutine go on with an error of the wait itself, on its own loop."""
        self._soon(self._fail, error)

    def settled(self, promise: Promise) -> None:
        """Let the coroutine go on, on its own loop."""
        scheduler = promise.scheduler
        if scheduler.loop is self._loop and not scheduler.is_closed:
            self._finish()
            return
        self._soon(self._finish)

    def _soon(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            _log.debug("the loop of an awaiting task was closed before its answer came")

    def _fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class WorkerAbroad:
    """A worker that waits for a promise of another node in this OS process."""

    __slots__ = ("_worker",)

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def settled(self, promise: Promise) -> None:
        """Let the worker go on, on its own node."""
        scheduler = self._worker.scheduler
        if get_ident() == scheduler.thread:
            scheduler.resume(self._worker, promise)
        else:
            scheduler.post(scheduler.resume, self._worker, promise)


class FutureWaiter:
    """A concurrent.futures.Future to be settled likewise."""

    __slots__ = ("_future", "_giver")

    def __init__(self, future: Future[Any]) -> None:
        self._future = future
        self._giver = current_giver()

    def settled(self, promise: Promise) -> None:
        """Settle the future, which calls the user's callbacks on the spot."""
        try:
            with on_behalf_of(self._giver):
                if promise.state == VALUE:
                    self._future.set_result(promise.value)
                else:
                    self._future.set_exception(promise.error())
        except BaseException:
            # whatever it is, it must not end the handler that settled the promise
            _log.exception("a callback of a future of %s failed", promise.describe())


def check_callback(function: object) -> None:
    """Raise TypeError unless a promise may call `function`.

    What `asyncio.wait` gives belongs on its own loop: called on the node's, it wakes nobody.
    """
    if not callable(function):
        raise TypeError(f"add_done_callback wants a function, not {function!r}")
    if getattr(function, "__module__", None) == "asyncio.tasks":
        raise TypeError(
            "asyncio.wait cannot wait for a promise; give it asyncio.ensure_future(promise), "
            "or use splice.gather or splice.as_completed"
        )


class Callback:
    """A function to be called, on behalf of the process that gives it."""

    __slots__ = ("_function", "_giver")

    def __init__(self, function: Callable[[Promise], Any]) -> None:
        self._function = function
        self._giver = current_giver()

    def settled(self, promise: Promise) -> None:
        """Call the function."""
        in_turn(self._call, promise)

    def _call(self, promise: Promise) -> None:
        try:
            with on_behalf_of(self._giver):
                self._function(promise)
        except BaseException:
            # whatever it is, it must not end the handler that settled the promise
            _log.exception("a done callback of %s failed", promise.describe())


NOBODY: Final = Callback(lambda _: None)
"""Stands where somebody has waited who does not any more: the outcome is no news to anybody."""


class Then:
    """A function whose result settles another promise; on behalf of the process that gives it."""

    __slots__ = ("_follower", "_function", "_giver")

    def __init__(self, function: Callable[[Any], Any], follower: Promise) -> None:
        self._function = function
        self._follower = follower
        self._giver = current_giver()

    def settled(self, promise: Promise) -> None:
        """Call the function with the answer and settle the follower."""
        in_turn(self._settle, promise)

    def _settle(self, promise: Promise) -> None:
        follower = self._follower
        if follower.state != PENDING:  # cancelled since
            return
        if promise.state == ERROR:
            follower.reject(promise.error())
            return
        try:
            with on_behalf_of(self._giver):
                value = self._function(promise.value)
        except BaseException as error:
            follower.reject(error)
        else:
            follower.settle(value)


class Follow:
    """A promise to be settled likewise, on the thread of its own node."""

    __slots__ = ("_follower", "_scheduler")

    def __init__(self, follower: Promise) -> None:
        self._follower = follower
        self._scheduler = follower.scheduler

    def settled(self, promise: Promise) -> None:
        """Settle the follower."""
        if get_ident() != self._scheduler.thread:
            self._scheduler.post(self.settled, promise)
        else:
            in_turn(self._settle, promise)

    def _settle(self, promise: Promise) -> None:
        follower = self._follower
        if follower.state != PENDING:
            return
        if promise.state == VALUE:
            follower.resolve(promise.value)
        else:
            follower.reject(promise.error())


class Unseen:
    """Logs a failure once, if nobody ever looks at it."""

    __slots__ = ("_error", "_what", "seen")

    def __init__(self, error: BaseException, what: str) -> None:
        self._error = error
        self._what = what
        self.seen = False

    def __del__(self) -> None:
        if not self.seen:
            self._tell()

    def _tell(self) -> None:
        _log.error(
            "nobody looked at the failure of %s", self._what, exc_info=self._error
        )


class Undelivered(Unseen):
    """Has a message that was not delivered noted as a dead letter, if nobody ever asks for it."""

    __slots__ = ("_handler", "_target")

    def __init__(
        self, error: BaseException, what: str, target: Any, handler: Any
    ) -> None:
        super().__init__(error, what)
        self._target = target
        self._handler = handler

    def _tell(self) -> None:
        scheduler = self._target.scheduler
        note = scheduler.on_dead_letter
        if note is None or scheduler.is_closed or self._handler is None:
            super()._tell()
        else:  # posted: a finalizer runs anywhere, also in the middle of the engine
            scheduler.post(note, self._target, self._handler.name, self._error)
