"""Any sequence of deaths, restarts, frosts and partitions leaves a right cluster in the end."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from splice.actor.promise import VALUE
from splice.cluster.claim import Claim
from splice.cluster.granted import GrantedWorker
from splice.node.node import Node

SLOTS = 2
WANTED = 3


class Session:
    """A client that wants three workers all the time, as a hub does."""

    def __init__(self, cluster: Any) -> None:
        self.source = cluster.new_source()
        self.node = self.source.node
        self.workers: list[GrantedWorker] = []
        self.source.on_recall = self.let_go
        # as `open`, which waits for a master; here there need not be one just now
        self.source._claim = cluster.wait(
            self.node.spawn(Claim, (self.source,), {}, None)
        )
        self.fill()

    def fill(self) -> None:
        if self.node.is_closed:
            return
        self.workers = [w for w in self.workers if not w.ended.done()]
        missing = WANTED - len(self.workers)
        for worker in self.source.start(missing):
            self.workers.append(worker)
            worker.ready.add_done_callback(lambda _: None)
            worker.ended.add_done_callback(lambda _: self.fill())

    def let_go(self, worker: GrantedWorker) -> None:
        self.node.run_coroutine(lambda: self.source.release([worker]))

    @property
    def ready(self) -> list[GrantedWorker]:
        ready = [w for w in self.workers if w.ready.state == VALUE]
        return [w for w in ready if not w.ended.done()]


class Fate:
    """A cluster, and what happens to it, from one seed."""

    def __init__(self, cluster: Any, seed: int) -> None:
        self.random = Random(seed)
        self.cluster = cluster
        self.sim = cluster.sim
        self.master: Node | None = None
        self.instances = [cluster.start_instance(SLOTS) for _ in range(3)]
        self.sessions = [Session(cluster) for _ in range(2)]
        self.frozen: list[Node] = []
        self.cuts: list[tuple[str, str]] = []

    def start_master(self) -> None:
        if self.master is None:
            self.master = self.cluster.start_master()

    def kill_master(self) -> None:
        if self.master is not None:
            self.sim.kill(self.master)
            self.master = None

    def replace_instance(self) -> None:
        node = self.instances.pop(self.random.randrange(len(self.instances)))
        # its workers are ended by the system, in the same moment
        for child in node.children:
            assert child.process is not None
            child.process.kill()
        self.sim.kill(node)
        self.instances.append(self.cluster.start_instance(SLOTS))

    def replace_client(self) -> None:
        session = self.sessions.pop(self.random.randrange(len(self.sessions)))
        self.sim.kill(session.node)
        self.sessions.append(Session(self.cluster))

    def kill_worker(self) -> None:
        workers = [w for session in self.sessions for w in session.ready]
        if workers:
            self.random.choice(workers).kill()

    def cut(self) -> None:
        ends = [n.address for n in self.instances]
        ends += [s.node.address for s in self.sessions]
        if self.master is not None:
            ends.append(self.cluster.address)
        one, other = self.random.sample(ends, 2)
        self.cuts.append((one, other))
        self.sim.network.cut(one, other)

    def freeze(self) -> None:
        nodes = self.instances + [s.node for s in self.sessions]
        if self.master is not None:
            nodes.append(self.master)
        node = self.random.choice(nodes)
        if node not in self.frozen:
            self.frozen.append(node)
            self.sim.freeze(node)

    def heal(self) -> None:
        while self.frozen:
            self.sim.thaw(self.frozen.pop())
        while self.cuts:
            self.sim.network.heal(*self.cuts.pop())

    def strike(self) -> None:
        events = [
            self.start_master,
            self.start_master,
            self.kill_master,
            self.replace_instance,
            self.replace_client,
            self.kill_worker,
            self.cut,
            self.freeze,
            self.heal,
        ]
        self.random.choice(events)()
        self.sim.advance(self.random.choice([0.001, 0.01, 0.3, 3.0, 20.0]))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_all_slots_are_shared_and_nothing_is_left(
    make_cluster: Any, seed: int
) -> None:
    fate = Fate(make_cluster(seed, jitter=0.01), seed)
    for _ in range(15):
        fate.strike()
    fate.heal()
    fate.start_master()
    fate.sim.advance(120.0)
    # six slots, and two sessions that want three each
    assert [len(session.ready) for session in fate.sessions] == [WANTED, WANTED]
    running = [child for node in fate.instances for child in node.children]
    assert len(running) == SLOTS * len(fate.instances)
    used = {w.address for session in fate.sessions for w in session.ready}
    assert used == {child.address for child in running}
