"""A cluster in one OS process: nodes, forks, deaths and partitions, from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import splice
from splice import Process, runtime, sync, syncmany, tell
from splice.testing.simulation import Simulation


class Ledger(Process):
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def note(self, what: Any) -> int:
        self.notes.append(what)
        return len(self.notes)

    def all(self) -> list[Any]:
        return self.notes


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    yield simulation
    simulation.close()


def test_a_process_is_spawned_and_asked_on_another_node(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> int:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        return int(sync(ledger.note("first")))

    assert sim.run(one, scenario) == 1


def test_forks_are_nodes_of_the_simulation_and_end_with_their_parent(
    sim: Simulation,
) -> None:
    one = sim.node()

    def scenario() -> list[int]:
        nodes = runtime.fork(3)
        return syncmany(runtime.spawn_scatter(nodes, Ledger).note("x"))

    assert sim.run(one, scenario) == [1, 1, 1]
    sim.loop.run_until_complete(one.shut_down())
    assert all(node.is_closed for node in sim.nodes)


def test_a_killed_node_fails_what_waits_for_it(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> BaseException | None:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        sync(ledger.note(1))
        sim.kill(two)
        error: BaseException | None = ledger.note(2).exception()
        return error

    assert isinstance(sim.run(one, scenario), splice.NodeLost)


def test_a_short_partition_loses_nothing_and_repeats_nothing(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> list[int]:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        for number in range(10):
            tell(ledger.note, number)
        sim.network.cut(one.address, two.address)
        for number in range(10, 20):
            tell(ledger.note, number)
        runtime.sleep(5.0)
        sim.network.heal(one.address, two.address)
        answer: list[int] = sync(ledger.all())
        return answer

    assert sim.run(one, scenario) == list(range(20))


def test_a_long_partition_is_a_loss_and_the_proxy_works_again_when_it_heals(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> tuple[type, int]:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        sim.network.cut(one.address, two.address)
        lost = ledger.note("lost").exception()
        sim.network.heal(one.address, two.address)
        return type(lost), sync(ledger.note("found"))

    kind, count = sim.run(one, scenario)
    assert kind is splice.NodeLost
    assert count in {1, 2}


def test_a_restarted_node_has_the_address_and_not_the_mail_of_its_predecessor(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> tuple[str, BaseException | None]:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        again = sim.restart(two)
        return again.address, ledger.note(1).exception()

    address, error = sim.run(one, scenario)
    assert address == two.address
    assert isinstance(error, splice.NodeLost)


def test_a_node_that_dies_silently_is_lost_only_after_a_while(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> float:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        began = sim.loop.time()
        sim.kill(two, silently=True)
        assert isinstance(ledger.note(1).exception(), splice.NodeLost)
        return sim.loop.time() - began

    assert sim.run(one, scenario) >= sim.config.loss_timeout


@pytest.mark.parametrize("is_reachable", [False, True])
def test_a_frozen_node_does_nothing_until_it_goes_on(
    sim: Simulation, is_reachable: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> tuple[bool, int]:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        sim.freeze(two, is_reachable=is_reachable)
        answer = ledger.note(1)
        runtime.sleep(5.0)
        was_done = answer.done()
        sim.thaw(two)
        return was_done, sync(answer)

    assert sim.run(one, scenario) == (False, 1)


@pytest.mark.parametrize("is_reachable", [False, True])
def test_only_a_frozen_node_that_cannot_be_reached_is_lost(
    sim: Simulation, is_reachable: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> bool:
        ledger = runtime.spawn(Ledger, sp_dest=two.address)
        sim.freeze(two, is_reachable=is_reachable)
        answer = ledger.note(1)
        runtime.sleep(60.0)
        sim.thaw(two)
        return isinstance(answer.exception(), splice.NodeLost)

    assert sim.run(one, scenario) == (not is_reachable)


def test_the_timers_of_a_frozen_node_fire_late(sim: Simulation) -> None:
    node = sim.node()
    fired: list[float] = []
    began = sim.loop.time()
    node.loop.call_later(1.0, lambda: fired.append(sim.loop.time() - began))
    cancelled = node.loop.call_later(1.0, fired.append, 0.0)
    sim.freeze(node)
    sim.advance(10.0)
    assert fired == []
    cancelled.cancel()
    sim.thaw(node)
    sim.advance(0.0)
    assert fired == [10.0]


class Chatter(Process):
    """Tells some of its friends, who tell theirs, until the message has aged."""

    def __init__(self) -> None:
        self.friends: list[Any] = []
        self.heard: list[tuple[int, int]] = []

    def meet(self, friends: list[Any]) -> None:
        self.friends = friends

    def hear(self, source: int, number: int, age: int) -> None:
        self.heard.append((source, number))
        if age and self.friends:
            for offset in range(2):
                friend = self.friends[(number + offset) % len(self.friends)]
                tell(friend.hear, source, number, age - 1)

    def count(self) -> int:
        return len(self.heard)


@pytest.mark.parametrize("seed", range(8))
def test_messages_arrive_exactly_once_under_any_schedule(seed: int) -> None:
    sim = Simulation(seed=seed, jitter=0.02, loss=0.05)
    nodes = [sim.node() for _ in range(3)]

    def scenario() -> list[int]:
        chatters = [
            runtime.spawn(Chatter, sp_dest=node.address)
            for node in nodes
            for _ in range(2)
        ]
        syncmany(chatter.meet(chatters) for chatter in chatters)
        for number in range(5):
            syncmany(tell(c.hear, i, number, 3) for i, c in enumerate(chatters))
        runtime.sleep(60.0)
        return syncmany(chatter.count() for chatter in chatters)

    counts = sim.run(nodes[0], scenario)
    sim.close()
    # 6 chatters hear 5 messages each, and each is passed on to 2, 4 and 8 others
    assert sum(counts) == 6 * 5 * (1 + 2 + 4 + 8)


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[float, list[Any]]:
        sim = Simulation(seed=3, jitter=0.05, loss=0.1)
        one, two, three = sim.node(), sim.node(), sim.node()

        def scenario() -> list[Any]:
            ledger = runtime.spawn(Ledger, sp_dest=two.address)
            writers = [
                runtime.spawn(Writer, ledger, sp_dest=n.address) for n in (one, three)
            ]
            syncmany(writer.write(5) for writer in writers)
            answer: list[Any] = sync(ledger.all())
            return answer

        notes = sim.run(one, scenario)
        now = sim.loop.time()
        sim.close()
        return now, notes

    assert run() == run()


class Writer(Process):
    """Writes numbered notes into a ledger."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger

    def write(self, count: int) -> None:
        for number in range(count):
            sync(self.ledger.note((repr(self.sp_proxy.sp_url), number)))
