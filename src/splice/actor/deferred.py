"""Deferred: a promise that a process settles itself, later: OTP's noreply."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import Any, ClassVar

from splice.actor.context import current_scheduler
from splice.actor.promise import ERROR, PENDING, Promise
from splice.actor.scheduler import Scheduler
from splice.actor.waiters import wake
from splice.errors import Cancelled


class Deferred(Promise):
    """A promise that its maker settles later, from any thread: OTP's noreply.

    A handler that returns one answers its caller with what it becomes.  One that is thrown
    away unset fails its waiters instead of leaving them for ever.
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
