"""Supervised children on several nodes, whatever fails, is killed, cut off or ordered meanwhile."""

from contextlib import suppress
from random import Random
from typing import Any

import pytest

from splice import DeliveryError, Process, Supervisor, child, runtime, sync
from splice.node.node import Node
from splice.testing.simulation import Simulation

CHILDREN = 6

PATIENCE = 300.0
"""Seconds of virtual time for one order: nodes that are cut off are waited for meanwhile."""


class Clerk(Process):
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def fail(self):
        raise ValueError("broken")


class Program:
    """What happens to one supervisor and its children, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.sim = Simulation(seed=seed, jitter=0.05, loss=0.05)
        self.nodes = [self.sim.node() for _ in range(4)]
        self.living = self.nodes[1:]

    def run(self) -> tuple[list[str], list[bool]]:
        view = [node.address for node in self.nodes[1:]]
        dests = [None, view, *view]
        specs = [
            child(Clerk, id=n, sp_dest=self.random.choice(dests))
            for n in range(CHILDREN)
        ]
        strategy = self.random.choice(["one_for_one", "one_for_all", "rest_for_one"])
        self.sup = runtime.spawn(Supervisor, strategy, 1000, children=specs)
        for _ in range(6):
            self.random.choice([self.fail, self.end, self.kill, self.cut, self.order])()
            runtime.sleep(self.random.choice([0.01, 1, 30]))
        runtime.sleep(PATIENCE)
        for key, info in enumerate(self.children()):
            if info.state != "running":  # stopped by order, and its node was lost
                self.sup.restart_child(key).get(PATIENCE)
        infos = self.children()
        answers = [info.proxy.add().get(PATIENCE) > 0 for info in infos]
        runtime.stop(self.sup, timeout=None)
        runtime.sleep(PATIENCE)
        return [info.state for info in infos], answers

    def children(self) -> Any:
        return sync(self.sup.which_children())

    def fail(self) -> None:
        failed = self.random.choice(self.children()).proxy.fail()
        failed.add_done_callback(lambda _: None)

    def end(self) -> None:
        with suppress(DeliveryError):  # its node is lost
            runtime.kill(self.random.choice(self.children()).proxy)

    def kill(self) -> None:
        if self.living:
            lost = self.living.pop(self.random.randrange(len(self.living)))
            self.sim.kill(lost)

    def cut(self) -> None:
        here, there = self.nodes[0], self.random.choice(self.nodes[1:])
        self.sim.network.cut(here.address, there.address)
        runtime.sleep(self.random.choice([1, 30, 60]))
        self.sim.network.heal(here.address, there.address)

    def order(self) -> None:
        key = self.random.randrange(CHILDREN)
        self.sup.terminate_child(key).exception(PATIENCE)
        runtime.sleep(self.random.random())
        self.sup.restart_child(key).exception(PATIENCE)


def left_on(node: Node) -> set[str]:
    kinds = {type(cell.object).__name__ for cell in node.scheduler.directory.cells()}
    return kinds - {"Agent", "Actor"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_all_children_live_on_and_none_outlives_its_supervisor(seed):
    program = Program(seed)
    try:
        states, answers = program.sim.run(program.nodes[0], program.run)
        assert states == ["running"] * CHILDREN
        assert answers == [True] * CHILDREN
        for node in (program.nodes[0], *program.living):
            assert left_on(node) == set()
    finally:
        program.sim.close()
