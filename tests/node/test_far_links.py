"""Links and monitors over nodes: reasons travel, and the loss of a node is a reason."""

from itertools import pairwise
from random import Random
from typing import Any

import pytest

from splice import (
    Down,
    Exit,
    NodeLost,
    Process,
    Supervisor,
    runtime,
    sync,
    tell,
)
from splice.testing.simulation import Simulation


class Member(Process):
    """Ends as it is asked to, and notes what it is told."""

    def __init__(self):
        self.notes: list[Any] = []

    def note(self, value):
        self.notes.append(value)
        return [getattr(note, "reason", note) for note in self.notes]

    def leave(self, reason):
        raise Exit(reason)

    def fail(self, error):
        raise error


class Trapper(Member):
    sp_trap_exit = True

    def sp_exited(self, end):
        self.notes.append(end)


class Observer(Member):
    def watch(self, proc):
        runtime.monitor(proc)

    def sp_down(self, down):
        self.notes.append(down)


class Parent(Trapper):
    def bear(self, dest):
        return runtime.spawn(Member, sp_dest=dest, sp_link=True)


@pytest.fixture
def two(sim: Simulation) -> Any:
    return sim.node(), sim.node()


def reason_of(proc: Any) -> Any:
    """Why it has ended, or has not: seen by a monitor of its own."""
    return runtime.monitor(proc).get(30.0).reason


def test_a_monitor_tells_the_end_of_a_far_process(sim, two):
    one, other = two

    def scenario():
        far = runtime.spawn(Member, sp_dest=other.address)
        down = runtime.monitor(far)
        tell(far.leave, "bored")
        return down.get() == Down(far.sp_url, "bored")

    assert sim.run(one, scenario)


def test_a_far_monitor_of_what_is_not_there_says_noproc(sim, two):
    one, other = two

    def scenario():
        return reason_of(runtime.connect(f"{other.address}/nobody"))

    assert sim.run(one, scenario) == "noproc"


def test_a_monitor_of_a_name_waits_while_its_node_is_young(sim, two):
    one, other = two

    def scenario():
        down = runtime.monitor(runtime.connect(f"{other.address}/late"))
        runtime.sleep(0.5)
        late = runtime.spawn(Member, sp_dest=other.address, sp_id="late")
        tell(late.leave, "bored")
        return down.get(30.0).reason

    assert sim.run(one, scenario) == "bored"


def test_a_link_to_a_name_waits_while_its_node_is_young(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Member)
        down = runtime.monitor(near)
        runtime.link(near, runtime.connect(f"{other.address}/late"))
        runtime.sleep(0.5)
        late = runtime.spawn(Member, sp_dest=other.address, sp_id="late")
        tell(late.leave, "bored")
        return down.get(30.0).reason

    assert sim.run(one, scenario) == "bored"


def test_a_monitor_of_a_name_that_is_not_made_in_time_says_noproc_then(sim, two):
    one, other = two

    def scenario():
        down = runtime.monitor(runtime.connect(f"{other.address}/late"))
        runtime.sleep(1.0)
        was_done = down.done()
        return was_done, down.get(30.0).reason

    assert sim.run(one, scenario) == (False, "noproc")


@pytest.mark.parametrize("how", ["taken back", "lost"])
def test_a_tie_to_a_name_that_comes_too_late_leaves_nothing(sim, two, how):
    one, other = two

    def scenario():
        near = runtime.spawn(Trapper)
        far = runtime.connect(f"{other.address}/late")
        down = runtime.monitor(far)
        runtime.link(near, far)
        runtime.sleep(0.2)
        if how == "taken back":
            runtime.demonitor(down)
            runtime.unlink(near, far)
        else:
            runtime.stop(near)
            lost = runtime.connect(one.address + "/nobody")
            other.exchange.signals.lost(
                other.peers.reach(one.address, one.incarnation), NodeLost(str(lost))
            )
        runtime.sleep(0.2)
        runtime.spawn(Member, sp_dest=other.address, sp_id="late")
        extra = other.scheduler.directory.get("late").extra
        return extra is None or (extra.watchers, extra.links) == ({}, {})

    assert sim.run(one, scenario)


def test_a_near_monitor_of_a_name_that_nobody_bears_says_noproc(sim, two):
    one, _ = two
    where = f"{one.address}/nobody"
    assert sim.run(one, lambda: reason_of(runtime.connect(where))) == "noproc"


def test_an_error_travels_as_the_reason(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Trapper)
        far = runtime.spawn(Member, sp_dest=other.address)
        runtime.link(near, far)
        far.fail(ValueError("broken")).exception()
        return repr(sync(near.note("asked"))[0])

    assert sim.run(one, scenario) == "ValueError('broken')"


@pytest.mark.parametrize("order", [1, -1])
def test_a_link_ends_either_side(sim, two, order):
    one, other = two

    def scenario():
        pair = [runtime.spawn(Member), runtime.spawn(Member, sp_dest=other.address)]
        runtime.link(*pair)
        first, second = pair[::order]
        tell(first.leave, "bored")
        down = runtime.monitor(second)
        return down.get().reason

    assert sim.run(one, scenario) in {"bored", "noproc"}


def test_two_far_processes_are_linked_by_their_own_nodes(sim):
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario():
        a = runtime.spawn(Member, sp_dest=two.address)
        b = runtime.spawn(Member, sp_dest=three.address)
        down = runtime.monitor(b)
        runtime.link(a, b)
        runtime.sleep(1.0)
        tell(a.leave, "bored")
        return down.get().reason

    assert sim.run(one, scenario) == "bored"


@pytest.mark.parametrize("link_first", ["two", "three"])
def test_a_link_of_two_far_processes_is_taken_back_whichever_is_named_first(link_first):
    simulation = Simulation(seed=2, jitter=0.5)
    one, two, three = (simulation.node() for _ in range(3))

    def scenario():
        pair = [runtime.spawn(Member, sp_dest=node.address) for node in (two, three)]
        if link_first == "three":
            pair.reverse()
        links = set()
        for _ in range(10):
            runtime.link(*pair)
            runtime.unlink(*reversed(pair))
            runtime.sleep(5.0)
            links.update(*(runtime.info(proc).links for proc in pair))
        return links

    assert simulation.run(one, scenario) == set()
    simulation.close()


def test_an_unlinked_process_lives_on(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Member)
        far = runtime.spawn(Member, sp_dest=other.address)
        runtime.link(near, far)
        runtime.unlink(far, near)
        tell(far.leave, "bored")
        runtime.sleep(1.0)
        return sync(near.note("alive"))

    assert sim.run(one, scenario) == ["alive"]


def test_a_link_to_what_is_not_there_ends_with_noproc(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Member)
        down = runtime.monitor(near)
        runtime.link(near, runtime.connect(f"{other.address}/nobody"))
        return down.get().reason

    assert sim.run(one, scenario) == "noproc"


def test_a_far_process_is_told_when_the_near_one_was_not_there(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Member)
        runtime.stop(near)
        far = runtime.spawn(Trapper, sp_dest=other.address)
        runtime.link(near, far)
        runtime.sleep(1.0)
        return sync(far.note("asked"))

    assert sim.run(one, scenario) == ["noproc", "asked"]


def test_a_process_can_be_spawned_linked_on_another_node(sim, two):
    one, other = two

    def scenario():
        parent = runtime.spawn(Parent)
        child = sync(parent.bear(other.address))
        tell(child.leave, "bored")
        runtime.sleep(1.0)
        return sync(parent.note("asked"))

    assert sim.run(one, scenario) == ["bored", "asked"]


def test_one_that_traps_is_told_of_a_normal_end_on_another_node_too(sim, two):
    one, other = two

    def scenario():
        parent = runtime.spawn(Parent)
        child = sync(parent.bear(other.address))
        runtime.stop(child)
        runtime.sleep(1.0)
        return sync(parent.note("asked"))

    assert sim.run(one, scenario) == ["normal", "asked"]


def test_a_child_ends_with_its_parent_on_another_node(sim, two):
    one, other = two

    def scenario():
        parent = runtime.spawn(Parent)
        child = sync(parent.bear(other.address))
        down = runtime.monitor(child)
        tell(parent.leave, "bored")
        return down.get().reason

    assert sim.run(one, scenario) == "bored"


def test_a_linked_spawn_that_fails_raises_and_ends_nobody(sim, two):
    one, other = two

    class Broken(Member):
        def __init__(self):
            raise OSError("cannot start")

    class Hopeful(Member):
        def bear(self, dest):
            with pytest.raises(OSError, match="cannot start"):
                runtime.spawn(Broken, sp_dest=dest, sp_link=True)

    def scenario():
        parent = runtime.spawn(Hopeful)
        for dest in (None, other.address):
            sync(parent.bear(dest))
        return sync(parent.note("alive"))

    assert sim.run(one, scenario) == ["alive"]


def test_one_that_traps_can_be_stopped_for_any_reason(sim, two):
    one, other = two

    def scenario():
        trapper = runtime.spawn(Trapper, sp_dest=other.address)
        down = runtime.monitor(trapper)
        runtime.stop(trapper, "bored")
        return down.get(30.0).reason

    assert sim.run(one, scenario) == "bored"


def test_spawning_linked_outside_of_a_process_is_refused():
    with pytest.raises(ValueError, match="no handler runs here"):
        runtime.spawn_nowait(Member, sp_link=True)


def test_a_monitor_of_a_process_of_an_earlier_life_of_a_node_tells_that_it_is_lost(
    sim, two
):
    one, other = two

    def made():
        return runtime.spawn(Member, sp_dest=other.address)

    member = sim.run(one, made)
    sim.kill(other)
    sim.restart(other)

    assert isinstance(sim.run(one, reason_of, member), NodeLost)


def test_monitors_both_ways_between_several_nodes_leave_nothing_behind(sim):
    nodes = [sim.node() for _ in range(3)]

    def scenario():
        made = [
            runtime.spawn(Observer, sp_dest=node.address)
            for node in nodes
            for _ in range(2)
        ]
        for one in made:
            for other in made:
                sync(one.watch(other))
        for one in made[::2]:
            tell(one.leave, "bored")
        runtime.sleep(1)
        told = [sync(one.note("asked")) for one in made[1::2]]
        for one in made[1::2]:
            runtime.stop(one)
        return told

    told = sim.run(nodes[0], scenario)

    assert [sorted(each) for each in told] == [["asked", "bored", "bored", "bored"]] * 3
    sim.advance(1)
    for node in nodes:
        for ties in node.exchange.signals._ties.values():
            assert (len(ties.links), ties.monitors, ties.watchers) == (0, {}, {})


@pytest.mark.parametrize("how", ["kill", "cut"])
def test_a_lost_node_ends_what_is_linked_to_it(sim, two, how):
    one, other = two

    def scenario():
        near = runtime.spawn(Trapper)
        far = runtime.spawn(Member, sp_dest=other.address)
        runtime.link(near, far)
        sync(far.note(1))
        if how == "kill":
            sim.kill(other)
        else:
            sim.network.cut(one.address, other.address)
        runtime.sleep(40.0)
        return [type(note) for note in sync(near.note("asked"))]

    assert sim.run(one, scenario) == [NodeLost, str]


def test_a_lost_node_is_the_end_of_what_is_monitored_there(sim, two):
    one, other = two

    def scenario():
        far = runtime.spawn(Member, sp_dest=other.address)
        down = runtime.monitor(far)
        sync(far.note(1))
        sim.kill(other)
        return down.get(40.0)

    down = sim.run(one, scenario)
    assert isinstance(down.reason, NodeLost)


def test_both_sides_of_a_partition_see_the_other_lost(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Trapper)
        far = runtime.spawn(Trapper, sp_dest=other.address)
        runtime.link(near, far)
        sync(far.note(1))
        sim.network.cut(one.address, other.address)
        runtime.sleep(40.0)
        sim.network.heal(one.address, other.address)
        return [[type(n) for n in sync(p.note(2))] for p in (near, far)]

    assert sim.run(one, scenario) == [[NodeLost, int], [int, NodeLost, int]]


def test_a_node_that_is_shut_down_tells_shutdown(sim, two):
    one, other = two

    def scenario():
        far = runtime.spawn(Member, sp_dest=other.address)
        down = runtime.monitor(far)
        sync(far.note(1))
        runtime.shutdown(other.address)
        return down.get(40.0).reason

    assert sim.run(one, scenario) == "shutdown"


def test_a_monitor_taken_back_leaves_nothing_on_the_other_node(sim, two):
    one, other = two

    def scenario():
        far = runtime.spawn(Member, sp_dest=other.address, sp_id="far")
        down = runtime.monitor(far)
        runtime.demonitor(down)
        sync(far.note(1))
        return other.scheduler.directory.get("far").extra.watchers

    assert sim.run(one, scenario) == {}


def test_a_down_comes_after_the_mail_that_was_sent_before(sim, two):
    one, other = two

    class Sender(Member):
        def send(self, observer):
            for number in range(20):
                tell(observer.note, number)
            raise Exit("done")

    def scenario():
        observer = runtime.spawn(Observer)
        sender = runtime.spawn(Sender, sp_dest=other.address)
        sync(observer.watch(sender))
        sync(sender.send(observer))
        runtime.sleep(1.0)
        return sync(observer.note("last"))

    assert sim.run(one, scenario) == [*range(20), "done", "last"]


def test_links_hold_under_any_schedule_and_loss():
    for seed in range(5):
        sim = Simulation(seed=seed, jitter=0.02, loss=0.05)
        nodes = [sim.node() for _ in range(3)]

        def scenario(nodes=nodes):
            chain = [runtime.spawn(Member, sp_dest=n.address) for n in nodes * 2]
            downs = [runtime.monitor(member) for member in chain]
            for one, other in pairwise(chain):
                runtime.link(one, other)
            runtime.sleep(30.0)
            tell(chain[2].leave, "bored")
            return [down.get(60.0).reason for down in downs]

        assert sim.run(nodes[0], scenario) == ["bored"] * 6
        sim.close()


@pytest.mark.parametrize("is_far", [False, True])
def test_a_process_is_spawned_under_a_supervisor(sim, two, is_far):
    one, other = two

    def scenario():
        dest = other.address if is_far else None
        sup = runtime.spawn(Supervisor, sp_dest=dest)
        member = runtime.spawn(Member, sp_super=sup, sp_id="m", sp_restart="transient")
        again = runtime.spawn(Member, sp_super=sup)
        sync(member.note("lost"))
        member.fail(ValueError("broken")).exception()
        infos = sync(sup.which_children())
        assert [i.proxy for i in infos] == [member, again]
        return sync(member.note("new")), [i.restart for i in infos]

    assert sim.run(one, scenario) == (["new"], ["transient", "permanent"])


@pytest.mark.parametrize("first", [True, False])
def test_who_is_linked_by_a_third_node_to_one_that_is_gone_hears_of_it(sim, first):
    one, two, three = (sim.node() for _ in range(3))
    one_end, other_end = sim.run(
        one,
        lambda: (
            runtime.spawn(Member, sp_dest=two.address),
            runtime.spawn(Trapper, sp_dest=three.address),
        ),
    )
    sim.kill(two)

    def scenario():
        ends = (one_end, other_end) if first else (other_end, one_end)
        runtime.link(*ends)
        runtime.sleep(40)
        return sync(other_end.note("asked"))

    [reason, asked] = sim.run(one, scenario)
    assert isinstance(reason, NodeLost)
    assert asked == "asked"


@pytest.mark.parametrize("seed", range(40))
def test_links_and_unlinks_that_cross_leave_both_nodes_of_one_mind(sim, two, seed):
    chance = Random(seed)
    ends = [sim.run(node, lambda: runtime.spawn(Trapper)) for node in two]
    wheres = [str(end.sp_url) for end in reversed(ends)]
    far = [
        sim.run(node, lambda where=where: runtime.connect(where))
        for node, where in zip(two, wheres, strict=True)
    ]
    for _ in range(6):
        for _ in range(chance.randrange(1, 6)):
            place, how = chance.randrange(2), chance.choice(["link", "unlink"])
            act = getattr(runtime, how)
            sim.run(two[place], lambda a=act, p=place: a(ends[p], far[p]))
            sim.advance(chance.choice([0.0, 0.0005, 0.001, 0.01]))
        sim.advance(5)
        extras = [end._sp_target.extra for end in ends]
        assert len({bool(extra and extra.links) for extra in extras}) == 1


def links_of(proc: Any) -> int:
    extra = proc._sp_target.extra
    return 0 if extra is None else len(extra.links)


def test_a_link_to_a_name_is_not_made_when_the_other_end_has_gone_meanwhile(sim, two):
    one, other = two

    def scenario():
        near = runtime.spawn(Trapper)
        runtime.link(near, runtime.connect(f"{other.address}/late"))
        runtime.sleep(0.2)
        runtime.stop(near)
        runtime.sleep(0.2)
        runtime.spawn(Member, sp_dest=other.address, sp_id="late")
        extra = other.scheduler.directory.get("late").extra
        return extra is None or extra.links == {}

    assert sim.run(one, scenario)


def test_a_link_taken_back_before_its_node_was_there_can_be_made_from_there(sim, two):
    one, other = two
    there = other.address
    sim.kill(other)
    near = sim.run(one, lambda: runtime.spawn(Trapper))
    where = sim.run(one, lambda: str(near.sp_url))

    def early():
        far = runtime.connect(f"{there}/far")
        runtime.link(near, far)
        runtime.unlink(near, far)
        runtime.sleep(60.0)

    sim.run(one, early)
    other = sim.restart(other)
    sim.run(one, lambda: reason_of(runtime.connect(f"{there}/nobody")))

    def late():
        far = runtime.spawn(Trapper, sp_id="far")
        runtime.link(far, runtime.connect(where))
        runtime.sleep(5.0)
        return links_of(far)

    assert (sim.run(other, late), links_of(near)) == (1, 1)


def test_a_link_made_by_two_urls_of_one_process_is_one_link(sim, two):
    one, other = two
    near = sim.run(one, lambda: runtime.spawn(Trapper))

    def dial():  # so that `one` knows the node, and not yet by its address
        far = runtime.spawn(Trapper, sp_id="far")
        runtime.link(far, runtime.connect(str(near.sp_url)))
        return far, str(far.sp_url)

    far, where = sim.run(other, dial)
    sim.advance(1)

    def scenario():
        runtime.link(near, runtime.connect(f"{other.address}/far"))
        runtime.sleep(1.0)
        return links_of(near)

    assert sim.run(one, scenario) == 1
    sim.run(one, lambda: runtime.unlink(near, runtime.connect(where)))
    sim.advance(1)
    assert (links_of(near), links_of(far)) == (0, 0)


def test_ties_to_a_node_that_has_ended_leave_nothing(sim, two):
    one, other = two

    def scenario():
        far = runtime.spawn(Member, sp_dest=other.address)
        runtime.shutdown(other.address)
        reason_of(far)
        trapper = runtime.spawn(Trapper)
        for _ in range(3):
            runtime.monitor(far).get()
            runtime.link(trapper, far)
            runtime.sleep(1.0)

    sim.run(one, scenario)
    assert one.exchange.signals.peers == []


@pytest.mark.parametrize("how", ["link", "unlink"])
@pytest.mark.parametrize("first", [True, False])
def test_two_far_processes_are_joined_or_parted_by_a_third_node_that_reaches_only_one(
    sim, how, first
):
    one, two, three = (sim.node() for _ in range(3))

    def scenario():
        near = runtime.spawn(Trapper, sp_dest=two.address)
        far = runtime.spawn(Trapper, sp_dest=three.address)
        if how == "unlink":
            runtime.link(near, far)
        sync(near.note(1)), sync(far.note(1))
        sim.network.cut(one.address, two.address)
        runtime.sleep(1)
        ends = (near, far) if first else (far, near)
        getattr(runtime, how)(*ends)
        runtime.sleep(120)
        return runtime.info(far).links

    links = sim.run(one, scenario)

    assert len(links) == (how == "link")


class Brief(Trapper):
    def tie(self, other):
        runtime.link(self, other)
        raise Exit("bad")


def test_a_link_that_has_crossed_an_end_is_none_to_the_next_process_of_that_name():
    sim = Simulation(seed=1, delay=0.05)
    one, other = sim.node(), sim.node()

    def scenario():
        near = runtime.spawn(Trapper)
        far = runtime.spawn(Brief, sp_dest=other.address, sp_id="far")
        tell(far.tie, near)
        runtime.sleep(0.04)  # it begins with that 10 ms from now
        runtime.link(near, far)
        runtime.sleep(0.2)
        again = runtime.spawn(Brief, sp_dest=other.address, sp_id="far")
        runtime.sleep(5)
        return sync(near.note("asked")), [runtime.info(p).links for p in (near, again)]

    assert sim.run(one, scenario) == (["bad", "asked"], [(), ()])
    sim.close()
