"""Replies: what becomes of another node's messages here, and how much they weigh.

A message from afar has its `Reply` or `Receipt` for a waiter: it is told when the message was
handled, or never will be, and gives its credit back then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

from splice.actor.endings import report_unasked
from splice.actor.promise import ERROR, VALUE, Promise
from splice.errors import DeliveryError, ProcessStopped, SpliceError
from splice.message import RESPONSE, Entry
from splice.net.codec import buffer_count, encode, encode_error
from splice.net.outgoing import ENTRY_BYTES
from splice.net.passing import Decoded

if TYPE_CHECKING:
    from splice.actor.coroutine import Drawn
    from splice.actor.scheduler import Scheduler
    from splice.net.peers import Peer, Peers
    from splice.net.window import Credit
    from splice.node.exchange import Exchange

_SIZED: Final = frozenset({str, bytes})


class Receipt:
    """Gives back the credit of a tell; those of one size and credit share it."""

    __slots__ = ("credit", "peer", "receipts", "size")

    is_deaf: ClassVar[bool] = True

    def __init__(
        self, receipts: Receipts, peer: Peer, credit: Credit, size: int
    ) -> None:
        self.receipts = receipts
        self.peer = peer
        self.credit = credit
        self.size = size

    def settled(self, message: Promise) -> None:
        """Take note that the message was handled; nobody asked for its outcome."""
        credit = (
            self.credit
        )  # as in `give_back`: two calls more would be a tenth of a tell
        if not credit.handled:
            self.receipts.note(self.peer, credit)
        credit.handled += 1
        credit.handled_bytes += self.size
        if message.state == ERROR:
            _log_failure(message)

    def handed_on(self, message: Promise) -> None:
        """Take note that the handler waits, or is done and its answer a promise."""
        self.give_back()
        message.waiter = _Unasked()

    def give_back(self) -> None:
        """Let the other node send as much again, when this turn ends."""
        credit = self.credit
        if not credit.handled:
            self.receipts.note(self.peer, credit)
        credit.handled += 1
        credit.handled_bytes += self.size


class Receipts:
    """Makes the receipts of one node, and settles them once a turn."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._last: Receipt | None = None
        self._handled: list[tuple[Peer, Credit]] = []

    def make(self, peer: Peer, size: int) -> Receipt:
        """Return the receipt of a message: the last one again, nearly always."""
        credit, last = peer.credit, self._last
        if last is None or last.credit is not credit or last.size != size:
            last = self._last = Receipt(self, peer, credit, size)
        return last

    def note(self, peer: Peer, credit: Credit) -> None:
        """Take note that mail of `peer` was handled, or never will be."""
        self._handled.append((peer, credit))
        if not (self._scheduler.scheduled or self._scheduler.is_closed):
            self._scheduler.schedule()  # its turn ends with a flush

    def settle(self, peers: Peers) -> None:
        """Give back the credit of what was handled since the last time."""
        handled, self._handled = self._handled, []
        for peer, credit in handled:
            peers.consumed(peer, credit)


class _Unasked:
    """Looks at the outcome of a tell that nobody asked for."""

    __slots__ = ()

    is_deaf: ClassVar[bool] = True

    def settled(self, message: Promise) -> None:
        if message.state == ERROR:
            _log_failure(message)


def _log_failure(message: Promise) -> None:
    message.look()
    error = message.value
    # that its process has ended was never raised: as of a tell near, it is a dead letter, or
    # nobody's loss where the message was at hand
    if (
        message.traceback is None
        and type(error) is ProcessStopped
        and message.target.has_ended
    ):
        return
    report_unasked(message, error)


class Reply:
    """Sends the outcome of a request back to the node that asked."""

    __slots__ = ("exchange", "ident", "is_given_back", "owing", "receipt")

    def __init__(
        self,
        exchange: Exchange,
        receipt: Receipt,
        ident: int,
        owing: dict[int, Promise],
    ) -> None:
        self.exchange = exchange
        self.receipt = receipt
        self.ident = ident
        self.owing = owing
        self.is_given_back = False

    @property
    def peer(self) -> Peer:
        """The node that asked."""
        return self.receipt.peer

    @property
    def is_vain(self) -> bool:
        """The node that asked was lost since: it waits for no answer."""
        return self.exchange.owing.get(self.peer) is not self.owing

    def settled(self, message: Promise) -> None:
        """Send the answer."""
        self.owing.pop(self.ident, None)
        self.exchange.send_response(self.receipt.peer, self.ident, message)
        if not self.is_given_back:
            self.receipt.give_back()

    def handed_on(self, message: Promise) -> None:
        """Take note that the handler waits, or is done and its answer a promise."""
        if not self.is_given_back:
            self.give_back()

    def give_back(self) -> None:
        """Let the other node send as much again, though the answer is not there yet."""
        self.is_given_back = True
        self.receipt.give_back()

    def note_drawer(self, coroutine: Drawn) -> None:
        """Take note that the asker draws values out of `coroutine`."""
        self.exchange.drawers.note(self.peer.incarnation, coroutine)


class Verdict:
    """Settles the promise that a cancel came in time, when the other node has told."""

    __slots__ = ("message", "verdict")

    def __init__(self, verdict: Promise, message: Promise) -> None:
        self.verdict = verdict
        self.message = message

    def settled(self, word: Promise) -> None:
        """Pass the word of the other node on."""
        came_in_time = word.state == VALUE and word.value is True
        if came_in_time:
            self.message.look()  # it has failed as was wanted: that is no news
        self.verdict.resolve(came_in_time)


def size_of_request(args: Any, kwargs: Any, name: str, buffers: list[Any]) -> int:
    """Return roughly what a request or tell takes; both nodes count the same."""
    size = ENTRY_BYTES + len(name)
    if type(args) is tuple and not buffers:  # as in `size_with`, and nearly always
        for value in args:
            if type(value) in _SIZED:
                size += len(value)
    else:
        size += size_with(args, buffers) - ENTRY_BYTES
    if kwargs:
        size += size_with(tuple(kwargs.values()), []) - ENTRY_BYTES
    return size


def size_with(payload: Any, buffers: list[Any]) -> int:
    """Return roughly what a message takes; `net.outbound.size_of` would look at all of it."""
    size = ENTRY_BYTES
    kind = type(payload)
    if kind is tuple:
        for value in payload:
            if type(value) in _SIZED:
                size += len(value)
    elif kind is list:
        size += len(payload[1] or b"")
    elif kind is Decoded:
        return int(payload.size)
    elif kind in _SIZED:
        size += len(payload)
    for buffer in buffers:
        size += memoryview(buffer).nbytes
    return size


def skip(payload: Any, supply: Iterator[Any]) -> None:
    """Pass over the buffers of a payload that nobody wants."""
    for _ in range(buffer_count(payload)):
        next(supply)


def again(error: DeliveryError) -> DeliveryError:
    """Return a copy: one error object for each promise, for raising one adds to its traceback."""
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def answer(ident: int, promise: Promise, node: Any, buffers: list[Any]) -> Entry:
    """Return the message that answers request `ident`; its buffers are added to `buffers`."""
    if promise.state == VALUE:
        try:
            return RESPONSE, ident, True, encode(promise.value, buffers)
        except SpliceError as error:
            buffers.clear()
            return RESPONSE, ident, False, encode_error(error, buffers)
    note = f"raised by {promise.describe()} on {node}"
    return RESPONSE, ident, False, encode_error(promise.value, buffers, note=note)
