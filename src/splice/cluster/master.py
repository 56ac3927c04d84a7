"""Master: knows the instances and gives sessions their workers.

::

    instance ── enrol(offer) every 2 s, and when something changes ─────► Master ─► Placement
    session  ── want(demand) every 2 s, and when something changes ─────►   │
             ◄─ order(Order): start a worker there, or let one there go ────┘

It holds no work and no connection between sessions and workers, so its death ends nothing, and it
keeps nothing that it is not told again: one that is started anew knows all within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from splice.actor.process import Process
from splice.actor.proxy import tell
from splice.cluster.placement import Demand, Grant, Offer, Placement, Recall
from splice.log import logger
from splice.node.runtime import runtime

NAME: Final = "master"
"""The name of the master's process on its node."""

SETTLE_SECONDS: Final = 10.0
"""After its start a master recalls no workers: everybody who outlived its predecessor has
reported by then, even one that waited long for its last connection."""

_log = logger("cluster")


@dataclass(frozen=True, slots=True)
class Order:
    """What a master tells a session to do.

    Attributes:
        life: of the master that orders.
        number: counts the orders to this session.
        instance: its id, and its proxy.
        count: workers to start there; negative: to let go.
    """

    life: int
    number: int
    instance: str
    proxy: Any
    count: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a cluster has.

    Attributes:
        slots: of all instances that take workers.
        free: how many of them are free.
        instances: how many there are.
        sessions: how many there are.
    """

    slots: int
    free: int
    instances: int
    sessions: int

    def __str__(self) -> str:
        return (
            f"{self.slots} slots on {self.instances} instances, {self.free} of them free,"
            f" for {self.sessions} sessions"
        )


@dataclass(frozen=True, slots=True)
class Status:
    """All that a master knows: offers by the id of their instance, demands by session."""

    offers: Mapping[str, Offer]
    demands: Mapping[str, Demand]


@dataclass(slots=True)
class _Member:
    """An instance or a session, as the master sees it."""

    proxy: Any
    monitor: Any
    sent: int = 0


@dataclass(slots=True)
class _Members:
    """Those of one kind, by id."""

    by_id: dict[str, _Member] = field(default_factory=dict)

    def meet(self, name: str, proxy: Any) -> bool:
        """Note one; True when it was not known."""
        if name in self.by_id:
            return False
        self.by_id[name] = _Member(proxy, runtime.monitor(proxy))
        return True

    def leave(self, name: str) -> None:
        """Strike one out that says goodbye."""
        member = self.by_id.pop(name, None)
        if member is not None:
            runtime.demonitor(member.monitor)

    def ended(self, url: Any) -> list[str]:
        """Strike those out whose process has ended; their ids."""
        gone = [n for n, member in self.by_id.items() if member.proxy.sp_url == url]
        for name in gone:
            del self.by_id[name]
        return gone


class Master(Process):
    """The process ``master`` of a cluster; see the module.

    Args:
        life: a number that no other master has.
    """

    def __init__(self, life: int) -> None:
        self._life = life
        self._placement = Placement()
        self._instances = _Members()
        self._sessions = _Members()
        self._may_recall = False
        self._capacity = Capacity(0, 0, 0, 0)
        me: Any = self.sp_proxy
        runtime.send_after(SETTLE_SECONDS, me.settle)

    def enrol(self, instance: str, proxy: Any, offer: Offer) -> None:
        """Take note of an instance and what it offers now."""
        if self._instances.meet(instance, proxy):
            _log.info(
                "instance %s (%s) has %d slots", offer.name, instance, offer.slots
            )
        old = self._placement.offers.get(instance)
        self._placement.offers[instance] = offer
        # each tells its load again and again: a thousand must not all be placed anew for it
        if old is None or replace(old, load=offer.load) != offer:
            self._place()

    def leave(self, instance: str) -> None:
        """Forget an instance that is being shut down."""
        self._instances.leave(instance)
        self._lose_instance(instance, "it was shut down")
        self._place()

    def want(
        self, session: str, proxy: Any, demand: Demand, seen: tuple[int, int]
    ) -> Capacity:
        """Take note of a session and what it has and wants now.

        Args:
            session: its id.
            proxy: of the process that takes orders for it.
            demand: what it has and wants.
            seen: life and number of the last order it knows of.
        """
        if self._sessions.meet(session, proxy):
            _log.info("session %s of %s has come", demand.name or session, demand.owner)
        sent = self._sessions.by_id[session].sent
        # an order that is still under way makes it old news; newer comes with its receipt
        is_current = sent == 0 or seen == (self._life, sent)
        if is_current and demand != self._placement.demands.get(session):
            self._placement.demands[session] = demand
            self._place()
        return self._capacity

    def release(self, session: str) -> None:
        """Forget a session that has ended."""
        self._sessions.leave(session)
        self._lose_session(session, "it was shut down")
        self._place()

    def settle(self) -> None:
        """From now on workers may be recalled."""
        self._may_recall = True
        self._place()

    def drain(self, name: str, is_draining: bool) -> list[str]:
        """Have instances drain, or return; the ids of those it is about.

        Args:
            name: of the instances, or the address or id of one.
            is_draining: whether to take no new workers, or to take them again.
        """
        found = [
            each
            for each, offer in self._placement.offers.items()
            if name in {each, offer.name, each.partition("/instance")[0]}
        ]
        for each in found:
            told = tell(self._instances.by_id[each].proxy.drain, is_draining)
            told.add_done_callback(_noted)
        return found

    def status(self) -> Status:
        """Tell all that is known."""
        placement = self._placement
        return Status(dict(placement.offers), dict(placement.demands))

    def sp_down(self, down: Any) -> None:
        """Forget an instance or a session whose node is lost."""
        for each in self._instances.ended(down.url):
            self._lose_instance(each, down.reason)
        for each in self._sessions.ended(down.url):
            self._lose_session(each, down.reason)
        self._place()

    def _lose_instance(self, instance: str, why: Any) -> None:
        offer = self._placement.offers.pop(instance, None)
        if offer is not None:
            _log.info("instance %s (%s) is gone: %s", offer.name, instance, why)

    def _lose_session(self, session: str, why: Any) -> None:
        demand = self._placement.demands.pop(session, None)
        if demand is not None:
            _log.info("session %s of %s is gone: %s", session, demand.owner, why)

    def _place(self) -> None:
        for step in self._placement.decide(may_recall=self._may_recall):
            self._order(step)
        placement = self._placement
        self._capacity = Capacity(
            placement.slots,
            placement.free_slots,
            len(placement.offers),
            len(placement.demands),
        )

    def _order(self, step: Grant | Recall) -> None:
        session = self._sessions.by_id[step.session]
        session.sent += 1
        count = step.count if isinstance(step, Grant) else -step.count
        proxy = self._instances.by_id[step.instance].proxy
        order = Order(self._life, session.sent, step.instance, proxy, count)
        # one that does not arrive is that of a lost session: `sp_down` tells
        tell(session.proxy.order, order).add_done_callback(_noted)


def _noted(_: Any) -> None:
    """Take note of an outcome, so that a failure is not logged."""
