"""Isolation: messages between processes of one node as copies, with ``isolate=True``.

An isolated process has a record of its own class, so the ordinary way is not touched::

    proxy ─► IsolatedCell.ask ─► arguments copied ─► Isolated ─► mailbox
                      the caller ◄─ answer copied ◄─ resolve ◄─┘

How to copy is the node's business: it does so as if the message went to another node.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from splice.actor.cell import Cell
from splice.actor.handlers import Handler
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy
from splice.errors import SpliceError

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler


class Copier(Protocol):
    """Copies what passes between processes."""

    def arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
        """Copy the arguments of a message; UnpicklableError where that cannot be done."""

    def value(self, value: Any) -> Any:
        """Copy an answer; UnpicklableError where that cannot be done."""

    def error(self, error: BaseException) -> BaseException:
        """Copy an exception."""


def copier_of(scheduler: Scheduler) -> Copier:
    """Return what copies on a node."""
    return cast("Copier", cast(Any, scheduler.home).copier)


class Isolated(Promise):
    """A message that is answered with a copy."""

    __slots__ = ()

    def resolve(self, value: Any) -> None:
        """Settle with a copy of `value`."""
        if not isinstance(value, Proxy):
            try:
                value = copier_of(self.scheduler).value(value)
            except SpliceError as error:
                self.reject(error)
                return
        super().resolve(value)

    def reject(self, error: BaseException) -> None:
        """Settle with a copy of `error`, unless it is splice that says it."""
        if not isinstance(error, SpliceError):
            error = copier_of(self.scheduler).error(error)
        super().reject(error)


class Apart(Handler):
    """A handler whose answer shall pass through `Promise.settle`, not by the short way."""

    __slots__ = ("handler",)

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler.name, None, is_plain=False)
        self.handler = handler

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        """Have the handler handle `message`."""
        message.handler = self.handler
        return scheduler.handle(cell, message)


def isolated_ask(
    target: Any, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> Isolated:
    """Make a message of copies, which is answered with a copy; it is not sent yet."""
    args, kwargs = copier_of(target.scheduler).arguments(args, kwargs)
    return Isolated(target, Apart(handler), args, kwargs)


class IsolatedCell(Cell):
    """The record of a process that shares nothing with those that call it."""

    __slots__ = ()

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message, as a copy."""
        message = isolated_ask(self, handler, args, kwargs)
        if get_ident() == self.scheduler.thread:
            self.put(message)
        else:
            self.scheduler.post_message(message)
        return message

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer, as a copy."""
        return super().tell(handler, *copier_of(self.scheduler).arguments(args, kwargs))

    def pack_tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Callable[[], Promise]:
        """Return what sends a message as it is now, later and as often as it is called."""
        packed = copier_of(self.scheduler).arguments(args, kwargs)
        return lambda: self.tell(handler, *packed)
