"""Deferred: a promise that a process settles itself, later: OTP's noreply.

Callers that were answered with one are noted with the process that owes it to them: if it ends
before, they fail as those do whose message it had at hand, whoever still holds the Deferred.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import Any, ClassVar

from splice.actor.context import current_scheduler
from splice.actor.promise import ERROR, PENDING, Promise
from splice.actor.scheduler import Scheduler
from splice.actor.waiters import Follow, wake
from splice.errors import Cancelled


class Deferred(Promise):
    """A promise that its maker settles later, from any thread: OTP's noreply.

    A handler that returns one answers its caller with what it becomes; if its process ends or is
    restarted before, the caller gets `ProcessStopped`.  One that is thrown away unset fails its
    waiters instead of leaving them for ever.
    """

    __slots__ = ("__weakref__",)

    # anybody may settle it; and whoever follows it must not keep it from being thrown away
    can_close_ring: ClassVar[bool] = False

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        super().__init__(scheduler or current_scheduler())
        self.target.deferred[id(self)] = self

    def set(self, value: Any = None) -> None:
        """Settle with `value`; a second settling is ignored.  Thread-safe."""
        self._settle(self.settle, value)

    def fail(self, error: BaseException) -> None:
        """Settle with `error`; a second settling is ignored.  Thread-safe.

        Raises:
            TypeError: `error` is no exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"a Deferred fails with an exception, not {error!r}")
        self._settle(self.reject, error)

    def _settle(self, how: Callable[[Any], None], outcome: Any) -> None:
        scheduler = self.scheduler
        if get_ident() == scheduler.thread:
            self._settle_once(how, outcome)
        else:
            scheduler.post(self._settle_once, how, outcome)

    def _settle_once(self, how: Callable[[Any], None], outcome: Any) -> None:
        if self.state == PENDING and self.value is None:
            how(outcome)

    def describe(self) -> str:
        """Say what this is, for messages to people."""
        return "a Deferred"

    def follower(self, promise: Promise) -> Follow:
        """Return the waiter that settles `promise` like this one."""
        debtor = promise.target
        # of a message that was answered with this; `Exit` may answer with it after the end
        if promise.handler is None or not debtor.is_near or debtor.has_ended:
            return super().follower(promise)
        return _Owed(promise)

    def __del__(self) -> None:
        # no `state`: the constructor failed.  No waiter: nobody will ever know
        if getattr(self, "state", None) != PENDING or self.waiter is None:
            return
        waiter, self.waiter = self.waiter, None
        lost = Promise(self.target)
        lost.value = Cancelled("the Deferred was thrown away before it was set")
        lost.traceback = None
        lost.state = ERROR
        self.scheduler.post(wake, waiter, lost)


class _Owed(Follow):
    """Settles a message that a process owes an answer to."""

    __slots__ = ("_debtor",)

    def __init__(self, message: Promise) -> None:
        super().__init__(message)
        self._debtor = message.target
        self._scheduler.owed.setdefault(self._debtor, {})[message] = None

    def settled(self, promise: Promise) -> None:
        """Settle the message."""
        owed = self._scheduler.owed
        if get_ident() == self._scheduler.thread and self._debtor in owed:
            owed[self._debtor].pop(self._follower, None)
            if not owed[self._debtor]:
                del owed[self._debtor]
        super().settled(promise)
