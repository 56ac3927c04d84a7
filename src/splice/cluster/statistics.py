"""Statistics: what the workers of a session have done so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["idle", "busy"]


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


class WorkerAddress(str):
    """The address of a worker's node, which also tells where it is and what it is doing.

    Attributes:
        machine: the name of its machine.
        instance: the name of the instance that has started it; empty where there is none.
        pid: the number of its OS process, on its machine.
        state: ``"busy"`` while it has work, or else ``"idle"``; as it was when it was asked for.
    """

    __slots__ = ("instance", "machine", "pid", "state")

    machine: str
    instance: str
    pid: int
    state: State

    def __new__(
        cls, address: str, machine: str, instance: str, pid: int, state: State
    ) -> WorkerAddress:
        """Make it; see the class."""
        self = super().__new__(cls, address)
        self.machine, self.instance = machine, instance
        self.pid, self.state = pid, state
        return self

    def __reduce__(self) -> Any:
        where = self.machine, self.instance, self.pid, self.state
        return WorkerAddress, (str(self), *where)

    def __repr__(self) -> str:
        instance = f"instance {self.instance} on " if self.instance else ""
        return (
            f"<worker {self}, OS process {self.pid} of {instance}{self.machine}, "
            f"{self.state}>"
        )


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker: where it is, and what it has done.

    Attributes:
        address: of its node; it also knows the names of its machine and instance.
        pid: the number of its OS process, on its machine.
        done: what it has answered.
    """

    address: WorkerAddress
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
