"""Many processes are made at once, or none: what fails in the middle leaves nobody behind."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from splice import DeadlockError, Process, runtime, syncmany
from splice.testing.simulation import Simulation

numbers = count()
ended: list[int] = []


class Fussy(Process):
    """One that cannot be made as the number `bad`; the others take a second if `is_slow`."""

    def __init__(self, bad: int, *, is_slow: bool = False) -> None:
        self.number = next(numbers)
        if self.number == bad:
            raise ValueError("bad luck")
        if is_slow:
            runtime.sleep(1)

    def tell_number(self) -> int:
        return self.number

    def sp_terminate(self, reason: Any) -> None:
        ended.append(self.number)


@pytest.fixture(autouse=True)
def begin() -> None:
    global numbers
    numbers = count()
    ended.clear()


def fussies(*nodes: Any) -> int:
    return sum(len(cells_of(node, Fussy)) for node in nodes)


def cells_of(node: Any, cls: type) -> list[Any]:
    cells = node.scheduler.directory.cells()
    return [cell for cell in cells if isinstance(cell.object, cls)]


@pytest.mark.parametrize("is_far", [False, True])
def test_many_are_made_whose_constructors_wait(sim: Simulation, is_far: bool) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        where = two.address if is_far else None
        many = runtime.spawn_many(5, Fussy, -1, is_slow=True, sp_dest=where)
        return sorted(syncmany(many.tell_number()))

    assert sim.run(one, scenario) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("is_far", [False, True])
@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("bad", [0, 7, 9])
def test_one_of_many_that_cannot_be_made_leaves_none_behind(
    sim: Simulation, is_far: bool, is_slow: bool, bad: int
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        where = two.address if is_far else None
        with pytest.raises(ValueError, match="bad luck"):
            runtime.spawn_many(10, Fussy, bad, is_slow=is_slow, sp_dest=where)
        runtime.sleep(5)

    sim.run(one, scenario)
    assert fussies(one, two) == 0
    assert sorted(ended) == [number for number in range(10) if number != bad]


def test_a_later_portion_that_fails_leaves_none_of_the_earlier_ones(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splice.node.many.SPAWN_PORTION", 4)
    node = sim.node()

    def scenario() -> Any:
        with pytest.raises(ValueError, match="bad luck"):
            runtime.spawn_many(20, Fussy, 9)
        runtime.sleep(5)

    sim.run(node, scenario)
    assert fussies(node) == 0
    assert sorted(ended) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]


def test_a_scatter_that_fails_on_one_node_leaves_nobody_on_the_others(
    sim: Simulation,
) -> None:
    nodes = [sim.node() for _ in range(3)]

    def scenario() -> Any:
        where = [node.address for node in nodes]
        with pytest.raises(ValueError, match="bad luck"):
            runtime.spawn_scatter(where, Fussy, 1)
        with pytest.raises(ValueError, match="malformed address"):
            runtime.spawn_scatter([*where, "nowhere"], Fussy, -1)
        runtime.sleep(5)

    sim.run(nodes[0], scenario)
    assert fussies(*nodes) == 0
    assert len(ended) == 5


class Boss(Process):
    """Makes processes that ask it in their constructors."""

    def register(self) -> str:
        return "ok"

    def hire(self, count: int, where: Any) -> Any:
        return runtime.spawn_many(count, Hired, self.sp_proxy, sp_dest=where)

    async def hire_by_another(self, other: Any, count: int, where: Any) -> Any:
        return await other.hire_for(self.sp_proxy, count, where)

    def hire_for(self, boss: Any, count: int, where: Any) -> int:
        return len(runtime.spawn_many(count, Hired, boss, sp_dest=where))


class Hired(Process):
    def __init__(self, boss: Any) -> None:
        self.answer = boss.register().get()


@pytest.mark.parametrize("is_far", [False, True])
@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("by", ["itself", "another"])
def test_many_that_wait_for_the_one_that_makes_them_are_a_deadlock(
    sim: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    is_far: bool,
    count: int,
    by: str,
) -> None:
    monkeypatch.setattr("splice.node.many.SPAWN_PORTION", 4)
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        where = two.address if is_far else None
        boss = runtime.spawn(Boss)
        if by == "itself":
            hired = boss.hire(count, where)
        else:
            hired = boss.hire_by_another(runtime.spawn(Boss), count, where)
        with pytest.raises(DeadlockError, match="Hired"):
            hired.get(10)
        assert boss.register().get(10) == "ok"

    sim.run(one, scenario)
    assert all(not cells_of(node, Hired) for node in (one, two))


def test_a_later_portion_that_waits_for_its_maker_is_a_deadlock(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splice.node.many.SPAWN_PORTION", 4)
    node = sim.node()

    def scenario() -> None:
        boss = runtime.spawn(Late)
        with pytest.raises(DeadlockError, match="Seventh"):
            boss.hire().get(10)

    sim.run(node, scenario)
    assert not cells_of(node, Seventh)


class Late(Boss):
    def hire(self) -> Any:
        return runtime.spawn_many(10, Seventh, self.sp_proxy)


class Seventh(Process):
    def __init__(self, boss: Any) -> None:
        if next(numbers) == 6:
            boss.register().get()
