"""Mail to names that a young node does not know yet."""

from __future__ import annotations

from typing import Any

from splice import Process, ProcessNotFound, runtime, tell
from splice.node.early import NAME_PATIENCE
from splice.testing.simulation import Simulation
from splice.uri import url


class Ledger(Process):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def note(self, what: Any) -> None:
        self.notes.append(what)

    def all(self) -> list[Any]:
        return self.notes


def test_a_tell_to_a_name_that_never_comes_is_not_delivered(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> BaseException | None:
        nobody = runtime.connect(url("nobody", two.address))
        return tell(nobody.note, 1).exception()

    assert isinstance(sim.run(one, scenario), ProcessNotFound)


def test_a_tell_to_a_name_is_delivered_when_the_name_is_made(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> tuple[bool, list[Any]]:
        late = runtime.connect(url("late", two.address))
        delivery = tell(late.note, 1)
        runtime.sleep(NAME_PATIENCE / 2)
        was_done = delivery.done()
        ledger = runtime.spawn(Ledger, sp_id="late", sp_dest=two.address)
        delivery.get()
        return was_done, ledger.all().get()

    assert sim.run(one, scenario) == (False, [1])


def test_a_tell_that_waits_for_a_name_fails_with_its_node(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> BaseException | None:
        delivery = tell(runtime.connect(url("late", two.address)).note, 1)
        runtime.sleep(NAME_PATIENCE / 2)
        sim.kill(two)
        return delivery.exception()

    error = sim.run(one, scenario)
    assert getattr(error, "verdict", None) == "unknown"
