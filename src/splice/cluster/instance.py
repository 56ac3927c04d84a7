"""Instance: starts, watches and ends the workers of one machine.

::

    Instance ── enrol(offer) ───────────────────────────────► Master
             ◄─ start(session) ── MasterSource (cluster.hired), on the client's node
             ── Started, later ended(number, Exit) ─────────►   │
    its node's children: an OS process for each worker,         │
    in a process group of its own  ◄──── items and answers ─────┘

Workers are children of the instance's node: whatever ends it ends them, and all they started.  The
instance watches each session's process at the client, and ends the workers of one that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.promise import ERROR, Promise
from splice.actor.proxy import proxy_class, tell
from splice.cluster.master import NAME as MASTER
from splice.cluster.master import Master
from splice.cluster.placement import Offer
from splice.cluster.reports import BEAT_SECONDS, Reports
from splice.cluster.source import GRANTED, Place
from splice.errors import SpliceError
from splice.log import logger
from splice.node.remote import Remote
from splice.node.runtime import runtime
from splice.uri import url

if TYPE_CHECKING:
    from splice.node.children import ChildNode
    from splice.node.node import Node

NAME: Final = "instance"
"""The name of the instance's process on its node."""

_log = logger("cluster")


@dataclass(frozen=True, slots=True)
class Started:
    """A worker that is up, and waits for its session to begin.

    Attributes:
        number: by which its instance knows it.
        address: of its node.
        incarnation: of its node.
        pid: of its OS process.
        place: where it runs, for people.
    """

    number: int
    address: str
    incarnation: int
    pid: int
    place: Place


@dataclass(slots=True)
class _Tenant:
    """A session that has workers here.

    One whose client was lost is another one when it comes again: its old workers end.
    """

    session: str
    proxy: Any
    monitor: Any
    is_lost: bool = False
    workers: dict[int, ChildNode] = field(default_factory=dict)


class Instance(Process):
    """The process ``instance`` of a machine; see the module.

    Args:
        master_address: where the master listens.
        name: for people.
        machine: the name of the machine, for people; `name` where that is all they need.
        slots: workers to run at most.
        load: tells how many OS processes want a CPU.
        on_refused: gets the error when the master will never talk to us.
    """

    def __init__(
        self,
        master_address: str,
        *,
        name: str,
        machine: str = "",
        slots: int,
        load: Callable[[], float],
        on_refused: Callable[[Exception], None],
    ) -> None:
        self._name = name
        self._place = Place(machine or name, name)
        self._slots = slots
        self._load = load
        self._is_draining = False
        self._tenants: list[_Tenant] = []
        self._numbers = count(1)
        me: Any = self.sp_proxy
        self._id = str(me.sp_url)
        target = Remote(self._node, url(MASTER, master_address))
        self._master: Any = proxy_class(Master)(target)
        self._reports = Reports(
            f"instance {name}",
            master_address,
            send=self._enrol,
            on_answer=lambda _: None,
            on_refused=on_refused,
        )
        self._reports.beat()
        runtime.send_every(BEAT_SECONDS, me.beat)

    @property
    def _node(self) -> Node:
        return cast("Node", self._sp_cell.scheduler.home)

    # ---- for the master

    def beat(self) -> None:
        """Tell the master how things are."""
        self._reports.beat()

    def drain(self, is_draining: bool) -> None:
        """Take no new workers, or take them again; those that run go on."""
        self._is_draining = is_draining
        _log.info("%s", "draining" if is_draining else "takes workers again")
        self._reports.changed()

    def leave(self) -> Promise | None:
        """Say goodbye to the master; called before the node is shut down."""
        self._is_draining = True
        self._reports.close()
        return tell(self._master.leave, self._id) if self._reports.is_heard else None

    def _enrol(self) -> Promise:
        workers: Counter[str] = Counter()
        for tenant in self._tenants:
            workers[tenant.session] += len(tenant.workers)
        offer = Offer(
            self._name, self._slots, self._load(), self._is_draining, dict(workers)
        )
        answer: Promise = self._master.enrol(self._id, self.sp_proxy, offer)
        return answer

    # ---- for sessions

    def start(self, session: str, proxy: Any, packed_init: Any) -> Promise:
        """Start a worker.

        Answers `Started`, or the `splice.node.launch.Exit` of one that ended before it was up.

        Args:
            session: its id.
            proxy: of the process that is told when the worker has ended; with it ends the worker.
            packed_init: what the worker runs first.

        Raises:
            SpliceError: there is no room; the master did not know yet.
        """
        busy = sum(len(tenant.workers) for tenant in self._tenants)
        if self._is_draining or busy >= self._slots:
            why = "is draining" if self._is_draining else f"has {busy} workers"
            raise SpliceError(f"instance {self._name} of {self._slots} slots {why}")
        config = self._node.config
        number = next(self._numbers)
        told = _Forwarder(self._node, proxy, f"worker {number} of {self._name}")
        (child,) = self._node.children.start(
            1,
            packed_init,
            target=GRANTED,
            address=config.address,
            advertise=config.advertise,
            outlet=lambda: told.take,
        )
        tenant = self._tenant(session) or self._move_in(session, proxy)
        tenant.workers[number] = child
        answer = Deferred()
        child.ready.add_waiter(_Begun(answer, number, child, self._place))
        child.ended.add_waiter(_Ended(self, tenant, number))
        self._reports.changed()
        return answer

    def end(self, session: str, numbers: list[int]) -> Promise:
        """Have workers end, by force those that take too long; answered when they are gone."""
        workers = self._workers(session)
        there = [workers[number] for number in numbers if number in workers]
        children = self._node.children
        return self._node.run_coroutine(lambda: children.shut_down(there))

    def kill(self, session: str, number: int) -> None:
        """End a worker and all it started, at once."""
        child = self._workers(session).get(number)
        if child is not None:
            child.kill()

    def sp_down(self, down: Any) -> None:
        """End the workers of a session whose client is gone."""
        for tenant in self._tenants:
            if tenant.proxy.sp_url != down.url or tenant.is_lost:
                continue
            tenant.is_lost = True
            _log.info(
                "session %s is gone (%s), and its %d workers are ended",
                tenant.session,
                down.reason,
                len(tenant.workers),
            )
            for child in tenant.workers.values():
                child.kill()

    def sp_terminate(self, reason: Any) -> None:
        """Report no more."""
        self._reports.close()

    def _has_ended(self, tenant: _Tenant, number: int, end: Any) -> None:
        """Note that a worker has ended, and tell its session."""
        del tenant.workers[number]
        if not tenant.is_lost:
            told = tell(tenant.proxy.ended, self._id, number, end)
            told.add_done_callback(_noted)
        if not tenant.workers:
            runtime.demonitor(tenant.monitor)
            self._tenants.remove(tenant)
        self._reports.changed()

    def _tenant(self, session: str) -> _Tenant | None:
        for tenant in self._tenants:
            if tenant.session == session and not tenant.is_lost:
                return tenant
        return None

    def _move_in(self, session: str, proxy: Any) -> _Tenant:
        tenant = _Tenant(session, proxy, runtime.monitor(proxy))
        self._tenants.append(tenant)
        return tenant

    def _workers(self, session: str) -> dict[int, ChildNode]:
        tenant = self._tenant(session)
        return {} if tenant is None else tenant.workers


class _Forwarder:
    """Sends what a worker writes to its session.

    Args:
        node: the instance's.
        proxy: of the session.
        worker: name of the worker, for people.
    """

    def __init__(self, node: Node, proxy: Any, worker: str) -> None:
        self._node = node
        self._proxy = proxy
        self._worker = worker

    def take(self, stream: str, chunk: bytes, go_on: Callable[[], None]) -> None:
        """Send it; on the launcher's thread."""
        self._node.scheduler.post(self._send, stream, chunk, go_on)

    def _send(self, stream: str, chunk: bytes, go_on: Callable[[], None]) -> None:
        try:
            answer = self._proxy.output(self._worker, stream, chunk)
        except SpliceError as error:
            _log.warning("output of %s is lost: %s", self._worker, error)
            go_on()
            return
        # that the session is gone is told by its monitor, and ends the worker
        answer.add_done_callback(lambda _: go_on())


class _Begun:
    """Answers that a worker is up; or how it ended, when it never was."""

    __slots__ = ("answer", "child", "number", "place")

    def __init__(
        self, answer: Deferred, number: int, child: ChildNode, place: Place
    ) -> None:
        self.answer = answer
        self.number = number
        self.child = child
        self.place = place

    def settled(self, ready: Promise) -> None:
        child = self.child
        if ready.state == ERROR:
            child.ended.add_waiter(_Failed(self.answer))
            return
        assert child.incarnation is not None
        where = child.address, child.incarnation, child.pid, self.place
        self.answer.set(Started(self.number, *where))


class _Failed:
    """Answers how a worker ended that was never ready."""

    __slots__ = ("answer",)

    def __init__(self, answer: Deferred) -> None:
        self.answer = answer

    def settled(self, ended: Promise) -> None:
        self.answer.set(ended.value)


class _Ended:
    """Has the instance note that a worker has ended."""

    __slots__ = ("instance", "number", "tenant")

    def __init__(self, instance: Instance, tenant: _Tenant, number: int) -> None:
        self.instance = instance
        self.tenant = tenant
        self.number = number

    def settled(self, ended: Promise) -> None:
        self.instance._has_ended(self.tenant, self.number, ended.value)


def _noted(_: Promise) -> None:
    """Take note of an outcome: who could have been told may be gone."""
