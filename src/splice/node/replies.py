"""Replies: how an exchange answers another node, and how much its messages weigh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from splice.actor.promise import VALUE, Promise
from splice.errors import DeliveryError
from splice.net.codec import buffer_count
from splice.net.outbound import ENTRY_BYTES

if TYPE_CHECKING:
    from splice.actor.coroutine import Drawn
    from splice.net.peers import Peer
    from splice.node.exchange import Exchange

_SIZED: Final = frozenset({str, bytes})


class Reply:
    """Sends the outcome of a request back to the node that asked."""

    __slots__ = ("exchange", "ident", "owing", "peer")

    def __init__(
        self, exchange: Exchange, peer: Peer, ident: int, owing: dict[int, Promise]
    ) -> None:
        self.exchange = exchange
        self.peer = peer
        self.ident = ident
        self.owing = owing

    def settled(self, promise: Promise) -> None:
        """Send the answer."""
        self.owing.pop(self.ident, None)
        self.exchange.send_response(self.peer, self.ident, promise)

    def note_drawer(self, coroutine: Drawn) -> None:
        """Take note that the asker draws values out of `coroutine`."""
        self.exchange.note_drawer(self.peer, coroutine)


def is_reply(peer: Peer, ident: int, waiter: Any) -> bool:
    """Tell whether `waiter`, or one of them, answers that request of `peer`."""
    if type(waiter) is list:
        return any(is_reply(peer, ident, one) for one in waiter)
    return (
        type(waiter) is Reply
        and waiter.ident == ident
        and waiter.peer.incarnation == peer.incarnation  # a node may have two handles
    )


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
