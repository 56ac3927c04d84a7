"""The directory: who lives on a node, and who once did."""

from sys import getsizeof
from typing import Any

import pytest

from splice.actor import directory as module
from splice.actor.cell import Cell
from splice.actor.childspec import child
from splice.actor.directory import PAST_IDS, PAST_NAMES, WORD_LENGTH, Directory
from splice.actor.process import Process
from splice.actor.supervisor import Supervisor
from splice.errors import Exit
from splice.testing.actors import World
from splice.uri import addressee_of


class Clerk(Process):
    def echo(self, value):
        return value

    def leave(self, reason):
        raise Exit(reason)


def test_processes_are_found_by_name_and_id(world: World) -> None:
    named, plain = world.spawn(Clerk, name="clerk"), world.spawn(Clerk)
    directory = world.scheduler.directory
    found = [
        directory.get("clerk"),
        directory.get(plain.sp_id),
        directory.get("nobody"),
    ]
    assert found == [world.cell(named), world.cell(plain), None]


class Changing(dict[Any, Any]):
    """Changes while it is iterated over for the first time, as by a node's thread."""

    def __iter__(self) -> Any:
        found = super().__iter__()
        if "late" not in self:
            self["late"] = None
        return found


def test_what_changes_while_it_is_listed_is_listed_once_more() -> None:
    directory = Directory()
    directory._cells = Changing.fromkeys([1, 2, 3])
    assert directory.idents(1, 10) == [2, 3, "late"]


def test_processes_are_listed_in_the_order_they_were_made(world: World) -> None:
    made = [world.cell(world.spawn(Clerk)) for _ in range(5)]
    assert world.scheduler.directory.cells() == made


def test_ids_are_never_used_again(world: World) -> None:
    first = world.spawn(Clerk)
    world.kill(first)
    assert world.spawn(Clerk).sp_id > first.sp_id


def test_what_has_ended_is_told_from_what_never_was(world: World) -> None:
    named, plain = world.spawn(Clerk, name="clerk"), world.spawn(Clerk)
    directory = world.scheduler.directory
    world.kill(named)
    world.kill(plain)
    used: list[Any] = ["clerk", plain.sp_id, "nobody", plain.sp_id + 1, 0]
    assert [directory.was_used(one) for one in used] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_only_so_many_past_names_are_remembered() -> None:
    directory = Directory()
    for i in range(PAST_NAMES + 1):
        directory.remove(f"clerk-{i}", "normal")
    assert not directory.was_used("clerk-0")
    assert directory.was_used("clerk-1")


@pytest.mark.parametrize("name", [None, "clerk"])
def test_it_is_remembered_why_a_process_has_ended(
    world: World, name: str | None
) -> None:
    clerk = world.spawn(Clerk, name=name)
    directory = world.scheduler.directory
    assert directory.last_reason(clerk.sp_id) is None
    world.wait(world.stop(clerk, "tired"))
    assert directory.last_reason(clerk.sp_id) == "tired"


@pytest.mark.parametrize("ident", [7, "clerk"])
@pytest.mark.parametrize("reason", [ValueError(), ["a list"], "x" * (WORD_LENGTH + 1)])
def test_no_reason_is_remembered_that_may_take_much_memory(
    ident: Any, reason: Any
) -> None:
    directory = Directory()
    directory.remove(ident, reason)
    assert directory.last_reason(ident) is None


def test_only_so_many_past_ids_are_remembered_with_a_reason() -> None:
    directory = Directory()
    for ident in range(1, PAST_IDS + 2):
        directory.remove(ident, f"reason {ident}")
    assert directory.last_reason(1) is None
    assert directory.last_reason(2) == "reason 2"
    assert directory.last_reason(PAST_IDS + 1) == f"reason {PAST_IDS + 1}"


def test_a_process_that_was_given_up_by_its_supervisor_has_the_reason_of_its_end(
    world: World,
) -> None:
    shop = world.spawn(Supervisor, children=[child(Clerk, sp_id="clerk")], intensity=0)
    world.wait(shop.which_children())[0].proxy.leave("tired")
    world.settle()
    assert world.scheduler.directory.last_reason("clerk") == "tired"


def test_the_mail_of_a_process_can_be_counted(world: World) -> None:
    clerk = world.spawn(Clerk)
    for i in range(7):
        clerk.echo(i)
    assert world.cell(clerk).mail() == 7
    world.settle()
    assert world.cell(clerk).mail() == 0


def test_who_is_made_after_it_was_shrunk_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHRINK_MASK", 0)
    monkeypatch.setattr(module, "SPARSE_BYTES", 0)
    world.kill(world.spawn(Clerk))
    made = world.cell(world.spawn(Clerk, name="clerk"))
    assert world.scheduler.directory.get("clerk") is made


def test_it_is_as_small_again_without_names_as_without_ids(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, before = Directory(), getsizeof({})
    cells = [Cell(world.scheduler, directory.ident_for(f"c{i}")) for i in range(9)]
    for cell in cells:
        directory.add(cell)
    for cell in cells[1:]:
        directory.remove(cell.ident, "normal")
    monkeypatch.setattr(module, "SHRINK_MASK", 0)
    monkeypatch.setattr(module, "SPARSE_BYTES", 0)
    directory.remove(cells[0].ident, "normal")
    directory.remove("nobody", "normal")
    assert getsizeof(directory.bound) == before


def test_a_serial_that_was_not_given_out_yet_was_not_used() -> None:
    directory = Directory()
    directory.ident_for("clerk")
    used = [directory.was_used(text) for text in ("clerk#1", "clerk#2", "clerk#x")]
    assert used == [True, False, False]


def test_a_named_process_is_found_as_the_bearer_of_its_name_and_as_itself(
    world: World,
) -> None:
    directory = world.scheduler.directory
    old = world.cell(world.spawn(Clerk, name="clerk"))
    before = addressee_of(old.ident)
    world.kill(old)
    new = world.cell(world.spawn(Clerk, name="clerk"))
    calls = ("clerk", addressee_of(new.ident), before)
    assert [directory.find(call) for call in calls] == [new, new, None]
    assert directory.was_used(before)


def test_a_named_process_is_listed_once(world: World) -> None:
    directory = world.scheduler.directory
    cell = world.cell(world.spawn(Clerk, name="clerk"))
    assert (len(directory), directory.cells()) == (1, [cell])
    assert directory.idents(0, 10) == ["clerk"]
    world.kill(cell)
    assert (len(directory), len(directory.bound)) == (0, 0)
