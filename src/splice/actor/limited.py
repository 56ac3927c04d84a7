"""Limited mailboxes, and how senders wait: for those of this node, and for anything else.

A class with ``sp_mailbox_limit = n`` has records of a class of their own, so nothing is counted for
all others.  Its senders take a place each before they send.  When none is left the mailbox is
counted, and if it is really full a gate is put into it, a message of the engine::

    full ─► gate at the middle of the mailbox ─► its turn comes ─► waiting senders go on

The process itself does nothing for that, and its mail is looked at only when it is full.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from greenlet import getcurrent

from splice.actor.cell import Cell
from splice.actor.context import Worker, current_cell, is_on_loop
from splice.actor.handlers import Handler
from splice.actor.isolation import IsolatedCell
from splice.actor.promise import PENDING, Promise
from splice.errors import Overloaded, TimeoutError

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler
    from splice.uri import Resource

_places: Final = allocate_lock()
"""Guards the places of all limited mailboxes: threads send too, and hold it for a subtraction."""


class _Gate(Handler):
    """Stands in a full mailbox: when its turn comes, or never will, senders may go on."""

    __slots__ = ()
    is_mail = False

    def start(self, scheduler: Scheduler, cell: Cell, message: Promise) -> bool:
        self.left_over(cell, message)
        return True

    def left_over(self, cell: Cell, message: Promise) -> None:
        assert isinstance(cell, LimitedCell)
        cell.gate = None
        message.resolve(None)


_GATE: Final = _Gate("gate", None, is_plain=False)


class LimitedCell(Cell):
    """The record of a process whose mailbox takes `limit` messages.

    Attributes:
        places: messages that may still be sent before the mailbox is counted again.
        gate: the message that stands in it while it is full, or None.
    """

    __slots__ = ("gate", "limit", "places")

    limit: int

    def __init__(self, scheduler: Scheduler, ident: Resource) -> None:
        super().__init__(scheduler, ident)
        self.limit = 1
        self.places = 0
        self.gate: Promise | None = None

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message when there is room for it.  Thread-safe."""
        self.admit(handler)
        return super().ask(handler, args, kwargs)

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer when there is room for it.  Thread-safe."""
        self.admit(handler)
        return super().tell(handler, args, kwargs)

    def admit(self, handler: Handler) -> None:
        """Take a place for a message, and wait for one if there is none.  Thread-safe.

        Raises:
            Overloaded: there was none in time, or nothing can wait here.
        """
        while not self.take_place():
            what = (
                f"the mailbox of {self} is full ({self.limit} messages): "
                f"{handler.name} was not sent"
            )
            if current_cell() is self:
                raise Overloaded(f"{what}; its own handler cannot wait for that")
            hold_on(self.scheduler, self.ready_from_anywhere, what)

    def take_place(self) -> bool:
        """Take a place for a message; False when the mailbox has to be counted.  Thread-safe."""
        with _places:
            self.places -= 1
            return self.places >= 0

    def ready(self) -> Promise:
        """Count the mailbox; a promise of room in it.  Node's thread only."""
        places = self.limit if self.has_ended else self.limit - self.mail()
        with _places:
            self.places = max(0, places)
        room = Promise(self.scheduler)
        if places > 0:
            room.resolve(None)
        else:
            if self.gate is None:
                self._put_gate()
            assert self.gate is not None
            self.gate.add_waiter(_Opened(room))
        return room

    def mail(self) -> int:
        """Count the messages in the mailbox that will be handled, without the gate."""
        return super().mail() - (self.gate is not None)

    def cancel_message(self, message: Promise, is_begun_too: bool) -> bool:
        """Prevent or stop the handling of `message`; False when it is too late."""
        if self.gate is not None:
            self.scheduler.post(self._open_gate)  # when its place is free
        return super().cancel_message(message, is_begun_too)

    def ready_from_anywhere(self) -> Promise:
        """Like `ready`.  Thread-safe."""
        if get_ident() == self.scheduler.thread:
            return self.ready()
        room: Promise = self.scheduler.call(self.ready)
        return room

    def _open_gate(self) -> None:
        """Let senders go on before its turn: a message was cancelled."""
        gate = self.gate
        if gate is not None and self.mail() < self.limit:
            self.gate = gate.handler = None  # passed over, as those that were cancelled
            gate.resolve(None)

    def _put_gate(self) -> None:
        """Put a gate where half of the messages are left behind it."""
        self.gate = gate = Promise(self, _GATE)
        before = ahead = self.head
        for _ in range(self.limit // 2):
            ahead = ahead.next
        while ahead.next is not None:  # also past those that were cancelled
            before, ahead = before.next, ahead.next
        gate.next = before.next
        before.next = gate
        if before is self.tail:
            self.tail = gate


class IsolatedLimitedCell(LimitedCell, IsolatedCell):
    """The same for a process that shares nothing with those that call it."""

    __slots__ = ()


def limited_cell(
    kind: type[Cell], scheduler: Scheduler, ident: Resource, limit: int
) -> LimitedCell:
    """Make the record of a process whose mailbox is limited.

    Args:
        kind: of its record, if it were not.
        limit: ``sp_mailbox_limit`` of its class.
    """
    if not isinstance(limit, int) or limit < 1:
        raise ValueError(f"sp_mailbox_limit is a number of messages, not {limit!r}")
    made = IsolatedLimitedCell if kind is IsolatedCell else LimitedCell
    cell = made(scheduler, ident)
    cell.limit = limit
    return cell


class _Opened:
    """Settles a promise of room when the gate opens."""

    __slots__ = ("_room",)

    def __init__(self, room: Promise) -> None:
        self._room = room

    def settled(self, gate: Promise) -> None:
        self._room.resolve(None)


def hold_on(scheduler: Scheduler, ready: Callable[[], Promise], what: str) -> None:
    """Let a sender wait for room: a handler parks, a thread blocks.

    Args:
        scheduler: that of the node it sends from.
        ready: returns a promise of room; it is asked again after each wait, for others wait too.
        what: what is full, and what was not sent.

    Raises:
        Overloaded: there was no room within `overload_timeout`, or nothing can wait here.
    """
    timeout = scheduler.overload_timeout
    deadline = scheduler.loop.time() + timeout
    while (room := ready()).state == PENDING:
        if not _may_wait(scheduler):
            raise Overloaded(
                f"{what}; nothing can wait here: await splice.ready(proc) before the call"
            )
        try:
            room.get(max(0.0, deadline - scheduler.loop.time()))
        except TimeoutError:
            raise Overloaded(
                f"{what}, and there was no room within {timeout:g} s (overload_timeout); "
                "send less, or have it handled faster"
            ) from None


def _may_wait(scheduler: Scheduler) -> bool:
    here = getcurrent()
    if type(here) is Worker:
        return not here.callbacks
    if is_on_loop(scheduler.thread):
        return False
    import asyncio  # loaded with the first node

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False  # a foreign loop's thread serves others, too
