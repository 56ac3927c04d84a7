"""What a channel wants done, and why messages fail; carried out by `Peers` in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from splice.errors import DeliveryError, NodeLost, Verdict
from splice.net.outgoing import Outgoing
from splice.net.wire import Buffer

Fate = Literal["ended", "frozen", "cut off"]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why messages failed.

    Attributes:
        error: what is raised.
        text: the rest of a sentence that begins with the address of the node.
        is_final: that incarnation can never come back.
        fate: what has become of the node, as far as one can tell from here; cut off is one
            with which no word gets through, for whatever reason.
    """

    error: type[DeliveryError]
    text: str
    is_final: bool = False
    fate: Fate = "cut off"

    def as_error(self, address: str, verdict: Verdict) -> DeliveryError:
        """Return the error for messages to `address`."""
        text = f"{address} {self.text}"
        if issubclass(self.error, NodeLost):
            return self.error(text, node=address, verdict=verdict)
        return self.error(text, verdict=verdict)


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send the parts; when the wire does not take them, say so to `Channel.on_full`."""

    connection: int
    parts: list[Buffer]
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class HangUp:
    """Hang up that connection."""

    connection: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand the batch to the node, then call `Channel.on_delivered`."""

    batch: Buffer
    buffers: list[Buffer] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delivered:
    """These messages have arrived."""

    messages: list[Outgoing]


@dataclass(frozen=True, slots=True)
class Failed:
    """These messages have not arrived, or nobody knows."""

    messages: list[Outgoing]
    verdict: Verdict
    cause: Cause


@dataclass(frozen=True, slots=True)
class Lost:
    """The epoch has ended: nothing that was asked in it will be answered."""

    cause: Cause


Action = Transmit | HangUp | Deliver | Delivered | Failed | Lost
