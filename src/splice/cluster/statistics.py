"""Statistics: what the workers of a session have done so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts what was answered; a call is a batch of one item.

    Attributes:
        items: calls of the user's functions.
        batches: messages that brought them.
        sent_bytes: of items and calls, packed, without functions and common arguments.
        received_bytes: of answers, packed.
        seconds: that workers took for them.
    """

    items: int = 0
    batches: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0

    def count(
        self, items: int, sent_bytes: int, received_bytes: int, seconds: float
    ) -> None:
        """Note one batch."""
        self.items += items
        self.batches += 1
        self.sent_bytes += sent_bytes
        self.received_bytes += received_bytes
        self.seconds += seconds

    def add(self, other: Tally) -> None:
        """Note all that `other` has noted."""
        self.items += other.items
        self.batches += other.batches
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self.seconds += other.seconds


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker: where it is, and what it has done.

    Attributes:
        address: of its node.
        pid: the number of its OS process, on its machine.
        done: what it has answered.
    """

    address: str
    pid: int
    done: Tally


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a session has done, and by whom.

    Attributes:
        done: what all workers have answered, those too that are gone.
        deaths: workers that have ended without being told to.
        workers: those of now, in the order of `Session.workers`.
    """

    done: Tally
    deaths: int
    workers: tuple[WorkerStatistics, ...]


@dataclass(slots=True)
class Past:
    """What is left of workers that are gone."""

    done: Tally = field(default_factory=Tally)
    deaths: int = 0

    def statistics(
        self, workers: Iterable[WorkerStatistics], others: Iterable[Tally] = ()
    ) -> Statistics:
        """Return it together with `workers`, and what `others` are doing that leave."""
        now = tuple(workers)
        total = Tally()
        for tally in (self.done, *(worker.done for worker in now), *others):
            total.add(tally)
        return Statistics(total, self.deaths, now)
