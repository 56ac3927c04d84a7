"""Share: one work, as the ledger sees it, and how much of it a worker may have in stock; pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from splice.cluster.batches import Batch, Pace

AHEAD_SECONDS: Final = 0.01
"""Seconds of work that a worker has in stock: several round trips of a busy hub."""

STOCK: Final = 2
"""Batches that a worker has at least, the one in work included: while one is worked on, the next
is on its way."""

AHEAD_BATCHES: Final = 1024
"""Batches that a worker has at most: they are what is given out again with it.  Only those of
microseconds are so many; a worker's node gets the interpreter once in a millisecond beside its
work, and a stock must last longer than that."""

STREAM_BATCHES: Final = 128
"""The same for a work whose input may be endless: no more of it is read than is of use."""

AHEAD_BYTES: Final = 16 * 2**20
"""Bytes of such a stock, answers included: what takes no time may still fill the memory."""

CAUTION_BITS: Final = 5
"""After each loss of a worker the others get so much less at once, by powers of two: of what was
with it nobody knows which one ended it, and each further loss tells only a few apart.  From
1,024 batches to 32, then to two."""


class Share:
    """One work, as the ledger sees it.

    Args:
        pace: what its items have cost.
        retries: how often an item is given out again, after deaths of workers and retries.
        chunksize: items in a batch where the user has fixed that.

    Attributes:
        waiting: batches to be given out.
        uncut: items that are still to come, None where nobody knows.
        is_fed: no more come; batches that are given out again may.
        out: batches in somebody's hands whose outcome counts.
        unread: batches whose outcome the user has not taken yet.
        losses: workers that were lost with some of it, since it was last at rest.
        is_windowed: what the user has not taken is waited for, so that it stays bounded.
    """

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        retries: int = 2,
        chunksize: int | None = None,
        is_windowed: bool = False,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries is at least 0, got {retries!r}")
        self.pace = pace or Pace()
        self.retries = retries
        self.chunksize = chunksize
        self.is_windowed = is_windowed
        self.waiting: deque[Batch] = deque()
        self.uncut: int | None = 0
        self.is_fed = False
        self.out = 0
        self.unread = 0
        self.losses = 0

    @property
    def is_finished(self) -> bool:
        """Whether every item has had its outcome."""
        return self.is_fed and not self.waiting and not self.out

    def stock(self) -> int:
        """Return how many batches a worker should have, as far as that is known."""
        seconds = self.pace.seconds_for(self.chunksize) if self.chunksize else None
        if seconds is None:
            return STOCK
        return max(STOCK, min(self.most(), int(AHEAD_SECONDS / max(seconds, 1e-9))))

    def most(self) -> int:
        """Return how many batches a worker may have, however quick they are."""
        most = STREAM_BATCHES if self.is_windowed else AHEAD_BATCHES
        most = max(STOCK, most >> (CAUTION_BITS * self.losses))
        size_bytes = self.pace.bytes_for(self.chunksize or 1)
        if size_bytes * most <= AHEAD_BYTES:
            return most
        return max(STOCK, int(AHEAD_BYTES / size_bytes))

    def is_tail(self, workers: int) -> bool:
        """Whether the rest must wait for whoever is free, and not behind a long batch."""
        if self.uncut is None:
            return False
        batches = len(self.waiting)
        if self.uncut:
            batches += -(-self.uncut // (self.chunksize or self.pace.size(self.uncut)))
        return batches <= STOCK * workers
