"""Ledger: who holds which batches of which work, and who gets the next; pure.

Events in, decisions out, no clock and no I/O.  `cluster.hub` tells it what happens and carries
out what it says::

    supply, add, done, lost, returned, cancel ──▶ Ledger ──give──▶ who gets which batch
                                                         ──recall─▶ what an idle worker could do

*Work* is a map, or all single calls of a session together.  Works take turns, batch by batch, so
a long map does not keep a short one waiting.  A worker has a little in stock, so that it need not
wait for the next message; another one that has nothing to do gets from its stock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Generic, TypeVar

from splice.cluster.batches import FLOOR_SECONDS, Batch
from splice.cluster.share import AHEAD_SECONDS, STOCK, Share

RUN: Final = 16
"""Batches that a worker gets in a row beside its stock, if together they last `FLOOR_SECONDS` at
most: to look for the neediest worker costs as much as to give it something."""

HYSTERESIS: Final = 4
"""The caller is asked for more when this part of what should be there is missing: each waking of
its thread costs as much as some ten batches."""

W = TypeVar("W", bound=Hashable)


@dataclass(eq=False, slots=True)
class Given(Generic[W]):
    """A batch in the hands of a worker.

    Attributes:
        ticket: its number; no two of a session are alike.
        seconds: how long it is expected to take.
        is_pinned: it is for this worker and no other.
        is_recalled: the worker was asked to give it back if it has not begun.
        is_alone: it shares its worker with nothing else; see `is_alone`.
    """

    ticket: int
    worker: W
    share: Share
    batch: Batch
    seconds: float = 0.0
    is_pinned: bool = False
    is_recalled: bool = False
    is_alone: bool = False


def is_alone(share: Share, batch: Batch) -> bool:
    """Tell whether a batch must have a worker for itself.

    The answers that a worker gave last may be lost with it, so only a batch that had a worker
    for itself has surely ended it; and one that must not run twice has not begun behind another.
    """
    return share.retries == 0 or batch.losses > 0


@dataclass(eq=False, slots=True)
class _Desk(Generic[W]):
    """What one worker has, in the order in which it works on it.

    Attributes:
        left: how many more it may be given in its life, None for no limit.
    """

    left: int | None
    held: dict[int, Given[W]] = field(default_factory=dict)
    seconds: float = 0.0
    alone: int = 0
    is_retired: bool = False

    def put(self, given: Given[W]) -> None:
        if self.left is not None and not given.is_pinned:
            self.left -= 1
        self.held[given.ticket] = given
        self.seconds += given.seconds
        self.alone += given.is_alone

    def take(self, ticket: int) -> Given[W] | None:
        given = self.held.pop(ticket, None)
        if given is not None:
            self.alone -= given.is_alone
            # no drift: what is added and taken away in floats never comes out even
            self.seconds = self.seconds - given.seconds if self.held else 0.0
        return given


class Ledger(Generic[W]):
    """Who holds what, and who gets the next.

    After each event call `give` and carry it out, and then look at `Share.is_finished`.

    Args:
        life: batches that a worker is given at most, None for no limit.
    """

    def __init__(self, life: int | None = None) -> None:
        self._life = life
        self._desks: dict[W, _Desk[W]] = {}
        # A worker that might take more. In order of arrival, so that runs can be replayed.
        self._hungry: dict[W, None] = {}
        self._turns: deque[Share] = deque()
        self._tickets = count(1)

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._desks)

    def held_by(self, worker: W) -> list[Given[W]]:
        """Return what a worker has, in the order in which it works on it."""
        desk = self._desks.get(worker)
        return list(desk.held.values()) if desk else []

    def first_of(self, worker: W) -> Given[W] | None:
        """Return what a worker has in work, as far as we have heard."""
        desk = self._desks.get(worker)
        return next(iter(desk.held.values()), None) if desk else None

    def held(self) -> list[Given[W]]:
        """Return all that is in hands."""
        return [g for desk in self._desks.values() for g in desk.held.values()]

    # ---- works

    def supply(self, share: Share, batches: Iterable[Batch]) -> None:
        """There are new batches of a work."""
        if not (share.out or share.waiting):
            share.losses = 0
        share.waiting.extend(batches)
        self._line_up(share)

    def wanted(self, share: Share) -> int:
        """Return how many more batches of a work are to be supplied now."""
        if share.is_fed:
            return 0
        target = share.stock() * max(1, len(self._desks))
        present = len(share.waiting) + share.out
        missing = target - present
        if share.is_windowed:
            missing = min(missing, 2 * target - present - share.unread)
        return missing if missing * HYSTERESIS >= target else 0

    def cancel(self, share: Share) -> list[Given[W]]:
        """Give out no more of a work; return what is in hands, whose outcome is void."""
        share.waiting.clear()
        share.is_fed = True
        share.out = 0
        held = [given for given in self.held() if given.share is share]
        for given in held:
            given.batch.is_void = True
        return held

    def holder(self, batch: Batch) -> Given[W] | None:
        """Return in whose hands a batch is, or None."""
        return next((given for given in self.held() if given.batch is batch), None)

    def void(self, given: Given[W]) -> None:
        """The outcome of a batch is not wanted any more."""
        if not given.batch.is_void:
            given.batch.is_void = True
            given.share.out -= 1

    # ---- workers

    def add(self, worker: W) -> None:
        """A worker has come."""
        self._desks[worker] = _Desk(self._life)
        self._hungry[worker] = None

    def retire(self, worker: W) -> bool:
        """Give a worker no more; True when it has nothing left to do."""
        desk = self._desks[worker]
        desk.is_retired = True
        self._hungry.pop(worker, None)
        return not desk.held

    def is_used_up(self, worker: W) -> bool:
        """Tell whether a worker has done all that it may do in its life."""
        desk = self._desks.get(worker)
        return desk is not None and desk.left == 0 and not desk.held

    def done(
        self, worker: W, ticket: int, seconds: float, size_bytes: int = 0
    ) -> Given[W] | None:
        """A worker has answered a batch; None: it is not its own, ignore the answer.

        Args:
            size_bytes: of the answers.
        """
        given = self._take(worker, ticket)
        if given is not None:
            batch = given.batch
            size_bytes += batch.size_bytes
            given.share.pace.record(batch.count, seconds, size_bytes)
        return given

    def returned(self, worker: W, ticket: int) -> Given[W] | None:
        """A worker gives a batch back that it has not begun."""
        given = self._take(worker, ticket, is_begun=False)
        if given is not None and not given.batch.is_void and not given.is_pinned:
            self._give_back(given.share, [given.batch])
        return given

    def again(self, given: Given[W]) -> bool:
        """Give an answered batch out once more; False: it was, too often already."""
        batch = given.batch
        if batch.losses >= given.share.retries:
            return False
        batch.losses += 1
        self._give_back(given.share, [batch])
        return True

    def lost(self, worker: W, *, is_blameless: bool = False) -> list[Given[W]]:
        """A worker is gone; `is_blameless`: what it has at hand did not end it.

        Returns:
            What is not given out again; each of its items fails.  The rest goes first, what was
            in work cut into parts, so that an item that kills workers is singled out.
        """
        desk = self._desks.pop(worker, None)
        self._hungry.pop(worker, None)
        if desk is None:
            return []
        failed: list[Given[W]] = []
        for share in {given.share for given in desk.held.values()}:
            share.losses += 1
        # Workers keep the order: as far as we have heard, only the first was in work. The
        # others are not counted, or a killing item would take its neighbours with it. It
        # comes to an end all the same: each loss counts one.
        for place, given in reversed(list(enumerate(desk.held.values()))):
            batch, share = given.batch, given.share
            if batch.is_void:
                continue
            share.out -= 1
            is_suspect = place == 0 and not is_blameless
            if given.is_pinned or (is_suspect and batch.losses >= share.retries):
                failed.append(given)
            else:
                self._give_back(share, batch.split() if is_suspect else [batch])
        return failed

    # ---- decisions

    def pin(self, worker: W, share: Share, batch: Batch) -> Given[W]:
        """Hand a batch to this worker and to no other."""
        share.is_fed = True
        return self._hand(worker, share, batch, is_pinned=True)

    def give(self) -> list[Given[W]]:
        """Return who is to get which batch now; they count as given."""
        given: list[Given[W]] = []
        while self._hungry and self._turns:
            share = self._turns[0]
            while share.waiting and share.waiting[0].is_void:
                share.waiting.popleft()
            if not share.waiting:
                self._turns.popleft()
                continue
            worker = min(self._hungry, key=self._load)
            desk = self._desks[worker]
            if not self._fits(desk, share):
                del self._hungry[worker]
                continue
            row = _next_of(share.waiting, self._in_a_row(desk, share))
            given.extend([self._hand(worker, share, batch) for batch in row])
            self._turns.rotate(-1)
        return given

    def recall(self) -> list[Given[W]]:
        """Return what is to be asked back from workers' stocks, for those that are idle.

        Call it after `give`.  Each batch is asked for once; too late, and it stays where it is.
        """
        idle = [w for w in self._hungry if not self._desks[w].held]
        if not idle or self._turns:
            return []
        recalled: list[Given[W]] = []
        for desk in self._desks.values():
            stock = list(desk.held.values())[1:]
            if any(given.is_recalled for given in stock):
                continue
            # half of it: what is behind a batch that takes long is asked for again
            mine = stock[len(stock) // 2 :]
            recalled += [g for g in mine if not g.is_pinned and not g.batch.is_void]
        for given in recalled:
            given.is_recalled = True
        return recalled

    def _hand(
        self, worker: W, share: Share, batch: Batch, *, is_pinned: bool = False
    ) -> Given[W]:
        desk = self._desks[worker]
        # unknown: as long as may be, so that it has a worker for itself but for one in stock
        expected = share.pace.seconds_for(batch.count)
        seconds = AHEAD_SECONDS if expected is None else expected
        given = Given(next(self._tickets), worker, share, batch, seconds, is_pinned)
        given.is_alone = is_alone(share, batch)
        desk.put(given)
        if desk.left == 0:
            self._hungry.pop(worker, None)
        share.out += 1
        return given

    def _take(
        self, worker: W, ticket: int, *, is_begun: bool = True
    ) -> Given[W] | None:
        desk = self._desks.get(worker)
        if desk is None or (given := desk.take(ticket)) is None:
            return None
        if desk.left is not None and not is_begun and not given.is_pinned:
            desk.left += 1
        if not desk.is_retired and desk.left != 0:
            self._hungry[worker] = None
        if not given.batch.is_void:
            given.share.out -= 1
        return given

    def _give_back(self, share: Share, batches: list[Batch]) -> None:
        share.waiting.extendleft(reversed(batches))
        self._line_up(share)

    def _line_up(self, share: Share) -> None:
        if share.waiting and share not in self._turns:
            self._turns.append(share)

    def _load(self, worker: W) -> int:
        return len(self._desks[worker].held)

    def _fits(self, desk: _Desk[W], share: Share) -> bool:
        """Tell whether a worker may have the next batch of a work beside what it has."""
        held = len(desk.held)
        if not held:
            return True
        if desk.alone or held >= share.most() or is_alone(share, share.waiting[0]):
            return False
        if len(self._turns) == 1 and share.is_tail(len(self._desks)):
            return False
        return held < STOCK or desk.seconds < AHEAD_SECONDS

    def _in_a_row(self, desk: _Desk[W], share: Share) -> int:
        """Return how many batches of a work a worker may have at once, as one fits."""
        held = len(desk.held)
        expected = share.pace.seconds_for(share.waiting[0].count)
        if held < STOCK or len(self._turns) > 1 or not expected:
            return 1
        # the last ones, as far as they are cut, wait for whoever is free
        waiting = len(share.waiting) - STOCK * len(self._desks)
        most = min(RUN, share.most() - held, waiting, int(FLOOR_SECONDS / expected))
        if desk.left is not None:
            most = min(most, desk.left)
        return max(1, most)


def _next_of(waiting: deque[Batch], most: int) -> Iterator[Batch]:
    """Take one batch out, and those behind it that may share a worker with it."""
    yield waiting.popleft()
    while most > 1 and waiting and not (waiting[0].is_void or waiting[0].losses):
        most -= 1
        yield waiting.popleft()
