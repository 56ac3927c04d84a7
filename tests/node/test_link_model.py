"""Every order in which links, unlinks, ends and their signals can cross between two nodes.

Two real `Signals`, one process on each node, and two queues in between.  All moves that are
possible are tried, breadth first; from each state that is new the queues are drained, and then
both nodes must be of one mind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final

import pytest

from splice import NodeLost
from splice.actor.cell import Cell
from splice.actor.context import Ended
from splice.actor.directory import Directory
from splice.node.signals import Signals
from splice.uri import Resource, addressee_of, bound_url, url

Move = tuple[str, int]
ADDRESS: Final = "tcp://10.1.1.15:54321"
CALLS: Final = ("link", "unlink")
OFFERED: Final[list[Move]] = [(how, side) for how in CALLS for side in (0, 1)]


class Trapper:
    """What is told of ends, and does not end."""

    sp_trap_exit = True

    def sp_exited(self, exited: Any) -> None:
        """Never called: nobody takes turns here."""


class Way:
    """A way to the other node: what stands in it is on its way, or waits to go."""

    address = ADDRESS
    incarnation = 1

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()

    def send_signal(self, message: Any) -> None:
        self.queue.append(message.entry)

    def url_of(self, ident: Any) -> url:
        return bound_url(ident, self.address, self.incarnation)


class Side:
    """A node with one process, as `Signals` sees it; one whose name is a number has none."""

    def __init__(self, name: Resource, other: Resource) -> None:
        self.name = name
        serial = 1 if isinstance(other, str) else None
        self.far: Any = SimpleNamespace(url=url(other, ADDRESS, 1, serial=serial))
        self.far_by_address: Any = SimpleNamespace(url=url(other, ADDRESS))
        self.way, self.second = Way(), Way()
        self.is_merged = False
        self.scheduler = SimpleNamespace(is_closed=False, scheduled=True, ready=[])
        self.scheduler.directory = self.directory = Directory()
        self.move_in()
        self.exchange = SimpleNamespace(early=SimpleNamespace(keep=lambda *_: False))
        self.signals = Signals(self)  # type: ignore[arg-type]

    def move_in(self) -> None:
        """Have a new process take the name."""
        name = self.name
        ident = name if isinstance(name, int) else self.directory.ident_for(name)
        self.cell = Cell(self.scheduler, ident)  # type: ignore[arg-type]
        self.cell.object = Trapper()
        self.directory.add(self.cell)

    def make_way(self) -> None:
        """End, for another process that takes the name."""
        if not self.cell.has_ended:
            self.end()
        self.directory.remove(self.cell.ident, "normal")
        self.move_in()

    def open(self) -> Side:
        return self

    def reach(self, address: str, incarnation: int | None) -> Way:
        """As `Peers.reach`: an address alone leads another way until that is merged."""
        return self.way if incarnation or self.is_merged else self.second

    def call(self, how: str, *, by_address: bool = False) -> None:
        far = self.far_by_address if by_address else self.far
        getattr(self.signals, how)(self.cell, far)

    def end(self) -> None:
        self.cell.object = None
        self.cell.runner = Ended("process", "bad")
        if self.cell.extra is not None:
            self.cell.extra.ended(self.cell, "bad")

    def begin_again(self) -> None:
        self.cell.object, self.cell.runner = Trapper(), None

    def fail_first(self) -> None:
        """The oldest signal has waited too long for a connection."""
        self.signals.failed(self.way, self.way.queue.popleft(), NodeLost("silent"))  # type: ignore[arg-type]

    def lose(self) -> None:
        """Give the other node up."""
        while self.way.queue:
            self.fail_first()
        self.signals.lost(self.way, NodeLost("lost"))  # type: ignore[arg-type]

    def merge(self) -> None:
        self.is_merged = True
        self.way.queue.extend(self.second.queue)
        self.second.queue.clear()
        self.signals.merged(self.second, self.way)  # type: ignore[arg-type]

    @property
    def all_ties(self) -> list[Any]:
        return list(self.signals._ties.values())

    @property
    def links(self) -> tuple[int, int]:
        """How many there are, by its ties and by its process."""
        extra = self.cell.extra
        by_ties = sum(len(ties.links) for ties in self.all_ties)
        return by_ties, 0 if extra is None else len(extra.links)

    def state(self, rank: Callable[[int, Any], Any], me: int) -> Any:
        ties = [
            (
                [
                    (rank(me, end.number), *map(addressee_of, ends))
                    for ends, end in ties.links.rows()
                ],
                [
                    (rank(me, number), *map(addressee_of, ends))
                    for ends, number in ties.parting.rows()
                ],
            )
            for ties in self.all_ties
        ]
        queues = [
            [
                (name, *ends, rank(1 - me if name == "unlinked" else me, number))
                for _, name, *ends, _, number in way.queue
            ]
            for way in (self.way, self.second)
        ]
        serials = addressee_of(self.cell.ident), self.far.url.serial
        ways = self.cell.has_ended, self.is_merged
        return repr((ties, queues, self.links, serials, ways))


class World:
    """Two nodes, and what was done with them.

    Attributes:
        calls: who called what, in order.
        behind: the side that has not learned yet that the other one has given it up.
    """

    def __init__(
        self,
        *,
        is_linked: bool,
        is_connected: bool = True,
        is_merged: bool = False,
        is_named: bool = True,
    ) -> None:
        one: Resource = "a" if is_named else 5
        self.sides = [Side(one, "b"), Side("b", one)]
        if is_merged:  # from the start
            for side in self.sides:
                side.second, side.is_merged = side.way, True
        self.calls: list[Move] = []
        self.told_before = [0, 0]
        self.behind: int | None = None
        self.is_connected = True
        if is_linked:
            self.sides[0].call("link")
            self.drain()
        self.is_connected = is_connected

    def make(self, move: Move) -> None:
        name, number = move
        side = self.sides[number]
        if name in CALLS:
            self.calls.append(move)
            self.told_before[number] = self.told(number)
            side.call(name)
        elif name.endswith(" by address"):
            self.calls.append(move)
            side.call(name.split()[0], by_address=True)
        elif name == "connect":
            self.is_connected = True
        elif name == "lose":
            self._lose(number)
        elif name == "deliver":
            self._deliver(number)
        elif name == "make_way":
            side.make_way()
            where = side.way.url_of(side.cell.ident)
            self.sides[1 - number].far = SimpleNamespace(url=where)
        else:
            getattr(side, name)()

    def _lose(self, number: int) -> None:
        self.sides[number].lose()
        # what the other has sent in this epoch is handled in no other one
        self.behind = 1 - number if self.behind is None else None

    def _deliver(self, number: int) -> None:
        entry = self.sides[number].way.queue.popleft()
        taker = self.sides[1 - number]
        reason = entry[4]
        taker.signals.receive(taker.way, entry, reason)  # type: ignore[arg-type]

    @property
    def deliveries(self) -> list[Move]:
        if self.behind is not None:
            return [("lose", self.behind)]
        if not self.is_connected:
            return []
        return [("deliver", n) for n in (0, 1) if self.sides[n].way.queue]

    def drain(self) -> None:
        self.is_connected = True
        for side in self.sides:
            if side.second is not side.way and (
                side.second.queue or len(side.all_ties) > 1
            ):
                side.merge()
        while moves := self.deliveries:
            self.make(moves[0])

    def told(self, number: int) -> int:
        """How often a process was told of the end of the other."""
        return self.sides[number].cell.mail()

    def has_what_it_asked_for(self, number: int) -> bool:
        """Whether one that has linked itself last is linked, or was told of the other's end."""
        calls = [how for how, side in self.calls if side == number]
        others = {how for how, side in self.calls if side != number}
        if "unlink" in others or calls[-1:] != ["link"]:
            return True
        told = self.told(number) - self.told_before[number]
        return bool(told or self.sides[number].links[0])

    def state(self) -> Any:
        """All that matters for what comes; of numbers, which of them are the same."""
        ranks: dict[Any, int] = {}

        def rank(side: int, number: Any) -> Any:
            return ranks.setdefault((side, number), len(ranks))

        sides = [side.state(rank, n) for n, side in enumerate(self.sides)]
        last = {side: how for how, side in self.calls}
        told = [self.told(n) - self.told_before[n] for n in (0, 1)]
        calls = len(self.calls), last.get(0), last.get(1), *told
        return (*sides, calls, self.behind, self.is_connected)


Moves = Callable[[World, list[Move]], list[Move]]


def traces(moves: Moves, **start: bool) -> Iterator[list[Move]]:
    """Yield a way to each state that can be reached."""
    seen = set()
    line: deque[list[Move]] = deque([[]])
    while line:
        trace = line.popleft()
        world = played(trace, **start)
        others = [move for move in trace if move[0] not in {*CALLS, "deliver"}]
        state = world.state(), tuple(sorted(others))
        if state in seen:
            continue
        seen.add(state)
        yield trace
        line += [[*trace, move] for move in moves(world, trace)]


def played(trace: list[Move], **start: bool) -> World:
    world = World(**start)
    for move in trace:
        world.make(move)
    return world


def quiet(trace: list[Move], **start: bool) -> World:
    """Play and drain, and see that both sides are of one mind."""
    world = played(trace, **start)
    world.drain()
    one, other = world.sides
    assert one.links == other.links, trace
    assert one.links in {(0, 0), (1, 1)}, trace
    for side in world.sides:
        for ties in side.all_ties:
            assert not ties.parting, trace
            assert not ties.waiting, trace
    return world


def an_end_is_told_when_linked(trace: list[Move], **start: bool) -> None:
    for number in (0, 1):
        world = quiet(trace, **start)
        one, other = world.sides[number], world.sides[1 - number]
        was_linked, before = bool(one.links[0]), world.told(1 - number)
        if one.cell.has_ended or other.cell.has_ended:
            assert not was_linked, trace
            continue
        one.end()
        world.drain()
        assert world.told(1 - number) - before == was_linked, trace
        assert (one.links, other.links) == ((0, 0), (0, 0)), trace


def up_to(
    calls: int, *more: str, most: int = 1, sides: tuple[int, ...] = (0, 1)
) -> Moves:
    """Any call and delivery, and each of `more` at most `most` times on each of `sides`."""

    def moves(world: World, trace: list[Move]) -> list[Move]:
        offered = OFFERED if len(world.calls) < calls else []
        others = [
            (name, side)
            for name in more
            for side in sides
            if trace.count((name, side)) < most and may(world, name, side)
        ]
        return [*offered, *others, *world.deliveries]

    return moves


def with_names(calls: int, *more: str, sides: tuple[int, ...] = (0, 1)) -> Moves:
    """As `up_to`, with calls by name: another way to the other node, until they are merged."""
    others = up_to(calls, *more, sides=sides)

    def moves(world: World, trace: list[Move]) -> list[Move]:
        one = world.sides[0]
        is_open = len(world.calls) < calls and (
            one.way is one.second or not one.is_merged
        )
        ways = [(f"{how} by address", 0) for how in CALLS] if is_open else []
        merge = [] if one.is_merged else [("merge", 0)]
        return [*ways, *merge, *others(world, trace)]

    return moves


def may(world: World, name: str, number: int) -> bool:
    side = world.sides[number]
    if name == "connect":
        return not world.is_connected and number == 0
    if name == "fail_first":
        return not world.is_connected and bool(side.way.queue)
    if name == "lose":
        return world.behind is None
    if name == "end":
        return not side.cell.has_ended
    return name != "begin_again" or side.cell.has_ended


@pytest.fixture(params=[False, True], ids=["unlinked", "linked"])
def is_linked(request: Any) -> Any:
    """How it begins."""
    return request.param


def test_calls_that_cross_leave_both_nodes_of_one_mind(is_linked: bool) -> None:
    for trace in traces(up_to(4), is_linked=is_linked):
        an_end_is_told_when_linked(trace, is_linked=is_linked)


def test_what_all_have_asked_for_last_is_what_stands(is_linked: bool) -> None:
    for trace in traces(up_to(4), is_linked=is_linked):
        world = quiet(trace, is_linked=is_linked)
        last = {side: how for how, side in world.calls}
        wanted = set(last.values())
        # an unlink of what is not known here yet asks for nothing
        if len(last) == 1 or wanted == {"link"}:
            assert bool(world.sides[0].links[0]) == (wanted == {"link"}), trace


def test_ends_that_cross_with_calls(is_linked: bool) -> None:
    for trace in traces(up_to(2, "end"), is_linked=is_linked):
        world = quiet(trace, is_linked=is_linked)
        for number, side in enumerate(world.sides):
            is_well = side.cell.has_ended or world.has_what_it_asked_for(number)
            assert is_well, trace


def test_an_end_and_a_new_life_that_cross_with_calls(is_linked: bool) -> None:
    moves = up_to(3, "end", "begin_again", sides=(0,))
    for trace in traces(moves, is_linked=is_linked):
        world = quiet(trace, is_linked=is_linked)
        assert world.has_what_it_asked_for(1), trace


def test_ends_and_new_lives_on_both_sides(is_linked: bool) -> None:
    for trace in traces(up_to(1, "end", "begin_again"), is_linked=is_linked):
        an_end_is_told_when_linked(trace, is_linked=is_linked)


def test_links_that_cross_with_a_process_giving_way_to_a_namesake(
    is_linked: bool,
) -> None:
    moves = up_to(3 if is_linked else 4, "make_way", sides=(1,))
    for trace in traces(moves, is_linked=is_linked):
        an_end_is_told_when_linked(trace, is_linked=is_linked)
        world = quiet(trace, is_linked=is_linked)
        since = (
            trace[trace.index(("make_way", 1)) :] if ("make_way", 1) in trace else []
        )
        calls = [move for move in since if move[0] in CALLS]
        if calls and all(how == "link" for how, _ in calls):
            assert world.sides[0].links == (1, 1), trace


def test_links_of_one_without_a_name_with_one_giving_way_to_a_namesake(
    is_linked: bool,
) -> None:
    start = {"is_linked": is_linked, "is_named": False}
    moves = up_to(3 if is_linked else 4, "make_way", sides=(1,))
    for trace in traces(moves, **start):
        an_end_is_told_when_linked(trace, **start)


def test_a_namesake_never_has_what_was_told_of_the_one_before(is_linked: bool) -> None:
    moves = up_to(2, "make_way", sides=(0, 1))
    for trace in traces(moves, is_linked=is_linked):
        an_end_is_told_when_linked(trace, is_linked=is_linked)


def test_links_by_name_that_cross_with_one_giving_way_to_a_namesake(
    is_linked: bool,
) -> None:
    start = {"is_linked": is_linked, "is_merged": True}
    for side in (0, 1):
        moves = with_names(3 if side else 2, "make_way", sides=(side,))
        for trace in traces(moves, **start):
            an_end_is_told_when_linked(trace, **start)


def test_signals_that_never_leave() -> None:
    # a node that was not connected yet, or was given up, is linked to nobody
    start = {"is_linked": False, "is_connected": False}
    for trace in traces(up_to(3, "fail_first", "connect", most=2), **start):
        an_end_is_told_when_linked(trace, **start)


def test_a_loss_that_the_other_side_learns_of_later(is_linked: bool) -> None:
    for trace in traces(up_to(3, "lose"), is_linked=is_linked):
        an_end_is_told_when_linked(trace, is_linked=is_linked)


def test_two_ways_that_become_one(is_linked: bool) -> None:
    for trace in traces(with_names(3), is_linked=is_linked):
        an_end_is_told_when_linked(trace, is_linked=is_linked)


def test_two_ways_that_become_one_while_processes_give_way_to_namesakes(
    is_linked: bool,
) -> None:
    for side in (0, 1):
        moves = with_names(2, "make_way", sides=(side,))
        for trace in traces(moves, is_linked=is_linked):
            an_end_is_told_when_linked(trace, is_linked=is_linked)
