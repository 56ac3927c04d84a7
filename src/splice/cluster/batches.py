"""Batches: how a sequence is cut, given out and collected; events in, decisions out.

Pure: no clock, no I/O, no promises.  `cluster.hub` carries out what is decided here::

    items ──▶ Cutter ──next_batch──▶ Ledger ──give──▶ hub ──▶ workers
                 ▲                    ▲  │                      │
                 └── record ── done ──┘  └─ lost, again         │
                                  Collector ◀── add ─── answers ┘ ──take──▶ the user

A batch is known by the index of its first item: no item is in two hands at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Final, Generic, TypeVar

from splice.errors import InternalError

TARGET_SECONDS: Final = 0.1
"""Seconds of work in a batch: a message costs less than a thousandth of it, and a person
who presses Ctrl-C or watches the progress notices no step."""

FLOOR_SECONDS: Final = 0.001
"""Seconds of work below which the last batches are not cut: a worker that ends so much
earlier is no loss, and a message costs a tenth of it."""

SHARES: Final = 4
"""Batches into which the rest is cut for each worker (guided self-scheduling), so that all
end together.  More would be more messages, fewer would make the first batches too long."""

GROWTH: Final = 32
"""How much longer than any measured one a batch may be: the first items may be no example."""

BATCH_BYTES: Final = 4 * 2**20
"""Bytes of items and answers in a batch: pickling more at once holds the loop noticeably."""

MEMORY: Final = 0.5
"""Weight of all earlier measurements against the newest one: the items' cost may drift."""

AHEAD_SECONDS: Final = 0.01
"""Seconds of work that a worker has in stock where the user has fixed the size of batches:
several round trips of a busy hub.  Two are enough of those that we size."""

AHEAD_BATCHES: Final = 64
"""Batches that a worker has in stock at most: they are what is given out again with it."""

SPLIT: Final = 64
"""Parts of a batch whose worker was lost: two losses single out one item of 4,096."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some neighbouring items.

    Attributes:
        start: index of the first item in the whole sequence; it identifies the batch.
        items: the items, a piece of the user's own list, tuple or range where that is cut.
        losses: how often it may have been in work when its worker was lost, or was retried.
    """

    start: int
    items: Sequence[Any]
    losses: int = 0

    @property
    def end(self) -> int:
        """Index behind the last item."""
        return self.start + len(self.items)


class Cutter:
    """Cuts items into batches, lazily, by what earlier batches have cost.

    Args:
        items: any iterable; a list, tuple or range is sliced and never iterated here.
        chunksize: items in a batch; None adapts it.

    The first batches are single items.  Later ones last `TARGET_SECONDS`, but never take more
    than a part of the worker's share of the rest, as far as the length is known.
    """

    def __init__(self, items: Iterable[Any], *, chunksize: int | None = None) -> None:
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize is at least 1 or None, got {chunksize}")
        self.workers = 1
        self.position = 0
        """Items cut off so far; all of them, once `is_exhausted`."""
        self.is_exhausted = False
        self._items: Sequence[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        if isinstance(items, list | tuple | range):
            self._items = items
        else:
            self._iterator = iter(items)
        self._length = len(items) if isinstance(items, Sized) else None
        self.chunksize = chunksize
        self._error: Exception | None = None
        self._largest = 0
        self._measured = 0.0
        self._seconds = 0.0
        self._bytes = 0.0

    @property
    def remaining(self) -> int | None:
        """Items not cut yet; None when nobody can know."""
        if self.is_exhausted:
            return 0
        if self._length is None:
            return None
        return max(0, self._length - self.position)

    def next_batch(self) -> Batch | None:
        """Cut off a batch; None when there are no more items.

        Raises:
            Exception: what the iterable raised, once, behind the items that it had given.
        """
        if self.is_exhausted:
            self._raise_error()
            return None
        items = self._cut(self.size())
        if not items:
            self.is_exhausted = True
            self._raise_error()
            return None
        batch = Batch(self.position, items)
        self.position = batch.end
        if self._items is not None and self.position >= len(self._items):
            self.is_exhausted = True
        return batch

    def record(self, count: int, seconds: float, size_bytes: int = 0) -> None:
        """Learn what a batch of `count` items has cost; `size_bytes` with the answers."""
        self._largest = max(self._largest, count)
        self._measured = self._measured * MEMORY + count
        self._seconds = self._seconds * MEMORY + max(seconds, 0.0)
        self._bytes = self._bytes * MEMORY + size_bytes

    def seconds_for(self, count: int) -> float | None:
        """Return what `count` items are expected to take; None before the first measurement."""
        return count * self._seconds / self._measured if self._measured else None

    def size(self) -> int:
        """Return how many items the next batch should have."""
        if self.chunksize is not None:
            return self.chunksize
        if not self._measured:
            return 1
        each = max(self._seconds / self._measured, 1e-9)  # a clock's tick, never zero
        size = TARGET_SECONDS / each
        if (remaining := self.remaining) is not None:
            share = remaining / (SHARES * self.workers)
            size = min(size, max(share, FLOOR_SECONDS / each))
        if self._bytes:
            size = min(size, BATCH_BYTES * self._measured / self._bytes)
        return max(1, min(int(size), self._largest * GROWTH))

    def stop(self) -> None:
        """Cut no more."""
        self.is_exhausted = True
        self._error = None

    def _cut(self, count: int) -> Sequence[Any]:
        if self._items is not None:
            return self._items[self.position : self.position + count]
        items: list[Any] = []
        try:
            # an error of the iterable leaves in the list what came before it
            items.extend(islice(self._iterator, count))
        except Exception as error:
            self._error = error
        self.is_exhausted = len(items) < count
        return items

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


W = TypeVar("W", bound=Hashable)


class Ledger(Generic[W]):
    """Who holds which batches, and who gets the next.

    Args:
        cutter: where new batches come from.
        retries: how often an item is given out again, after losses and `again` together.

    After each event call `give`, carry it out, and then look at `is_finished`.  To let the
    user's end catch up, do not call `give`.
    """

    def __init__(self, cutter: Cutter, *, retries: int = 2) -> None:
        if retries < 0:
            raise ValueError(f"retries is at least 0, got {retries}")
        self._cutter = cutter
        self._retries = retries
        self._held: dict[W, dict[int, Batch]] = {}
        self._waiting: deque[Batch] = deque()
        # A worker that might take more. In order of arrival, so that runs can be replayed.
        self._hungry: dict[W, None] = {}

    @property
    def is_finished(self) -> bool:
        """Whether every item has had its outcome; the total is then `Cutter.position`."""
        is_idle = not self._waiting and not any(self._held.values())
        return is_idle and self._cutter.is_exhausted

    def held_by(self, worker: W) -> list[Batch]:
        """Return what a worker has, in the order in which it works on it."""
        return list(self._held.get(worker, {}).values())

    def add(self, worker: W) -> None:
        """A worker has come."""
        self._held[worker] = {}
        self._hungry[worker] = None
        self._cutter.workers = len(self._held)

    def done(
        self, worker: W, start: int, seconds: float, size_bytes: int = 0
    ) -> Batch | None:
        """A worker has answered a batch; None: it is not its own, ignore the answer."""
        batch = self._held.get(worker, {}).pop(start, None)
        if batch is not None:
            self._cutter.record(len(batch.items), seconds, size_bytes)
            self._hungry[worker] = None
        return batch

    def again(self, batch: Batch, index: int) -> bool:
        """Give one item of an answered batch out again; False: it was, too often already."""
        if batch.losses >= self._retries:
            return False
        offset = index - batch.start
        item = batch.items[offset : offset + 1]
        self._waiting.append(Batch(index, item, batch.losses + 1))
        return True

    def lost(self, worker: W) -> list[Batch]:
        """A worker is gone.

        Returns:
            The batches that are not given out again; each of their items fails.  The others
            go first, cut into parts, so that an item that kills workers is singled out.
        """
        held = list(self._held.pop(worker, {}).values())
        self._hungry.pop(worker, None)
        self._cutter.workers = max(1, len(self._held))
        if not held or self._retries == 0:
            return held
        # Workers keep the order: as far as we have heard, only the first was in work. The
        # others are not counted, or a killing item would take its neighbours with it. It
        # comes to an end all the same: each loss counts one.
        suspect, *others = held
        self._waiting.extendleft(reversed(others))
        if suspect.losses >= self._retries:
            return [suspect]
        self._waiting.extendleft(reversed(_split(suspect)))
        return []

    def give(self) -> list[tuple[W, Batch]]:
        """Return who is to get which batch now; they count as given.

        Raises:
            Exception: what the iterable of the items raised; see `Cutter.next_batch`.
        """
        given: list[tuple[W, Batch]] = []
        stock = self._stock()
        while self._hungry:
            worker = min(self._hungry, key=self._load)
            held = self._held[worker]
            if held and (
                len(held) >= stock or self._is_tail() or self._is_suspect(held)
            ):
                del self._hungry[worker]
                continue
            batch = (
                self._waiting.popleft() if self._waiting else self._cutter.next_batch()
            )
            if batch is None:
                break
            held[batch.start] = batch
            given.append((worker, batch))
        return given

    def _is_suspect(self, held: dict[int, Batch]) -> bool:
        """Whether a batch that was lost before is at hand, or next: it shares no worker.

        The answers that a worker gave last may be lost with it, so only a batch that had a
        worker for itself has surely ended it.
        """
        next_is = bool(self._waiting and self._waiting[0].losses)
        return next_is or any(batch.losses for batch in held.values())

    def cancel(self) -> list[tuple[W, Batch]]:
        """Give out no more; return what is in work, whose answers will be ignored."""
        self._waiting.clear()
        self._cutter.stop()
        held = [(w, b) for w, batches in self._held.items() for b in batches.values()]
        for worker, batches in self._held.items():
            batches.clear()
            self._hungry[worker] = None
        return held

    def _load(self, worker: W) -> int:
        return len(self._held[worker])

    def _stock(self) -> int:
        """Return how many batches a worker may hold, the one in work included."""
        if self._retries == 0:
            return 1  # nothing else may fail with the item that killed the worker
        chunksize = self._cutter.chunksize
        seconds = None if chunksize is None else self._cutter.seconds_for(chunksize)
        if seconds is None:
            return 2
        return max(2, min(AHEAD_BATCHES, int(AHEAD_SECONDS / max(seconds, 1e-9))))

    def _is_tail(self) -> bool:
        """Whether the rest must wait for whoever is free, and not behind a long batch."""
        remaining = self._cutter.remaining
        if remaining is None or self._waiting:
            return False
        count = 2 * len(self._held)
        return remaining <= count or remaining <= count * self._cutter.size()


def _split(batch: Batch) -> list[Batch]:
    step = -(-len(batch.items) // SPLIT)
    return [
        Batch(
            batch.start + offset, batch.items[offset : offset + step], batch.losses + 1
        )
        for offset in range(0, len(batch.items), step)
    ]


@dataclass(frozen=True, slots=True)
class Piece:
    """The outcomes of neighbouring items.

    Attributes:
        start: index of the first.
        values: an answer for each item; meaningless where there is an error.
        errors: the errors by index in the whole sequence.
    """

    start: int
    values: Sequence[Any]
    errors: Mapping[int, BaseException] = field(default_factory=dict)


def without(piece: Piece, indexes: Iterable[int]) -> list[Piece]:
    """Return what is left of `piece` when the items of `indexes` are given out again."""
    left: list[Piece] = []
    start = piece.start
    for index in [*sorted(indexes), piece.start + len(piece.values)]:
        values = piece.values[start - piece.start : index - piece.start]
        if values:
            errors = {i: e for i, e in piece.errors.items() if start <= i < index}
            left.append(Piece(start, values, errors))
        start = index + 1
    return left


class Collector:
    """Takes outcomes as they come, and gives them in order, or as they came.

    Args:
        in_order: whether `take` keeps a piece back until all before it are there.
    """

    def __init__(self, *, in_order: bool = True) -> None:
        self.count = 0
        """Items whose outcome is known."""
        self._in_order = in_order
        self._next = 0
        self._early: dict[int, Piece] = {}
        self._ready: list[Piece] = []

    def add(self, piece: Piece) -> None:
        """Take in outcomes, of a batch or a part of it (see `without`).

        Raises:
            InternalError: an outcome for these items is here already (noticed in order only).
        """
        if piece.start < self._next or piece.start in self._early:
            raise InternalError(f"the items from {piece.start} on have two outcomes")
        self.count += len(piece.values)
        if not self._in_order:
            self._ready.append(piece)
            return
        self._early[piece.start] = piece
        while (piece_ := self._early.pop(self._next, None)) is not None:
            self._ready.append(piece_)
            self._next += len(piece_.values)

    def fail(self, batch: Batch, error: BaseException) -> None:
        """Take `error` as the outcome of every item of a batch."""
        errors = dict.fromkeys(range(batch.start, batch.end), error)
        self.add(Piece(batch.start, [None] * len(batch.items), errors))

    def take(self) -> list[Piece]:
        """Return what has become available since the last call."""
        ready, self._ready = self._ready, []
        return ready


def assemble(pieces: Iterable[Piece]) -> tuple[list[Any], dict[int, BaseException]]:
    """Return the values of all `pieces`, which are in order, and their errors by index."""
    pieces = list(pieces)
    values = list(chain.from_iterable(piece.values for piece in pieces))
    errors: dict[int, BaseException] = {}
    for piece in pieces:
        errors.update(piece.errors)
    return values, errors
