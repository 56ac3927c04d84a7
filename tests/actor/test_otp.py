"""What OTP's suites look at in supervisors, links and monitors, and no other test here does."""

import gc
import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest

from splice.actor.childspec import ChildCounts, child
from splice.actor.deferred import Deferred
from splice.actor.links import Monitor, link, monitor, unlink
from splice.actor.process import Process
from splice.actor.proxy import tell
from splice.actor.supervisor import Supervisor
from splice.errors import (
    ChildExists,
    ChildRunning,
    Exit,
    NameTaken,
    NoSuchChild,
    ProcessStopped,
)
from splice.testing.actors import World

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
REASONS = ("normal", "shutdown", ("shutdown", "detail"), "other")
KINDS = ("permanent", "transient", "temporary")


class Clerk(Process):
    """Ends as it is asked to, and logs its starts and ends."""

    def __init__(self, label="clerk", log=None, gate=None, last_word=None):
        self.label = label
        self.log = [] if log is None else log
        self.gate = gate
        self.last_word = last_word
        self.log.append(f"+{label}")

    def note(self, value="asked"):
        self.log.append(value)
        return list(self.log)

    def leave(self, reason):
        raise Exit(reason)

    def fail(self):
        raise ValueError("broken")

    def hold(self, promise):
        return promise.get()

    def hold_briefly(self, promise, timeout):
        try:
            return promise.get(timeout)
        except TimeoutError:
            return "nothing came"

    def take_along(self, cell):
        """End another process, then this one."""
        self._sp_cell.scheduler.kill(cell)
        raise Exit("bored")

    def think_better_of_it(self):
        try:
            raise Exit("bored")
        except Exit:
            return "stays"

    def tell_and_leave(self, whom, count):
        for number in range(count):
            tell(whom.note, number)
        raise Exit("bored")

    def sp_terminate(self, reason):
        if self.gate is not None:
            self.gate.get()
        self.log.append(f"-{self.label}")
        if self.last_word is not None:
            raise Exit(self.last_word)


class Trapper(Clerk):
    sp_trap_exit = True

    def sp_exited(self, end):
        self.log.append(end.reason)


class Observer(Clerk):
    def sp_down(self, down):
        self.log.append(down.reason)


class Flaky(Clerk):
    """Starts as often as it may."""

    def __init__(self, label, log, may_start):
        super().__init__(label, log)
        if not may_start():
            raise OSError("not now")


class Gone(Process):
    """Has ended before it has begun."""

    def __init__(self, reason="normal"):
        raise Exit(reason)


def proxies(world: World, sup: Any) -> dict[Any, Any]:
    return {info.id: info.proxy for info in world.wait(sup.which_children())}


def states(world: World, sup: Any) -> dict[Any, str]:
    world.settle()
    return {info.id: info.state for info in world.wait(sup.which_children())}


def supervisor(world: World, *specs: Any, **options: Any) -> Any:
    return world.spawn(Supervisor, children=specs, **options)


def simple(world: World, spec: Any, **options: Any) -> Any:
    return supervisor(world, spec, strategy="simple_one_for_one", **options)


def quietly(promise: Any) -> Any:
    promise.add_done_callback(lambda _: None)
    return promise


def reason_of(world: World, proc: Any) -> Any:
    world.settle()
    cell = world.cell(proc)
    assert cell.has_ended
    return cell.runner.reason


def has_ended(world: World, proc: Any) -> bool:
    world.settle()
    return world.cell(proc).has_ended


def never(world: World) -> Any:
    """Something to wait for that does not come."""
    return quietly(Deferred(world.scheduler))


def watch(world: World, proc: Any, owner: Any = None) -> Monitor:
    cell = world.cell(proc)
    promise = Monitor(world.scheduler, cell, world.cell(owner) if owner else None)
    monitor(cell, promise)
    return promise


# ---- start


def test_a_supervisor_without_children_starts_and_stops_in_order(world):
    sup = supervisor(world)
    world.wait(world.stop(sup, "shutdown"))
    assert reason_of(world, sup) == "shutdown"


@pytest.mark.parametrize("is_below", [False, True])
def test_a_supervisor_whose_constructor_fails_leaves_no_children(world, is_below):
    log: list[str] = []

    class Doomed(Supervisor):
        children = (child(Clerk, "a", log),)

        def __init__(self):
            super().__init__()
            raise OSError("cannot start")

    options = {"children": [child(Doomed)]} if is_below else {}
    with pytest.raises(OSError, match="cannot start"):
        world.spawn(Supervisor if is_below else Doomed, **options)
    world.settle()
    assert log == ["+a", "-a"]


def test_the_error_of_a_child_deep_in_a_tree_fails_the_start_of_the_whole_tree(world):
    class Broken(Process):
        def __init__(self):
            raise OSError("cannot start")

    low = child(Supervisor, children=[child(Broken)], id="low")
    with pytest.raises(OSError, match="cannot start") as error:
        supervisor(world, child(Supervisor, children=[low], id="middle"))
    assert error.value.__notes__ == [
        f"raised by the start of child {name!r}" for name in ("Broken", "low", "middle")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_that_ends_in_its_constructor_has_not_started(world, kind):
    spec = child(Gone, restart=kind)
    with pytest.raises(ProcessStopped, match="ended in its constructor"):
        supervisor(world, spec)
    for sup, args in ((supervisor(world), [spec]), (simple(world, spec), [])):
        with pytest.raises(ProcessStopped, match="ended in its constructor"):
            world.wait(sup.start_child(*args))
        assert states(world, sup) == {}


def test_a_spec_that_says_nothing_has_the_values_that_otp_has():
    spec = child(Clerk)
    assert (spec.restart, spec.shutdown, spec.type) == ("permanent", 5.0, "worker")
    assert not spec.significant
    assert (child(Supervisor).shutdown, child(Supervisor).type) == (None, "supervisor")
    sup = Supervisor
    assert (sup.strategy, sup.intensity, sup.period) == ("one_for_one", 1, 5.0)
    assert sup.auto_shutdown == "never"


def test_only_a_child_of_a_simple_supervisor_has_a_spec_there(world):
    sup, stranger = simple(world, child(Clerk)), world.spawn(Clerk)
    with pytest.raises(NoSuchChild, match="none of the 0 children"):
        world.wait(sup.get_childspec(stranger))


@pytest.mark.parametrize("strategy", ["one_for_one", "simple_one_for_one"])
@pytest.mark.parametrize("wrong", [Clerk, "clerk", None])
def test_what_is_no_spec_is_no_child(world, wrong, strategy):
    with pytest.raises(TypeError, match=r"splice\.child"):
        supervisor(world, wrong, strategy=strategy)


def test_every_spec_that_makes_sense_is_taken():
    ways = itertools.product(
        KINDS, (0, 1.5, "kill", None), ("worker", "supervisor"), (False, True)
    )
    for restart, shutdown, kind, significant in ways:
        if significant and restart == "permanent":
            continue
        spec = child(
            Clerk,
            restart=restart,
            shutdown=shutdown,
            type=kind,
            significant=significant,
        )
        assert (spec.restart, spec.shutdown, spec.type, spec.significant) == (
            restart,
            shutdown,
            kind,
            significant,
        )


@pytest.mark.parametrize("count", [0, 2])
def test_a_simple_supervisor_with_no_spec_or_two_does_not_start(world, count):
    with pytest.raises(ValueError, match=f"exactly 1 spec in children, not {count}"):
        supervisor(world, *[child(Clerk)] * count, strategy="simple_one_for_one")


def test_an_option_that_a_supervisor_does_not_have_is_refused(world):
    with pytest.raises(TypeError, match="silly"):
        supervisor(world, silly=True)


def test_a_child_whose_name_another_process_bears_is_not_started(world):
    bearer = world.spawn(Clerk, name="till")
    sup = supervisor(world)
    with pytest.raises(NameTaken, match="till"):
        world.wait(sup.start_child(child(Clerk, sp_id="till")))
    assert states(world, sup) == {}
    assert not has_ended(world, bearer)


# ---- stop


def test_a_child_without_a_limit_is_waited_for(world):
    gate = Deferred(world.scheduler)
    spec = child(Clerk, gate=gate, shutdown=None)
    sup = supervisor(world, spec)
    clerk = proxies(world, sup)["Clerk"]
    stopped = world.stop(sup, "shutdown")
    world.settle()
    world.loop.advance(10_000)
    assert not has_ended(world, clerk)
    gate.set(None)
    world.wait(stopped)
    assert reason_of(world, clerk) == reason_of(world, sup) == "shutdown"


@pytest.mark.parametrize("is_simple", [False, True])
def test_each_child_ends_for_the_reason_that_its_shutdown_gives_it(world, is_simple):
    if is_simple:
        sup = simple(world, child(Clerk, shutdown=2.0))
        quick = world.wait(sup.start_child())
        slow = world.wait(sup.start_child(gate=never(world)))
    else:
        sup = supervisor(
            world,
            child(Clerk, id="quick"),
            child(Clerk, gate=never(world), id="slow", shutdown=2.0),
            child(Clerk, id="brutal", shutdown="kill"),
        )
        quick, slow, brutal = proxies(world, sup).values()
    world.wait(world.stop(sup, "shutdown"))
    assert reason_of(world, quick) == reason_of(world, sup) == "shutdown"
    assert reason_of(world, slow) == "killed"
    if not is_simple:
        assert reason_of(world, brutal) == "killed"


def test_simple_children_that_trap_exits_are_ended_brutally_too(world):
    sup = simple(world, child(Trapper, shutdown="kill", restart="temporary"))
    made = [world.wait(sup.start_child()) for _ in range(10)]
    world.wait(world.stop(sup, "shutdown"))
    assert {reason_of(world, each) for each in made} == {"killed"}


def test_children_that_end_themselves_while_their_supervisor_stops_keep_their_reasons(
    world,
):
    log: list[str] = []
    gate = Deferred(world.scheduler)
    ways = list(itertools.product(KINDS, REASONS))
    specs = [child(Clerk, str(way), log, id=way, restart=way[0]) for way in ways]
    last = child(Clerk, "last", log, gate=gate, id="last", restart="temporary")
    sup = supervisor(world, *specs, last)
    found = proxies(world, sup)
    log.clear()
    stopped = world.stop(sup, "shutdown")
    world.settle()  # it waits for the last one
    for way in ways:
        quietly(found[way].leave(way[1]))
    world.settle()
    gate.set(None)
    world.wait(stopped)
    assert reason_of(world, sup) == "shutdown"
    assert all(reason_of(world, found[way]) == way[1] for way in ways)
    assert not any(entry.startswith("+") for entry in log)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_clean_up_raises_holds_up_no_simple_supervisor(world, kind, caplog):
    sup = simple(world, child(Clerk, restart=kind))
    made = [world.wait(sup.start_child(last_word=reason)) for reason in REASONS]
    world.wait(world.stop(sup, "shutdown"))
    assert {reason_of(world, each) for each in made} == {"shutdown"}
    assert reason_of(world, sup) == "shutdown"
    assert "sp_terminate" in caplog.text


# ---- administration


def test_a_child_can_be_terminated_twice(world):
    sup = supervisor(world, child(Clerk))
    for _ in range(2):
        assert world.wait(sup.terminate_child("Clerk")) is None
        assert states(world, sup) == {"Clerk": "stopped"}


def test_a_child_that_has_an_id_is_not_found_by_its_proxy(world):
    sup = supervisor(world, child(Clerk))
    clerk = proxies(world, sup)["Clerk"]
    with pytest.raises(NoSuchChild):
        world.wait(sup.terminate_child(clerk))
    assert states(world, sup) == {"Clerk": "running"}


@pytest.mark.parametrize("what", ["start", "terminate", "restart", "delete"])
def test_a_supervisor_that_has_ended_does_nothing(world, what):
    sup = supervisor(world)
    world.wait(world.stop(sup))
    with pytest.raises(ProcessStopped):
        world.wait(getattr(sup, f"{what}_child")(child(Clerk)))


def test_only_a_child_of_a_simple_supervisor_is_terminated_by_it(world):
    sup, stranger = simple(world, child(Clerk)), world.spawn(Clerk)
    own = world.wait(sup.start_child())
    for wrong in (stranger, "Clerk"):
        with pytest.raises(NoSuchChild):
            world.wait(sup.terminate_child(wrong))
    world.wait(sup.terminate_child(own))
    with pytest.raises(NoSuchChild):  # nothing of it is kept
        world.wait(sup.terminate_child(own))
    assert not has_ended(world, stranger)


@pytest.mark.parametrize("type_", ["worker", "supervisor"])
def test_simple_children_are_counted_by_the_type_of_their_spec(world, type_):
    sup = simple(world, child(Clerk, type=type_, restart="temporary"))
    made = [world.wait(sup.start_child()) for _ in range(20)]
    supervisors = 20 if type_ == "supervisor" else 0
    counts = ChildCounts(1, 20, supervisors, 20 - supervisors)
    assert world.wait(sup.count_children()) == counts
    for each in made:
        world.kill(each)
    world.settle()
    assert world.wait(sup.count_children()) == ChildCounts(1, 0, 0, 0)


def test_children_are_told_in_starting_order_also_when_one_is_stopped(world):
    sup = supervisor(world, *[child(Clerk, id=name) for name in "czab"])
    world.wait(sup.terminate_child("z"))
    expected = {"c": "running", "z": "stopped", "a": "running", "b": "running"}
    assert list(states(world, sup).items()) == list(expected.items())
    world.wait(sup.delete_child("z"))
    assert list(states(world, sup)) == ["c", "a", "b"]


ENDINGS: dict[str, Callable[[World, Any, Any], Any]] = {
    "kill": lambda world, _, clerk: world.kill(clerk),
    "normal": lambda world, _, clerk: quietly(clerk.leave("normal")),
    "abnormal": lambda world, _, clerk: quietly(clerk.leave("bored")),
    "supervisor": lambda world, sup, _: world.wait(sup.terminate_child("Clerk")),
}


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_spec_of_a_child_that_has_ended_is_kept_unless_it_is_temporary(
    world, kind, strategy, how
):
    spec = child(Clerk, restart=kind)
    sup = supervisor(world, strategy=strategy)
    clerk = world.wait(sup.start_child(spec))
    ENDINGS[how](world, sup, clerk)
    world.settle()
    if kind == "temporary":
        assert states(world, sup) == {}
        world.wait(sup.start_child(spec))
        return
    with pytest.raises(ChildExists):
        world.wait(sup.start_child(spec))
    is_in_order = how == "supervisor" or (kind == "transient" and how == "normal")
    assert states(world, sup) == {"Clerk": "stopped" if is_in_order else "running"}


# ---- restarts


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_sibling_is_not_restarted_and_ends_no_supervisor(world, strategy):
    specs = [child(Clerk, id=1), child(Clerk, id=2, restart="temporary")]
    sup = supervisor(world, *specs, strategy=strategy)
    sibling = proxies(world, sup)[2]
    quietly(proxies(world, sup)[1].leave("normal"))
    assert states(world, sup) == {1: "running"}
    assert reason_of(world, sibling) == "shutdown"


@pytest.mark.parametrize("strategy", [*STRATEGIES, "simple_one_for_one"])
def test_the_restarts_of_all_children_are_counted_together(world, strategy):
    if strategy == "simple_one_for_one":
        sup = simple(world, child(Clerk), intensity=2)
        first, second = (world.wait(sup.start_child()) for _ in range(2))
    else:
        specs = [child(Clerk, id=1), child(Clerk, id=2)]
        sup = supervisor(world, *specs, strategy=strategy, intensity=2)
        first, second = proxies(world, sup).values()
    for clerk in (first, second):
        quietly(clerk.fail())
        assert not has_ended(world, sup)
    quietly(first.fail())
    assert reason_of(world, sup) == "shutdown"
    assert has_ended(world, second)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "simple_one_for_one"])
def test_a_child_that_never_starts_again_ends_its_supervisor_and_its_siblings(
    world, strategy
):
    starts = iter([True, True])
    spec = child(Flaky, "x", [], lambda: next(starts, False), id="x")
    if strategy == "simple_one_for_one":
        sup = simple(world, spec, intensity=4)
        failing, sibling = (world.wait(sup.start_child()) for _ in range(2))
    else:
        other = child(Flaky, "y", [], lambda: next(starts, False), id="y")
        sup = supervisor(world, spec, other, strategy=strategy, intensity=4)
        failing, sibling = proxies(world, sup).values()
    quietly(failing.fail())
    assert reason_of(world, sup) == "shutdown"
    assert reason_of(world, sibling) == "shutdown"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_all", ["-a", "-b", "+a", "+b", "-a", "+a", "+b"]),
        ("rest_for_one", ["-a", "-b", "+a", "+b", "+b"]),
    ],
)
def test_when_a_sibling_does_not_start_those_concerned_are_restarted_once_more(
    world, strategy, expected
):
    log: list[str] = []
    starts = iter([True, False])
    flaky = child(Flaky, "b", log, lambda: next(starts, True), id="b")
    sup = supervisor(
        world, child(Clerk, "a", log, id="a"), flaky, strategy=strategy, intensity=3
    )
    log.clear()
    quietly(proxies(world, sup)["a"].fail())
    assert states(world, sup) == {"a": "running", "b": "running"}
    assert log == expected


def test_many_children_are_stopped_and_started_in_order(world):
    log: list[str] = []
    names = ["ch7", "ch3", "ch10", "ch2", "ch5"]
    specs = [child(Clerk, name, log, id=name) for name in names]
    sup = supervisor(world, *specs, strategy="rest_for_one")
    assert log == [f"+{name}" for name in names]
    log.clear()
    quietly(proxies(world, sup)["ch10"].fail())
    world.settle()
    assert log == ["-ch10", "-ch5", "-ch2", "+ch10", "+ch2", "+ch5"]
    log.clear()
    world.wait(world.stop(sup))
    assert log == [f"-{name}" for name in reversed(names)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_children_added_later_are_not_there_in_the_next_life_of_a_supervisor(
    world, strategy
):
    low = child(Supervisor, children=[child(Clerk, id="own")], id="low", intensity=0)
    other = child(Supervisor, children=[child(Clerk, id="x")], id="other")
    top = supervisor(world, low, other, strategy=strategy)
    below = proxies(world, top)["low"]
    added = world.wait(below.start_child(child(Clerk, id="added")))
    quietly(added.fail())
    assert states(world, top) == {"low": "running", "other": "running"}
    assert states(world, below) == {"own": "running"}


# ---- a restart that never succeeds


def hanging(world: World, strategy: str) -> tuple[Any, list[bool], dict[int, Any]]:
    """A supervisor of a, b and c, whose b starts only while it may.

    What is put into the third is called when b has tried to start that often in vain.
    """
    may = [True]
    log: list[str] = []

    def may_start():
        if may[0]:
            return True
        tries.append(None)
        if len(tries) in asks:
            asks.pop(len(tries))()
        return False

    tries: list[None] = []
    asks: dict[int, Callable[[], None]] = {}
    specs = [
        child(Clerk, "a", log, id="a"),
        child(Flaky, "b", log, may_start, id="b"),
        child(Clerk, "c", log, id="c"),
    ]
    sup = supervisor(world, *specs, strategy=strategy, intensity=10**6)
    return sup, may, asks


EXPECTED_WHILE_HANGING = {
    "one_for_one": {"a": "running", "b": "restarting", "c": "running"},
    "rest_for_one": {"a": "running", "b": "restarting", "c": "restarting"},
    "one_for_all": {"a": "running", "b": "restarting", "c": "restarting"},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_while_a_child_does_not_start_its_supervisor_says_so_and_obeys(world, strategy):
    sup, may, asks = hanging(world, strategy)
    answers: list[Any] = []

    def ask():
        answers.extend(
            quietly(promise)
            for promise in (
                sup.start_child(child(Clerk, id="b")),
                sup.restart_child("b"),
                sup.delete_child("b"),
                sup.which_children(),
                sup.terminate_child("b"),
                sup.which_children(),
            )
        )

    asks[5] = ask
    may[0] = False
    b = proxies(world, sup)["b"]
    quietly(b.fail())
    world.settle()
    exists, running, running_too, infos, terminated, after = answers
    assert isinstance(exists.exception(), ChildExists)
    assert isinstance(running.exception(), ChildRunning)
    assert isinstance(running_too.exception(), ChildRunning)
    seen = {info.id: info.state for info in world.wait(infos)}
    assert seen == EXPECTED_WHILE_HANGING[strategy]
    assert world.wait(terminated) is None
    seen = {info.id: info.state for info in world.wait(after)}
    assert "restarting" not in seen.values()
    assert states(world, sup)["b"] == "stopped"
    may[0] = True
    assert world.wait(sup.restart_child("b")) == b
    assert states(world, sup)["b"] == "running"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_mail_of_siblings_that_wait_for_a_child_fails_when_that_is_given_up(
    world, strategy
):
    sup, may, asks = hanging(world, strategy)
    found = proxies(world, sup)
    late: list[Any] = []

    def ask():
        late.append(found["c"].note())
        quietly(sup.terminate_child("b"))

    asks[3] = ask
    may[0] = False
    quietly(found["b"].fail())
    world.settle()
    assert late[0].done()
    assert isinstance(late[0].exception(), ProcessStopped)
    assert states(world, sup)["c"] == "stopped"
    may[0] = True
    world.wait(sup.restart_child("c"))
    assert world.wait(found["c"].note())[-1] == "asked"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_supervisor_stops_while_a_child_does_not_start(world, strategy):
    sup, may, asks = hanging(world, strategy)
    found = proxies(world, sup)
    stopped: list[Any] = []
    asks[5] = lambda: stopped.append(world.stop(sup, "shutdown"))
    may[0] = False
    quietly(found["b"].fail())
    world.settle()
    world.wait(stopped[0])
    assert reason_of(world, sup) == "shutdown"
    assert all(has_ended(world, each) for each in found.values())


def test_no_child_is_started_again_before_the_one_that_it_waits_for(world):
    log: list[str] = []
    may_b = iter([True, False])

    def may_start(name):
        if name == "b":
            return next(may_b, True)
        if log.count("+c") == 2:
            quietly(found["b"].fail())  # c is about to be tried once more
        return log.count("+c") == 1 or log.count("+b") == 3

    specs = [
        child(Flaky, name, log, lambda name=name: may_start(name), id=name)
        for name in "bc"
    ]
    sup = supervisor(world, *specs, strategy="rest_for_one", intensity=1000)
    found = proxies(world, sup)
    quietly(found["c"].fail())
    assert states(world, sup) == {"b": "running", "c": "running"}
    first_in_vain = log.index("+b", 1)
    assert log[first_in_vain:] == ["+b", "+b", "+c"]


# ---- significant children


@pytest.mark.parametrize("mode", ["never", "any_significant", "all_significant"])
@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("kind", ["transient", "temporary"])
def test_no_end_of_a_child_that_is_not_significant_ends_its_supervisor(
    world, kind, how, mode
):
    sup = supervisor(world, child(Clerk, restart=kind), auto_shutdown=mode)
    ENDINGS[how](world, sup, proxies(world, sup)["Clerk"])
    assert not has_ended(world, sup)


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_significant_siblings_of_a_restarted_child_end_no_supervisor(
    world, strategy, mode
):
    specs = [
        child(Clerk, id=number, restart="transient", significant=number != 2)
        for number in (1, 2, 3)
    ]
    sup = supervisor(world, *specs, strategy=strategy, auto_shutdown=mode)
    world.kill(proxies(world, sup)[2])
    assert states(world, sup) == {1: "running", 2: "running", 3: "running"}


def test_a_supervisor_below_that_is_not_significant_winds_up_alone(world):
    done = child(Clerk, restart="transient", significant=True)
    low = child(
        Supervisor,
        children=[done],
        auto_shutdown="any_significant",
        restart="transient",
        id="low",
    )
    top = supervisor(world, low, auto_shutdown="any_significant")
    below = proxies(world, top)["low"]
    quietly(proxies(world, below)["Clerk"].leave("normal"))
    assert states(world, top) == {"low": "stopped"}
    assert reason_of(world, below) == "shutdown"


# ---- what a supervisor must not need


def test_a_child_that_unlinks_its_supervisor_is_terminated_all_the_same(world):
    sup = supervisor(world, child(Clerk))
    clerk = proxies(world, sup)["Clerk"]
    unlink(world.cell(clerk), world.cell(sup))
    world.wait(sup.terminate_child("Clerk"))
    assert reason_of(world, clerk) == "shutdown"


class Big:
    """An argument whose end can be seen."""

    alive = 0

    def __init__(self):
        Big.alive += 1

    def __del__(self):
        Big.alive -= 1


class Forgetful(Process):
    """Keeps nothing of its arguments."""

    def __init__(self, *args):
        pass

    def ping(self):
        return "pong"


@pytest.mark.parametrize("strategy", [*STRATEGIES, "simple_one_for_one"])
def test_the_arguments_of_temporary_children_are_not_kept(world, strategy):
    Big.alive = 0
    if strategy == "simple_one_for_one":
        sup = simple(world, child(Forgetful, restart="temporary"))
        made = [world.wait(sup.start_child(Big())) for _ in range(3)]
    else:
        sup = supervisor(world, strategy=strategy)
        made = [
            world.wait(
                sup.start_child(child(Forgetful, Big(), id=n, restart="temporary"))
            )
            for n in range(3)
        ]
    assert [world.wait(each.ping()) for each in made] == ["pong"] * 3
    assert Big.alive == 0


def calls_of(function: Callable[[], Any]) -> int:
    """How many Python functions are called by it."""
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    gc.collect()
    gc.disable()  # finalizers of others are no calls of ours
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@pytest.mark.parametrize("how", ["start", "terminate", "kill", "restart"])
def test_what_becomes_of_one_simple_child_costs_the_same_among_many(world, how):
    costs = []
    for count in (10, 400):
        kind = "permanent" if how == "restart" else "temporary"
        sup = simple(world, child(Clerk, restart=kind), intensity=10**6)
        made = [world.wait(sup.start_child()) for _ in range(count)]

        def act(sup=sup, last=made[-1]):
            if how == "start":
                world.wait(sup.start_child())
            elif how == "terminate":
                world.wait(sup.terminate_child(last))
            else:
                world.kill(last)
            world.settle()

        costs.append(calls_of(act))
    assert costs[1] < costs[0] + 20


def test_what_becomes_of_one_child_costs_the_same_among_many(world):
    costs = []
    for count in (10, 400):
        sup = supervisor(world, intensity=10**6)
        for number in range(count):
            world.wait(sup.start_child(child(Clerk, id=number)))
        clerk = proxies(world, sup)[count - 1]

        def act(sup=sup, clerk=clerk, count=count):
            world.kill(clerk)
            world.settle()
            world.wait(sup.terminate_child(count - 1))
            world.wait(sup.restart_child(count - 1))
            world.wait(sup.start_child(child(Clerk, id="one more")))

        costs.append(calls_of(act))
    assert costs[1] < costs[0] + 20


# ---- links and monitors


def test_one_whose_handler_ends_its_watcher_and_then_itself_is_no_trouble(world):
    one, observer = world.spawn(Clerk), world.spawn(Observer)
    down = watch(world, one, observer)
    quietly(one.take_along(world.cell(observer)))
    assert reason_of(world, one) == "bored"
    assert reason_of(world, observer) == "killed"
    assert isinstance(down.exception(), ProcessStopped)


def test_a_link_to_a_former_partner_that_has_ended_tells_noproc(world):
    parent, one = world.spawn(Clerk), world.spawn(Trapper)
    link(world.cell(parent), world.cell(one))
    unlink(world.cell(parent), world.cell(one))
    quietly(parent.leave("bye"))
    world.settle()
    link(world.cell(one), world.cell(parent))
    world.settle()
    assert world.wait(one.note("asked")) == ["+clerk", "noproc", "asked"]


@pytest.mark.parametrize("how", ["taken back", "ended", "other ended"])
def test_links_and_monitors_that_are_over_leave_nothing(world, how):
    one, other = world.spawn(Trapper), world.spawn(Trapper)
    cells = [world.cell(one), world.cell(other)]
    link(*cells)
    down = watch(world, one, other)
    if how == "taken back":
        unlink(*cells)
        world.scheduler.post(down.cancel)
    else:
        quietly((one if how == "ended" else other).leave("bored"))
    world.settle()
    for cell in cells:
        extra = cell.extra
        assert (extra.links, extra.watchers, extra.watching) == ({}, {}, {})


def test_the_first_of_two_exits_is_the_reason(world):
    one, other, both = (world.spawn(Clerk) for _ in range(3))
    for each in (one, other):
        link(world.cell(each), world.cell(both))
    held = quietly(both.hold(never(world)))
    world.settle()
    quietly(one.leave("first"))
    quietly(other.leave("second"))
    world.loop.advance(10)
    assert reason_of(world, both) == "first"
    assert held.exception().reason == "first"


def test_an_exit_reaches_one_that_waits_with_a_timeout(world):
    one, sleeper = world.spawn(Clerk), world.spawn(Clerk)
    link(world.cell(one), world.cell(sleeper))
    held = quietly(sleeper.hold_briefly(never(world), 3.0))
    world.settle()
    quietly(one.leave("dead"))
    world.loop.advance(4)
    assert held.get() == "nothing came"
    assert reason_of(world, sleeper) == "dead"


def test_the_end_is_told_after_the_mail_that_was_sent_before(world):
    for name in (None, "jeeves"):
        observer = world.spawn(Observer)
        sender = world.spawn(Clerk, name=name)
        watch(world, sender, observer)
        quietly(sender.tell_and_leave(observer, 20))
        world.settle()
        notes = world.wait(observer.note("last"))
        assert notes == ["+clerk", *range(20), "bored", "last"]


def test_a_kill_as_a_reason_is_a_reason_like_others(world):
    chain = [world.spawn(Clerk) for _ in range(3)] + [world.spawn(Trapper)]
    for one, other in itertools.pairwise(chain):
        link(world.cell(one), world.cell(other))
    quietly(chain[0].leave("kill"))
    assert [reason_of(world, each) for each in chain[:3]] == ["kill"] * 3
    assert world.wait(chain[3].note("asked")) == ["+clerk", "kill", "asked"]


def test_an_exit_that_is_caught_ends_nobody(world):
    one, other = world.spawn(Clerk), world.spawn(Clerk)
    link(world.cell(one), world.cell(other))
    assert world.wait(one.think_better_of_it()) == "stays"
    assert not has_ended(world, one)
