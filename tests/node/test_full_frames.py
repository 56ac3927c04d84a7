"""What a handler sends to many nodes goes in frames as full as what it sends to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from splice import Process, runtime, syncmany
from splice.node.exchange import FLUSH_MESSAGES
from splice.node.node import Node
from splice.testing.simulation import Simulation

OTHERS = 8


class Echo(Process):
    """Gives back what it is asked."""

    def echo(self, number: int) -> int:
        return number


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, delay=0.01)
    yield simulation
    simulation.close()


def meet(sim: Simulation, node: Node, others: list[Node]) -> list[Any]:
    """Return echoes of all others, which have answered once: connections stand."""

    def act() -> list[Any]:
        echoes = [runtime.spawn(Echo, sp_dest=other.address) for other in others]
        syncmany([echo.echo(0) for echo in echoes])
        return echoes

    echoes: list[Any] = sim.run(node, act)
    return echoes


def frames_to(node: Node, others: list[Node]) -> list[int]:
    """Return how many frames the node has sent to each of the others."""
    assert node.peers is not None
    by_address = {str(peer): peer.outbound.sent for peer in node.peers.known()}
    return [by_address[other.address] for other in others]


def test_questions_to_many_nodes_in_turn_fill_their_frames(sim: Simulation) -> None:
    here, others = sim.node(), [sim.node() for _ in range(OTHERS)]
    echoes = meet(sim, here, others)
    before = frames_to(here, others)

    def ask_in_turn() -> None:
        syncmany([e.echo(i) for i in range(FLUSH_MESSAGES - 1) for e in echoes])

    sim.run(here, ask_in_turn)
    after = frames_to(here, others)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1] * OTHERS


def test_a_handler_that_goes_on_sending_keeps_no_node_idle(sim: Simulation) -> None:
    here, others = sim.node(), [sim.node() for _ in range(OTHERS)]
    echoes = meet(sim, here, others)
    before = frames_to(here, others)

    def ask() -> list[int]:
        asked = [e.echo(i) for i in range(FLUSH_MESSAGES) for e in echoes]
        meanwhile = frames_to(here, others)
        syncmany(asked)
        return meanwhile

    meanwhile = sim.run(here, ask)
    assert [b - a for a, b in zip(before, meanwhile, strict=True)] == [1] * OTHERS
