"""What nobody will handle is counted, told to whoever listens, and logged now and then."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from splice import (
    DeadLetter,
    Deferred,
    DeliveryError,
    NodeLost,
    Process,
    ProcessNotFound,
    ProcessStopped,
    runtime,
    tell,
)
from splice.node.dead_letters import LOG_INTERVAL
from splice.node.node import Node
from splice.testing.simulation import Simulation
from splice.uri import url


class Clerk(Process):
    """Takes what it is given, and sleeps when it is told to."""

    def __init__(self) -> None:
        self.awake = Deferred()

    def take(self, what: Any) -> Any:
        return what

    def sleep(self) -> None:
        self.awake.get()

    def hold(self) -> Deferred:
        return self.awake

    def wake(self) -> None:
        self.awake.set("late")


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, delay=0.01)
    yield simulation
    simulation.close()


def heard(
    sim: Simulation, here: Node, scenario: Callable[..., Any], *args: Any
) -> list[DeadLetter]:
    """Run a scenario on `here` and return the dead letters of that node."""
    letters: list[DeadLetter] = []
    stop = here.dead_letters.listen(letters.append)
    sim.run(here, scenario, *args)
    sim.advance(30)
    stop()
    return letters


def ended(dest: Node | None = None) -> Any:
    clerk = runtime.spawn(Clerk, sp_dest=None if dest is None else dest.address)
    runtime.stop(clerk)
    return clerk


def test_a_message_to_an_ended_process_names_both_and_the_reason(
    sim: Simulation,
) -> None:
    clerks = []

    def scenario() -> None:
        clerks.append(ended())
        assert isinstance(clerks[0].take(1).exception(), ProcessStopped)

    (letter,) = heard(sim, sim.node(), scenario)
    assert letter.target == str(clerks[0].sp_url)
    assert letter.handler == "take"
    assert letter.sender is not None
    assert letter.sender.startswith("tcp://10.0.0.1:1/")
    assert isinstance(letter.error, ProcessStopped)
    assert letter.error.verdict == "not delivered"


def test_a_tell_to_an_ended_process_is_one_dead_letter(sim: Simulation) -> None:
    def scenario() -> None:
        tell(ended().take, 1)

    assert len(heard(sim, sim.node(), scenario)) == 1


def test_mail_that_was_delivered_and_not_handled_is_dead_when_its_process_ends(
    sim: Simulation,
) -> None:
    def scenario() -> None:
        clerk = runtime.spawn(Clerk)
        tell(clerk.sleep)
        runtime.sleep(1)
        assert tell(clerk.take, 1).done()
        runtime.kill(clerk)

    (letter,) = heard(sim, sim.node(), scenario)
    assert letter.handler == "take"


@pytest.mark.parametrize("far", [False, True])
def test_what_was_told_to_a_process_that_ends_is_noted_once_near_and_far(
    sim: Simulation, caplog: pytest.LogCaptureFixture, far: bool
) -> None:
    here = sim.node()
    there = sim.node() if far else here
    letters: list[DeadLetter] = []
    there.dead_letters.listen(letters.append)

    def scenario() -> None:
        clerk = runtime.spawn(Clerk, sp_dest=there.address)
        tell(clerk.hold)  # answered with a promise
        tell(clerk.sleep)  # at hand
        for number in range(3):
            tell(clerk.take, number)
        runtime.sleep(1)
        runtime.kill(clerk)

    with caplog.at_level(logging.WARNING, "splice"):
        heard(sim, here, scenario)
    assert [letter.handler for letter in letters] == ["take"] * 3
    (record,) = caplog.records
    assert re.match(r"dead letter: Clerk \d.take was not handled", record.getMessage())


def test_a_failure_of_a_tell_is_logged_though_its_cause_is_the_end_of_another(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = sim.node(), sim.node()

    class Asker(Clerk):
        def hand_on(self, whom: Any) -> Any:
            return whom.take(1)

    def scenario() -> None:
        tell(runtime.spawn(Asker, sp_dest=two.address).hand_on, ended(one))
        runtime.sleep(1)

    with caplog.at_level(logging.ERROR, "splice"):
        sim.run(one, scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "Asker 1.hand_on failed, and nobody asked"
    ]


def test_a_message_to_an_ended_process_by_its_name_is_a_dead_letter(
    sim: Simulation,
) -> None:
    def scenario() -> None:
        clerk = runtime.spawn(Clerk, sp_id="clerk")
        named = runtime.connect(url("clerk", clerk.sp_url.address))
        runtime.stop(clerk)
        assert named.take(1).exception() is not None
        tell(named.take, 2)

    letters = heard(sim, sim.node(), scenario)
    assert [type(letter.error) for letter in letters] == [ProcessStopped] * 2


def test_a_message_from_afar_to_an_ended_process_names_the_node_it_came_from(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    letters: list[DeadLetter] = []
    two.dead_letters.listen(letters.append)

    def scenario() -> None:
        assert ended(two).take(1).exception() is not None

    assert heard(sim, one, scenario) == []  # whoever has sent it was told
    (letter,) = letters
    assert letter.sender == one.address
    assert letter.target.startswith(two.address)


def test_a_tell_that_was_not_delivered_is_dead_when_its_promise_is_let_go(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    sim.advance(5)  # names are not waited for any more

    def scenario() -> None:
        tell(runtime.connect(url("nobody", two.address)).take, 1)

    (letter,) = heard(sim, one, scenario)
    assert isinstance(letter.error, ProcessNotFound)
    assert letter.target == f"{two.address}/nobody"


def test_a_tell_whose_promise_was_looked_at_is_no_dead_letter(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        sim.kill(two)
        clerk = runtime.connect(url("clerk", two.address, two.incarnation))
        assert tell(clerk.take, 1).exception() is not None

    assert heard(sim, one, scenario) == []


def test_tells_to_a_lost_node_are_dead_letters(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        sim.kill(two)
        for number in range(3):
            tell(clerk.take, number)

    letters = heard(sim, one, scenario)
    assert [type(letter.error) for letter in letters] == [NodeLost] * 3


def test_an_answer_to_what_was_given_up_is_a_dead_letter(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        clerk = runtime.spawn(Clerk, sp_id="clerk", sp_dest=two.address)
        asked = clerk.hold()
        runtime.sleep(1)
        sim.network.cut(one.address, two.address)
        assert isinstance(asked.exception(), NodeLost)
        sim.network.heal(one.address, two.address)
        again = runtime.connect(url("clerk", two.address))
        again.wake().get()

    (letter,) = heard(sim, one, scenario)
    assert (letter.handler, letter.sender) == ("answer", two.address)
    assert isinstance(letter.error, DeliveryError)


def test_they_are_counted_whether_anybody_listens_or_not(sim: Simulation) -> None:
    def scenario() -> list[int]:
        clerk = ended()
        counts = [runtime.statistics().dead_letters]
        for number in range(5):
            assert clerk.take(number).exception() is not None
        return [*counts, runtime.statistics().dead_letters]

    assert sim.run(sim.node(), scenario) == [0, 5]


def test_statistics_tell_of_processes_and_connected_nodes(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> list[tuple[int, int]]:
        seen = []
        before = runtime.statistics()
        clerk = runtime.spawn(Clerk)
        far = runtime.spawn(Clerk, sp_dest=two.address)
        for _ in range(2):
            now = runtime.statistics()
            seen.append((now.processes - before.processes, now.nodes))
            runtime.stop(clerk)
            runtime.shutdown(far)
            runtime.sleep(1)
        return seen

    assert sim.run(one, scenario) == [(1, 1), (0, 0)]


def test_what_nobody_hears_of_is_logged_once_a_minute(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    def scenario() -> None:
        clerk = ended()
        for number in range(10):
            tell(clerk.take, number)
        runtime.sleep(LOG_INTERVAL)
        tell(clerk.take, 11)

    with caplog.at_level(logging.WARNING, "splice.node"):
        sim.run(sim.node(), scenario)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "the process has ended ('normal'); 0 more since" in lines[0]
    assert "9 more since the last such line" in lines[1]


def test_what_a_caller_is_told_is_not_logged(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    def scenario() -> None:
        assert ended().take(1).exception() is not None

    with caplog.at_level(logging.WARNING, "splice"):
        sim.run(sim.node(), scenario)
    assert caplog.records == []


def test_who_stops_listening_hears_no_more(sim: Simulation) -> None:
    letters: list[DeadLetter] = []

    def scenario() -> None:
        stop = runtime.on_dead_letter(letters.append)
        tell(ended().take, 1)
        runtime.sleep(1)
        stop()
        tell(ended().take, 2)
        runtime.sleep(1)

    sim.run(sim.node(), scenario)
    assert len(letters) == 1


def test_the_mail_of_a_node_that_is_shut_down_ends_with_it(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one = sim.node()

    def scenario() -> None:
        clerk = runtime.spawn(Clerk)
        tell(clerk.sleep)
        tell(clerk.take, 1)

    sim.run(one, scenario)
    with caplog.at_level(logging.WARNING, "splice"):
        one.close()
    assert one.dead_letters.count == 0
    assert caplog.records == []
