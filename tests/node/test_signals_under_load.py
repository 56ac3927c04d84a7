"""Ends are told across nodes although mail waits for credit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from splice import Deferred, Down, Process, Supervisor, runtime, tell
from splice.actor.promise import Promise
from splice.config import Config
from splice.net.window import FIRST_CREDIT
from splice.testing.simulation import Simulation

PART = b"x" * (FIRST_CREDIT // 20)
CONFIG = Config(window_bytes=4 * FIRST_CREDIT, backlog_bytes=FIRST_CREDIT)


class Flooder(Process):
    """Sends far more than is taken."""

    def flood(self, to: Any) -> None:
        for _ in range(1000):
            tell(to.take, PART)


class Watcher(Process):
    """Waits for the end of who floods it, and handles nothing meanwhile."""

    def __init__(self) -> None:
        self.taken = 0

    def outlive(self, flooder: Any) -> Down:
        watch = runtime.monitor(flooder)
        tell(flooder.flood, self.sp_proxy)
        down: Down = watch.get()
        return down

    def take(self, part: bytes) -> None:
        self.taken += 1

    def count(self) -> int:
        return self.taken


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, config=CONFIG, delay=0.01)
    yield simulation
    simulation.close()


def test_a_process_that_waits_for_the_end_of_its_flooder_hears_of_it(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> tuple[Any, int]:
        flooder = runtime.spawn(Flooder)
        watcher = runtime.spawn(Watcher, sp_dest=two.address)
        down = watcher.outlive(flooder)
        runtime.sleep(5)  # it is stuck
        assert not down.done()
        runtime.kill(flooder)
        reason = down.get(timeout=5).reason
        return reason, watcher.count().get()

    reason, taken = sim.run(one, scenario)
    assert reason == "killed"
    assert 20 < taken < 1000  # what was sent is handled all the same


class Digger(Process):
    """Waits for ever, under a heap of mail."""

    def wait(self, gate: Any) -> None:
        gate.opened().get()

    def take(self, part: bytes) -> None:
        """Get more of it."""


class Gate(Process):
    def opened(self) -> Deferred:
        self.kept = Deferred()
        return self.kept


class Frail(Process):
    """Is killed."""


def test_a_supervisor_restarts_a_far_child_that_is_buried_in_mail(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> list[str]:
        far = {"sp_dest": two.address}
        sup = runtime.spawn(Supervisor, strategy="one_for_all", intensity=5)
        buried = runtime.spawn(Digger, sp_super=sup, sp_shutdown=1, **far)
        frail = runtime.spawn(Frail, sp_super=sup, **far)
        gate = runtime.spawn(Gate)
        buried.wait(gate).add_done_callback(Promise.exception)
        runtime.spawn(Flooder).flood(buried).add_done_callback(Promise.exception)
        runtime.sleep(5)
        runtime.kill(frail)
        runtime.sleep(60)
        return [info.state for info in sup.which_children().get()]

    assert sim.run(one, scenario) == ["running", "running"]


class Heavy(Process):
    """Takes much memory to be made."""

    def __init__(self, part: Any) -> None:
        """Drop it."""


class Killer(Process):
    def kill(self, other: Any) -> None:
        runtime.kill(other)


@pytest.mark.parametrize("uses_all", ["small mail", "a giant"])
def test_who_waits_for_ever_can_be_killed_from_afar_when_all_credit_is_used(
    sim: Simulation, uses_all: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        far = {"sp_dest": two.address}
        buried = runtime.spawn(Digger, **far)
        buried.wait(runtime.spawn(Gate)).add_done_callback(Promise.exception)
        outbound = one.peers.known()[0].outbound
        while outbound.spent < outbound.credit:
            giant = bytearray(3 * FIRST_CREDIT)
            tell(buried.take, giant if uses_all == "a giant" else PART)
            runtime.sleep(1)
        if uses_all == "a giant":  # this one waits for credit, but not for its own
            heavy = runtime.spawn_nowait(Heavy, bytearray(2 * FIRST_CREDIT), **far)
            heavy.add_done_callback(Promise.exception)
            runtime.sleep(1)
        runtime.spawn(Killer).kill(buried).get(timeout=20)

    sim.run(one, scenario)


class Patient(Process):
    """Handles nothing until its gate opens, and then all it has got."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def wait(self, gate: Any) -> None:
        gate.opened().get()

    def take(self, number: int, part: bytes) -> None:
        self.taken.append(number)

    def sp_terminate(self, reason: Any) -> None:
        ends.append(self.taken)


class OpenGate(Gate):
    def open(self) -> None:
        self.kept.set(None)


ends: list[list[int]] = []


def test_a_far_stop_that_drains_goes_behind_the_mail_that_waits_for_credit(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    ends.clear()

    def scenario() -> int:
        patient = runtime.spawn(Patient, sp_dest=two.address)
        gate = runtime.spawn(OpenGate)
        patient.wait(gate).add_done_callback(Promise.exception)
        runtime.sleep(1)
        outbound = one.peers.known()[0].outbound
        sent = 0
        while outbound.spent < outbound.credit or sent % 5:
            tell(patient.take, sent, PART).add_done_callback(Promise.exception)
            sent += 1
            runtime.sleep(0.1)
        runtime.send_after(2, gate.open)
        runtime.stop(patient, drain=True, timeout=60)
        return sent

    sent = sim.run(one, scenario)
    assert ends == [list(range(sent))]


def test_what_a_process_does_can_be_asked_when_its_node_takes_no_mail(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> str:
        buried = runtime.spawn(Digger, sp_dest=two.address)
        buried.wait(runtime.spawn(Gate)).add_done_callback(Promise.exception)
        runtime.spawn(Flooder).flood(buried).add_done_callback(Promise.exception)
        runtime.sleep(5)
        return runtime.info(buried).handler

    assert sim.run(one, scenario) == "wait"
