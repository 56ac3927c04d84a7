"""Inbound: what has come from one node in one epoch, and what it may send; pure.

Each frame of mail is the next one, or was seen before, or shows that one is missing.  What
was *received* counts as *delivered* only when it stands in the mailboxes of this node, and
only then it may be acknowledged: an acknowledged message is not lost with the connection.
How much may come is the `Credit`.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

from splice.net.bulk import Assembly
from splice.net.frames import Header, Kind
from splice.net.window import Credit, Window
from splice.net.wire import Buffer

ACK_FRAMES: Final = 16
"""Frames after which an acknowledgement waits no longer: the sender keeps them all, 4 MiB of
full ones, a sixteenth of a channel's backlog."""


PIECE_WEIGHT: Final = 7
"""Frames that a piece of a large message counts for besides itself: every second one is
acknowledged at once, for the sender has only a few on the way."""


class Standing(Enum):
    """What a frame of mail is to those that came before it."""

    NEXT = "next"
    SEEN = "seen"
    AHEAD = "ahead"


class Inbound:
    """One direction of a channel, from the receiver's point of view.

    Args:
        window: where its credit comes from.
    """

    def __init__(self, window: Window) -> None:
        self.credit = Credit(window)
        self.received = 0
        self.delivered = 0
        self.ack_due = inf
        self._unacked_frames = 0
        self._assembly = Assembly()
        self._asked: tuple[int, float] = (-1, -inf)

    def judge(self, sequence: int) -> Standing:
        """Tell whether a frame is the next one."""
        if sequence <= self.received:
            return Standing.SEEN
        return Standing.NEXT if sequence == self.received + 1 else Standing.AHEAD

    def accept(self, header: Header, parts: list[Buffer]) -> list[Buffer] | None:
        """Take in the next frame; return the batch and the buffers that have come with it.

        They are not delivered yet.  None: it is part of a larger message.

        Raises:
            FrameError: a piece that does not fit.
        """
        self.received = header.sequence
        if header.kind is Kind.PLAN:
            self._drop_assembly()
            self._assembly.begin(parts[0], header.requests)
        self.credit.take_in(header.cost, header.requests)
        if header.kind is Kind.MAIL:
            return parts
        self._unacked_frames += PIECE_WEIGHT
        if header.kind is Kind.PLAN:
            return None
        whole = self._assembly.add(parts[0])
        if whole is not None:
            self._assembly = Assembly()
        return whole

    def end(self) -> None:
        """Take in no more: the epoch is over."""
        self.credit.end()
        self._drop_assembly()

    def _drop_assembly(self) -> None:
        """Give up what has come of a large message: nobody will ever handle it."""
        dropped, self._assembly = self._assembly, Assembly()
        if dropped.requests:
            self.credit.drop(dropped.requests, dropped.size)

    def confirm(self, now: float, delay: float) -> None:
        """Note that what was received is delivered; acknowledge it `delay` seconds later.

        Or now, where many frames have not been acknowledged.
        """
        self.delivered = self.received
        self._unacked_frames += 1
        when = now if self._unacked_frames >= ACK_FRAMES else now + delay
        self.ack_due = min(self.ack_due, when)

    def remind(self, when: float) -> None:
        """Let an acknowledgement go out at `when` at the latest."""
        self.ack_due = min(self.ack_due, when)

    def told(self, ack: int) -> None:
        """Note what a header has just told the other side."""
        self.credit.advertised = self.credit.granted
        if ack == self.delivered:
            self._unacked_frames = 0
            self.ack_due = inf

    def asks_again(self, now: float, interval: float) -> bool:
        """Tell whether to ask for what is missing: once, and again after `interval`."""
        received, when = self._asked
        if received == self.received and now < when + interval:
            return False
        self._asked = (self.received, now)
        return True
