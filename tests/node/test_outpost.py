"""Supervised children on other nodes: restarts there, and elsewhere when their node is lost."""

import threading
from typing import Any

import pytest

from splice import (
    ChildExists,
    DeadlockError,
    Exit,
    NameTaken,
    NodeLost,
    Process,
    ProcessStopped,
    Supervisor,
    child,
    runtime,
    sync,
    tell,
)
from splice.actor.context import current_worker
from splice.actor.seat import FarSeat
from splice.errors import DeliveryError
from splice.node.node import Node
from splice.testing.simulation import Simulation

LOG: list[Any] = []

LOSS = 40.0
"""Seconds of virtual time after which a dead or unreachable node is surely known as lost."""


class Clerk(Process):
    """Counts, ends as it is asked to, and logs its starts and ends."""

    def __init__(self, label="clerk", gates=()):
        self.label = label
        self.count = 0
        LOG.append(f"+{label}")
        for gate in gates:
            gate()

    def add(self):
        self.count += 1
        return self.count

    def fail(self, error=None):
        raise error or ValueError("broken")

    def leave(self, reason):
        raise Exit(reason)

    def nap(self, seconds):
        runtime.sleep(seconds)
        return self.add()

    def nap_and_fail(self, seconds):
        runtime.sleep(seconds)
        raise ValueError("broken")

    def sp_terminate(self, reason):
        LOG.append(f"-{self.label}")


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("stays here")


@pytest.fixture(autouse=True)
def log() -> list[Any]:
    LOG.clear()
    return LOG


@pytest.fixture
def nodes(sim: Simulation) -> list[Node]:
    """That of the supervisor, and two others."""
    return [sim.node() for _ in range(3)]


def address_of(proc: Any) -> str:
    return proc.sp_url.address


def infos(sup: Any) -> Any:
    return sync(sup.which_children())


def states(sup: Any) -> list[Any]:
    return [info.state for info in infos(sup)]


def processes(node: Node) -> list[str]:
    return [type(c.object).__name__ for c in node.scheduler.directory.cells()]


# ---- start


def test_a_child_is_started_on_the_node_it_is_for(sim, nodes):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=two.address, sp_id="till")
        assert sync(clerk.add()) == 1
        assert infos(sup)[0].proxy == clerk
        return clerk.sp_url

    url = sim.run(one, scenario)
    assert (url.address, url.resource) == (two.address, "till")


@pytest.mark.parametrize("form", ["address", "proxy", "url", "view"])
def test_a_destination_has_many_forms(sim, nodes, form):
    one, two, _ = nodes

    def scenario():
        there = runtime.spawn(Clerk, sp_dest=two.address)
        dest = {
            "address": two.address,
            "proxy": there,
            "url": there.sp_url,
            "view": [two.address],
        }[form]
        sup = runtime.spawn(Supervisor, children=[child(Clerk, sp_dest=dest)])
        return address_of(infos(sup)[0].proxy)

    assert sim.run(one, scenario) == two.address


@pytest.mark.parametrize("dest", [[], "nowhere", 7])
def test_a_destination_that_makes_no_sense_is_refused(dest):
    with pytest.raises(ValueError, match=r"names no node|malformed address"):
        child(Clerk, sp_dest=dest)


def test_the_children_of_a_view_are_spread_over_its_nodes(sim, nodes):
    one, two, three = nodes
    both = [two.address, three.address]

    def scenario():
        spec = child(Clerk, sp_dest=both)
        sup = runtime.spawn(Supervisor, "simple_one_for_one", children=[spec])
        return [address_of(sync(sup.start_child())) for _ in range(4)]

    assert sim.run(one, scenario) == both * 2


def test_a_child_may_be_for_the_node_of_its_supervisor_by_name(sim, nodes):
    one = nodes[0]

    def scenario():
        sup = runtime.spawn(Supervisor)
        clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=one.address)
        clerk.fail().exception()
        assert sync(clerk.add()) == 1
        runtime.kill(sup)
        runtime.sleep(1)
        return address_of(clerk), runtime.info(clerk).state

    assert sim.run(one, scenario) == (one.address, "ended")


def ties(node: Node) -> list[Any]:
    """What the links and monitors of a node hold on to."""
    signals = node.exchange.signals
    every = [signals.ties(peer) for peer in signals.peers]
    return [held for each in every for held in (each.monitors, each.watchers) if held]


def test_children_that_come_and_go_leave_nothing_on_either_node(sim, nodes):
    one, two, _ = nodes

    class Broken(Clerk):
        def __init__(self):
            raise OSError("cannot start")

    def scenario():
        sup = runtime.spawn(Supervisor, intensity=9)
        spec = child(Clerk, id="a", restart="temporary", sp_dest=two.address)
        sync(sup.start_child(spec))
        sync(sup.terminate_child("a"))
        assert sup.start_child(child(Broken, sp_dest=two.address)).exception()
        sync(sup.start_child(child(Clerk, id="b", sp_dest=two.address)))
        infos(sup)[0].proxy.fail().exception()
        sync(sup.terminate_child("b"))
        sync(sup.delete_child("b"))
        runtime.sleep(1)
        assert infos(sup) == []

    sim.run(one, scenario)
    assert (ties(one), ties(two)) == ([], [])
    assert processes(two) == ["Agent"]


def test_what_the_constructor_raises_is_raised_and_nothing_is_left(sim, nodes):
    one, two, _ = nodes

    class Broken(Clerk):
        def __init__(self):
            raise OSError("cannot start")

    def scenario():
        sup = runtime.spawn(Supervisor)
        with pytest.raises(OSError, match="cannot start"):
            runtime.spawn(Broken, sp_super=sup, sp_dest=two.address)
        runtime.sleep(1)
        return infos(sup)

    assert sim.run(one, scenario) == []
    assert processes(two) == ["Agent"]


def test_a_supervisor_whose_last_child_cannot_start_leaves_nothing_far(sim, nodes):
    one, two, _ = nodes

    class Broken(Clerk):
        def __init__(self):
            raise OSError("cannot start")

    def scenario():
        specs = [child(Clerk, "a", sp_dest=two.address), child(Broken)]
        with pytest.raises(OSError, match="cannot start"):
            runtime.spawn(Supervisor, children=specs)
        runtime.sleep(1)

    sim.run(one, scenario)
    assert processes(two) == ["Agent"]
    assert LOG == ["+a", "-a"]


def test_an_id_is_given_once_wherever_it_lives(sim, nodes):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor, children=[child(Clerk)])
        with pytest.raises(ChildExists):
            sync(sup.start_child(child(Clerk, sp_dest=two.address)))

    sim.run(one, scenario)


# ---- restart on its own node


def test_a_far_child_is_restarted_under_its_url_and_its_mail_survives(sim, nodes):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=two.address)
        sync(clerk.add())
        failed, late = clerk.fail(), clerk.add()
        assert isinstance(failed.exception(), ValueError)
        assert sync(late) == 1
        return infos(sup)[0].proxy == clerk, states(sup)

    assert sim.run(one, scenario) == (True, ["running"])


@pytest.mark.parametrize("kind", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ["normal", "bored"])
def test_a_far_child_is_restarted_by_its_kind_and_the_way_it_ended(
    sim, nodes, kind, reason
):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        options = {"sp_super": sup, "sp_dest": two.address, "sp_restart": kind}
        clerk = runtime.spawn(Clerk, **options)
        tell(clerk.leave, reason)
        late = clerk.add().exception()
        runtime.sleep(1)
        return late is None, states(sup)

    comes_back = kind == "permanent" or (kind, reason) == ("transient", "bored")
    left = {"temporary": []}.get(kind, ["stopped"])
    expected = (True, ["running"]) if comes_back else (False, left)
    assert sim.run(one, scenario) == expected


@pytest.mark.parametrize("how", ["error", "value"])
def test_a_reason_that_cannot_travel_is_an_end_all_the_same(sim, nodes, how):
    one, two, _ = nodes

    class Shy(Clerk):
        def end(self):
            raise Unpicklable if how == "error" else Exit(threading.Lock())

    def scenario():
        sup = runtime.spawn(Supervisor)
        shy = runtime.spawn(Shy, sp_super=sup, sp_dest=two.address)
        sync(shy.add())
        shy.end().exception()
        return sync(shy.add()), states(sup)

    assert sim.run(one, scenario) == (1, ["running"])


def test_a_restart_that_fails_is_tried_again_on_its_own_node(sim, nodes):
    one, two, _ = nodes
    starts = []

    def gate():
        starts.append(None)
        if len(starts) in {2, 3}:
            raise OSError("not yet")

    two.scheduler.gate = gate

    class Slow(Clerk):
        def __init__(self):
            self.count = 0
            self._sp_cell.scheduler.gate()

    def scenario():
        sup = runtime.spawn(Supervisor, intensity=3)
        slow = runtime.spawn(Slow, sp_super=sup, sp_dest=two.address)
        failed, late = slow.fail(), slow.add()
        failed.exception()
        return sync(late)

    assert sim.run(one, scenario) == 1
    assert len(starts) == 4


def test_a_supervisor_whose_far_child_is_restarted_for_ever_still_obeys(sim, nodes):
    one, two, _ = nodes
    starts = []  # a copy of it, on the other node

    class Hopeless(Clerk):
        def __init__(self, sup):
            starts.append(None)
            if len(starts) == 20:
                tell(sup.terminate_child, "a")
            if len(starts) > 1:
                raise OSError("not yet")

    def scenario():
        sup = runtime.spawn(Supervisor, intensity=10**6)
        spec = child(Hopeless, sup, id="a", sp_dest=two.address)
        sync(sup.start_child(spec)).fail().exception()
        runtime.sleep(5)
        return states(sup)

    assert sim.run(one, scenario) == ["stopped"]


def test_a_child_that_asks_its_supervisor_in_its_constructor_is_a_deadlock(sim, nodes):
    one, two, _ = nodes

    class Asking(Clerk):
        def __init__(self, sup):
            sync(sup.count_children())

    def scenario():
        sup = runtime.spawn(Supervisor)
        with pytest.raises(DeadlockError):
            runtime.spawn(Asking, sup, sp_super=sup, sp_dest=two.address)
        return infos(sup)

    assert sim.run(one, scenario) == []


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_siblings_on_several_nodes_are_restarted_together(sim, nodes, strategy):
    one, two, three = nodes

    def scenario():
        dests = {"a": None, "b": two.address, "c": three.address}
        specs = [child(Clerk, k, id=k, sp_dest=d) for k, d in dests.items()]
        sup = runtime.spawn(Supervisor, strategy, children=specs)
        before = [info.proxy for info in infos(sup)]
        LOG.clear()
        before[0].fail().exception()
        runtime.sleep(1)
        assert [info.proxy for info in infos(sup)] == before
        return [sync(each.add()) for each in before]

    assert sim.run(one, scenario) == [1, 1, 1]
    assert LOG == ["-a", "-c", "-b", "+a", "+b", "+c"]


def test_too_many_restarts_end_the_supervisor_and_its_far_children(sim, nodes):
    one, two, three = nodes

    def scenario():
        specs = [
            child(Clerk, "a", id="a", sp_dest=two.address),
            child(Clerk, "b", id="b", sp_dest=three.address),
        ]
        sup = runtime.spawn(Supervisor, intensity=0, children=specs)
        down = runtime.monitor(sup)
        infos(sup)[0].proxy.fail().exception()
        return down.get(LOSS).reason

    assert sim.run(one, scenario) == "shutdown"
    sim.advance(1)
    assert processes(two) == processes(three) == ["Agent"]
    assert LOG == ["+a", "+b", "-a", "-b"]


# ---- administration


def test_a_far_child_is_terminated_restarted_and_deleted(sim, nodes):
    one, two, _ = nodes

    def scenario():
        spec = child(Clerk, "a", id="a", sp_dest=two.address)
        sup = runtime.spawn(Supervisor, children=[spec])
        clerk = infos(sup)[0].proxy
        sync(sup.terminate_child("a"))
        assert isinstance(clerk.add().exception(), ProcessStopped)
        assert states(sup) == ["stopped"]
        assert sync(sup.restart_child("a")) == clerk
        assert sync(clerk.add()) == 1
        sync(sup.terminate_child("a"))
        sync(sup.delete_child("a"))
        runtime.sleep(1)
        return sync(sup.count_children()).specs

    assert sim.run(one, scenario) == 0
    assert processes(two) == ["Agent"]


def test_a_simple_child_is_terminated_far_by_its_proxy(sim, nodes):
    one, two, _ = nodes

    def scenario():
        spec = child(Clerk, sp_dest=two.address)
        sup = runtime.spawn(Supervisor, "simple_one_for_one", children=[spec])
        sync(sup.terminate_child(sync(sup.start_child())))
        runtime.sleep(1)
        return infos(sup)

    assert sim.run(one, scenario) == []
    assert processes(two) == ["Agent"]


def test_a_far_child_that_does_not_end_in_time_is_killed(sim, nodes):
    one, two, _ = nodes

    def scenario():
        spec = child(Clerk, id="a", shutdown=2.0, sp_dest=two.address)
        sup = runtime.spawn(Supervisor, children=[spec])
        napping = infos(sup)[0].proxy.nap(100)
        runtime.sleep(1)
        before = one.loop.time()
        sync(sup.terminate_child("a"))
        assert one.loop.time() - before == pytest.approx(2.0, abs=0.5)
        return napping.exception().reason

    assert sim.run(one, scenario) == "killed"


def test_simple_far_children_end_at_the_same_time(sim, nodes):
    one, two, three = nodes

    def scenario():
        spec = child(Clerk, shutdown=2.0, sp_dest=[two.address, three.address])
        sup = runtime.spawn(Supervisor, "simple_one_for_one", children=[spec])
        for _ in range(6):
            sync(sup.start_child()).nap(100).add_done_callback(lambda _: None)
        runtime.sleep(1)
        before = one.loop.time()
        runtime.stop(sup, timeout=None)
        return one.loop.time() - before

    assert sim.run(one, scenario) == pytest.approx(2.0, abs=0.5)
    sim.advance(1)
    assert processes(two) == processes(three) == ["Agent"]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_far_children_end_with_their_supervisor(sim, nodes, how):
    one, two, three = nodes

    def scenario():
        specs = [
            child(Clerk, "a", id="a", sp_dest=two.address),
            child(Clerk, "b", id="b", sp_dest=three.address),
        ]
        sup = runtime.spawn(Supervisor, children=specs)
        getattr(runtime, how)(sup)
        runtime.sleep(1)

    sim.run(one, scenario)
    assert processes(two) == processes(three) == ["Agent"]
    assert LOG[2:] == ["-b", "-a"] if how == "stop" else set(LOG[2:]) == {"-a", "-b"}


@pytest.mark.parametrize("how", ["kill", "cut", "shutdown"])
def test_far_children_end_when_the_node_of_their_supervisor_does(sim, nodes, how):
    one, two, three = nodes

    def begin():
        sup = runtime.spawn(Supervisor, sp_dest=two.address)
        clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=three.address)
        return sync(clerk.add())

    assert sim.run(one, begin) == 1
    if how == "kill":
        sim.kill(two)
    elif how == "cut":
        sim.network.cut(two.address, three.address)
    else:
        sim.run(one, lambda: runtime.shutdown(two.address))
    sim.advance(LOSS)
    assert processes(three) == ["Agent"]
    assert LOG[-1] == "-clerk"


# ---- a lost node


def lose(sim: Simulation, one: Node, other: Node, how: str) -> None:
    if how == "kill":
        sim.kill(other)
    elif how == "cut":
        sim.network.cut(one.address, other.address)
    else:
        runtime.shutdown(other.address)


@pytest.mark.parametrize("kind", ["permanent", "transient"])
@pytest.mark.parametrize("how", ["kill", "cut", "shutdown"])
def test_the_child_of_a_lost_node_goes_to_another_of_its_view(sim, nodes, how, kind):
    one, two, three = nodes
    view = [two.address, three.address]

    def scenario():
        sup = runtime.spawn(Supervisor)
        options = {"sp_super": sup, "sp_dest": view, "sp_restart": kind}
        clerk = runtime.spawn(Clerk, sp_id="till", **options)
        sync(clerk.add())
        lose(sim, one, two, how)
        runtime.sleep(LOSS)
        again = infos(sup)[0].proxy
        assert isinstance(clerk.add().exception(), DeliveryError)
        assert sync(again.add()) == 1
        return again.sp_url.address, again.sp_url.resource, states(sup)

    assert sim.run(one, scenario) == (three.address, "till", ["running"])


def test_a_temporary_child_of_a_lost_node_is_forgotten(sim, nodes):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        options = {"sp_dest": two.address, "sp_restart": "temporary"}
        runtime.spawn(Clerk, sp_super=sup, **options)
        sim.kill(two)
        runtime.sleep(LOSS)
        return infos(sup)

    assert sim.run(one, scenario) == []


def test_without_another_node_it_goes_to_that_of_its_supervisor(sim, nodes):
    one, two, three = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        runtime.spawn(Clerk, sp_super=sup, sp_dest=[two.address, three.address])
        where = []
        for lost in (two, three):
            sim.kill(lost)
            runtime.sleep(LOSS)
            where.append(address_of(infos(sup)[0].proxy))
        clerk = infos(sup)[0].proxy
        clerk.fail().exception()
        return where, sync(clerk.add())

    assert sim.run(one, scenario) == ([three.address, one.address], 1)


def test_a_lost_node_counts_as_one_restart_however_many_it_had(sim, nodes):
    one, two, _ = nodes

    def scenario():
        specs = [child(Clerk, id=n, sp_dest=two.address) for n in range(5)]
        sup = runtime.spawn(Supervisor, intensity=1, children=specs)
        sim.kill(two)
        runtime.sleep(LOSS)
        return [address_of(info.proxy) for info in infos(sup)]

    assert sim.run(one, scenario) == [one.address] * 5


def test_all_are_restarted_once_when_several_are_lost_together(sim, nodes):
    one, two, three = nodes

    def scenario():
        view = [two.address, three.address]
        specs = [child(Clerk, "here", id="here")]
        specs += [child(Clerk, n, id=n, sp_dest=view[0]) for n in "ab"]
        sup = runtime.spawn(Supervisor, "one_for_all", children=specs)
        LOG.clear()
        sim.kill(two)
        runtime.sleep(LOSS)
        return states(sup)

    assert sim.run(one, scenario) == ["running"] * 3
    starts = [entry for entry in LOG if entry.startswith("+")]
    assert starts == ["+here", "+a", "+b"]


def test_a_stopped_child_whose_node_was_lost_is_restarted_elsewhere(sim, nodes):
    one, two, three = nodes

    def scenario():
        spec = child(Clerk, id="a", sp_dest=[two.address, three.address])
        sup = runtime.spawn(Supervisor, children=[spec])
        sync(sup.terminate_child("a"))
        sim.kill(two)
        runtime.sleep(LOSS)
        assert states(sup) == ["stopped"]
        return address_of(sync(sup.restart_child("a")))

    assert sim.run(one, scenario) == three.address


def test_a_node_that_is_lost_in_the_middle_of_a_start_is_passed_over(sim, nodes):
    one, two, three = nodes

    class Slow(Clerk):
        def __init__(self):
            super().__init__()
            runtime.sleep(5)

    def scenario():
        sup = runtime.spawn(Supervisor)
        made = runtime.spawn_nowait(
            Slow, sp_super=sup, sp_dest=[two.address, three.address]
        )
        runtime.sleep(1)
        sim.kill(two)
        return address_of(made.get(2 * LOSS)), states(sup)

    assert sim.run(one, scenario) == (three.address, ["running"])


def test_a_node_that_is_lost_right_after_a_start_fails_it(sim, nodes):
    one, two, _ = nodes

    def scenario():
        cell = runtime.spawn(Supervisor)._sp_target
        ends = []
        seat = FarSeat(cell, child(Clerk), ends.append, two.address)
        seat.start()
        restarted = seat._outpost.again()
        sim.kill(two)
        runtime.sleep(LOSS)
        assert restarted.done()
        with pytest.raises(NodeLost, match="does not keep"):
            seat._runs()
        return [type(end) for end in ends], seat.is_gone, seat.is_running

    assert sim.run(one, scenario) == ([NodeLost], True, False)


def test_a_start_on_a_single_node_that_is_lost_meanwhile_says_so(sim, nodes):
    one, two, _ = nodes

    class Slow(Clerk):
        def __init__(self):
            runtime.sleep(5)

    def scenario():
        sup = runtime.spawn(Supervisor)
        made = runtime.spawn_nowait(Slow, sp_super=sup, sp_dest=two.address)
        runtime.sleep(1)
        sim.kill(two)
        with pytest.raises(NodeLost):
            made.get(2 * LOSS)
        return infos(sup)

    assert sim.run(one, scenario) == []


def test_a_supervisor_that_is_killed_in_the_middle_of_a_start_leaves_nothing(
    sim, nodes
):
    one, two, _ = nodes

    class Slow(Clerk):
        def __init__(self):
            runtime.sleep(5)
            super().__init__()

    def scenario():
        sup = runtime.spawn(Supervisor)
        made = runtime.spawn_nowait(Slow, sp_super=sup, sp_dest=two.address)
        runtime.sleep(1)
        runtime.kill(sup)
        assert isinstance(made.exception(LOSS), ProcessStopped)
        runtime.sleep(LOSS)

    sim.run(one, scenario)
    assert processes(two) == ["Agent"]


def test_stopping_a_supervisor_while_a_node_is_lost_comes_to_an_end(sim, nodes):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        runtime.spawn(Clerk, sp_super=sup, sp_dest=two.address)
        sim.network.cut(one.address, two.address)
        before = one.loop.time()
        runtime.stop(sup, timeout=None)
        return one.loop.time() - before

    assert sim.run(one, scenario) < LOSS


def test_no_child_is_restarted_by_a_node_that_is_being_shut_down(sim, nodes):
    one = nodes[0]

    def scenario():
        forked = runtime.fork(2)
        sup = runtime.spawn(Supervisor)
        runtime.spawn(Clerk, sp_super=sup, sp_dest=forked)
        LOG.clear()

    sim.run(one, scenario)
    sim.loop.run_until_complete(one.shut_down())
    sim.advance(LOSS)
    assert [entry for entry in LOG if entry.startswith("+")] == []


@pytest.mark.slow
def test_no_child_is_lost_under_any_schedule():
    for seed in range(8):
        LOG.clear()
        sim = Simulation(seed=seed, jitter=0.02, loss=0.05)
        nodes = [sim.node() for _ in range(4)]

        def scenario(sim=sim, nodes=nodes):
            view = [node.address for node in nodes[1:]]
            specs = [child(Clerk, n, id=n, sp_dest=view) for n in range(6)]
            sup = runtime.spawn(Supervisor, intensity=20, children=specs)
            runtime.sleep(10.0)
            first = infos(sup)[sim.random.randrange(6)].proxy
            first.fail().exception()
            sim.kill(nodes[1 + sim.random.randrange(3)])
            runtime.sleep(2 * LOSS)
            proxies = [info.proxy for info in infos(sup)]
            assert [sync(each.add()) for each in proxies] == [1] * 6
            return states(sup)

        assert sim.run(nodes[0], scenario) == ["running"] * 6
        sim.close()


# ---- supervisors that are killed and restarted


def seen(promise: Any) -> Any:
    """Look at a failure, so that it is not logged."""
    promise.add_done_callback(lambda _: None)
    return promise


def proxy_of(sup: Any, key: Any) -> Any:
    return next(info.proxy for info in infos(sup) if info.id == key)


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("shutdown", [5.0, None, "kill"])
def test_a_restarted_supervisor_waits_for_a_far_orphan_that_has_its_name(
    sim, nodes, shutdown, is_busy
):
    one, two, _ = nodes

    def scenario():
        till = child(Clerk, sp_id="till", shutdown=shutdown, sp_dest=two.address)
        low = child(Supervisor, id="low", children=[till])
        top = runtime.spawn(Supervisor, children=[low])
        sup = proxy_of(top, "low")
        if is_busy:
            seen(proxy_of(sup, "till").nap(3))
        runtime.sleep(0.1)
        runtime.kill(sup)
        runtime.sleep(30)
        return sync(proxy_of(proxy_of(top, "low"), "till").add())

    assert sim.run(one, scenario) == 1


@pytest.mark.parametrize("delay", [0, 0.001])
def test_a_supervisor_killed_in_a_far_start_and_restarted_leaves_nothing_there(
    sim, nodes, delay
):
    one, two, _ = nodes

    class Slow(Clerk):
        def __init__(self):
            runtime.sleep(5)
            super().__init__()

    def scenario():
        top = runtime.spawn(Supervisor, children=[child(Supervisor, id="low")])
        sup = proxy_of(top, "low")
        seen(runtime.spawn_nowait(Slow, sp_super=sup, sp_dest=two.address))
        runtime.sleep(delay)
        runtime.kill(sup)
        runtime.sleep(LOSS)
        return infos(proxy_of(top, "low")), infos(top)[0].state

    assert sim.run(one, scenario) == ([], "running")
    assert processes(two) == ["Agent"]


# ---- what looks like the loss of a node, and is none


class Wary(Process):
    """Cannot be made: a node that it needs is gone."""

    tries: list[str]

    def __init__(self):
        self.tries.append(runtime.address)
        raise NodeLost("tcp://10.9.9.9:1 is lost", node="tcp://10.9.9.9:1")


def test_a_constructor_that_misses_another_node_is_tried_on_one_node_only(sim, nodes):
    one, two, three = nodes
    tries: list[str] = []

    def scenario():
        sup = runtime.spawn(Supervisor)
        where = [two.address, three.address]
        with pytest.raises(NodeLost, match=r"10\.9\.9\.9"):
            runtime.spawn(Wary, sp_super=sup, sp_dest=where)
        assert infos(sup) == []
        clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=two.address)
        return address_of(clerk)

    Wary.tries = tries
    assert sim.run(one, scenario) == two.address
    assert len(tries) == 1
    sim.run(one, lambda: runtime.sleep(LOSS))
    assert [processes(node).count("Outpost") for node in nodes] == [0, 1, 0]


class Passing(Clerk):
    """Has its supervisor asked by way of another process, on its own stack."""

    def go(self, asker, sup):
        return asker.ask(sup).get()


class Asker(Process):
    def ask(self, sup):
        runtime.sleep(5)
        self.told_of = len(sup.which_children().get())

    def told(self):
        return self.told_of


def test_a_far_child_killed_under_what_it_has_called_is_restarted_at_once(sim, nodes):
    one, two, _ = nodes

    def scenario():
        sup = runtime.spawn(Supervisor)
        clerk = runtime.spawn(Passing, sp_super=sup, sp_dest=two.address)
        asker = runtime.spawn(Asker, sp_dest=two.address)
        clerk.go(asker, sup).add_done_callback(lambda went: went.exception())
        runtime.sleep(0.5)
        runtime.kill(clerk)
        return clerk.add().get(1), len(sup.which_children().get(1)), asker.told().get()

    assert sim.run(one, scenario) == (1, 1, 1)


URLS: dict[str, Any] = {}


class Early(Clerk):
    """Asks a sibling at each start but the first, when there is none yet."""

    def __init__(self, label):
        super().__init__(label)
        if label in URLS:
            try:
                runtime.connect(URLS[label]).add().get()
            except DeadlockError as error:
                LOG.append(f"ring: {error}")


PLACES = ["near", "at home", "on two", "on three"]


@pytest.mark.parametrize("late", range(4), ids=PLACES)
@pytest.mark.parametrize("early", range(4), ids=PLACES)
def test_a_child_does_not_wait_for_one_that_is_restarted_after_it(
    sim, nodes, early, late
):
    def scenario():
        where = [None, *(node.address for node in nodes)]
        sup = runtime.spawn(Supervisor, strategy="one_for_all", intensity=5)
        sync(sup.start_child(child(Early, "a", id="a", sp_dest=where[early])))
        late_one = sync(sup.start_child(child(Clerk, id="b", sp_dest=where[late])))
        URLS["a"] = str(late_one.sp_url)
        try:
            late_one.fail().exception()
            runtime.sleep(60)
            assert late_one.add().get(5) > 0
            return sup.count_children().get(5).active
        finally:
            URLS.clear()

    assert sim.run(nodes[0], scenario) == 2
    assert any(line.startswith("ring: ") for line in LOG)


# ---- a supervisor that gives way in a ring


class Relay(Process):
    """Asks in the name of another, on a node of its own."""

    def ask(self, sup):
        return sync(sup.count_children())


class Curious(Clerk):
    """Asks its supervisor, over a third node, in one of its constructors."""

    lives = 0

    def __init__(self, when, relay, sup):
        type(self).lives += 1
        if type(self).lives == when:
            sync(relay.ask(sup))
        super().__init__()


class Busy(Supervisor):
    """Has no direct call left, so its children are made on other workers than its own."""

    intensity = 5

    def start_child(self, *spec):
        self._hurry()
        return super().start_child(*spec)

    def restart_child(self, id):  # noqa: A002 - as that of the class
        self._hurry()
        return super().restart_child(id)

    @staticmethod
    def _hurry():
        current_worker().credit = 0


def curious(when, relay, sup, node):
    Curious.lives = 0
    return child(Curious, when, relay, sup, id="c", sp_id="c", sp_dest=node)


def test_a_far_child_whose_supervisor_gives_way_in_its_restart_lives_on(
    sim, nodes, caplog
):
    two, three, one = nodes  # the greatest url is that of the supervisor

    def scenario():
        sup = runtime.spawn(Supervisor, sp_id="zsup", intensity=5)
        relay = runtime.spawn(Relay, sp_dest=three.address)
        clerk = sync(sup.start_child(curious(2, relay, sup, two.address)))
        clerk.fail().exception()
        runtime.sleep(30)
        clerk.fail().exception()  # its next end is heard of as well
        runtime.sleep(30)
        return states(sup), sync(clerk.add()), Curious.lives

    assert sim.run(one, scenario) == (["running"], 1, 3)
    assert "could not be restarted" in caplog.text
    assert "AttributeError" not in caplog.text


def test_a_near_child_whose_supervisor_gives_way_in_its_restart_lives_on(sim, nodes):
    two, _, one = nodes

    def scenario():
        sup = runtime.spawn(Busy, sp_id="zsup")
        relay = runtime.spawn(Relay, sp_dest=two.address)
        clerk = sync(sup.start_child(curious(2, relay, sup, None)))
        sync(sup.terminate_child("c"))
        with pytest.raises(DeadlockError):
            sync(sup.restart_child("c"))
        sync(sup.restart_child("c"))
        clerk.fail().exception()  # its next end is heard of as well
        runtime.sleep(30)
        return states(sup), sync(clerk.add()), Curious.lives

    assert sim.run(one, scenario) == (["running"], 1, 3)


@pytest.mark.parametrize("is_far", [False, True])
def test_a_child_whose_supervisor_gives_way_in_its_start_is_not_left(
    sim, nodes, is_far
):
    two, three, one = nodes
    where = two if is_far else one

    def scenario():
        sup = runtime.spawn(Busy, sp_id="zsup")
        relay = runtime.spawn(Relay, sp_dest=three.address)
        spec = curious(1, relay, sup, where.address if is_far else None)
        with pytest.raises(DeadlockError):
            sync(sup.start_child(spec))
        runtime.sleep(30)
        return infos(sup)

    assert sim.run(one, scenario) == []
    assert "Curious" not in processes(where)
    assert where.scheduler.directory.get("c") is None


# ---- orphans whose node has not heard of the end of their supervisor


@pytest.mark.parametrize("shutdown", [5.0, "kill"])
@pytest.mark.parametrize("how", ["kill", "cut"])
def test_a_restarted_supervisor_waits_for_an_orphan_that_does_not_know_yet(
    sim, nodes, how, shutdown
):
    one, two, three = nodes

    def scenario():
        clerk = child(Clerk, sp_id="clerk", shutdown=shutdown, sp_dest=three.address)
        low = child(Supervisor, id="low", sp_dest=two.address, children=[clerk])
        top = runtime.spawn(Supervisor, children=[low])
        runtime.sleep(1)
        # the third node notices later than the first one
        sim.network.cut(two.address, three.address)
        lose(sim, one, two, how)
        runtime.sleep(2 * LOSS)
        sup = proxy_of(top, "low")
        return address_of(sup), states(sup), sync(proxy_of(sup, "clerk").add())

    assert sim.run(one, scenario) == (one.address, ["running"], 1)


def test_a_name_that_a_child_of_another_far_supervisor_has_is_taken_all_the_same(
    sim, nodes
):
    one, two, three = nodes

    def scenario():
        spec = child(Clerk, id="c", sp_id="till", sp_dest=three.address)
        others = runtime.spawn(Supervisor, sp_dest=two.address)
        sync(others.start_child(spec))
        sup = runtime.spawn(Supervisor)
        with pytest.raises(NameTaken):
            sync(sup.start_child(spec))
        return states(others), infos(sup)

    assert sim.run(one, scenario) == (["running"], [])


def test_a_name_that_a_child_of_a_supervisor_above_has_is_taken_all_the_same(
    sim, nodes
):
    one, two, _ = nodes

    def scenario():
        clerk = child(Clerk, id="c", sp_id="till", sp_dest=two.address)
        low = child(Supervisor, id="low", children=[clerk])
        top = runtime.spawn(Supervisor, children=[clerk])
        with pytest.raises(NameTaken):
            sync(top.start_child(low))
        return states(top)

    assert sim.run(one, scenario) == ["running"]


class Registered(Process):
    """Asks another process in its constructor."""

    def __init__(self, other):
        self.count = other.add().get()


@pytest.mark.parametrize("asker", range(4), ids=PLACES)
@pytest.mark.parametrize("ended", range(4), ids=PLACES)
def test_a_ring_that_the_end_of_a_child_closes_is_found(sim, nodes, ended, asker):
    def scenario():
        where = [None, *(node.address for node in nodes)]
        sup = runtime.spawn(Supervisor)
        one = sync(sup.start_child(child(Clerk, id="a", sp_dest=where[ended])))
        failed = one.nap_and_fail(1)
        runtime.sleep(0.1)  # it has begun, so nobody calls it directly
        spec = child(Registered, one, id="b", sp_dest=where[asker])
        with pytest.raises(DeadlockError):
            sup.start_child(spec).get(10)
        assert isinstance(failed.exception(), ValueError)
        assert one.add().get(5) == 1
        return states(sup)

    assert sim.run(nodes[0], scenario) == ["running"]
