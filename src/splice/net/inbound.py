"""Inbound: what has come from one node in one epoch, and what it may send; pure.

Each frame of mail is the next one, or was seen before, or shows that one is missing.  What
was *received* counts as *delivered* only when it stands in the mailboxes of this node, and
only then it may be acknowledged: an acknowledged message is not lost with the connection.

Credit is counted in bytes from the beginning of the epoch, so a grant that gets lost is made
good by the next one: it may send what was given back, and a window more.  The node gives
back requests, not bytes: each takes its share of what is out, and the last one the rest, so
the account is even again whenever no request is left.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

from splice.net.frames import Header

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
        window: bytes of mail that may be out: received, and not given back.
        stale: requests of an earlier epoch that have not been given back.
    """

    def __init__(self, window: int, stale: int = 0) -> None:
        self.window = window
        self.received = 0
        self.delivered = 0
        self.granted = window
        self.advertised = 0
        self.ack_due = inf
        self._unacked_frames = 0
        self._cost_out = 0
        self._requests_out = 0
        self._given_back = 0
        self._stale = stale
        self._asked: tuple[int, float] = (-1, -inf)

    @property
    def requests_out(self) -> int:
        """Requests that the node has got and not given back, of earlier epochs too."""
        return self._requests_out + self._stale

    def judge(self, sequence: int) -> Standing:
        """Tell whether a frame is the next one."""
        if sequence <= self.received:
            return Standing.SEEN
        return Standing.NEXT if sequence == self.received + 1 else Standing.AHEAD

    def accept(self, header: Header) -> None:
        """Take in the next frame; it is not delivered yet."""
        self.received = header.sequence
        self._cost_out += header.cost
        self._requests_out += header.requests
        self._settle()

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
        self.advertised = self.granted
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

    @property
    def is_worth_telling(self) -> bool:
        """The grant has grown so much that the other side should hear of it now."""
        return self.granted - self.advertised >= self.window // 4

    def give_back(self, requests: int) -> None:
        """Take back the credit of some requests that were handled."""
        stale = min(self._stale, requests)
        self._stale -= stale
        requests = min(requests - stale, self._requests_out)
        if requests:
            share = self._cost_out * requests // self._requests_out
            self._cost_out -= share
            self._given_back += share
            self._requests_out -= requests
        self._settle()

    def _settle(self) -> None:
        if not self._requests_out:
            self._given_back += self._cost_out
            self._cost_out = 0
        self.granted = max(self.granted, self._given_back + self.window)
