"""What OTP's suites look at in links, monitors and children over nodes, and no other test does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from splice import (
    Cancelled,
    ConnectTimeout,
    Deferred,
    Exit,
    NodeLost,
    Process,
    Supervisor,
    child,
    runtime,
    sync,
    tell,
)
from splice.config import Config
from splice.net.window import FIRST_CREDIT
from splice.node.node import Node
from splice.testing.simulation import Simulation

LOSS = 40.0
"""Seconds of virtual time after which a dead node is surely known as lost."""


class Member(Process):
    """Ends as it is asked to, and notes what it is told."""

    def __init__(self, *_):
        self.notes: list[Any] = []

    def note(self, value="asked"):
        self.notes.append(value)
        return list(self.notes)

    def leave(self, reason):
        raise Exit(reason)

    def tell_and_leave(self, whom, count):
        for number in range(count):
            tell(whom.note, number)
        raise Exit("bored")

    def chatter(self, whom):
        for number in itertools.count():
            tell(whom.note, number)
            runtime.sleep(0.01)

    def flood(self, whom):
        for _ in range(1000):
            tell(whom.take, b"x" * (FIRST_CREDIT // 20))

    def bear(self, dest, reason=None):
        born = runtime.spawn_nowait(Slow, reason, sp_dest=dest, sp_link=True)
        born.add_done_callback(lambda _: None)


class Slow(Member):
    """Takes two seconds to begin, and ends at once for a reason if it has one."""

    def __init__(self, reason=None):
        super().__init__()
        runtime.sleep(2)
        if reason is not None:
            tell(self.sp_proxy.leave, reason)


class Trapper(Member):
    sp_trap_exit = True

    def sp_exited(self, end):
        self.notes.append(end.reason)


class Observer(Member):
    def watch(self, proc):
        runtime.monitor(proc)

    def watch_and_forget(self, proc):
        down = runtime.monitor(proc)
        runtime.demonitor(down)

    def watch_and_leave(self, proc):
        runtime.monitor(proc)
        raise Exit("bang")

    def sp_down(self, down):
        self.notes.append(down.reason)


class Busy(Trapper):
    """Handles nothing of what floods it until it is told."""

    def hold_out(self, seconds):
        runtime.sleep(seconds)

    def take(self, part):
        pass


def ties(*nodes: Node) -> list[Any]:
    """What processes and nodes hold of links and monitors; nothing when all is over."""
    held: list[Any] = []
    for node in nodes:
        for cell in node.scheduler.directory.cells():
            if cell.extra is not None and isinstance(cell.object, Member):
                held += [cell.extra.links, cell.extra.watchers, cell.extra.watching]
        for tied in node.exchange.signals._ties.values():
            held += [tied.links, tied.monitors, tied.watchers, tied.waiting]
    return [each for each in held if each]


def members(*nodes: Node) -> list[Any]:
    cells = [c for node in nodes for c in node.scheduler.directory.cells()]
    return [cell for cell in cells if isinstance(cell.object, Member)]


# ---- monitors


@pytest.mark.parametrize("reason", ["normal", "bored"])
def test_a_monitor_of_a_name_tells_why_its_bearer_has_ended(sim, one, other, reason):
    def scenario():
        observer = runtime.spawn(Observer)
        jeeves = runtime.spawn(Member, sp_dest=other.address, sp_id="jeeves")
        by_name = runtime.connect(f"{other.address}/jeeves")
        sync(observer.watch(by_name))
        down = runtime.monitor(by_name)
        jeeves.leave(reason).exception()
        told = down.get(30)
        runtime.sleep(1)
        return told.reason, told.url.resource, sync(observer.note())

    assert sim.run(one, scenario) == (reason, "jeeves", [reason, "asked"])


def test_the_end_of_one_monitored_by_name_comes_after_its_mail(sim, one, other):
    def scenario():
        observer = runtime.spawn(Observer)
        sender = runtime.spawn(Member, sp_dest=other.address, sp_id="sender")
        sync(observer.watch(runtime.connect(f"{other.address}/sender")))
        tell(sender.tell_and_leave, observer, 50)
        runtime.sleep(1)
        return sync(observer.note())

    assert sim.run(one, scenario) == [*range(50), "bored", "asked"]


def test_nothing_of_a_lost_node_comes_after_its_loss_was_told(sim, one):
    two = sim.node()

    def scenario():
        observer = runtime.spawn(Observer)
        far = runtime.spawn(Member, sp_dest=two.address)
        sync(observer.watch(far))
        tell(far.chatter, observer)
        runtime.sleep(1)
        sim.kill(two)
        runtime.sleep(LOSS)
        return sync(observer.note())

    *numbers, loss, asked = sim.run(one, scenario)
    assert len(numbers) > 50
    assert numbers == list(range(len(numbers)))
    assert isinstance(loss, NodeLost)
    assert asked == "asked"


@pytest.mark.parametrize("what", ["process", "name"])
def test_a_monitor_of_what_was_on_a_lost_node_tells_that_it_is_lost(sim, one, what):
    two = sim.node()

    def scenario():
        far = runtime.spawn(Member, sp_dest=two.address, sp_id="far")
        if what == "name":
            far = runtime.connect(f"{two.address}/far")
        down = runtime.monitor(far)
        sync(far.note())
        sim.kill(two)
        first = down.get(LOSS).reason
        return first, runtime.monitor(far).get(LOSS).reason

    first, again = sim.run(one, scenario)
    assert isinstance(first, NodeLost)
    # nobody knows whether another node has come up there, which bears the name
    assert type(again) is (NodeLost if what == "process" else ConnectTimeout)


def test_a_monitor_that_is_taken_back_tells_no_later_end(sim, one, other):
    def scenario():
        observer = runtime.spawn(Observer)
        far = runtime.spawn(Member, sp_dest=other.address)
        tell(far.leave, "bored")
        sync(observer.watch_and_forget(far))
        runtime.sleep(1)
        return sync(observer.note())

    assert sim.run(one, scenario) == ["asked"]


def test_a_monitor_that_is_taken_back_tells_no_loss(sim, one):
    two = sim.node()

    def scenario():
        observer = runtime.spawn(Observer)
        far = runtime.spawn(Member, sp_dest=two.address)
        sync(observer.watch_and_forget(far))
        sync(far.note())
        sim.kill(two)
        runtime.sleep(LOSS)
        return sync(observer.note())

    assert sim.run(one, scenario) == ["asked"]


class Racer(Observer):
    """Takes monitors back while the ends of the watched are on their way."""

    def race(self, procs, pause):
        downs = [runtime.monitor(proc) for proc in procs]
        for proc in procs:
            tell(proc.leave, "bored")
        self.taken_back = 0
        for down in downs:
            runtime.sleep(pause)
            runtime.demonitor(down)
            self.taken_back += isinstance(down.exception(), Cancelled)

    def outcome(self):
        return self.taken_back, len(self.notes)


@pytest.mark.parametrize("pause", [0.0, 0.0001, 0.001])
def test_a_monitor_is_either_taken_back_or_tells(sim, one, other, pause):
    def scenario():
        racer = runtime.spawn(Racer)
        procs = [runtime.spawn(Member, sp_dest=other.address) for _ in range(50)]
        sync(racer.race(procs, pause))
        runtime.sleep(1)
        return sync(racer.outcome())

    taken_back, told = sim.run(one, scenario)
    assert taken_back + told == 50
    assert ties(one, other) == []


@pytest.mark.parametrize("target", ["nobody", "earlier life"])
def test_a_watcher_that_ends_at_once_leaves_nothing(sim, one, target):
    two = sim.node()
    where = f"{two.address}/nobody"

    def made():
        return runtime.spawn(Member, sp_dest=two.address)

    whom = sim.run(one, made)
    if target == "earlier life":
        sim.kill(two)
        two = sim.restart(two)

    def scenario():
        observer = runtime.spawn(Observer)
        proc = runtime.connect(where) if target == "nobody" else whom
        observer.watch_and_leave(proc).exception()
        runtime.sleep(LOSS)

    sim.run(one, scenario)
    assert ties(one, two) == []


@pytest.mark.parametrize("wrong", [1, "rex", ["bingo"], None, Member])
@pytest.mark.parametrize("what", ["monitor", "link", "unlink", "demonitor"])
def test_what_is_no_process_and_no_monitor_is_refused(sim, one, what, wrong):
    def scenario():
        near = runtime.spawn(Member)
        arguments = (wrong,) if what.endswith("monitor") else (near, wrong)
        with pytest.raises(TypeError, match="is no"):
            getattr(runtime, what)(*arguments)

    sim.run(one, scenario)


def test_a_promise_that_is_no_monitor_cannot_be_taken_back_as_one(sim, one):
    def scenario():
        answer = runtime.spawn(Member).note()
        with pytest.raises(TypeError, match="is no monitor"):
            runtime.demonitor(answer)
        return sync(answer)

    assert sim.run(one, scenario) == ["asked"]


# ---- links


def test_a_process_that_is_linked_to_a_lost_node_ends_with_the_loss(sim, one):
    two = sim.node()

    def scenario():
        near = runtime.spawn(Member)
        far = runtime.spawn(Member, sp_dest=two.address)
        runtime.link(far, near)
        down = runtime.monitor(near)
        sync(far.note())
        sim.kill(two)
        return down.get(LOSS).reason

    assert isinstance(sim.run(one, scenario), NodeLost)
    assert ties(one) == []


def test_a_link_to_what_was_on_a_lost_node_ends_with_the_loss(sim, one):
    two = sim.node()

    def scenario():
        far = runtime.spawn(Member, sp_dest=two.address)
        sync(far.note())
        sim.kill(two)
        runtime.monitor(far).get(LOSS)
        near = runtime.spawn(Member)
        down = runtime.monitor(near)
        runtime.link(near, far)
        return down.get(LOSS).reason

    assert isinstance(sim.run(one, scenario), NodeLost)


class Breaker(Trapper):
    """Takes a link back when the end of the other is on its way."""

    def part(self, proc):
        tell(proc.leave, "bang")
        runtime.unlink(self, proc)
        return list(self.notes)


def test_no_exit_is_told_after_a_link_is_taken_back(sim, one, other):
    def scenario():
        breaker = runtime.spawn(Breaker)
        proc = runtime.spawn(Member, sp_dest=other.address)
        runtime.link(breaker, proc)
        sync(proc.note())
        told_before = sync(breaker.part(proc))
        runtime.sleep(1)
        return told_before, sync(breaker.note())

    assert sim.run(one, scenario) == ([], ["asked"])
    assert ties(one, other) == []


@pytest.mark.parametrize("how", ["taken back", "here", "there", "both at once"])
def test_links_that_are_over_leave_nothing_on_either_node(sim, one, other, how):
    def scenario():
        near = runtime.spawn(Trapper)
        far = runtime.spawn(Trapper, sp_dest=other.address)
        runtime.link(near, far)
        sync(far.note())
        if how == "taken back":
            runtime.unlink(far, near)
        elif how == "both at once":
            runtime.unlink(near, far)
            tell(near.leave, "bored")
            tell(far.leave, "bored")
        else:
            tell((near if how == "here" else far).leave, "bored")
        runtime.sleep(1)

    sim.run(one, scenario)
    assert ties(one, other) == []


@pytest.mark.parametrize("length", [1, 2, 9, 10])
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_kill_goes_down_a_line_of_nodes_as_killed(sim, one, other, how, length):
    def scenario():
        nodes = itertools.cycle((one, other))
        line = [runtime.spawn(Trapper)]
        line += [
            runtime.spawn(Member, sp_dest=node.address)
            for node in itertools.islice(nodes, length)
        ]
        for first, second in itertools.pairwise(line):
            runtime.link(first, second)
        runtime.sleep(1)
        if how == "kill":
            runtime.kill(line[-1])
        else:
            tell(line[-1].leave, "kill")
        runtime.sleep(1)
        return sync(line[0].note())

    reason = "killed" if how == "kill" else "kill"
    assert sim.run(one, scenario) == [reason, "asked"]


@pytest.mark.parametrize("how", ["leave", "stop"])
def test_a_reason_may_be_large_wherever_it_is_told(sim, one, other, how):
    reason = ["big", 10**100, b"x" * 300_000] * 5

    def scenario():
        trapper = runtime.spawn(Trapper)
        far = runtime.spawn(Member, sp_dest=other.address)
        runtime.link(trapper, far)
        down = runtime.monitor(far)
        sync(far.note())
        if how == "leave":
            tell(far.leave, reason)
        else:
            runtime.stop(far, reason)
        told = down.get(30).reason
        runtime.sleep(1)
        return told, sync(trapper.note())

    assert sim.run(one, scenario) == (reason, [reason, "asked"])


# ---- while mail waits for credit


@pytest.fixture
def narrow() -> Iterator[Simulation]:
    config = Config(window_bytes=4 * FIRST_CREDIT, backlog_bytes=FIRST_CREDIT)
    simulation = Simulation(seed=1, config=config, delay=0.01)
    yield simulation
    simulation.close()


@pytest.mark.parametrize("what", ["exit", "down", "unlink", "demonitor"])
def test_links_and_monitors_work_while_mail_waits(narrow, what):
    """A node is flooded; what is linked and watched from there is told in time."""
    one, two = narrow.node(), narrow.node()

    def scenario():
        busy = runtime.spawn(Busy, sp_dest=two.address)
        near = runtime.spawn(Trapper)
        far = runtime.spawn(Trapper, sp_dest=two.address)
        flooder = runtime.spawn(Member)
        held = [busy.hold_out(1000), flooder.flood(busy)]
        runtime.sleep(5)  # it is stuck
        runtime.link(near, far)
        down = runtime.monitor(far)
        runtime.sleep(5)
        assert not any(promise.done() for promise in held)
        before = len(ties(two))
        if what == "unlink":
            runtime.unlink(near, far)
        elif what == "demonitor":
            runtime.demonitor(down)
        else:
            runtime.kill(near if what == "exit" else far)
        runtime.sleep(5)
        for promise in held:
            promise.add_done_callback(lambda _: None)
        notes = [c.object.notes for c in members(one, two) if type(c.object) is Trapper]
        return notes, down.done(), before, len(ties(two))

    notes, is_over, before, after = narrow.run(one, scenario)
    assert notes == ([["killed"]] if what in {"exit", "down"} else [[], []])
    assert is_over == (what in {"down", "demonitor"})
    assert before == 4  # links and watchers, of the process and of the node
    assert after == {"exit": 2, "down": 0, "unlink": 2, "demonitor": 2}[what]


# ---- linked spawning


def test_one_that_is_spawned_linked_ends_with_a_parent_that_ends_meanwhile(
    sim, one, other
):
    def scenario():
        parent = runtime.spawn(Member)
        sync(parent.bear(other.address))
        runtime.sleep(1)
        parent.leave("kaboom").exception()
        runtime.sleep(5)

    sim.run(one, scenario)
    assert members(one, other) == []


def test_the_end_of_one_that_is_spawned_linked_and_ends_at_once_is_told(
    sim, one, other
):
    def scenario():
        parent = runtime.spawn(Trapper)
        sync(parent.bear(other.address, "hej"))
        runtime.sleep(5)
        return sync(parent.note())

    assert sim.run(one, scenario) == ["hej", "asked"]


def test_one_that_is_spawned_linked_ends_when_the_node_of_its_parent_is_lost(sim, one):
    two, three = sim.node(), sim.node()

    def scenario():
        parent = runtime.spawn(Member, sp_dest=two.address)
        sync(parent.bear(three.address))
        runtime.sleep(1)
        sim.kill(two)
        runtime.sleep(2 * LOSS)

    sim.run(one, scenario)
    assert members(three) == []


# ---- supervisors


class Big:
    """An argument whose end can be seen, on any node."""

    alive = 0

    def __init__(self):
        Big.alive += 1

    def __reduce__(self):
        return Big, ()

    def __del__(self):
        Big.alive -= 1


class Forgetful(Member):
    """Keeps nothing of its arguments."""


def test_the_arguments_of_a_far_temporary_child_are_not_kept_on_any_node(sim, one):
    two = sim.node()
    Big.alive = 0

    def scenario():
        sup = runtime.spawn(Supervisor)
        spec = child(Forgetful, Big(), restart="temporary", sp_dest=two.address)
        made = sync(sup.start_child(spec))
        del spec
        sync(made.note())
        return Big.alive

    assert sim.run(one, scenario) == 0


def test_a_simple_child_that_has_moved_is_known_by_its_new_proxy(sim, one):
    two = sim.node()

    def scenario():
        spec = child(Member, sp_dest=two.address)
        sup = runtime.spawn(Supervisor, "simple_one_for_one", children=[spec])
        before = sync(sup.start_child())
        sim.kill(two)
        runtime.sleep(LOSS)
        [info] = sync(sup.which_children())
        assert info.proxy != before
        assert "is none of the 1 children" in str(
            sup.terminate_child(before).exception()
        )
        sync(sup.terminate_child(info.proxy))
        return sync(sup.count_children()).active

    assert sim.run(one, scenario) == 0


class Large(Process):
    def answer(self):
        return bytes(40_000_000)


class Hasty(Process):
    """Has a linked child made while a large answer is on its way, and does something at once."""

    def unlink(self, dest, large):
        self.large = large.answer()
        made = runtime.spawn(Member, sp_dest=dest, sp_link=True)
        runtime.unlink(self.sp_proxy, made)
        return made

    def leave(self, dest, large, told):
        self.large = large.answer()
        told.set(runtime.spawn(Member, sp_dest=dest, sp_link=True))
        raise Exit("normal")

    def fail(self):
        raise Exit("bad")


def test_a_link_can_be_taken_back_right_after_the_spawn(sim, one, other):
    def scenario():
        hasty = runtime.spawn(Hasty)
        made = sync(
            hasty.unlink(other.address, runtime.spawn(Large, sp_dest=other.address))
        )
        hasty.fail().exception()
        runtime.sleep(5)
        return sync(made.note())

    assert sim.run(one, scenario) == ["asked"]


def test_a_parent_that_ends_normally_right_after_the_spawn_leaves_its_child_alone(
    sim, one, other
):
    def scenario():
        told = Deferred()
        large = runtime.spawn(Large, sp_dest=other.address)
        runtime.spawn(Hasty).leave(other.address, large, told).exception()
        made = told.get()
        runtime.sleep(5)
        return sync(made.note())

    assert sim.run(one, scenario) == ["asked"]
