"""A simulated cluster of one master, instances and sessions, for the tests of this folder."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from splice.actor.proxy import proxy_class
from splice.cluster import Session, session
from splice.cluster.bench import Bench
from splice.cluster.claim import MasterSource
from splice.cluster.granted import GrantedWorker
from splice.cluster.instance import NAME as INSTANCE
from splice.cluster.instance import Instance
from splice.cluster.master import NAME as MASTER
from splice.cluster.master import Master, Status
from splice.cluster.worker import NAME as WORKER
from splice.cluster.worker import Start, Worker
from splice.net.codec import encode
from splice.node.node import Node
from splice.node.remote import Remote
from splice.testing.simulation import Simulation
from splice.uri import url


class Cluster:
    """A simulated cluster whose master has a fixed address."""

    def __init__(self, seed: int = 1, **network: float) -> None:
        self.sim = Simulation(seed, **network)
        self.sim.on_node = self._furnish
        self.starts: list[Start] = []
        self.runs_init = True
        self.operator = self.sim.node()
        self.lives = 0
        # only for its address: the master comes when a test wants it
        self._master = self.sim.node()
        self.address = self._master.address
        self.sim.kill(self._master)

    def _furnish(self, node: Node) -> None:
        """Give each node what a worker has that was up before its client connected."""
        self.starts.append(start := Start())
        if self.runs_init:
            start.has_ended()
        node.spawn(Worker, (Bench(), start), {}, WORKER)

    def wait(self, awaitable: Any) -> Any:
        async def waiting() -> Any:
            return await awaitable

        return self.sim.loop.run_until_complete(waiting())

    def start_master(self) -> Node:
        self._master = self.sim.restart(self._master)
        self.lives += 1
        self.wait(self._master.spawn(Master, (self.lives,), {}, MASTER))
        return self._master

    def start_instance(self, slots: int = 2, name: str = "machine") -> Node:
        node = self.sim.node()
        options = {
            "name": name,
            "machine": f"machine of {name}",
            "slots": slots,
            "load": lambda: 0.0,
            "on_refused": lambda error: None,
        }
        self.wait(node.spawn(Instance, (self.address,), options, INSTANCE))
        return node

    def new_source(self) -> MasterSource:
        """A session's side on a node of its own; it has not met the master yet."""
        init: tuple[Any, list[Any]] = encode(None, []), []
        node = self.sim.node()
        return MasterSource(node, init, self.address, name="s", owner="ada")

    def open_session(self) -> MasterSource:
        source = self.new_source()
        self.wait(source.open())
        return source

    def ask(self, handler: str, *args: Any) -> Any:
        master: Any = proxy_class(Master)(
            Remote(self.operator, url(MASTER, self.address))
        )
        return self.wait(getattr(master, handler)(*args))

    def status(self) -> Status:
        found = self.ask("status")
        assert isinstance(found, Status)
        return found

    def busy(self) -> int:
        """How many workers the instances say they run."""
        offers = self.status().offers.values()
        return sum(sum(offer.workers.values()) for offer in offers)

    def nodes_at(self, workers: list[GrantedWorker]) -> list[Node]:
        addresses = [worker.address for worker in workers]
        return [node for node in self.sim.nodes if node.address in addresses]


@pytest.fixture(scope="module")
def shared_session() -> Iterator[Session]:
    """A session that the tests of a module share."""
    with session(worker_count=2) as opened:
        yield opened


@pytest.fixture
def c(shared_session: Session) -> Session:
    """A session of two workers, both of them there, whatever the tests before have killed."""
    shared_session.scale(2).get(timeout=20)
    return shared_session


@pytest.fixture
def memfds() -> Callable[[], int]:
    """Counts the memory files that splice has open in this OS process."""

    def count() -> int:
        gc.collect()
        return sum(
            "memfd:splice" in _name(link) for link in Path("/proc/self/fd").iterdir()
        )

    return count


def _name(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # another thread has closed it meanwhile
        return ""


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes clusters, of a seed and with options of the simulation."""
    made: list[Cluster] = []

    def make(*args: Any, **options: Any) -> Cluster:
        made.append(Cluster(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.sim.close()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster without a master and instances yet."""
    return make_cluster()
