"""Window: how much mail from afar a node holds, and how it is lent to those that send; pure.

::

    Window ---lends---> Credit ---granted---> header ---> Outbound of the other side
      '<--given back-- (one for each node, in each epoch)

Credit is counted in bytes from the beginning of an epoch, so a grant that gets lost is made good
by the next one.  A grant cannot be taken back; so what is lent is counted, and a newcomer gets
what is left of the window, `FIRST_CREDIT` at least, until those before it have given some back.
Mail counts until it was handled, also when the node that sent it is lost meanwhile.
"""

from __future__ import annotations

from typing import Final

FIRST_CREDIT: Final = 1024 * 1024
"""Bytes of mail that may be sent before the receiver has said how many it takes: a few full
frames, so that a flood starts at once, and little beside the window of a node."""

SPARED: Final = 256 * 1024
"""Bytes that others may still send while a large message has used up all credit, until that was
handled: a full frame, so that they are not kept waiting, and little beside what was let in."""

SHARES: Final = 4
"""Nodes among which the window is divided at least: it must not be one node's alone."""


class Window:
    """The bytes of mail that a node takes in from all others before it has handled them.

    Args:
        total: how many.
        shares: among how many nodes they are divided at least.
        least: what a node gets even when nothing is left, so that none waits for another.

    Attributes:
        lent: bytes that were granted and not used, or not handled.
        borrowers: nodes that have credit now.
    """

    def __init__(
        self, total: int, *, shares: int = SHARES, least: int = FIRST_CREDIT
    ) -> None:
        self.total = total
        self.lent = 0
        self.borrowers = 0
        self._shares = shares
        self._least = least

    def room_for(self, held: int) -> int:
        """Return what a borrower that holds `held` bytes may hold from now on; never less."""
        share = self.total // max(self._shares, self.borrowers)
        left = self.total - self.lent + held
        return max(held, self._least, min(share, left))


class Credit:
    """What one node may send in one epoch.

    Attributes:
        granted: bytes that it may send, counted from the epoch's beginning.
        advertised: as many as it has been told of.
        handled: requests and tells that were handled, until they are given back.
        handled_bytes: and their bytes.
    """

    __slots__ = (
        "_given_back",
        "_is_open",
        "_out",
        "_requests",
        "_window",
        "advertised",
        "granted",
        "handled",
        "handled_bytes",
    )

    def __init__(self, window: Window) -> None:
        self.granted = 0
        self.advertised = 0
        self._window = window
        self._is_open = False
        self._given_back = 0
        self._out = 0
        self._requests = 0
        self.handled = 0
        self.handled_bytes = 0

    def begin(self) -> None:
        """Lend it the first bytes: a connection stands."""
        self._is_open = True
        self._window.borrowers += 1
        self._borrow()

    def end(self) -> None:
        """Lend no more: the epoch is over; what was received counts until it is handled."""
        self._is_open = False
        self._window.borrowers -= 1
        self._window.lent += self._out - self._held

    def take_in(self, cost: int, requests: int) -> None:
        """Note mail that has come; answers alone cost nothing, and change nothing."""
        if cost or requests or self._out:
            self._out += cost
            self._requests += requests
            self._settle(0)

    def give_back(self) -> None:
        """Let as much come again as was handled since the last time."""
        self._requests = max(0, self._requests - self.handled)
        size = min(self.handled_bytes, self._out)
        self.handled = self.handled_bytes = 0
        self._settle(size)

    def drop(self, requests: int, size: int) -> None:
        """Give back mail that will never be handled."""
        self.handled += requests
        self.handled_bytes += size
        self.give_back()

    @property
    def is_worth_telling(self) -> bool:
        """The grant has grown so much that the other side should hear of it now."""
        grown = self.granted - self.advertised
        left = self._held
        if self._out > left:  # a large message has used it up, and there is no more
            left = min(left, SPARED)
        return grown > 0 and grown >= left // 4

    @property
    def _held(self) -> int:
        return self.granted - self._given_back

    def _settle(self, size: int) -> None:
        if not self._requests:
            size = self._out  # of signals, too, which nobody gives back by itself
        self._out -= size
        self._given_back += size
        self._window.lent -= size
        if self._is_open:
            self._borrow()

    def _borrow(self) -> None:
        held = self.granted - self._given_back
        more = self._window.room_for(held) - held
        self._window.lent += more
        self.granted += more
