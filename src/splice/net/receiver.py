"""Receiver: what `Peers` tells its node; all of it on the node's loop."""

from __future__ import annotations

from typing import Protocol

from splice.errors import DeliveryError
from splice.message import Entry
from splice.net.outgoing import Outgoing
from splice.net.peer import Peer
from splice.net.wire import Buffer


class Receiver(Protocol):
    """What Peers tells; implemented by the node.

    None of these may call `Peers.pump`; sending is welcome.
    """

    def on_batch(self, peer: Peer, entries: list[Entry], buffers: list[Buffer]) -> None:
        """Put messages into their mailboxes; they count as delivered when it returns.

        Each request and tell is given back by `Peers.consumed` when it was handled.

        Raises:
            FrameError: one of them has not the form of a message.
        """
        ...

    def on_delivered(self, peer: Peer, messages: list[Outgoing]) -> None:
        """These have arrived: those sent with a `delivery`, and no others."""
        ...

    def on_failed(
        self, peer: Peer, messages: list[Outgoing], error: DeliveryError
    ) -> None:
        """These have not arrived, or nobody knows: see ``error.verdict``."""
        ...

    def on_lost(self, peer: Peer, error: DeliveryError) -> None:
        """Nothing that was asked of that node before will be answered."""
        ...

    def on_merged(self, peer: Peer, into: Peer) -> None:
        """`peer` is another handle of `into` from now on."""
        ...
