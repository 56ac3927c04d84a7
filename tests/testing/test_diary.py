"""The diaries of several nodes become one history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from splice.node.node import Node
from splice.testing.diary import MESSAGES, Diary, read
from splice.testing.history import Event, What
from splice.testing.simulation import Simulation
from splice.uri import url

Make = Callable[..., tuple[Node, Diary]]


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """A cluster."""
    made = Simulation()
    yield made
    made.close()


@pytest.fixture
def diary(sim: Simulation) -> Iterator[Make]:
    """Makes a node and its diary."""
    made: list[Diary] = []

    def make(path: Path, life: int = 1) -> tuple[Node, Diary]:
        node = sim.node()
        made.append(Diary(path, node, {node.address: f"n{life}"}, life))
        return node, made[-1]

    yield make
    for each in made:
        each.close()


def test_what_is_noted_is_in_the_file_at_once(
    tmp_path: Path, diary: Make, sim: Simulation
) -> None:
    node, mine = diary(tmp_path / "one")
    mine.note(What.UP, place=mine.name(node))
    (event,) = read([tmp_path / "one"])
    assert event == Event(sim.loop.time(), What.UP, 0, f"n1.{node.incarnation:x}")


def test_events_of_all_come_in_order_of_time(
    tmp_path: Path, diary: Make, sim: Simulation
) -> None:
    start = sim.loop.time()
    notes = [diary(tmp_path / str(life), life)[1] for life in (1, 2)]
    for number in (1, 0, 1):
        sim.advance(1.0)
        notes[number].note(What.CRASH, text=str(number))
    fault = Event(start + 1.5, What.FAULT, text="cut")
    found = read([tmp_path / "1", tmp_path / "2"], [fault])
    assert [event.text for event in found] == ["1", "cut", "0", "1"]


def test_a_line_that_death_has_cut_off_is_left_out(tmp_path: Path, diary: Make) -> None:
    _, mine = diary(tmp_path / "one")
    mine.note(What.CRASH, text="whole")
    path = tmp_path / "one"
    path.write_bytes(path.read_bytes() * 2)
    path.write_bytes(path.read_bytes()[:-3])
    assert [event.text for event in read([path])] == ["whole"]


def test_no_two_lives_give_a_message_the_same_number(
    tmp_path: Path, diary: Make
) -> None:
    numbers = [
        diary(tmp_path / str(life), life)[1].sent("n1:a", "n1:b", "echo")
        for life in (1, 2)
    ]
    assert numbers == [MESSAGES + 1, 2 * MESSAGES + 1]


def test_a_place_is_bound_when_its_url_is(tmp_path: Path, diary: Make) -> None:
    node, mine = diary(tmp_path / "one")
    assert mine.place(url("p1", node.address)) == "n1:p1"
    assert mine.place(url("p1", node.address, 0x1F2E)) == "n1.1f2e:p1"
