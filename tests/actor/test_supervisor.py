"""Supervisors: start, stop, administration, restarts by kind and strategy, intensity, trees."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from splice.actor.childspec import ChildCounts, child
from splice.actor.combine import gather, sync
from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.process import Process
from splice.actor.proxy import tell
from splice.actor.supervisor import Supervisor
from splice.config import DIRECT_DEPTH
from splice.errors import (
    CannotWait,
    ChildExists,
    ChildRunning,
    DeadlockError,
    Exit,
    NameTaken,
    NoSuchChild,
    ProcessKilled,
    ProcessStopped,
)
from splice.testing.actors import World

LOG: list[Any] = []

MULTIPLE = ("one_for_one", "one_for_all", "rest_for_one")


class Clerk(Process):
    """Counts, ends as it is asked to, and logs its starts and ends."""

    def __init__(self, label="clerk", starts=None):
        self.label = label
        self.count = 0
        LOG.append(f"+{label}")
        if starts is not None:
            starts.append(None)
            if len(starts) in {2, 3}:
                raise OSError("not yet")

    def add(self):
        self.count += 1
        return self.count

    def fail(self, error=None):
        raise error or ValueError("broken")

    async def fail_async(self):
        raise ValueError("broken")

    @blocking
    def fail_blocking(self):
        raise ValueError("broken")

    def leave(self, reason):
        raise Exit(reason)

    def hold(self, promise):
        return promise.get()

    def hold_on(self, promise):
        try:
            promise.get()
        except ProcessKilled:
            return promise.get()

    def sp_terminate(self, reason):
        LOG.append(f"-{self.label}")


class Broken(Process):
    def __init__(self):
        raise OSError("cannot start")


class Sticky(Clerk):
    """Does not end in time."""

    def __init__(self, gate):
        super().__init__("sticky")
        self.gate = gate

    def sp_terminate(self, reason):
        self.gate.get()


class Office(Supervisor):
    strategy = "one_for_all"
    children = (child(Clerk, "a", id="a"), child(Clerk, "b", id="b"))


@pytest.fixture(autouse=True)
def log() -> list[Any]:
    LOG.clear()
    return LOG


def supervisor(world: World, *labels: str, **options: Any) -> Any:
    specs = [child(Clerk, label, id=label) for label in labels]
    return world.spawn(Supervisor, **{"children": specs, **options})


def proxy(world: World, sup: Any, id: Any) -> Any:  # noqa: A002
    [info] = [i for i in world.wait(sup.which_children()) if i.id == id]
    return info.proxy


def states(world: World, sup: Any) -> list[Any]:
    world.settle()
    return [(i.id, i.state) for i in world.wait(sup.which_children())]


def quietly(promise: Any) -> None:
    promise.add_done_callback(lambda _: None)


def has_ended(world: World, proc: Any) -> bool:
    world.settle()
    return world.cell(proc).has_ended


# ---- start


def test_children_are_started_in_order(world, log):
    supervisor(world, "a", "b", "c")
    assert log == ["+a", "+b", "+c"]


def test_a_subclass_may_say_everything(world, log):
    office = world.spawn(Office)
    assert [i.id for i in world.wait(office.which_children())] == ["a", "b"]


def test_a_supervisor_may_have_no_children(world):
    sup = world.spawn(Supervisor)
    assert world.wait(sup.count_children()) == ChildCounts(0, 0, 0, 0)


def test_a_child_that_cannot_start_fails_the_start_and_stops_those_before(world, log):
    specs = [child(Clerk, "a", id="a"), child(Clerk, "b", id="b"), child(Broken)]
    with pytest.raises(OSError, match="cannot start") as error:
        world.spawn(Supervisor, children=specs)
    assert log == ["+a", "+b", "-b", "-a"]
    assert "Broken" in error.value.__notes__[0]


def test_children_that_end_while_their_supervisor_stops_are_no_trouble(world):
    sup = supervisor(world, "a", "b", "c")
    proxies = [proxy(world, sup, each) for each in "abc"]
    stopped = world.stop(sup)
    for each in proxies:
        quietly(each.fail())
    world.wait(stopped)
    assert all(has_ended(world, each) for each in proxies)


def test_two_children_of_one_id_fail_the_start(world):
    with pytest.raises(ChildExists):
        supervisor(world, "a", "a")


@pytest.mark.parametrize(
    "options",
    [{"strategy": "all"}, {"intensity": -1}, {"period": 0}, {"auto_shutdown": "some"}],
)
def test_options_that_make_no_sense_fail_the_start(world, options):
    with pytest.raises(ValueError, match=r"all|intensity|period|some"):
        world.spawn(Supervisor, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"restart": "always"},
        {"shutdown": "later"},
        {"shutdown": -1},
        {"type": "boss"},
        {"sp_id": "no name"},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=r"always|later|-1|boss|no name"):
        child(Clerk, **options)


def test_a_spec_wants_a_process_class():
    with pytest.raises(TypeError, match="process class"):
        child(int)


# ---- stop


def test_a_supervisor_stops_its_children_in_reverse_order(world, log):
    sup = supervisor(world, "a", "b", "c")
    log.clear()
    world.wait(world.stop(sup))
    assert log == ["-c", "-b", "-a"]


def test_a_child_that_does_not_end_in_time_is_killed(world):
    gate = Deferred(world.scheduler)
    quietly(gate)  # it is never set
    sup = world.spawn(Supervisor, children=[child(Sticky, gate, shutdown=2.0)])
    sticky = proxy(world, sup, "Sticky")
    before = world.loop.time()
    world.wait(world.stop(sup))
    assert has_ended(world, sticky)
    assert world.loop.time() - before == pytest.approx(2.0)


def test_a_brutal_shutdown_runs_no_clean_up(world, log):
    spec = child(Clerk, "a", shutdown="kill")
    sup = world.spawn(Supervisor, children=[spec])
    world.wait(world.stop(sup))
    assert log == ["+a"]


def test_the_children_of_a_killed_supervisor_end(world):
    sup = supervisor(world, "a", "b")
    both = [proxy(world, sup, "a"), proxy(world, sup, "b")]
    world.kill(sup)
    assert all(has_ended(world, each) for each in both)


# ---- administration


def test_a_child_can_be_started_later(world):
    sup = supervisor(world, "a")
    made = world.wait(sup.start_child(child(Clerk, "b", id="b")))
    assert world.wait(made.add()) == 1
    assert states(world, sup) == [("a", "running"), ("b", "running")]


def test_a_child_that_cannot_start_later_is_not_kept(world):
    sup = supervisor(world, "a")
    with pytest.raises(OSError, match="cannot start"):
        world.wait(sup.start_child(child(Broken)))
    assert states(world, sup) == [("a", "running")]


@pytest.mark.parametrize("is_running", [True, False])
def test_an_id_is_given_once(world, is_running):
    sup = supervisor(world, "a")
    if not is_running:
        world.wait(sup.terminate_child("a"))
    with pytest.raises(ChildExists):
        world.wait(sup.start_child(child(Clerk, id="a")))


def test_a_terminated_child_stays_known_and_is_not_restarted(world):
    sup = supervisor(world, "a")
    world.wait(sup.terminate_child("a"))
    assert states(world, sup) == [("a", "stopped")]


def test_a_terminated_child_can_be_restarted_under_its_url(world):
    sup = supervisor(world, "a")
    first = proxy(world, sup, "a")
    world.wait(sup.terminate_child("a"))
    assert isinstance(first.add().exception(), ProcessStopped)
    assert world.wait(sup.restart_child("a")) == first
    assert world.wait(first.add()) == 1


def test_a_terminated_child_whose_name_was_taken_cannot_be_restarted(world):
    sup = world.spawn(Supervisor, children=[child(Clerk, sp_id="till")])
    world.wait(sup.terminate_child("till"))
    world.spawn(Clerk, name="till")
    with pytest.raises(NameTaken):
        world.wait(sup.restart_child("till"))


def test_a_child_that_cannot_be_restarted_stays_stopped(world):
    starts: list[Any] = []
    sup = world.spawn(Supervisor, children=[child(Clerk, "a", starts, id="a")])
    world.wait(sup.terminate_child("a"))
    with pytest.raises(OSError, match="not yet"):
        world.wait(sup.restart_child("a"))
    assert states(world, sup) == [("a", "stopped")]


def test_a_temporary_child_that_is_terminated_is_forgotten(world):
    sup = world.spawn(Supervisor, children=[child(Clerk, restart="temporary")])
    world.wait(sup.terminate_child("Clerk"))
    assert states(world, sup) == []


def test_a_stopped_child_can_be_deleted(world):
    sup = supervisor(world, "a", "b")
    world.wait(sup.terminate_child("a"))
    world.wait(sup.delete_child("a"))
    assert states(world, sup) == [("b", "running")]


@pytest.mark.parametrize("what", ["delete_child", "restart_child"])
def test_a_running_child_is_neither_deleted_nor_restarted(world, what):
    sup = supervisor(world, "a")
    with pytest.raises(ChildRunning):
        world.wait(getattr(sup, what)("a"))


@pytest.mark.parametrize("what", ["terminate_child", "delete_child", "restart_child"])
def test_what_is_not_there_cannot_be_handled(world, what):
    sup = supervisor(world, "a")
    with pytest.raises(NoSuchChild, match="'a'"):
        world.wait(getattr(sup, what)("b"))


def test_a_spec_can_be_read_back(world):
    spec = child(Clerk, "a", id="a", restart="transient", shutdown="kill")
    sup = world.spawn(Supervisor, children=[spec])
    assert world.wait(sup.get_childspec("a")) == spec
    with pytest.raises(NoSuchChild, match="no child 'b'; there are: 'a'"):
        world.wait(sup.get_childspec("b"))


def test_the_spec_of_a_simple_child_has_its_own_arguments(world):
    sup = world.spawn(
        Supervisor, strategy="simple_one_for_one", children=[child(Clerk)]
    )
    one = world.wait(sup.start_child("x"))
    assert world.wait(sup.get_childspec(one)).args == ("x",)


def test_children_are_counted_by_type(world):
    specs = [child(Clerk), child(Office), child(Clerk, id="off")]
    sup = world.spawn(Supervisor, children=specs)
    world.wait(sup.terminate_child("off"))
    assert world.wait(sup.count_children()) == ChildCounts(3, 2, 1, 2)


def test_an_error_of_administration_does_not_end_a_supervised_supervisor(world):
    top = world.spawn(Supervisor, children=[child(Office)])
    office = proxy(world, top, "Office")
    with pytest.raises(NoSuchChild):
        world.wait(office.delete_child("z"))
    assert not has_ended(world, office)


# ---- exit kinds x restart types

ENDS = {
    "normal": lambda c: c.leave("normal"),
    "shutdown": lambda c: c.leave("shutdown"),
    "abnormal": lambda c: c.leave("bored"),
    "error": lambda c: c.fail(),
    "async error": lambda c: c.fail_async(),
    "blocking error": lambda c: c.fail_blocking(),
}
IN_ORDER = {"normal", "shutdown"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_a_child_is_restarted_by_its_kind_and_the_way_it_ended(world, end, restart):
    sup = world.spawn(Supervisor, children=[child(Clerk, id="c", restart=restart)])
    clerk = proxy(world, sup, "c")
    world.wait(clerk.add())
    end_it = ENDS[end](clerk)
    world.run(end_it.exception)
    comes_back = restart == "permanent" or (
        restart == "transient" and end not in IN_ORDER
    )
    if comes_back:
        assert states(world, sup) == [("c", "running")]
        assert world.wait(clerk.add()) == 1
    else:
        kept = [] if restart == "temporary" else [("c", "stopped")]
        assert states(world, sup) == kept
        assert isinstance(clerk.add().exception(), ProcessStopped)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_a_killed_child_is_restarted_unless_it_is_temporary(world, restart):
    sup = world.spawn(Supervisor, children=[child(Clerk, id="c", restart=restart)])
    world.kill(proxy(world, sup, "c"))
    expected = [] if restart == "temporary" else [("c", "running")]
    assert states(world, sup) == expected


# ---- what a restart keeps


def test_the_caller_of_the_failing_handler_gets_the_error(world):
    sup = supervisor(world, "a")
    with pytest.raises(ValueError, match="broken"):
        world.wait(proxy(world, sup, "a").fail())


def test_mail_that_was_queued_is_handled_by_the_next_life(world):
    sup = supervisor(world, "a")
    clerk = proxy(world, sup, "a")
    world.wait(clerk.add())
    quietly(clerk.fail())
    assert [world.wait(p) for p in [clerk.add(), clerk.add()]] == [1, 2]


def test_a_restarted_child_keeps_name_and_url(world):
    sup = world.spawn(Supervisor, children=[child(Clerk, sp_id="till")])
    clerk = proxy(world, sup, "till")
    quietly(clerk.fail())
    world.settle()
    assert proxy(world, sup, "till").sp_url == clerk.sp_url
    assert world.scheduler.directory.get("till") is world.cell(clerk)


def test_queued_mail_fails_when_the_child_does_not_come_back(world):
    sup = supervisor(world, "a", intensity=0)
    clerk = proxy(world, sup, "a")
    quietly(clerk.fail())
    late = clerk.add()
    assert has_ended(world, sup)
    assert isinstance(late.exception(), ProcessStopped)


def test_a_handler_that_is_still_parked_never_meets_the_next_life(world):
    sup = supervisor(world, "a")
    clerk = proxy(world, sup, "a")
    gate = Deferred(world.scheduler)
    held = clerk.hold_on(gate)
    world.settle()
    late = clerk.add()
    world.kill(clerk)
    assert isinstance(world.run(held.exception), ProcessStopped)
    assert not late.done()
    gate.set("free")
    assert world.wait(late) == 1


def test_a_restart_that_fails_is_tried_again(world):
    starts: list[Any] = []
    spec = child(Clerk, "a", starts, id="a")
    sup = world.spawn(Supervisor, children=[spec], intensity=3)
    clerk = proxy(world, sup, "a")
    quietly(clerk.fail())
    assert world.wait(clerk.add()) == 1
    assert len(starts) == 4


def test_restarts_that_fail_count(world):
    starts: list[Any] = []
    spec = child(Clerk, "a", starts, id="a")
    sup = world.spawn(Supervisor, children=[spec], intensity=2)
    quietly(proxy(world, sup, "a").fail())
    assert has_ended(world, sup)


class Asking(Process):
    """From its second start on it fails, and asks its supervisor something each time."""

    def __init__(self, label, asked):
        self.asked = asked
        asked(label, self.sp_proxy)

    def fail(self):
        raise ValueError("broken")


def failing(world: World, sup: Any, asks: dict[int, Any]) -> Any:
    """What a child calls at each start, and the answers that it has got."""
    starts: list[Any] = []
    answers: dict[int, Any] = {}

    def asked(label: str, me: Any) -> None:
        starts.append(label)
        number = len(starts)
        if number in asks:
            answers[number] = asks[number](sup(), me)
        if number > 1:
            raise OSError("not yet")

    return asked, answers


def test_a_child_that_is_being_restarted_is_counted_but_not_as_active(world):
    asks = {3: lambda sup, _: (sup.count_children(), sup.which_children())}
    asks[4] = lambda sup, _: sup.terminate_child("a")
    asked, answers = failing(world, lambda: sup, asks)
    spec = child(Asking, "a", asked, id="a")
    sup = world.spawn(Supervisor, intensity=10, children=[spec])
    quietly(proxy(world, sup, "a").fail())
    world.settle()
    counts, [info] = (world.wait(promise) for promise in answers[3])
    assert counts == ChildCounts(1, 0, 0, 1)
    assert info.state == "restarting"


@pytest.mark.parametrize("what", ["delete_child", "restart_child"])
def test_a_child_that_is_being_restarted_is_neither_deleted_nor_restarted(world, what):
    asks = {2: lambda sup, _: getattr(sup, what)("a")}
    asks[3] = lambda sup, _: sup.terminate_child("a")
    asked, answers = failing(world, lambda: sup, asks)
    spec = child(Asking, "a", asked, id="a")
    sup = world.spawn(Supervisor, intensity=10, children=[spec])
    quietly(proxy(world, sup, "a").fail())
    world.settle()
    with pytest.raises(ChildRunning, match="restarting"):
        world.wait(answers[2])


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_supervisor_whose_child_is_restarted_for_ever_still_obeys(world, strategy):
    asks = {100: lambda sup, _: sup.terminate_child("a")}
    asked, answers = failing(world, lambda: sup, asks)
    specs = [child(Asking, "a", asked, id="a"), child(Clerk, id="b")]
    sup = world.spawn(Supervisor, strategy, 10**6, children=specs)
    quietly(proxy(world, sup, "a").fail())
    world.settle()
    assert world.wait(answers[100]) is None
    assert states(world, sup)[0] == ("a", "stopped")


def test_a_simple_supervisor_whose_child_is_restarted_for_ever_still_obeys(world):
    asks = {100: lambda sup, me: sup.terminate_child(me)}
    asked, _ = failing(world, lambda: sup, asks)
    sup = world.spawn(
        Supervisor, "simple_one_for_one", 10**6, children=[child(Asking, "a", asked)]
    )
    quietly(world.wait(sup.start_child()).fail())
    world.settle()
    assert world.wait(sup.count_children()) == ChildCounts(1, 0, 0, 0)


# ---- strategies


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
    ],
)
def test_a_strategy_says_who_is_restarted(world, log, strategy, expected):
    sup = supervisor(world, "a", "b", "c", strategy=strategy)
    log.clear()
    quietly(proxy(world, sup, "b").fail())
    world.settle()
    assert log == expected
    assert states(world, sup) == [(each, "running") for each in "abc"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_the_mail_of_restarted_siblings_is_kept(world, strategy):
    sup = supervisor(world, "a", "b", strategy=strategy)
    first, second = proxy(world, sup, "a"), proxy(world, sup, "b")
    gate = Deferred(world.scheduler)
    held = second.hold(gate)
    late = second.add()
    world.settle()
    quietly(first.fail())
    world.settle()
    gate.set("done")
    assert world.wait(held) == "done"
    assert world.wait(late) == 1


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_sibling_whose_restart_fails_is_tried_again(world, strategy):
    starts: list[Any] = []
    specs = [child(Clerk, "a", id="a"), child(Clerk, "b", starts, id="b")]
    sup = world.spawn(Supervisor, strategy, 3, children=specs)
    quietly(proxy(world, sup, "a").fail())
    assert states(world, sup) == [("a", "running"), ("b", "running")]
    assert len(starts) == 4


def test_two_that_fail_at_once_are_both_restarted(world):
    sup = supervisor(world, "a", "b", intensity=5)
    both = [proxy(world, sup, "a"), proxy(world, sup, "b")]
    for each in both:
        quietly(each.fail())
    assert [world.wait(each.add()) for each in both] == [1, 1]


# ---- intensity


@pytest.mark.parametrize("strategy", MULTIPLE)
def test_a_supervisor_that_gives_up_stops_its_children_in_reverse_order(
    world, log, strategy
):
    sup = supervisor(world, "a", "b", "c", strategy=strategy, intensity=1)
    clerks = [proxy(world, sup, label) for label in "abc"]
    quietly(clerks[1].fail())
    assert states(world, sup) == [(label, "running") for label in "abc"]
    log.clear()

    quietly(clerks[1].fail())

    assert has_ended(world, sup)
    assert world.cell(sup).runner.reason == "shutdown"
    assert log == ["-b", "-c", "-a"]
    assert all(world.cell(clerk).has_ended for clerk in clerks)


def test_a_simple_supervisor_that_gives_up_stops_its_children(world, log):
    sup = world.spawn(
        Supervisor, "simple_one_for_one", intensity=0, children=[child(Clerk)]
    )
    clerks = [world.wait(sup.start_child(label)) for label in "abc"]
    log.clear()

    quietly(clerks[1].fail())

    assert has_ended(world, sup)
    assert world.cell(sup).runner.reason == "shutdown"
    assert log == ["-b", "-c", "-a"]


@pytest.mark.parametrize("strategy", MULTIPLE)
def test_a_tree_that_gave_up_below_works_again(world, log, strategy):
    children = [child(Clerk, label, id=label) for label in "abc"]
    low = child(Supervisor, strategy, children=children, intensity=0, id="low")
    top = supervisor(world, children=[child(Clerk, "bystander", id="bystander"), low])
    before = proxy(world, proxy(world, top, "low"), "b")
    log.clear()

    quietly(before.fail())

    assert states(world, top) == [("bystander", "running"), ("low", "running")]
    assert log == ["-b", "-c", "-a", "+a", "+b", "+c"]
    after = proxy(world, proxy(world, top, "low"), "b")
    assert world.wait(after.add()) == 1
    with pytest.raises(ProcessStopped):
        world.wait(before.add())


def test_a_simple_supervisor_that_gave_up_below_begins_anew_without_children(world):
    low = child(
        Supervisor, "simple_one_for_one", intensity=0, children=[child(Clerk)], id="low"
    )
    top = supervisor(world, children=[low])
    sup = proxy(world, top, "low")
    quietly(world.wait(sup.start_child("x")).fail())
    assert states(world, top) == [("low", "running")]
    assert world.wait(sup.count_children()) == ChildCounts(1, 0, 0, 0)
    assert world.wait(world.wait(sup.start_child("y")).add()) == 1


def test_giving_up_travels_up_to_the_top(world):
    low = child(Supervisor, intensity=0, children=[child(Clerk, id="c")], id="low")
    top = supervisor(world, children=[low], intensity=0)
    quietly(proxy(world, proxy(world, top, "low"), "c").fail())
    assert has_ended(world, top)
    assert world.cell(top).runner.reason == "shutdown"


def test_restarts_that_lie_further_apart_than_the_period_are_borne(world):
    sup = supervisor(world, "a", intensity=1, period=5.0)
    clerk = proxy(world, sup, "a")
    for _ in range(5):
        quietly(clerk.fail())
        world.loop.advance(5.5)
    assert states(world, sup) == [("a", "running")]


# ---- simple_one_for_one


def simple(world: World, **options: Any) -> Any:
    spec = child(Clerk, "s", **options)
    return world.spawn(Supervisor, strategy="simple_one_for_one", children=[spec])


def test_simple_children_are_made_on_demand(world):
    sup = simple(world)
    made = [world.wait(sup.start_child()) for _ in range(3)]
    assert world.wait(sup.count_children()) == ChildCounts(1, 3, 0, 3)
    assert [i.proxy for i in world.wait(sup.which_children())] == made
    assert {i.id for i in world.wait(sup.which_children())} == {None}


def test_simple_children_get_further_arguments(world, log):
    sup = world.spawn(
        Supervisor, strategy="simple_one_for_one", children=[child(Clerk)]
    )
    world.wait(sup.start_child("x"))
    world.wait(sup.start_child(label="y"))
    assert log == ["+x", "+y"]


def test_a_simple_child_is_restarted_alone_with_its_arguments(world, log):
    sup = world.spawn(
        Supervisor, strategy="simple_one_for_one", children=[child(Clerk)]
    )
    one, _ = world.wait(sup.start_child("x")), world.wait(sup.start_child("y"))
    log.clear()
    quietly(one.fail())
    assert world.wait(one.add()) == 1
    assert log == ["-x", "+x"]


def test_a_simple_child_is_terminated_by_its_proxy_and_forgotten(world):
    sup = simple(world)
    one = world.wait(sup.start_child())
    world.wait(sup.terminate_child(one))
    assert world.wait(sup.count_children()) == ChildCounts(1, 0, 0, 0)


def test_a_simple_supervisor_stops_its_children_the_last_one_first(world, log):
    sup = world.spawn(
        Supervisor, strategy="simple_one_for_one", children=[child(Clerk)]
    )
    for label in "xyz":
        world.wait(sup.start_child(label))
    log.clear()
    world.wait(world.stop(sup))
    assert log == ["-z", "-y", "-x"]


def test_simple_children_end_at_the_same_time(world):
    gate = Deferred(world.scheduler)
    quietly(gate)  # it is never set
    spec = child(Sticky, gate, shutdown=2.0)
    sup = world.spawn(Supervisor, strategy="simple_one_for_one", children=[spec])
    made = [world.wait(sup.start_child()) for _ in range(10)]
    before = world.loop.time()
    world.wait(world.stop(sup))
    assert all(has_ended(world, each) for each in made)
    assert world.loop.time() - before == pytest.approx(2.0)


def test_simple_children_may_be_ended_brutally(world, log):
    sup = simple(world, shutdown="kill")
    made = [world.wait(sup.start_child()) for _ in range(3)]
    world.wait(world.stop(sup))
    assert all(has_ended(world, each) for each in made)
    assert "-s" not in log


def test_a_simple_child_that_cannot_start_is_not_kept(world):
    sup = world.spawn(
        Supervisor, strategy="simple_one_for_one", children=[child(Broken)]
    )
    with pytest.raises(OSError, match="cannot start"):
        world.wait(sup.start_child())
    assert world.wait(sup.count_children()) == ChildCounts(1, 0, 0, 0)


def test_many_temporary_simple_children_come_and_go(world):
    sup = simple(world, restart="temporary")
    made = [world.wait(sup.start_child()) for _ in range(300)]
    for each in made[::2]:
        world.kill(each)
    world.settle()
    assert world.wait(sup.count_children()) == ChildCounts(1, 150, 0, 150)


@pytest.mark.parametrize("what", ["delete_child", "restart_child"])
def test_simple_children_are_neither_deleted_nor_restarted(world, what):
    sup = simple(world)
    one = world.wait(sup.start_child())
    with pytest.raises(NoSuchChild):
        world.wait(getattr(sup, what)(one))


def test_a_simple_supervisor_has_exactly_one_spec(world):
    with pytest.raises(ValueError, match="exactly 1 spec"):
        supervisor(world, "a", "b", strategy="simple_one_for_one")


# ---- significant children


def helpers(world: World, auto_shutdown: Any, *kinds: Any, **options: Any) -> Any:
    """A supervisor of a bystander and of significant children of those kinds."""
    specs = [child(Clerk, "bystander", id="bystander")]
    specs += [
        child(Clerk, str(n), id=n, restart=kind, significant=True)
        for n, kind in enumerate(kinds)
    ]
    options.setdefault("children", specs)
    return world.spawn(Supervisor, auto_shutdown=auto_shutdown, **options)


@pytest.mark.parametrize("kind", ["transient", "temporary"])
@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_a_significant_child_that_ends_for_good_ends_its_supervisor(
    world, log, mode, kind
):
    sup = helpers(world, mode, kind)
    log.clear()
    quietly(proxy(world, sup, 0).leave("normal"))
    assert has_ended(world, sup)
    assert world.cell(sup).runner.reason == "shutdown"
    assert log == ["-0", "-bystander"]


def test_one_of_many_significant_children_is_enough_or_not(world):
    for mode, is_enough in (("any_significant", True), ("all_significant", False)):
        sup = helpers(world, mode, "transient", "transient")
        second = proxy(world, sup, 1)
        quietly(proxy(world, sup, 0).leave("normal"))
        assert has_ended(world, sup) == is_enough
        quietly(second.leave("shutdown"))
        assert has_ended(world, sup)


def test_a_significant_child_that_is_restarted_ends_nothing(world):
    sup = helpers(world, "any_significant", "transient")
    quietly(proxy(world, sup, 0).fail())
    assert states(world, sup) == [("bystander", "running"), (0, "running")]


@pytest.mark.parametrize("kind", ["transient", "temporary"])
def test_a_significant_child_that_is_terminated_ends_nothing(world, kind):
    sup = helpers(world, "any_significant", kind)
    world.wait(sup.terminate_child(0))
    assert not has_ended(world, sup)


def test_a_significant_sibling_that_a_restart_stops_ends_nothing(world):
    sup = helpers(world, "any_significant", "temporary", strategy="one_for_all")
    quietly(proxy(world, sup, "bystander").fail())
    assert states(world, sup) == [("bystander", "running")]


def test_simple_children_may_be_significant(world):
    spec = child(Clerk, "s", restart="transient", significant=True)
    options = {"strategy": "simple_one_for_one", "children": [spec]}
    sup = helpers(world, "all_significant", **options)
    both = [world.wait(sup.start_child()) for _ in range(2)]
    quietly(both[0].leave("normal"))
    assert not has_ended(world, sup)
    quietly(both[1].leave("normal"))
    assert has_ended(world, sup)


def test_a_supervisor_below_may_be_significant(world):
    done = child(Clerk, "x", id="x", restart="temporary", significant=True)
    low = child(
        Supervisor,
        id="low",
        restart="transient",
        significant=True,
        auto_shutdown="any_significant",
        children=[done],
    )
    top = helpers(world, "any_significant", children=[low])
    quietly(proxy(world, proxy(world, top, "low"), "x").leave("normal"))
    assert has_ended(world, top)


def test_a_significant_child_wants_a_supervisor_that_heeds_it(world):
    with pytest.raises(ValueError, match="auto_shutdown of its supervisor is 'never'"):
        helpers(world, "never", "transient")


def test_a_permanent_child_cannot_be_significant():
    with pytest.raises(ValueError, match="never ends for good"):
        child(Clerk, significant=True)


# ---- trees


def test_a_tree_is_stopped_from_its_leaves(world, log):
    specs = [child(Clerk, "first", id="first"), child(Office)]
    top = world.spawn(Supervisor, children=specs)
    log.clear()
    world.wait(world.stop(top))
    assert log == ["-b", "-a", "-first"]


def test_a_supervisor_that_gives_up_is_restarted_by_the_one_above(world):
    spec = child(Supervisor, id="low", children=[child(Clerk, id="c")], intensity=0)
    top = world.spawn(Supervisor, children=[spec])
    low = proxy(world, top, "low")
    quietly(proxy(world, low, "c").fail())
    assert states(world, top) == [("low", "running")]
    assert states(world, low) == [("c", "running")]


def test_a_child_of_a_node_that_closes_is_not_restarted():
    world = World()
    sup = world.spawn(Supervisor, children=[child(Clerk)])
    clerk = proxy(world, sup, "Clerk")
    tell(clerk.add)
    world.close()
    assert world.cell(clerk).has_ended


# ---- children that hold up their supervisor


class Nosy(Clerk):
    """Asks its supervisor, and waits for the answer."""

    def ask(self, sup):
        return sup.count_children().get()


@pytest.mark.parametrize("shutdown", [5.0, None, "kill"])
def test_a_child_that_waits_for_its_supervisor_holds_up_no_restart(world, shutdown):
    specs = [child(Clerk, id="a"), child(Nosy, id="b", shutdown=shutdown)]
    sup = world.spawn(Supervisor, "one_for_all", children=specs)
    one, nosy = proxy(world, sup, "a"), proxy(world, sup, "b")
    quietly(one.fail())
    quietly(nosy.ask(sup))
    world.settle()
    world.loop.advance(10)
    assert states(world, sup) == [("a", "running"), ("b", "running")]


@pytest.mark.parametrize("shutdown", [5.0, None, "kill"])
def test_a_child_that_waits_for_its_supervisor_can_be_terminated(world, shutdown):
    gate = Deferred(world.scheduler)
    specs = [child(Sticky, gate, id="a"), child(Nosy, id="b", shutdown=shutdown)]
    sup = world.spawn(Supervisor, children=specs)
    nosy = proxy(world, sup, "b")
    first = sup.terminate_child("a")
    world.settle()
    quietly(nosy.ask(sup))  # behind the one at hand, which waits for the gate
    second = sup.terminate_child("b")
    world.settle()
    gate.set(None)
    world.wait(first)
    world.wait(second)
    assert states(world, sup) == [("a", "stopped"), ("b", "stopped")]
    assert has_ended(world, nosy)


@pytest.mark.parametrize("shutdown", [5.0, None, "kill"])
def test_a_killed_supervisor_of_a_named_child_is_restarted(world, shutdown):
    till = child(Clerk, sp_id="till", shutdown=shutdown)
    low = child(Supervisor, id="low", children=[till])
    top = world.spawn(Supervisor, children=[low])
    world.kill(proxy(world, top, "low"))
    world.settle()
    assert not world.cell(top).has_ended
    assert world.wait(proxy(world, proxy(world, top, "low"), "till").add()) == 1


def test_an_orphan_that_waits_for_its_supervisor_gives_its_name_free(world):
    gate = Deferred(world.scheduler)
    quietly(gate)  # it is never set
    specs = [child(Sticky, gate, id="sticky"), child(Nosy, sp_id="till")]
    low = child(Supervisor, id="low", children=specs)
    top = world.spawn(Supervisor, children=[low])
    sup = proxy(world, top, "low")
    till = proxy(world, sup, "till")
    quietly(sup.terminate_child("sticky"))
    world.settle()
    quietly(till.ask(sup))
    world.settle()

    world.kill(sup)

    world.loop.advance(10)
    assert not world.cell(top).has_ended
    assert world.wait(proxy(world, sup, "till").add()) == 1


@pytest.mark.parametrize(("shutdown", "seconds"), [("kill", 0), (2.0, 2), (None, 30)])
def test_an_orphan_has_the_time_that_it_is_given(world, shutdown, seconds):
    gate = Deferred(world.scheduler)
    quietly(gate)
    spec = child(Sticky, gate, id="a", shutdown=shutdown)
    sup = world.spawn(Supervisor, children=[spec])
    one = proxy(world, sup, "a")
    world.kill(sup)
    world.settle()
    if seconds:
        world.loop.advance(seconds - 0.5)
        assert not has_ended(world, one)
    if shutdown is None:
        gate.set(None)
    world.loop.advance(1)
    assert has_ended(world, one)


class Kicker(Process):
    """Has a child ended and restarted, on whose behalf it was asked."""

    def kick(self, sup):
        sup.terminate_child("a").get()
        return sup.restart_child("a").get()


class Kicked(Clerk):
    def go(self, kicker, sup):
        return kicker.kick(sup).get()


def test_no_child_is_restarted_from_under_its_own_handler(world):
    sup = world.spawn(Supervisor, children=[child(Kicked, id="a")])
    kicker = world.spawn(Kicker)
    quietly(proxy(world, sup, "a").go(kicker, sup))
    world.settle()
    world.loop.advance(10)
    assert states(world, sup) == [("a", "stopped")]
    assert world.wait(world.wait(sup.restart_child("a")).add()) == 1


def test_the_id_of_a_child_that_was_given_none_is_nobody_elses(world):
    sup = world.spawn(Supervisor)
    for number in range(3):
        world.wait(sup.start_child(child(Clerk, id=f"Clerk-{number}")))
    world.wait(sup.start_child(replace(child(Clerk), id=None)))
    assert len(states(world, sup)) == 4


def test_a_child_that_ends_twice_is_judged_by_its_last_end(world):
    gates = [Deferred(world.scheduler) for _ in range(2)]
    spec = child(Clerk, id="a", restart="transient")
    sup = world.spawn(Stubborn, children=[spec])
    quietly(sup.hold(gates[0]))
    world.settle()
    clerk = proxy_now(world, sup)
    quietly(clerk.leave("normal"))
    world.settle()
    # the word of its end goes behind these, as one does that was met on the stack of another
    cell = world.cell(sup)
    ended, cell.head, cell.tail = cell.head, None, None
    for promise in (
        sup.terminate_child("a"),
        sup.restart_child("a"),
        sup.hold(gates[1]),
    ):
        quietly(promise)
    cell.put(ended)
    gates[0].set(None)
    world.settle()
    quietly(clerk.leave("bad"))
    world.settle()
    gates[1].set(None)
    assert states(world, sup) == [("a", "running")]


def test_the_word_of_a_childs_end_is_no_dead_letter_of_its_supervisor(world):
    letters: list[Any] = []
    world.scheduler.on_dead_letter = lambda *args, **_: letters.append(args)
    gate = Deferred(world.scheduler)
    sup = world.spawn(Stubborn, children=[child(Clerk, id="a")])
    world.settle()
    quietly(sup.hold(gate))
    world.settle()
    quietly(proxy_now(world, sup).leave("gone"))
    world.settle()
    world.scheduler.kill(world.cell(sup))
    world.settle()
    assert letters == []


def proxy_now(world: World, sup: Any) -> Any:
    return world.cell(sup).object._family.find("a").proxy


class Stubborn(Supervisor):
    def hold(self, gate):
        return sync(gate)


class Suicidal(Process):
    """Asks its supervisor for its own end, and waits for it."""

    def go(self, sup):
        return sup.terminate_child("a").get()


def test_a_child_that_waits_for_its_own_end_ends(world):
    sup = world.spawn(Supervisor, children=[child(Suicidal, id="a")])
    gone = proxy(world, sup, "a").go(sup)
    world.settle()
    world.loop.advance(10)
    assert isinstance(gone.exception(), (ProcessStopped, DeadlockError))
    assert states(world, sup) == [("a", "stopped")]


class Passing(Clerk):
    """Has its supervisor asked by way of another process, on its own stack."""

    def go(self, asker, sup, gate):
        return asker.ask(sup, gate).get()

    def go_behind(self, asker, sup, gate):
        quietly(tell(asker.ask, sup, gate))
        return asker.answer().get()


class Asker(Process):
    def __init__(self):
        self.told = None

    def ask(self, sup, gate):
        gate.get()
        self.told = [found.id for found in sup.which_children().get()]

    def answer(self):
        return self.told


class Slow(Process):
    def __init__(self, gate):
        gate.get()


def soon(world: World, promise: Any) -> Any:
    """Wait no longer than a second: a supervisor that hangs looks again and again."""
    quietly(promise)
    world.loop.advance(1)
    assert promise.done()
    return promise.get()


@pytest.mark.parametrize("by", ["go", "go_behind"])
def test_a_child_killed_under_what_it_has_called_is_restarted_at_once(world, by):
    sup = world.spawn(Supervisor, children=[child(Passing, id="a")])
    asker, gate = world.spawn(Asker), Deferred(world.scheduler)
    one = proxy(world, sup, "a")
    quietly(getattr(one, by)(asker, sup, gate))
    world.settle()
    world.kill(one)
    assert soon(world, one.add()) == 1
    assert states(world, sup) == [("a", "running")]
    gate.set(None)
    assert soon(world, asker.answer()) == ["a"]


@pytest.mark.parametrize("by", ["go", "go_behind"])
@pytest.mark.parametrize("is_first", [True, False], ids=["asked first", "asked last"])
def test_what_a_killed_child_has_called_is_answered_by_its_supervisor(
    world, by, is_first
):
    sup = world.spawn(Supervisor, children=[child(Passing, id="a")])
    asker, gate = world.spawn(Asker), Deferred(world.scheduler)
    busy = Deferred(world.scheduler)
    one = proxy(world, sup, "a")
    quietly(getattr(one, by)(asker, sup, gate))
    world.settle()
    if is_first:
        sup.start_child(child(Slow, busy, id="b"))
        world.settle()
    world.kill(one)
    world.loop.advance(0.1)
    gate.set(None)
    world.loop.advance(0.1)
    busy.set(None)
    assert soon(world, one.add()) == 1
    assert soon(world, asker.answer()) == (["a", "b"] if is_first else ["a"])


class Deaf(Clerk):
    """Has a handler that its end does not stop."""

    def go(self, asker, gate):
        with suppress(ProcessKilled):
            asker.hold(gate).get()


def test_a_handler_that_outlives_its_process_leaves_the_mail_to_the_next_life(world):
    sup = world.spawn(Supervisor, children=[child(Deaf, id="a")])
    gates = [Deferred(world.scheduler) for _ in range(2)]
    one = proxy(world, sup, "a")
    quietly(one.go(world.spawn(Clerk), gates[0]))
    world.settle()
    world.kill(one)
    world.loop.advance(0.1)
    gates[0].set(None)
    held, late = one.hold(gates[1]), one.add()
    world.loop.advance(0.1)
    assert not late.done()
    gates[1].set("held")
    assert (world.wait(held), world.wait(late)) == ("held", 1)


class Early(Clerk):
    """Asks its siblings at each start; those made later live at a restart only."""

    def __init__(self, label, siblings, errors):
        super().__init__(label)
        for sibling in siblings:
            try:
                sibling.add().get()
            except DeadlockError as error:
                errors.append(error)

    def go(self, middleman, sibling):
        return middleman.pass_on(sibling).get()


class Middleman(Process):
    def pass_on(self, sibling):
        return sibling.add().get()


def test_a_child_does_not_wait_for_one_that_is_restarted_after_it(world):
    siblings: list[Any] = []
    errors: list[Any] = []
    specs = [
        child(Early, "a", siblings, errors, id="a"),
        child(Clerk, "b", id="b"),
    ]
    sup = world.spawn(Supervisor, "one_for_all", children=specs)
    siblings.append(proxy(world, sup, "b"))
    quietly(proxy(world, sup, "a").fail())
    world.settle()
    assert soon(world, sup.count_children()).active == 2
    assert "Supervisor" in str(errors[0])


def test_what_a_killed_child_has_called_does_not_wait_for_one_restarted_after_it(
    world,
):
    specs = [child(Early, "a", (), [], id="a"), child(Clerk, "b", id="b")]
    sup = world.spawn(Supervisor, "one_for_all", children=specs)
    one, other = (proxy(world, sup, each) for each in "ab")
    gate, middleman = Deferred(world.scheduler), world.spawn(Middleman)
    quietly(other.hold(gate))
    world.settle()
    quietly(one.go(middleman, other))
    world.settle()
    world.kill(one)
    world.loop.advance(0.1)
    gate.set(None)
    assert soon(world, sup.count_children()).active == 2


class Registered(Process):
    """Asks another process in its constructor, or later, by each kind of handler."""

    def __init__(self, other=None):
        if other is not None:
            other.add().get()

    def ask(self, other):
        return other.add().get()

    async def ask_async(self, other):
        return await other.add()


class Secondhand(Process):
    def __init__(self, middleman, how, other):
        getattr(middleman, how)(other).get()


class Link(Process):
    """Leaves no room on its stack for a direct call, if there are enough of them."""

    def call(self, others, sup, spec):
        if others:
            return others[0].call(others[1:], sup, spec).get()
        return sup.start_child(spec).get()


def in_ring_by_end(
    world: World, cls: type, *args: Any, depth: int = 0
) -> tuple[Any, Any, Any]:
    """Have a child end with kept mail, for which its supervisor waits over another child."""
    sup = world.spawn(Supervisor, children=[child(Clerk, id="a")])
    one, gate = proxy(world, sup, "a"), Deferred(world.scheduler)
    quietly(one.hold(gate))
    world.settle()
    first, *others = [world.spawn(Link) for _ in range(depth + 1)]
    started = first.call(others, sup, child(cls, *args, one, id="b"))
    quietly(started)
    world.settle()
    gate.fail(ValueError("broken"))
    world.loop.advance(0.1)
    assert started.done()
    return sup, one, started.exception()


@pytest.mark.parametrize("depth", [0, DIRECT_DEPTH - 2])
def test_a_ring_that_the_end_of_a_child_closes_is_found(world, depth):
    sup, one, error = in_ring_by_end(world, Registered, depth=depth)
    assert isinstance(error, DeadlockError)
    assert "Registered" in str(error)
    assert states(world, sup) == [("a", "running")]
    assert soon(world, one.add()) == 1
    classes = [type(c.object).__name__ for c in world.scheduler.directory.cells()]
    assert classes.count("Registered") == 0


@pytest.mark.parametrize("how", ["ask", "ask_async"])
def test_a_ring_over_others_that_the_end_of_a_child_closes_is_found(world, how):
    middleman = world.spawn(Registered)
    sup, one, error = in_ring_by_end(world, Secondhand, middleman, how)
    assert isinstance(error, DeadlockError)
    assert states(world, sup) == [("a", "running")]
    assert soon(world, getattr(middleman, how)(one)) == 1


def test_one_that_is_stopped_while_it_waits_for_a_child_that_ends_is_told(world):
    specs = [child(Clerk, id="a"), child(Registered, id="b", shutdown=None)]
    sup = world.spawn(Supervisor, children=specs)
    one, other = (proxy(world, sup, each) for each in "ab")
    quietly(one.hold(Deferred(world.scheduler)))
    world.settle()
    asked = other.ask_async(one)
    world.settle()
    stopped = sup.terminate_child("b")
    world.settle()
    world.kill(one)
    assert soon(world, stopped) is None
    assert isinstance(asked.exception(), DeadlockError)
    assert states(world, sup) == [("a", "running"), ("b", "stopped")]


class Collecting(Supervisor):
    def collect(self, ask, others, one):
        return gather([getattr(each, ask)(one) for each in others]).get()


@pytest.mark.parametrize("how", ["ask", "ask_async"])
def test_all_rings_that_the_end_of_one_child_closes_are_found(world, how):
    sup = world.spawn(Collecting, children=[child(Clerk, id="a")])
    one, gate = proxy(world, sup, "a"), Deferred(world.scheduler)
    quietly(one.hold(gate))
    world.settle()
    asked = sup.collect(how, [world.spawn(Registered) for _ in range(3)], one)
    quietly(asked)
    world.loop.advance(0.1)
    gate.fail(ValueError("broken"))
    world.settle()
    assert isinstance(asked.exception(), DeadlockError)
    assert soon(world, one.add()) == 1


def test_a_supervisor_that_waits_for_a_handler_that_fails_waits_in_no_ring(world):
    sup = world.spawn(Stubborn, children=[child(Clerk, id="a")])
    one, gate = proxy(world, sup, "a"), Deferred(world.scheduler)
    held = sup.hold(one.hold(gate))
    world.settle()
    gate.fail(ValueError("broken"))
    world.settle()
    assert isinstance(held.exception(), ValueError)
    assert soon(world, one.add()) == 1


class Shop(Supervisor):
    """Starts children by itself, in handlers of its own."""

    def open(self, spec):
        try:
            return self.start_child(spec)
        except ValueError as error:
            return f"refused: {error}"

    def close(self, key):
        self.terminate_child(key)
        self.delete_child(key)
        return self.count_children().specs


class Unborn(Process):
    def __init__(self):
        raise ValueError("not today")


def test_a_supervisor_calls_its_own_handlers_like_methods(world):
    shop = world.spawn(Shop)
    assert world.wait(shop.open(child(Unborn, id="a"))) == "refused: not today"
    till = world.wait(shop.open(child(Clerk, id="b")))
    assert world.wait(till.add()) == 1
    assert world.wait(shop.close("b")) == 0


def test_a_call_that_a_supervisor_refuses_is_no_failure_of_a_supervised_one(world):
    above = world.spawn(Supervisor, children=[child(Shop, id="shop")])
    shop = proxy(world, above, "shop")
    with pytest.raises(ValueError, match="not today"):
        world.wait(shop.start_child(child(Unborn, id="a")))
    with pytest.raises(NoSuchChild):
        world.wait(shop.terminate_child("a"))
    assert world.wait(above.which_children())[0].proxy == shop
    assert world.wait(shop.count_children()).specs == 0


class Agency(Supervisor):
    """Administers its children where nothing can be waited for."""

    async def do_async(self, what, arg, gate=None):
        return getattr(self, what)(arg)

    @blocking
    def do_blocking(self, what, arg, gate=None):
        return getattr(self, what)(arg)

    def child_count(self, _):
        return self.count_children().specs

    def do_later(self, what, arg, gate):
        return gate.then(lambda _: getattr(self, what)(arg))


@pytest.mark.parametrize("what", ["start_child", "restart_child", "terminate_child"])
@pytest.mark.parametrize("how", ["do_async", "do_blocking", "do_later"])
def test_a_supervisor_that_cannot_wait_is_refused_before_anything_is_done(
    world, how, what
):
    agency = world.spawn(Agency, children=[child(Clerk, "a", id="a")])
    if what == "restart_child":
        world.wait(agency.terminate_child("a"))
    before = states(world, agency), len(world.scheduler.directory.cells())
    gate = Deferred(world.scheduler)
    arg = child(Clerk, id="b", sp_id="b") if what == "start_child" else "a"
    done = getattr(agency, how)(what, arg, gate)
    gate.set(None)
    with pytest.raises(CannotWait, match=rf"Agency 1\.{what} waits.* plain handler"):
        world.wait(done)
    assert (states(world, agency), len(world.scheduler.directory.cells())) == before


@pytest.mark.parametrize("how", ["do_async", "do_blocking"])
def test_what_does_not_wait_can_be_called_anywhere_in_a_supervisor(world, how):
    agency = world.spawn(Agency, children=[child(Clerk, "a", id="a")])
    world.wait(agency.terminate_child("a"))
    assert world.wait(getattr(agency, how)("child_count", None)) == 1
    world.wait(getattr(agency, how)("delete_child", "a"))
    assert states(world, agency) == []
