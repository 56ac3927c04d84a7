"""Every promise settles: asks, tells, spawns and stops among nodes that die and lose each other."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from splice import Process, Promise, runtime, tell
from splice.node.node import Node
from splice.testing.simulation import Simulation


class Echo(Process):
    """Answers by itself, by another, at once and late."""

    def echo(self, value: Any) -> Any:
        return value

    def relay(self, other: Any, value: Any) -> Any:
        return other.echo(value)

    def wait(self, other: Any, value: Any) -> Any:
        return other.echo(value).get()

    def late(self, seconds: float) -> None:
        runtime.sleep(seconds)

    def leave(self) -> None:
        runtime.shutdown()


class Storm:
    """What happens among some nodes, drawn from a seed; all promises are kept."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.sim = Simulation(seed=seed, jitter=0.05, loss=0.05)
        self.nodes = [self.sim.node() for _ in range(4)]
        self.promises: list[Promise] = []

    def blow(self, steps: int) -> None:
        """Do this and that; called in a handler of the first node, which lives on."""
        echoes = [runtime.spawn(Echo, sp_dest=node.address) for node in self.nodes * 2]
        mortal = self.nodes[1:]
        for _ in range(steps):
            one, other = self.random.choices(echoes, k=2)
            self.promises += self._say(one, other)
            if self.random.random() < 0.3:
                self._strike(mortal)
            if self.random.random() < 0.1:
                runtime.sleep(self.random.uniform(0, 5))
        runtime.sleep(200)  # longer than any time-out of a node

    def _say(self, one: Any, other: Any) -> list[Promise]:
        kind = self.random.randrange(8)
        if kind == 0:
            return [one.relay(other, 1)]
        if kind == 1:
            return [one.wait(other, 1)]
        if kind == 2:
            return [one.late(self.random.uniform(0, 5))]
        if kind == 3:
            return [tell(one.echo, 1)]
        if kind == 4:
            where = self.random.choice(self.nodes).address
            return [runtime.spawn_nowait(Echo, sp_dest=where)]
        if kind == 5 and self.random.random() < 0.2:
            return [runtime.node.stop(one._sp_target)]
        return [one.echo(1), other.echo(2)]

    def _strike(self, mortal: list[Node]) -> None:
        one, other = (node.address for node in self.random.sample(self.nodes, 2))
        kind = self.random.randrange(6)
        if kind == 0 and mortal:
            self.sim.kill(mortal.pop())
        elif kind == 1 and mortal:
            leaver = mortal.pop()
            leaver.run_coroutine(leaver.shut_down)
        elif kind < 4:
            self.sim.network.cut(one, other)
        else:
            self.sim.network.heal(one, other)


@pytest.mark.parametrize("seed", range(12))
def test_every_promise_settles_and_no_node_keeps_what_it_asked(seed: int) -> None:
    storm = Storm(seed)
    storm.sim.run(storm.nodes[0], storm.blow, 60)
    pending = [promise.describe() for promise in storm.promises if not promise.done()]
    for promise in storm.promises:
        promise.look()
    owed = [
        dialogue.asked
        for node in storm.nodes
        for dialogue in node.exchange._dialogues.values()
        if dialogue.asked
    ]
    storm.sim.close()
    assert not pending
    assert not owed
