"""Placement: which session gets a worker on which instance, and who must hand one back.

Pure: no clock, no I/O.  `cluster.master` keeps it up to date and carries out what it decides::

    Offer  (of an instance) ─┐                       ┌─► Grant   start workers there
                             ├─► Placement ─ decide ─┤
    Demand (of a session)   ─┘                       └─► Recall  let workers there go

Sessions share by max-min fairness: nobody gets more than it wants, and nobody has less than
another one that could do with less.  Among instances the one that is least busy is taken, so
that work spreads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Offer:
    """What an instance has to give.

    Attributes:
        name: of its machine, for people.
        slots: workers that it runs at most.
        load: OS processes that want a CPU there, on average; its own workers among them.
        is_draining: it takes no new workers; those it has go on.
        workers: how many it runs, by session.
    """

    name: str
    slots: int
    load: float = 0.0
    is_draining: bool = False
    workers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a session has and wants.

    Attributes:
        name: what its owner calls it.
        owner: whose it is, for people.
        workers: how many it has or is starting, by instance; not those it is letting go.
        missing: how many more it wants.
        avoided: instances that it cannot reach.
        gives_back: it can let a worker go when others need the slot.
    """

    name: str = ""
    owner: str = ""
    workers: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0
    avoided: frozenset[str] = frozenset()
    gives_back: bool = True


@dataclass(frozen=True, slots=True)
class Grant:
    """A session may start `count` workers on an instance."""

    session: str
    instance: str
    count: int


@dataclass(frozen=True, slots=True)
class Recall:
    """A session must let `count` of its workers on an instance go, each after its batch."""

    session: str
    instance: str
    count: int


class Placement:
    """Who has what, and who is to get the next slot.

    Attributes:
        offers: of the instances, by their id.
        demands: of the sessions, by their id, in the order they came.
    """

    def __init__(self) -> None:
        self.offers: dict[str, Offer] = {}
        self.demands: dict[str, Demand] = {}

    @property
    def slots(self) -> int:
        """Slots of all instances that take workers."""
        return sum(self.offers[each].slots for each in self._open())

    @property
    def free_slots(self) -> int:
        """Slots in which a worker could start now."""
        return sum(self._free(each) for each in self._open())

    def occupied(self, instance: str) -> int:
        """Return how many slots of an instance are taken.

        What a session has been granted and what an instance has seen of it come by different
        ways; a slot is free when both say so.
        """
        running = self.offers[instance].workers
        granted = {
            session: count
            for session, demand in self.demands.items()
            if (count := demand.workers.get(instance, 0))
        }
        sessions = running.keys() | granted.keys()
        return sum(max(running.get(s, 0), granted.get(s, 0)) for s in sessions)

    def decide(self, *, may_recall: bool = True) -> list[Grant | Recall]:
        """Return what is to be done now; it counts as done.

        Args:
            may_recall: False while it is not known yet who there is: after a restart of the
                master nobody must lose a worker because others have not registered again.
        """
        held = {session: self._held(session) for session in self.demands}
        wanted = {s: held[s] + demand.missing for s, demand in self.demands.items()}
        shares = fair_shares(wanted, held, self.slots)
        counts: dict[tuple[str, str], int] = {}
        while (step := self._next_grant(held, shares)) is not None:
            self._move(*step, 1)
            held[step[0]] += 1
            counts[step] = counts.get(step, 0) + 1
        steps: list[Grant | Recall] = [Grant(*key, n) for key, n in counts.items()]
        if may_recall and self._is_somebody_short(held, shares):
            steps += self._recalls(held, shares)
        return steps

    def _open(self) -> list[str]:
        return [each for each, offer in self.offers.items() if not offer.is_draining]

    def _held(self, session: str) -> int:
        """Count the workers that a session has where others could have them."""
        workers = self.demands[session].workers
        return sum(workers.get(each, 0) for each in self._open())

    def _free(self, instance: str) -> int:
        return max(0, self.offers[instance].slots - self.occupied(instance))

    def _next_grant(
        self, held: dict[str, int], shares: dict[str, int]
    ) -> tuple[str, str] | None:
        """Return the neediest session that can be served, and where."""
        needy = [
            s for s, d in self.demands.items() if d.missing and held[s] < shares[s]
        ]
        for session in sorted(needy, key=held.__getitem__):
            avoided = self.demands[session].avoided
            free = [e for e in self._open() if e not in avoided and self._free(e)]
            if free:
                return session, min(free, key=self._business)
        return None

    def _business(self, instance: str) -> tuple[float, int, str]:
        """Rank an instance: how full it would be with one more worker; the load of others too."""
        offer = self.offers[instance]
        busy = max(float(self.occupied(instance)), offer.load)
        return (busy + 1) / offer.slots, -offer.slots, instance

    def _is_somebody_short(self, held: dict[str, int], shares: dict[str, int]) -> bool:
        return any(held[session] < share for session, share in shares.items())

    def _recalls(self, held: dict[str, int], shares: dict[str, int]) -> list[Recall]:
        counts: dict[tuple[str, str], int] = {}
        for session, share in shares.items():
            if not self.demands[session].gives_back:
                continue
            for _ in range(held[session] - share):
                workers = self.demands[session].workers
                there = [each for each in self._open() if workers.get(each)]
                fullest = max(there, key=self._business)
                self._move(session, fullest, -1)
                counts[session, fullest] = counts.get((session, fullest), 0) + 1
        return [Recall(*key, n) for key, n in counts.items()]

    def _move(self, session: str, instance: str, count: int) -> None:
        demand = self.demands[session]
        workers = dict(demand.workers)
        workers[instance] = workers.get(instance, 0) + count
        self.demands[session] = replace(
            demand, workers=workers, missing=demand.missing - count
        )


def fair_shares(
    wanted: Mapping[str, int], held: Mapping[str, int], capacity: int
) -> dict[str, int]:
    """Divide `capacity` among sessions: equally, and what one does not want among the others.

    What cannot be divided goes to those who hold more, so that no worker moves for nothing,
    and among equals to those who came first.
    """
    shares = dict.fromkeys(wanted, 0)
    left = capacity
    hungry = [session for session in wanted if wanted[session] > 0]
    while left > 0 and hungry:
        each = left // len(hungry)
        if each == 0:
            hungry = sorted(hungry, key=lambda session: -held[session])[:left]
            each = 1
        for session in hungry:
            given = min(each, wanted[session] - shares[session])
            shares[session] += given
            left -= given
        hungry = [session for session in hungry if shares[session] < wanted[session]]
    return shares
