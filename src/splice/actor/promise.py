"""Promise: an answer to come, settled exactly once; at the same time the message itself.

One object serves as message, mailbox entry and reply slot, so that an ask costs one allocation::

    proxy.add(1) ──► Promise(target, handler, args) ──► mailbox ──► handler runs
         ▲                                                             │
         └── get / await / then ◄── waiter ◄── settled with value or error

All state of a promise belongs to the thread of its node.  Other threads read ``state`` (written
last) and wait by asking that thread to register a waiter, so no lock guards it.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from greenlet import getcurrent

from splice.actor.context import Worker, may_wait_for
from splice.actor.elsewhere import block, stand_by
from splice.actor.process import Process
from splice.actor.rings import check_ring
from splice.actor.waiters import ERROR as ERROR
from splice.actor.waiters import (
    NOBODY,
    Callback,
    Follow,
    FutureWaiter,
    Then,
    Undelivered,
    Unseen,
    Waiter,
    check_callback,
    hand_on,
    wake,
)
from splice.actor.waiters import PENDING as PENDING
from splice.actor.waiters import VALUE as VALUE
from splice.errors import Cancelled, CannotWait, DeadlockError, TimeoutError
from splice.seconds import timeout_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from splice.actor.handlers import Handler
    from splice.actor.scheduler import Scheduler


class Target(Protocol):
    """What a promise is owed by: a process near or far, or the node itself."""

    scheduler: Scheduler


class _TakenOut:
    """Stands in ``next`` of a message that has left its mailbox."""


TAKEN_OUT: Final[Any] = _TakenOut()


class Promise:
    """The answer to a message: a value or an error, settled exactly once.

    Usable from any thread and from any asyncio loop.  A promise can be waited for any number
    of times; each wait gives the same outcome.
    """

    # ``value``, while pending, is the promise (or the list of them) that settles this one: so
    # rings of waits are found through answers that are promises themselves.
    __slots__ = (
        "args",
        "handler",
        "kwargs",
        "next",
        "state",
        "target",
        "traceback",
        "value",
        "waiter",
    )

    can_close_ring: ClassVar[bool] = True
    nobody: ClassVar[Any] = NOBODY

    def __init__(
        self,
        target: Any,
        handler: Handler | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.target = target
        self.handler = handler
        self.args = args
        self.kwargs = kwargs
        self.next: Any = None
        self.state = PENDING
        self.value: Any = None
        self.waiter: Any = None

    # ---- what users call

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it, or raise the error it became.

        Inside a plain handler only that handler waits; in any other thread the thread does.

        Args:
            timeout: seconds; None waits as long as the debtor lives.

        Raises:
            TimeoutError: no answer within `timeout`; the promise stays usable.
            TypeError, ValueError: `timeout` is no number, or NaN.
            CannotWait: called on the node's loop outside a handler that can park.
            DeadlockError: this wait would close a ring of processes waiting for each other.
            BaseException: whatever the handler raised.
        """
        if self.state == PENDING:
            self.wait(timeout)
        if self.state == VALUE:
            return self.value
        try:
            raise self.error()
        finally:
            del self  # else error, traceback, frame and promise would be a ring

    result = get

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait like `get`, and return the error instead of raising it (None: a value)."""
        if self.state == PENDING:
            self.wait(timeout)
        return None if self.state == VALUE else self.error()

    def done(self) -> bool:
        """Tell whether the promise is settled."""
        return self.state != PENDING

    def cancel(self) -> bool:
        """Give the message up.

        One still in the mailbox is never handled; a running ``async def`` handler is cancelled.
        Near or far: the node of its process is asked, and waited for.

        Returns:
            True when it was prevented or stopped, False when it came too late.

        Raises:
            CannotWait: called for a far process where waiting would stop the node's loop.
        """
        is_far = getattr(self.target, "is_far", False)
        if is_far and not may_wait_for(self.scheduler.thread):
            raise CannotWait(
                f"only the far node can tell whether {self.describe()} is cancelled in time, and "
                "to wait for its word here would stop the loop; await cancel_nowait() instead"
            )
        return bool(self.cancel_nowait().get())

    def cancel_nowait(self) -> Promise:
        """Like `cancel`, and return a promise of True or False at once."""
        verdict = Promise(self.scheduler)
        self._there(self.call_off, verdict)
        return verdict

    def then(self, function: Callable[[Any], Any]) -> Promise:
        """Return a promise of ``function(answer)``; an error passes `function` by.

        `function` runs on the node's loop and must not wait; it may return a promise.  It belongs
        to the process that gives it, whoever settles the promise: its timers die with that one.
        """
        if not callable(function):
            raise TypeError(f"then wants a function, not {function!r}")
        follower = Promise(self.target)
        if self.can_close_ring:
            follower.value = self
        self.add_waiter_threadsafe(Then(function, follower))
        return follower

    def add_done_callback(self, function: Callable[[Promise], Any]) -> None:
        """Call ``function(promise)`` on the node's loop once settled; it must not wait."""
        check_callback(function)
        self.add_waiter_threadsafe(Callback(function))

    def as_future(self) -> Future[Any]:
        """Return a `concurrent.futures.Future` with the outcome of this promise."""
        from concurrent.futures import Future  # 8 ms that few programs need

        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.add_waiter_threadsafe(FutureWaiter(future))
        return future

    def __await__(self) -> Generator[Any, None, Any]:
        if self.state == PENDING:
            yield from stand_by(self)
        if self.state == VALUE:
            return self.value
        raise self.error()

    def __repr__(self) -> str:
        if self.state == PENDING:
            outcome = "pending"
        elif self.state == VALUE:
            outcome = f"value {self.value!r}"
        else:
            outcome = f"error {self.value!r}"
        return f"<Promise {outcome}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a promise belongs to its node and cannot be pickled; send its answer, or the "
            "proxy of a process to ask"
        )

    # ---- what the engine calls

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of the node that this promise belongs to."""
        scheduler: Scheduler = self.target.scheduler
        return scheduler

    def resolve(self, value: Any) -> None:
        """Settle with `value`; node's thread only, and only once."""
        self.value = value
        self.state = VALUE
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            wake(waiter, self)

    def reject(self, error: BaseException) -> None:
        """Settle with `error`; node's thread only, and only once."""
        waiter = self.waiter
        # before the state, which other threads may look at as soon as it is written
        self.waiter = self.unseen(error) if waiter is None else None
        self.value = error
        self.traceback = error.__traceback__
        self.state = ERROR
        if waiter is not None:
            wake(waiter, self)

    def settle(self, value: Any) -> None:
        """Settle with what a handler or a callback returned; node's thread only, and only once.

        A promise is followed, a process travels as its proxy.
        """
        kind = type(value)  # the object itself may raise when it is asked for its class
        if issubclass(kind, Promise):
            self.adopt(value)
        elif issubclass(kind, Process) and value.sp_is_running:
            self.resolve(value.sp_proxy)
        else:
            self.resolve(value)

    def adopt(self, other: Promise) -> None:
        """Settle like `other`, whenever that is; node's thread only."""
        if other.can_close_ring and other.scheduler is self.scheduler:
            try:
                check_ring(self, other)
            except DeadlockError as error:
                self.reject(error)
                return
            self.value = other
        else:
            self.value = []  # its own process owes it no more, and nobody else can be named
        other.add_waiter_threadsafe(other.follower(self))
        hand_on([self])

    def follower(self, promise: Promise) -> Follow:
        """Return the waiter that settles `promise` like this one; thread of `promise`'s node."""
        return Follow(promise)

    def describe(self) -> str:
        """Say which call this is the answer of, for messages to people."""
        if self.handler is None:
            return "promise"
        return f"{self.target}.{self.handler.name}"

    def error(self) -> BaseException:
        """Return the error of a failed promise, to be raised."""
        self.look()
        error: BaseException = self.value
        # each waiter sees the traceback as it was, not the frames of those before it too
        return error.with_traceback(self.traceback)

    def unseen(self, error: BaseException) -> Unseen:
        """Return what tells of a failure that nobody will have looked at."""
        return Unseen(error, self.describe())

    def look(self) -> None:
        """Note that somebody has seen the outcome: a failure is not logged any more."""
        unseen = self.waiter
        if isinstance(unseen, Unseen):
            unseen.seen = True
            self.waiter = None

    def wait(self, timeout: float | None) -> None:
        """Wait until the promise is settled, in the way that suits where this is called."""
        if timeout is not None:
            timeout = timeout_of(timeout)
        here = getcurrent()
        if type(here) is Worker and not here.callbacks:
            here.scheduler.wait(here, self, timeout)
        else:
            self.block(timeout)

    def block(self, timeout: float | None) -> None:
        """Block this thread until the promise is settled."""
        block(self, timeout)

    def timed_out(self, timeout: float | None) -> TimeoutError:
        """Make the error of a wait that took too long."""
        return TimeoutError(f"no answer from {self.describe()} within {timeout} s")

    def withdraw(self) -> None:
        """Give the message up if its handler has not begun; node's thread only."""
        self.call_off(Promise(self.scheduler), is_begun_too=False)

    def call_off(self, verdict: Promise, *, is_begun_too: bool = True) -> None:
        """Give the message up, and settle `verdict` with whether that came in time.

        Node's thread only.

        Args:
            is_begun_too: stop an async handler that is at work; else only one not begun.
        """
        cancel = getattr(self.target, "cancel_message", None)
        is_open, what = self.state == PENDING, self.describe()
        done: Any = is_open and (cancel is None or cancel(self, is_begun_too))
        # else too late, or a promise of it; or the debtor has settled it while cancelling
        if done is True and self.state == PENDING:
            self.args, self.kwargs = (), None
            if self.next is not TAKEN_OUT:  # else it is at work, under its name
                self.handler = None
            self.reject(Cancelled(f"{what} was cancelled"))
            self.look()
        verdict.settle(done)

    # ---- waiters

    def add_waiter(self, waiter: Waiter | Worker) -> None:
        """Register `waiter`, or wake it at once if settled; node's thread only."""
        if self.state != PENDING:
            self.look()
            wake(waiter, self)
        elif self.waiter is None:
            self.waiter = waiter
        elif type(self.waiter) is list:
            self.waiter.append(waiter)
        else:
            self.waiter = [self.waiter, waiter]

    def add_waiter_threadsafe(self, waiter: Waiter) -> None:
        """Register `waiter` from any thread."""
        scheduler = self.scheduler
        if get_ident() == scheduler.thread:
            self.add_waiter(waiter)
        else:
            scheduler.post(self.add_waiter, waiter)

    def drop_waiter(self, waiter: Waiter | Worker, is_killed: bool = False) -> None:
        """Forget `waiter`; to one that was killed the outcome is no news; node's thread only."""
        nobody = self.nobody if is_killed else None
        if self.waiter is waiter:
            self.waiter = nobody
        elif type(self.waiter) is list and waiter in self.waiter:
            self.waiter.remove(waiter)
            self.waiter = self.waiter or nobody

    def drop_waiter_threadsafe(self, waiter: Waiter, is_killed: bool = False) -> None:
        """Forget `waiter`, from any thread."""
        self._there(self.drop_waiter, waiter, is_killed)

    def _there(self, function: Callable[..., None], *args: Any) -> None:
        """Call ``function(*args)`` on the node's thread."""
        if get_ident() == self.scheduler.thread:
            function(*args)
        else:
            self.scheduler.post(function, *args)


class Tell(Promise):
    """A message that nobody is answered for: its promise is that of delivery."""

    __slots__ = ()
    nobody: ClassVar[None] = None  # what was not delivered is a dead letter

    def unseen(self, error: BaseException) -> Unseen:
        """Return what makes a dead letter of it: it was not delivered."""
        return Undelivered(error, self.describe(), self.target, self.handler)
