"""Flight: a frame that is on its way to another node; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from splice.net.frames import Kind
from splice.net.wire import Buffer

if TYPE_CHECKING:
    from splice.net.outgoing import Outgoing


class Flight:
    """A frame that was numbered, and is kept until it is acknowledged.

    Attributes:
        kind: MAIL, or a PLAN or PIECE of a large message.
        parts: what stands behind the header.
        messages: that have arrived with it.
        ack: acknowledgement in its header, 0 for none; what we refused of the other side's
            frames up to there is told in this frame or an earlier one.
        size: bytes, for the backlog.
        cost: bytes of credit that it uses.
        requests: messages that the receiver gives back as credit.
        tries: how often it was given to the wire.
    """

    __slots__ = (
        "ack",
        "cost",
        "kind",
        "messages",
        "parts",
        "requests",
        "sequence",
        "size",
        "tries",
    )

    def __init__(
        self,
        sequence: int,
        kind: Kind,
        parts: list[Buffer],
        messages: list[Outgoing],
        *,
        size: int = 0,
        cost: int = 0,
        requests: int = 0,
    ) -> None:
        self.sequence = sequence
        self.kind = kind
        self.parts = parts
        self.messages = messages
        self.size = size
        self.cost = cost
        self.requests = requests
        self.ack = 0
        self.tries = 0
