"""Wire: the seam between channels and sockets.

`Peers` decides what to say to whom and speaks over a `Wire`; `Endpoint` is one of sockets,
`splice.testing.wire` one in memory.  A *connection* is a number that the wire chose; a
dialled and an accepted one look alike, and no number is used twice::

    Peers --dial, send, hang_up, pump, close--> Wire
          <------on_up, on_parts, on_down------

All of it happens on the node's loop (or inside `pump`, which stands in for it).  A wire
calls its listener from the loop or from `pump`, never out of one of the other calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

Buffer = bytes | bytearray | memoryview
"""One part of what travels at once."""


class Down(Enum):
    """Why a connection stands no more, or never did."""

    REFUSED = "refused"
    """Nobody listens at that address."""

    DENIED = "denied"
    """Somebody listens, and the transport's own keys do not fit."""

    SILENT = "silent"
    """Somebody listens, takes the connection, and does not shake hands."""

    DROPPED = "dropped"
    """It broke, or the other end has hung up, or nothing came back in time."""


class Wire(Protocol):
    """What carries parts between nodes."""

    addresses: tuple[str, ...]
    """Where others reach this node: tcp first, then ipc."""

    def dial(self, address: str) -> int:
        """Begin to connect and return the connection's number; on_up or on_down follows."""
        ...

    def send(self, connection: int, parts: Sequence[Buffer]) -> bool:
        """Send all parts or, when the connection is full or gone, nothing: then False.

        A connection that turns out to be gone is reported by `Listener.on_down` as well.
        """
        ...

    def hang_up(self, connection: int) -> None:
        """Forget the connection; what was sent before may still arrive."""
        ...

    def pump(self, timeout: float) -> None:
        """Serve the sockets by hand while the loop stands still, for `timeout` s at most."""
        ...

    def close(self, linger: float) -> None:
        """Close everything; what was sent gets `linger` seconds to leave."""
        ...


class Listener(Protocol):
    """What a wire tells; implemented by `Peers`."""

    def on_up(self, connection: int) -> None:
        """A dialled connection stands: the transport's own handshake has passed."""
        ...

    def on_parts(self, connection: int, parts: list[Buffer]) -> None:
        """Parts have come; an unknown number means that somebody dialled us."""
        ...

    def on_down(self, connection: int, cause: Down) -> None:
        """The connection is gone; its number means nothing any more."""
        ...
