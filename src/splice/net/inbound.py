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

from splice.net.frames import Header
from splice.net.window import Credit, Window

ACK_FRAMES: Final = 16
"""Frames after which an acknowledgement waits no longer: the sender keeps them all, 4 MiB of
full ones, a sixteenth of a channel's backlog."""


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
        self._asked: tuple[int, float] = (-1, -inf)

    def judge(self, sequence: int) -> Standing:
        """Tell whether a frame is the next one."""
        if sequence <= self.received:
            return Standing.SEEN
        return Standing.NEXT if sequence == self.received + 1 else Standing.AHEAD

    def accept(self, header: Header) -> None:
        """Take in the next frame; it is not delivered yet."""
        self.received = header.sequence
        self.credit.take_in(header.cost, header.requests)

    def confirm(self) -> bool:
        """Note that what was received is delivered; True: acknowledge at once."""
        self.delivered = self.received
        self._unacked_frames += 1
        return self._unacked_frames >= ACK_FRAMES

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
