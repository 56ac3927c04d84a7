"""Batches: how a sequence is cut, and how its outcomes come together again; pure.

No clock, no I/O, no promises.  The caller of a map cuts, its hub records what batches cost::

    items ──▶ Cutter ──next_items──▶ Batch ──▶ cluster.ledger ──▶ workers
                 ▲                                                  │
                Pace ◀── record ────────────────────────────────────┤
                 the user ◀──take── Collector ◀──add── Part ────────┘

A batch is known by the index of its first item: no item is in two hands at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

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

SPLIT: Final = 64
"""Parts of a batch whose worker was lost: two losses single out one item of 4,096."""


@dataclass(eq=False, slots=True)
class Batch:
    """Some neighbouring items.

    Attributes:
        start: index of the first item in the whole sequence; it identifies the batch.
        count: how many items.
        items: what holds them; packed, where nobody here looks at them.
        offset: where in `items` the first one is.
        losses: how often it may have been in work when its worker was lost, or was retried.
        is_void: nobody wants its outcome any more.
        size_bytes: about how many bytes its items have on their way.
    """

    start: int
    count: int
    items: Any
    offset: int = 0
    losses: int = 0
    is_void: bool = False
    size_bytes: int = 0

    @property
    def end(self) -> int:
        """Index behind the last item."""
        return self.start + self.count

    def split(self) -> list[Batch]:
        """Return its parts, after a loss: an item that kills workers is singled out."""
        step = -(-self.count // SPLIT)
        return [
            Batch(
                self.start + first,
                min(step, self.count - first),
                self.items,
                self.offset + first,
                self.losses + 1,
                size_bytes=self.size_bytes * step // self.count,
            )
            for first in range(0, self.count, step)
        ]


class Pace:
    """What items have cost so far.

    Recorded on one thread and read on another: what belongs together is one tuple.

    Attributes:
        workers: how many there are to share the rest.
    """

    def __init__(self) -> None:
        self.workers = 1
        self._largest = 0
        self._sums = (0.0, 0.0, 0.0)

    def record(self, count: int, seconds: float, size_bytes: int = 0) -> None:
        """Learn what a batch of `count` items has cost; `size_bytes` with the answers."""
        self._largest = max(self._largest, count)
        measured, before, size = self._sums
        self._sums = (
            measured * MEMORY + count,
            before * MEMORY + (seconds if seconds > 0 else 0.0),
            size * MEMORY + size_bytes,
        )

    def seconds_for(self, count: int) -> float | None:
        """Return what `count` items are expected to take; None before the first measurement."""
        measured, seconds, _ = self._sums
        return count * seconds / measured if measured else None

    def bytes_for(self, count: int) -> float:
        """Return how many bytes `count` items are expected to take; 0 where nobody knows."""
        measured, _, size = self._sums
        return count * size / measured if measured else 0.0

    def size(self, remaining: int | None) -> int:
        """Return how many items the next batch should have; `remaining` None: unknown.

        The first batches are single items.  Later ones last `TARGET_SECONDS`, but never take
        more than a part of the worker's share of the rest, as far as the length is known.
        """
        measured, seconds, size_bytes = self._sums
        if not measured:
            return 1
        each = max(seconds / measured, 1e-9)  # a clock's tick, never zero
        size = TARGET_SECONDS / each
        if remaining is not None:
            share = remaining / (SHARES * self.workers)
            size = min(size, max(share, FLOOR_SECONDS / each))
        if size_bytes:
            size = min(size, BATCH_BYTES * measured / size_bytes)
        return max(1, min(int(size), self._largest * GROWTH))


class Cutter:
    """Cuts items, lazily, by what earlier batches have cost.

    Args:
        items: any iterable; a list, tuple or range is sliced and never iterated here.
        chunksize: items in a batch; None adapts it.
    """

    def __init__(self, items: Iterable[Any], *, chunksize: int | None = None) -> None:
        if chunksize is not None and not isinstance(chunksize, int):
            raise TypeError(f"chunksize is a number of items, not {chunksize!r}")
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize is at least 1 or None, got {chunksize}")
        self.pace = Pace()
        self.position = 0
        """Items cut off so far; all of them, once `is_exhausted`."""
        self.is_exhausted = False
        self._items: Sequence[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        # no class of the user's own: it may mean something else by a slice
        if type(items) in {list, tuple, range}:
            self._items = items  # type: ignore[assignment]  # one of the three
        else:
            self._iterator = iter(items)
        self.length = len(items) if isinstance(items, Sized) else None
        self.chunksize = chunksize
        self._error: Exception | None = None

    @property
    def remaining(self) -> int | None:
        """Items not cut yet; None when nobody can know."""
        if self.is_exhausted:
            return 0
        if self.length is None:
            return None
        return max(0, self.length - self.position)

    def next_items(self) -> Sequence[Any]:
        """Cut off the items of one batch; none when there are no more.

        Raises:
            Exception: what the iterable raised, once, behind the items that it had given.
        """
        items = () if self.is_exhausted else self._cut(self.size())
        if not items:
            self.is_exhausted = True
            self._raise_error()
            return ()
        self.position += len(items)
        if self._items is not None and self.position >= len(self._items):
            self.is_exhausted = True
        return items

    def size(self) -> int:
        """Return how many items the next batch should have."""
        if self.chunksize is not None:
            return self.chunksize
        return self.pace.size(self.remaining)

    def _cut(self, count: int) -> Sequence[Any]:
        if self._items is not None:
            return self._items[self.position : self.position + count]
        items: list[Any] = []
        try:
            # an error of the iterable leaves in the list what came before it
            items.extend(islice(self._iterator, count))
        except Exception as error:
            self._error = error
        self.is_exhausted = len(items) < count and self._error is None
        return items

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


class Part(NamedTuple):
    """The outcome of neighbouring items; a tuple, since there are many.

    Attributes:
        start: index of the first.
        count: how many.
        values: their packed values, None if all failed alike.
        failures: packed errors by offset; offset -1 is for all.
    """

    start: int
    count: int  # type: ignore[assignment]  # not how often a value stands in it
    values: Any
    failures: Sequence[tuple[int, Any]] = ()


class Collector:
    """Takes outcomes as they come, and gives them in order, or as they came.

    Args:
        in_order: whether `take` keeps a part back until all before it are there.
    """

    def __init__(self, *, in_order: bool = True) -> None:
        self.count = 0
        """Items whose outcome is known."""
        self._in_order = in_order
        self._next = 0
        self._early: dict[int, Part] = {}
        self._ready: list[Part] = []

    def add(self, part: Part) -> None:
        """Take in outcomes.

        Raises:
            InternalError: an outcome for these items is here already (noticed in order only).
        """
        if part.start < self._next or part.start in self._early:
            raise InternalError(f"the items from {part.start} on have two outcomes")
        self.count += part.count
        if not self._in_order:
            self._ready.append(part)
            return
        self._early[part.start] = part
        while (next_ := self._early.pop(self._next, None)) is not None:
            self._ready.append(next_)
            self._next += next_.count

    def take(self) -> list[Part]:
        """Return what has become available since the last call."""
        ready, self._ready = self._ready, []
        return ready
