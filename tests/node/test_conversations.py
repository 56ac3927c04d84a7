"""One conversation of two nodes, whoever could dial whom: at the level of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from splice import Process, runtime
from splice.config import Config
from splice.node.node import Node
from splice.testing.simulation import Simulation
from splice.uri import url

HIDDEN = "tcp://localhost:1"
"""An address that means another node wherever it is dialled."""


class Board(Process):
    """Keeps what it is told, and calls back whoever asks for that."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def note(self, what: Any) -> None:
        self.notes.append(what)

    def all(self) -> list[Any]:
        return self.notes

    def call(self, guest: Any, what: Any) -> Any:
        guest.note(what).get()
        return guest.all().get()


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, config=Config(loss_timeout=5.0), delay=0.01)
    yield simulation
    simulation.close()


def hidden_client(sim: Simulation) -> tuple[Node, Node]:
    """Make a server, and a client on another machine that it cannot dial."""
    server, client = sim.node(), sim._make(HIDDEN)
    assert server.peers is not None
    server.peers._machine = "another machine"
    return server, client


def connections(node: Node) -> int:
    assert node.peers is not None
    return sum(len(peer.channel.connections) for peer in node.peers.known())


def test_a_client_that_nobody_can_dial_is_answered_and_its_processes_called(
    sim: Simulation,
) -> None:
    server, client = hidden_client(sim)

    def scenario() -> list[Any]:
        board = runtime.spawn(Board, sp_dest=server.address)
        mine: Any = runtime.spawn(Board)
        answers = [board.call(mine, number).get() for number in range(2)]
        # also when it was silent for long, and when its connection breaks
        runtime.sleep(60)
        answers.append(board.call(mine, 2).get())
        sim.network.drop(client.address, server.address)
        answers.append(board.call(mine, 3).get())
        return answers

    expected = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert sim.run(client, scenario) == expected
    assert connections(server) == 1


def test_a_server_calls_such_a_client_on_its_own_account(sim: Simulation) -> None:
    server, client = hidden_client(sim)

    def register() -> Any:
        mine = runtime.spawn(Board)
        runtime.spawn(Board, sp_id="guests", sp_dest=server.address).note(mine).get()
        return mine

    mine = sim.run(client, register)

    def call_back() -> None:
        (guest,) = runtime.whereis("guests").all().get()
        guest.note("called").get()

    sim.run(server, call_back)
    assert sim.run(client, lambda: mine.all().get()) == ["called"]


@pytest.mark.parametrize("seed", range(5))
def test_nodes_that_dial_each_other_at_once_have_one_conversation(seed: int) -> None:
    sim = Simulation(seed=seed, delay=0.01, jitter=0.02)
    one, two = nodes = sim.node(), sim.node()
    for node in nodes:
        sim.run(node, lambda: runtime.spawn(Board, sp_id="board"))

    async def tell(here: Node, there: Node) -> None:
        board: Any = here.connect(url("board", there.address))
        for number in range(50):
            await board.note(number)

    for here, there in ((one, two), (two, one)):
        sim.background(tell(here, there))
    sim.advance(30)
    for node in nodes:
        assert node.peers is not None
        assert len(node.peers.known()) == 1
        board = node.scheduler.directory.get("board")
        assert board is not None
        assert board.object.notes == list(range(50))
    sim.close()
