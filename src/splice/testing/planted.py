"""Planted: known defects, put into splice on purpose to see that the simulator finds them.

``scripts/simulate --seeds 500 --plant skip-deduplication`` tells in how many seeds it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from splice.errors import DeliveryError
from splice.message import Entry
from splice.net.channel import Channel
from splice.net.frames import Header
from splice.net.inbound import Standing
from splice.net.outbound import Outbound
from splice.net.outgoing import Outgoing
from splice.net.peer import Peer
from splice.node.exchange import Exchange
from splice.node.remote import Dialogue
from splice.node.replies import Reply

ENQUEUE_SECONDS: Final = 0.002
"""How much later than its acknowledgement a message comes into its mailbox, when that is
planted: a turn of a busy loop."""

Patch = tuple[type, str, Callable[..., Any]]


def _skip_deduplication() -> Patch:
    original = Channel._standing_of

    def standing_of(self: Channel, mail: Header) -> Standing:
        standing = original(self, mail)
        return Standing.NEXT if standing is Standing.SEEN else standing

    return Channel, "_standing_of", standing_of


def _acknowledge_early() -> Patch:
    original = Exchange.on_batch

    def on_batch(
        self: Exchange, peer: Peer, entries: list[Entry], buffers: list[Any]
    ) -> None:
        def enqueue() -> None:
            if not self._scheduler.is_closed:
                original(self, peer, entries, buffers)

        self._loop.call_later(ENQUEUE_SECONDS, enqueue)

    return Exchange, "on_batch", on_batch


def _reuse_number() -> Patch:
    original = Outbound._number

    def number(self: Outbound) -> int:
        given = original(self)
        return given - 1 if given % 7 == 6 else given

    return Outbound, "_number", number


def _resend_after_loss() -> Patch:
    original = Exchange.on_failed

    def on_failed(
        self: Exchange, peer: Peer, messages: list[Outgoing], error: DeliveryError
    ) -> None:
        known = self._dialogues.get(peer)
        if known is None or self._scheduler.is_closed or peer.incarnation is None:
            original(self, peer, messages, error)
            return
        successor = self._node.open().reach(peer.address)
        if successor.incarnation is not None:  # nobody new is to be expected
            original(self, peer, messages, error)
            return
        dialogue = self._dialogues.setdefault(successor, Dialogue(successor))
        for message in messages:
            promise = known.asked.pop(message.entry[1], None)
            if promise is not None:
                dialogue.asked[message.entry[1]] = promise
                successor.send(message)

    return Exchange, "on_failed", on_failed


def _lose_answer() -> Patch:
    original = Reply.settled

    def settled(self: Reply, promise: Any) -> None:
        if self.ident % 50 == 7:
            self.owing.pop(self.ident, None)
        else:
            original(self, promise)

    return Reply, "settled", settled


PLANTS: Final[dict[str, Callable[[], Patch]]] = {
    "skip-deduplication": _skip_deduplication,
    "acknowledge-early": _acknowledge_early,
    "reuse-number": _reuse_number,
    "resend-after-loss": _resend_after_loss,
    "lose-answer": _lose_answer,
}
"""What can be planted, by the name of what is done wrong."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Put a defect into splice for the time of the block; none for an empty name."""
    if not name:
        yield
        return
    owner, attribute, replacement = PLANTS[name]()
    original = getattr(owner, attribute)
    setattr(owner, attribute, replacement)
    try:
        yield
    finally:
        setattr(owner, attribute, original)
