"""Notes: what the processes of the workload tell a history, and what is seen of them from outside.

A node is watched (births, ends, what comes into mailboxes), and its processes tell what they send,
handle and get.  `splice.testing.recorder` notes a simulated cluster, `splice.testing.diary` one
node of a real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from splice.actor.cell import Cell
from splice.actor.context import Ended
from splice.actor.links import Down, Monitor
from splice.actor.process import Process
from splice.actor.promise import VALUE, Promise, Tell
from splice.actor.proxy import Proxy
from splice.errors import DeliveryError
from splice.node.node import Node
from splice.testing.history import Event, What
from splice.uri import url


class Notes:
    """Notes what happens; who derives from it says how nodes are named and where notes go.

    Args:
        loop: the clock; ``loop.time()`` is now.
        messages: numbers for messages, none of which anybody else uses.
    """

    def __init__(self, loop: Any, messages: Iterator[int]) -> None:
        self._loop = loop
        self._messages = messages
        self._open: dict[int, str] = {}
        self._is_over = False
        self._noting = _noting(self)

    def write(self, event: Event) -> None:
        """Keep an event."""
        raise NotImplementedError

    def name(self, node: Node) -> str:
        """Return the short name of a node, empty before it is noted as up."""
        raise NotImplementedError

    def place(self, where: url) -> str:
        """Return the short name of a process."""
        raise NotImplementedError

    def _is_heard(self, name: str) -> bool:
        return not self._is_over

    def note(
        self,
        what: What,
        message: int = 0,
        place: str = "",
        *,
        other: str = "",
        text: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Add an event to the history."""
        at = self._loop.time()
        self.write(Event(at, what, message, place, other, text, seconds))

    def is_alive(self, node: Node) -> bool:
        """Tell whether a node was not noted as dead."""
        return self._is_heard(self.name(node))

    def close(self) -> None:
        """Note nothing any more: what is left is torn down."""
        self._is_over = True

    def watch(self, node: Node) -> None:
        """Note what becomes of the processes of a node from now on."""
        node.scheduler.on_end = self._note_end
        node.scheduler.cell_class = self._cell_class

    # ---- processes

    def cell_place(self, cell: Cell) -> str:
        """Return the short name of a process of a living node, else an empty text."""
        node: Any = cell.scheduler.home
        name = self.name(node)
        return f"{name}:{cell.ident}" if name and self._is_heard(name) else ""

    def born(self, process: Process, message: int = 0) -> None:
        """Note that a process was made, by message `message` if not 0."""
        place = self.cell_place(process._sp_cell)
        if place:
            self.note(What.BORN, place=place)
            if message:
                self.note(What.HANDLED, message, place)

    def handled(self, process: Process, message: int) -> None:
        """Note that a handler was called."""
        place = self.cell_place(process._sp_cell)
        if place:
            self.note(What.HANDLED, message, place)

    def queued(self, cell: Cell, message: int) -> None:
        """Note that a message was put into a mailbox, but for near ones that found mail there."""
        place = self.cell_place(cell)
        if place:
            self.note(What.QUEUED, message, place)

    def _cell_class(self, cls: type) -> type[Cell]:
        return self._noting if getattr(cls, "sp_is_noted", False) else Cell

    def _note_end(self, cell: Cell, reason: Any) -> None:
        place = self.cell_place(cell)
        if place:
            text = reason if isinstance(reason, str) else type(reason).__name__
            self.note(What.OVER, place=place, text=text)

    # ---- messages

    def sent(self, sender: str, target: str, kind: str) -> int:
        """Note that a message goes out; return its number."""
        message = next(self._messages)
        self.note(What.SENT, message, sender, other=target, text=kind)
        return message

    @property
    def is_owed(self) -> bool:
        """Whether a living node waits for a verdict."""
        return any(map(self._is_heard, self._open.values()))

    def follow(self, message: int, promise: Promise, node: Node) -> Promise:
        """Note what becomes of a message that was sent by a process of `node`."""
        if type(promise) is not Monitor:
            self._open[message] = self.name(node)
        promise.add_done_callback(lambda done: self._settled(message, done, node))
        return promise

    def failed(self, message: int, error: BaseException) -> None:
        """Note that a message could not even be sent."""
        self._verdict(message, error)

    def cancelled(self, message: int, promise: Promise, node: Node) -> None:
        """Give a message up, and note whether that came in time."""

        def word(done: Promise) -> None:
            if self.is_alive(node):
                text = str(done.value) if done.exception() is None else "error"
                self.note(What.CANCEL, message, text=text)

        promise.cancel_nowait().add_done_callback(word)

    def _settled(self, message: int, promise: Promise, node: Node) -> None:
        self._open.pop(message, None)
        if not self.is_alive(node):
            return
        if promise.state != VALUE:
            error = promise.exception()
            assert error is not None, "a promise that has failed has an error"
            self._verdict(message, error)
        elif type(promise) is Tell:
            self.note(What.VERDICT, message, other="delivered")
        else:
            text = self._shown(promise.value)
            self.note(What.VERDICT, message, other="answered", text=text)

    def _verdict(self, message: int, error: BaseException) -> None:
        verdict = error.verdict if isinstance(error, DeliveryError) else "failed"
        self.note(What.VERDICT, message, other=verdict, text=type(error).__name__)

    def _shown(self, value: Any) -> str:
        if isinstance(value, Proxy):
            return self.place(value.sp_url)
        if isinstance(value, Down):
            reason = value.reason
            return reason if isinstance(reason, str) else type(reason).__name__
        return str(value) if value is None or isinstance(value, (int, str)) else "…"


def _noting(notes: Notes) -> type[Cell]:
    """Return a class of records that notes what is put into their mailboxes."""

    class NotingCell(Cell):
        __slots__ = ()

        def put(self, message: Promise) -> None:
            super().put(message)
            number = message.args[0] if message.args else None
            is_refused = type(self.runner) is Ended and self.runner.kept is None
            if type(number) is int and not is_refused:
                notes.queued(self, number)

    return NotingCell
