"""What becomes of a one-way message: its promise says so by class, verdict and text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from splice import (
    ConnectTimeout,
    Deferred,
    DeliveryError,
    NodeLost,
    Overloaded,
    Process,
    ProcessNotFound,
    ProcessStopped,
    Promise,
    UnpicklableError,
    runtime,
    tell,
)
from splice.config import Config
from splice.testing.simulation import Simulation
from splice.uri import url

Scenario = Callable[[Simulation], Promise]


class Clerk(Process):
    """Takes what it is given."""

    sp_mailbox_limit = 2

    def __init__(self) -> None:
        self.awake = Deferred()
        self.taken: list[Any] = []

    def take(self, what: Any) -> None:
        self.taken.append(what)

    def sleep(self) -> None:
        self.awake.get()

    def all(self) -> list[Any]:
        return self.taken


@pytest.fixture
def sim() -> Iterator[Simulation]:
    config = Config(connect_timeout=30.0, loss_timeout=10.0)
    simulation = Simulation(seed=1, config=config, delay=0.01)
    simulation.node(), simulation.node()
    simulation.advance(5)  # names are not waited for any more
    yield simulation
    simulation.close()


def far(sim: Simulation, name: str | None = None) -> Any:
    return runtime.spawn(Clerk, sp_id=name, sp_dest=sim.nodes[1].address)


# ---- not delivered


def near_and_ended(sim: Simulation) -> Promise:
    clerk = runtime.spawn(Clerk)
    runtime.stop(clerk)
    return tell(clerk.take, 1)


def near_and_nobody(sim: Simulation) -> Promise:
    return tell(runtime.connect(url("nobody", runtime.address)).take, 1)


def far_and_ended(sim: Simulation) -> Promise:
    clerk = far(sim)
    runtime.stop(clerk)
    return tell(clerk.take, 1)


def far_and_nobody(sim: Simulation) -> Promise:
    return tell(runtime.connect(url("nobody", sim.nodes[1].address)).take, 1)


def an_id_that_was_never_given(sim: Simulation) -> Promise:
    two = sim.nodes[1]
    return tell(runtime.connect(url(4711, two.address, two.incarnation)).take, 1)


def a_node_known_to_be_dead(sim: Simulation) -> Promise:
    clerk = far(sim)
    sim.kill(sim.nodes[1])
    runtime.sleep(1)
    return tell(clerk.take, 1)


def a_node_that_was_shut_down(sim: Simulation) -> Promise:
    clerk = far(sim)
    runtime.shutdown(clerk)
    return tell(clerk.take, 1)


def a_restarted_node(sim: Simulation) -> Promise:
    clerk = far(sim, "clerk")
    other = sim.restart(sim.nodes[1])
    runtime.sleep(1)  # what was sent at once might have been on its way to the old one
    told = tell(clerk.take, 1)
    assert told.exception() is not None
    heir = runtime.spawn(Clerk, sp_id="clerk", sp_dest=other.address)
    assert heir.all().get() == []
    return told


def an_address_where_nobody_ever_was(sim: Simulation) -> Promise:
    return tell(runtime.connect(url("nobody", "tcp://10.0.0.77:1")).take, 1)


NOT_DELIVERED: dict[Scenario, tuple[type[DeliveryError], str]] = {
    near_and_ended: (ProcessStopped, "Clerk .*take was not handled: .* has ended"),
    near_and_nobody: (ProcessNotFound, "no process 'nobody' on tcp://10.0.0.1:1"),
    far_and_ended: (ProcessStopped, r"process \d+ of tcp://10.0.0.2:1 has ended"),
    far_and_nobody: (ProcessNotFound, "no process 'nobody' on tcp://10.0.0.2:1"),
    an_id_that_was_never_given: (ProcessNotFound, "no process 4711 on tcp://10.0.0.2"),
    a_node_known_to_be_dead: (NodeLost, "tcp://10.0.0.2:1 refused"),
    a_node_that_was_shut_down: (NodeLost, "tcp://10.0.0.2:1 was shut down"),
    a_restarted_node: (NodeLost, "tcp://10.0.0.2:1 was restarted"),
    an_address_where_nobody_ever_was: (
        ConnectTimeout,
        "tcp://10.0.0.77:1 .*within 30 s",
    ),
}


@pytest.mark.parametrize("scenario", NOT_DELIVERED, ids=lambda s: s.__name__)
def test_a_message_that_was_certainly_not_handled_says_so(
    sim: Simulation, scenario: Scenario
) -> None:
    kind, text = NOT_DELIVERED[scenario]

    def act() -> BaseException | None:
        return scenario(sim).exception()

    error = sim.run(sim.nodes[0], act)
    assert type(error) is kind
    assert error.verdict == "not delivered"
    with pytest.raises(kind, match=text):
        raise error


# ---- unknown


def test_a_message_on_its_way_to_a_node_that_dies_has_an_unknown_fate(
    sim: Simulation,
) -> None:
    def act() -> BaseException | None:
        clerk = far(sim)
        sim.network.cut(sim.nodes[0].address, sim.nodes[1].address)
        told = tell(clerk.take, 1)
        runtime.sleep(0.005)  # sent, and nothing has come back
        return told.exception()

    error = sim.run(sim.nodes[0], act)
    assert type(error) is NodeLost
    assert error.verdict == "unknown"
    assert error.node == "tcp://10.0.0.2:1"
    assert "tcp://10.0.0.2:1" in str(error)


# ---- delivered


def test_a_message_in_a_mailbox_is_delivered_whatever_its_handler_does(
    sim: Simulation,
) -> None:
    def act() -> list[Any]:
        clerks = [runtime.spawn(Clerk), far(sim)]
        return [tell(clerk.sleep).exception() for clerk in clerks]

    assert sim.run(sim.nodes[0], act) == [None, None]


def test_a_message_to_a_handler_that_is_not_there_is_delivered_all_the_same(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    def act() -> BaseException | None:
        clerk = runtime.connect(str(far(sim).sp_url))
        return tell(clerk.no_such_thing, 1).exception()

    assert sim.run(sim.nodes[0], act) is None
    sim.advance(1)
    assert "no handler 'no_such_thing'" in caplog.text


def test_mail_for_a_late_node_is_delivered_when_it_comes(sim: Simulation) -> None:
    address = "tcp://10.0.0.3:1"

    def act() -> tuple[bool, BaseException | None, list[Any]]:
        told = tell(runtime.connect(url("clerk", address)).take, 1)
        runtime.sleep(5)
        was_done = told.done()
        assert sim.node().address == address
        clerk = runtime.spawn(Clerk, sp_id="clerk", sp_dest=address)
        return was_done, told.exception(), clerk.all().get()

    assert sim.run(sim.nodes[0], act) == (False, None, [1])


# ---- refused here, so nothing was sent


def test_what_cannot_travel_is_refused_at_the_call(sim: Simulation) -> None:
    def act() -> None:
        tell(far(sim).take, threading.Lock())

    with pytest.raises(UnpicklableError, match="args"):
        sim.run(sim.nodes[0], act)


def test_what_finds_no_room_is_refused_at_the_call(sim: Simulation) -> None:
    def act() -> None:
        clerk = runtime.spawn(Clerk)
        tell(clerk.sleep)
        runtime.sleep(1)
        while True:
            tell(clerk.take, 1)

    with pytest.raises(Overloaded, match="take was not sent") as refused:
        sim.run(sim.nodes[0], act)
    assert refused.value.verdict == "not delivered"


# ---- what was pending when this node was shut down


def test_a_message_that_waits_when_its_own_node_is_shut_down_was_not_delivered(
    sim: Simulation,
) -> None:
    one = sim.nodes[0]
    (told,) = sim.run(one, lambda: [an_address_where_nobody_ever_was(sim)])
    one.close()
    assert isinstance(told.exception(), DeliveryError)
    assert told.exception().verdict == "not delivered"
    assert "this node was shut down" in str(told.exception())


def test_a_message_after_that_was_not_delivered_either(sim: Simulation) -> None:
    one = sim.nodes[0]
    clerk = sim.run(one, lambda: far(sim))
    one.close()
    error = tell(clerk.take, 1).exception()
    assert isinstance(error, NodeLost)
    assert error.verdict == "not delivered"
    assert "was shut down" in str(error)
