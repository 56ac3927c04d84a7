"""Farewell: how long a node that ends waits for what it has sent to arrive.

What was handed to ZeroMQ arrives by itself, for the end of a connection waits for it.  But mail may
still wait for credit or for a connection, a large message is cut piece by piece, and a tell whose
acknowledgement has not come would be reported as lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from splice.net.peer import Peer

CONNECT_SECONDS: Final = 1.0
"""For a node that was not reached yet; a connection takes milliseconds, where there is anybody."""

LOOK_SECONDS: Final = 0.005
"""Between two looks whether all has arrived: nobody feels it at the end of a program."""


class Farewell:
    """Tells when there is nothing to wait for any more.

    What is sent after this was made is not waited for: a program may never be quiet.

    Args:
        peers: the nodes that messages were sent to.
        clock: of the loop that waits.
        patience: seconds in which something must arrive, or nothing more is expected to.
    """

    def __init__(
        self, peers: Iterable[Peer], clock: Callable[[], float], patience: float
    ) -> None:
        self._clock = clock
        self._begun = self._moved = clock()
        self._patience = patience
        self._marks = {peer: _end_of(peer) for peer in peers}
        self._heard = self._sum()

    async def over(self) -> None:
        """Wait until there is nothing to wait for."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look() -> None:
            if self.is_over():
                over.set()
            else:
                loop.call_later(LOOK_SECONDS, look)

        look()
        await over.wait()

    def is_over(self) -> bool:
        """Tell whether all has arrived, or what has not is not going to."""
        self._move_marks()
        now, heard = self._clock(), self._sum()
        if heard != self._heard:
            self._heard, self._moved = heard, now
        if now >= self._moved + self._patience:
            return True
        is_late = now >= self._begun + CONNECT_SECONDS
        return all(
            peer.outbound.is_heard
            or peer.outbound.heard_bytes >= mark
            or (is_late and not peer.is_connected)
            for peer, mark in self._marks.items()
        )

    def _move_marks(self) -> None:
        """Wait for no more than there is, and for the node that a peer turned out to be."""
        for peer in list(self._marks):
            if peer.line is peer:
                self._marks[peer] = min(self._marks[peer], _end_of(peer))
            else:
                del self._marks[peer]
                self._marks[peer.line] = _end_of(peer.line)

    def _sum(self) -> int:
        """Return how many bytes have arrived of those that are waited for."""
        return sum(
            min(peer.outbound.heard_bytes, mark) for peer, mark in self._marks.items()
        )


def _end_of(peer: Peer) -> int:
    """Return what `heard_bytes` will be when all has arrived that was sent until now."""
    return peer.outbound.heard_bytes + peer.outbound.backlog_bytes
