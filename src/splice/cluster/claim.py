"""MasterSource: workers of a session that a master grants and instances start.

::

    Hub ─ start(3) ─► MasterSource ── want(demand) ──────────► Master
                        waiting ◄──── order(start one there) ──   │
                           │                                      │ (knows what is where)
                        starting ───── start(session) ──────► Instance ──► the worker
                           up ◄─────── Started ──────────────────  │           │
                           │ ───────── begin: connect, run init ───┼─────────► │
        ◄─ hired.ready ─ ready ◄───────────────────────────────────┼────────── │
        ◄─ hired.ended ◄────────────── ended(number, Exit) ──────  ┘

Orders and ends come to a process of the client's node, the `Claim`; instances watch it, and end
the workers when it is gone.  Without a master all goes on, but for new workers: they wait.
Everything here happens on the node's thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.promise import ERROR, PENDING, Promise
from splice.actor.proxy import proxy_class, tell
from splice.cluster.granted import GrantedWorker, Lost
from splice.cluster.instance import Started
from splice.cluster.master import NAME as MASTER
from splice.cluster.master import Capacity, Master, Order
from splice.cluster.output import Output
from splice.cluster.placement import Demand
from splice.cluster.reports import BEAT_SECONDS, Reports
from splice.cluster.source import Place
from splice.errors import Cancelled, DeliveryError, SpliceError
from splice.log import logger
from splice.node.child import Exit
from splice.node.remote import Remote
from splice.node.runtime import runtime
from splice.uri import url

if TYPE_CHECKING:
    from splice.node.node import Node

RETRY_SECONDS: Final = 0.5
"""After an instance had no room before the master is asked again: it knows by then."""

AVOID_SECONDS: Final = 30.0
"""An instance that cannot be reached is not tried again for so long: longer than a partition
that a person would not notice, and a machine that is wired wrongly costs next to nothing."""

_log = logger("cluster")


class Claim(Process):
    """Where the master and the instances reach a session."""

    def __init__(self, source: MasterSource) -> None:
        self._source = source
        me: Any = self.sp_proxy
        runtime.send_every(BEAT_SECONDS, me.beat)

    def beat(self) -> None:
        """Tell the master how things are."""
        self._source.beat()

    def order(self, order: Order) -> None:
        """Do what the master orders."""
        self._source.obey(order)

    def ended(self, instance: str, number: int, end: Exit) -> None:
        """Take note that a worker has ended."""
        self._source.has_ended(instance, number, end)

    def output(self, worker: str, stream: str, chunk: bytes) -> Deferred:
        """Show what a worker has written; answered when there is room for more."""
        shown = Deferred()
        post = self._source.node.scheduler.post
        self._source.output.take(worker, stream, chunk, partial(post, shown.set, None))
        return shown

    def sp_down(self, down: Any) -> None:
        """Take note that an instance is lost."""
        self._source.instance_lost(down)


class MasterSource:
    """The workers of one session, from a master's instances; a `WorkerSource`.

    Args:
        node: the client's.
        init: packed as by `splice.net.codec.encode`, with its buffers; each worker runs it first.
        master_address: where the master listens.
        name, owner: of the session, for people.
        output: where workers' output goes; nowhere when None.

    Attributes:
        capacity: what the cluster has, as far as the master has told.
        on_recall: is given a worker that others need more, to be released after its batch.
    """

    is_near = False

    def __init__(
        self,
        node: Node,
        init: Any,
        master_address: str,
        *,
        name: str,
        owner: str,
        output: Output | None = None,
    ) -> None:
        payload, buffers = init
        self.node = node
        self.output = output or Output("off")
        self.capacity = Capacity(0, 0, 0, 0)
        self.on_recall: Callable[[Any], None] | None = None
        self._init = payload, [bytes(buffer) for buffer in buffers]
        self.master_address = master_address
        self._name, self._owner = name, owner
        self._session = f"{node.random.getrandbits(64):016x}"
        target = Remote(node, url(MASTER, master_address))
        self._master: Any = proxy_class(Master)(target)
        self._claim: Any = None
        self._seen = (0, 0)
        self._instances: dict[str, Any] = {}
        self._avoided: set[str] = set()
        self._waiting: deque[GrantedWorker] = deque()
        self._workers: list[GrantedWorker] = []
        self._is_closed = False
        self._reports = Reports(
            f"session {name or self._session}",
            master_address,
            send=self._want,
            on_answer=self._told,
            on_refused=self._refused,
            gives_up_after=node.config.connect_timeout,
        )

    @property
    def is_starting(self) -> bool:
        """Whether a worker that was granted is on its way."""
        return any(worker.ready.state == PENDING for worker in self._workers)

    @property
    def is_closing(self) -> bool:
        """Whether no more workers come."""
        return self._is_closed or self.node.children.is_closing

    async def open(self) -> Capacity:
        """Meet the master; returns what the cluster has.

        Raises:
            AccessDenied: the master has another key.
            ConnectTimeout: nobody answers at its address.
        """
        self._claim = await self.node.spawn(Claim, (self,), {}, None)
        self.capacity = await self._want()
        return self.capacity

    def place(self, worker: GrantedWorker) -> Place:
        """Return where a worker runs that is ready."""
        return worker.place

    def start(self, count: int) -> Sequence[GrantedWorker]:
        """Ask the master for `count` workers; they wait until it grants them.

        Raises:
            SpliceError: the session was shut down.
        """
        if self.is_closing:
            raise SpliceError("the session is being shut down and starts no workers")
        workers = [GrantedWorker(self) for _ in range(count)]
        self._waiting += workers
        self._reports.changed()
        return workers

    async def release(self, workers: Sequence[Any]) -> None:
        """End `workers`, by force those that take too long; return when they are gone."""
        for worker in workers:
            self._let_go(worker)
        by_instance: dict[str, list[int]] = {}
        for worker in workers:
            if worker in self._workers and worker.number:
                by_instance.setdefault(worker.instance, []).append(worker.number)
        ends = [
            self._instances[instance].end(self._session, numbers)
            for instance, numbers in by_instance.items()
            if instance in self._instances
        ]
        await asyncio.gather(*map(_settled, ends))
        await asyncio.gather(*(_settled(worker.ended) for worker in workers))

    async def close(self) -> None:
        """Say goodbye to the master; the session is over."""
        self._is_closed = True
        self._reports.close()
        if self._claim is None:
            return
        if self._reports.is_heard:
            tell(self._master.release, self._session).add_done_callback(_noted)
        await _settled(self.node.stop(self._claim._sp_target))

    def kill(self, worker: GrantedWorker) -> None:
        """End a worker at once."""
        self._let_go(worker)
        instance = self._instances.get(worker.instance)
        if worker.number and instance is not None:
            told = tell(instance.kill, self._session, worker.number)
            told.add_done_callback(_noted)

    def _let_go(self, worker: GrantedWorker) -> None:
        """Have a worker that is not there yet never come."""
        worker.is_unwanted = True
        if worker in self._waiting:
            self._waiting.remove(worker)
            worker.end_by(Exit(0, None, None, "it is not wanted any more"))
            self._reports.changed()

    # ---- the master

    def beat(self) -> None:
        """Tell the master how things are."""
        if self._claim is not None:
            self._reports.beat()

    def _want(self) -> Promise:
        workers = Counter(w.instance for w in self._workers if not w.is_unwanted)
        demand = Demand(
            self._name,
            self._owner,
            dict(workers),
            len(self._waiting),
            frozenset(self._avoided),
            self.on_recall is not None,
        )
        answer: Promise = self._master.want(
            self._session, self._claim, demand, self._seen
        )
        return answer

    def _told(self, capacity: Capacity) -> None:
        self.capacity = capacity

    def _refused(self, error: Exception) -> None:
        """Fail those who wait for a master that will never talk to us."""
        while self._waiting:
            self._waiting.popleft().end_by(Exit(0, None, None, str(error)))

    def obey(self, order: Order) -> None:
        """Start what the master grants, and have go what it recalls."""
        self._seen = (order.life, order.number)
        if order.instance not in self._instances:
            self._instances[order.instance] = order.proxy
            runtime.monitor(order.proxy)
        for _ in range(min(order.count, len(self._waiting))):
            self._begin(self._waiting.popleft(), order.instance)
        if order.count < 0:
            self._recall(order.instance, -order.count)
        self._reports.changed()

    def _recall(self, instance: str, count: int) -> None:
        there = [w for w in self._workers if w.instance == instance]
        wanted = [worker for worker in there if not worker.is_unwanted]
        for worker in wanted[-count:]:
            if self.on_recall is not None:
                worker.is_unwanted = True  # the master counts it as gone already
                self.on_recall(worker)

    # ---- the instances

    def _begin(self, worker: GrantedWorker, instance: str) -> None:
        worker.instance = instance
        self._workers.append(worker)
        proxy = self._instances[instance]
        answer = proxy.start(self._session, self._claim, self._init)
        answer.add_waiter(_Answer(self, worker))

    def answered(self, worker: GrantedWorker, answer: Promise) -> None:
        """Take in what became of the start of a worker."""
        value = answer.value
        if answer.state == ERROR:
            self._not_started(worker, value)
        elif isinstance(value, Started):
            worker.start_at(value)
            if worker.is_unwanted:
                worker.kill()
        else:
            self._strike(worker, value)

    def _not_started(self, worker: GrantedWorker, error: Exception) -> None:
        """Wait for another grant: no room, or the instance cannot be reached."""
        self._workers.remove(worker)
        _log.info("no worker from %s: %s", worker.instance, error)
        if isinstance(error, DeliveryError):
            self._avoid(worker.instance)
        if worker.is_unwanted or self.is_closing:
            worker.end_by(Exit(0, None, None, str(error)))
        else:
            self.node.loop.call_later(RETRY_SECONDS, self._wait_again, worker)
        self._reports.changed()

    def _wait_again(self, worker: GrantedWorker) -> None:
        if worker.is_unwanted or self.is_closing:
            worker.end_by(Exit(0, None, None, "it is not wanted any more"))
            return
        worker.instance = ""
        self._waiting.append(worker)
        self._reports.changed()

    def _avoid(self, instance: str) -> None:
        if instance not in self._avoided:
            self._avoided.add(instance)
            forgive = partial(self._avoided.discard, instance)
            self.node.loop.call_later(AVOID_SECONDS, forgive)

    def has_ended(self, instance: str, number: int, end: Exit) -> None:
        """Take note that a worker has ended."""
        for worker in self._workers:
            if worker.instance == instance and worker.number == number:
                self._strike(worker, end)
                return

    def instance_lost(self, down: Any) -> None:
        """Give up the workers of an instance that is lost: they end with it."""
        gone = [n for n, proxy in self._instances.items() if proxy.sp_url == down.url]
        for instance in gone:
            del self._instances[instance]
            # one that is being started is told of by its answer
            there = [w for w in self._workers if w.instance == instance and w.number]
            for worker in there:
                end = Lost(worker.pid, None, None, reason=str(down.reason))
                self._strike(worker, end)

    def _strike(self, worker: GrantedWorker, end: Exit) -> None:
        self._workers.remove(worker)
        if worker.incarnation is not None and self.node.peers is not None:
            what = f"(OS process {worker.pid}) {end.text}"
            self.node.peers.lost(worker.incarnation, what)
        worker.end_by(end)
        self._reports.changed()


class _Answer:
    """Brings an instance's answer back to the source."""

    __slots__ = ("source", "worker")

    def __init__(self, source: MasterSource, worker: GrantedWorker) -> None:
        self.source = source
        self.worker = worker

    def settled(self, answer: Promise) -> None:
        self.source.answered(self.worker, answer)


async def _settled(promise: Promise) -> None:
    """Wait for an end, well or not: it is over."""
    try:
        await promise
    except (SpliceError, Cancelled) as error:
        _log.debug("at the end: %s", error)


def _noted(_: Promise) -> None:
    """Take note of an outcome, so that a failure is not logged."""
