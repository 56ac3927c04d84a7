"""Rings of waits over several nodes end in a DeadlockError, and nothing else does."""

from __future__ import annotations

import asyncio
import builtins
import gc
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from splice import (
    DeadlockError,
    Deferred,
    Process,
    blocking,
    gather,
    runtime,
    sync,
    syncmany,
)
from splice.errors import TimeoutError
from splice.testing.simulation import Simulation

BOUND = 5.0
"""Virtual seconds within which a ring is to be found."""


class Echo(Process):
    """Asks along a path of processes, in each way there is."""

    def __init__(self) -> None:
        self.kept: Any = None

    def ask(self, *path: Any) -> Any:
        return sync(path[0].ask(*path[1:])) if path else "end"

    async def ask_async(self, *path: Any) -> Any:
        return await path[0].ask_async(*path[1:]) if path else "end"

    @blocking
    def ask_on_thread(self, *path: Any) -> Any:
        async def main() -> Any:
            return await path[0].ask_on_thread(*path[1:])

        return asyncio.run(main()) if path else "end"

    def ask_all(self, *path: Any) -> Any:
        if not path:
            return "end"
        return syncmany([path[0].echo(1), path[0].ask_all(*path[1:])])

    def gather(self, *path: Any) -> Any:
        if not path:
            return "end"
        return gather([path[0].gather(*path[1:]), path[0].echo(1)]).get()

    def ask_then(self, *path: Any) -> Any:
        return path[0].ask_then(*path[1:]).then(str).get() if path else "end"

    def delegate(self, *path: Any) -> Any:
        return path[0].delegate(*path[1:]) if path else "end"

    def ask_delegate(self, *path: Any) -> Any:
        return sync(path[0].delegate(*path[1:]))

    def ask_in_time(self, *path: Any) -> Any:
        try:
            return path[0].ask_in_time(*path[1:]).get(timeout=30) if path else "end"
        except TimeoutError:
            return "timed out"

    async def ask_in_scope(self, *path: Any) -> Any:
        if not path:
            return "end"
        try:
            async with asyncio.timeout(30):
                return await path[0].ask_in_scope(*path[1:])
        except builtins.TimeoutError:
            return "timed out"

    def try_ask(self, *path: Any) -> Any:
        try:
            return sync(path[0].try_ask(*path[1:])) if path else "end"
        except DeadlockError:
            return "gave way"

    def echo(self, value: Any) -> Any:
        return value

    def hold(self) -> Any:
        self.kept = Deferred()
        return self.kept

    def release(self) -> None:
        self.kept.set("released")


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    yield simulation
    simulation.close()
    del simulation
    gc.collect()  # failures that nobody saw shall be reported here, not in another test


def run_ring(
    sim: Simulation, handler: str, nodes: int = 2, *, per_node: int = 1
) -> Any:
    """Have a ring of processes on `nodes` nodes ask each other by `handler`."""
    made = [sim.node() for _ in range(nodes)]

    def scenario() -> Any:
        ring = [
            runtime.spawn(Echo, sp_dest=node.address)
            for node in made
            for _ in range(per_node)
        ]
        return getattr(ring[0], handler)(*ring[1:], ring[0], ring[-1]).get(timeout=60)

    outside = sim.node()
    return sim.run(outside, scenario)


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("per_node", [1, 2])
@pytest.mark.parametrize(
    "handler", ["ask", "ask_async", "ask_all", "gather", "ask_then"]
)
def test_a_ring_over_nodes_is_found(
    sim: Simulation, handler: str, nodes: int, per_node: int
) -> None:
    before = sim.loop.time()
    with pytest.raises(DeadlockError):
        run_ring(sim, handler, nodes, per_node=per_node)
    assert sim.loop.time() - before < BOUND


def test_a_ring_over_nodes_of_waits_on_loops_of_their_own_is_found(
    sim: Simulation,
) -> None:
    made = [sim.node() for _ in range(2)]

    def scenario() -> Any:
        ring = [runtime.spawn(Echo, sp_dest=node.address) for node in made]
        return ring[0].ask_on_thread(ring[1], ring[0]).get()  # in real time

    with pytest.raises(DeadlockError, match="ask_on_thread"):
        sim.run(sim.node(), scenario)


def test_the_error_names_each_process_handler_node_and_line(sim: Simulation) -> None:
    with pytest.raises(DeadlockError) as caught:
        run_ring(sim, "ask", 3)
    text = str(caught.value)
    names = re.findall(r"Echo \d+\.ask on tcp://10\.0\.0\.(\d):1 waits at", text)
    assert sorted(names) == ["1", "2", "3"]
    assert len(re.findall(r"test_far_deadlocks\.py:\d+", text)) == 3
    assert re.match(r"(Echo \d+\.ask on tcp://10\.0\.0\.\d:1 -> ){3}Echo", text)


def test_the_lines_are_those_of_the_waits(sim: Simulation) -> None:
    for handler in ("ask", "ask_async"):
        line = getattr(Echo, handler).__code__.co_firstlineno + 1
        with pytest.raises(DeadlockError, match=rf"py:{line}\n.*py:{line}\n"):
            run_ring(sim, handler)


def test_the_others_are_freed_by_the_one_that_gives_way(sim: Simulation) -> None:
    assert run_ring(sim, "try_ask", 3) == "gave way"


@pytest.mark.parametrize("handler", ["ask_in_time", "ask_in_scope"])
def test_a_wait_with_a_timeout_is_no_part_of_a_ring(
    sim: Simulation, handler: str
) -> None:
    before = sim.loop.time()
    assert run_ring(sim, handler) == "timed out"
    assert sim.loop.time() - before > 29


def test_a_ring_through_promised_answers_is_found(sim: Simulation) -> None:
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario() -> Any:
        a, b, c = (runtime.spawn(Echo, sp_dest=n.address) for n in (one, two, three))
        # a waits for b, which has answered with what c promises, which a owes
        return a.ask_delegate(b, c, a).get(timeout=60)

    with pytest.raises(DeadlockError, match="ask_delegate"):
        sim.run(one, scenario)


class Blocker(Process):
    """Waits in its constructor."""

    def __init__(self, other: Any = None) -> None:
        if other is not None:
            sync(other.echo(1))

    def make(self, dest: str) -> Any:
        return runtime.spawn(Blocker, self.sp_proxy, sp_dest=dest)

    def echo(self, value: Any) -> Any:
        return value


def test_a_constructor_that_waits_for_who_spawns_it_is_found(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        return runtime.spawn(Blocker).make(two.address).get(timeout=60)

    with pytest.raises(DeadlockError, match=r"Blocker \d+\.make"):
        sim.run(one, scenario)


def test_who_waits_for_a_deferred_is_in_no_ring(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        a = runtime.spawn(Echo)
        b = runtime.spawn(Echo, sp_dest=two.address)
        c = runtime.spawn(Echo, sp_dest=two.address)
        held = b.hold()
        later = c.echo(0)
        runtime.sleep(1)
        waits = a.ask(b, c)
        del later
        runtime.sleep(20)
        sync(b.release())
        return sync(held), sync(waits)

    assert sim.run(one, scenario) == ("released", "end")


class Keeper(Process):
    """Answers with a Deferred, and then waits for who waits for that."""

    deferreds: ClassVar[list[Any]] = []

    def hold(self) -> Any:
        self.deferreds.append(Deferred())
        return self.deferreds[-1]

    def ask(self, other: Any) -> Any:
        return other.echo(1).get()


class Client(Process):
    def wait(self, keeper: Any) -> Any:
        held = keeper.hold()
        self.asked = keeper.ask(self.sp_proxy)
        return held.get()

    def echo(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize("is_far", [False, True])
def test_who_answered_with_a_deferred_owes_nothing_any_more(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()
    Keeper.deferreds.clear()

    def scenario() -> Any:
        keeper = runtime.spawn(Keeper, sp_dest=(two if is_far else one).address)
        waits = runtime.spawn(Client).wait(keeper)
        runtime.sleep(30)
        Keeper.deferreds[0].set("free")
        return waits.get(timeout=5)

    assert sim.run(one, scenario) == "free"


def test_a_ring_that_a_cancel_resolves_in_time_is_no_error(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        a = runtime.spawn(Echo)
        b = runtime.spawn(Echo, sp_dest=two.address)
        asked = a.ask_async(b, a)
        runtime.sleep(0.1)  # the ring stands, and nobody has looked yet
        assert asked.cancel()
        runtime.sleep(BOUND)
        return sync(a.echo("alive")), sync(b.echo("alive"))

    assert sim.run(one, scenario) == ("alive", "alive")


def test_two_that_wait_for_a_third_are_in_no_ring(sim: Simulation) -> None:
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario() -> Any:
        a, b, c = (runtime.spawn(Echo, sp_dest=n.address) for n in (one, two, three))
        held = c.hold()
        slow = runtime.spawn(Slow, sp_dest=three.address)
        waits = [a.ask(b, slow), b.ask(slow), a.ask(slow), slow.ask()]
        runtime.sleep(1)
        sync(c.release())
        sync(held)
        return syncmany(waits)

    assert sim.run(one, scenario) == ["end"] * 4


class Slow(Process):
    def ask(self, *path: Any) -> Any:
        runtime.sleep(3)
        return sync(path[0].ask(*path[1:])) if path else "end"


def test_a_ring_that_closes_long_after_its_first_request_is_found(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        a = runtime.spawn(Echo, sp_dest=two.address)
        slow = runtime.spawn(Slow)
        return a.ask(slow, a).get(timeout=60)

    before = sim.loop.time()
    with pytest.raises(DeadlockError):
        sim.run(one, scenario)
    assert sim.loop.time() - before < 3 + BOUND


def test_a_ring_outside_of_which_it_is_entered_is_found(sim: Simulation) -> None:
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario() -> Any:
        a, b, c = (runtime.spawn(Echo, sp_dest=n.address) for n in (one, two, three))
        return a.ask(b, c, b).get(timeout=60)

    with pytest.raises(DeadlockError) as caught:
        sim.run(one, scenario)
    assert "10.0.0.1:1" not in str(caught.value)


class Refused(Echo):
    """Notes who gives way."""

    who: ClassVar[list[str]] = []

    def try_ask(self, *path: Any) -> Any:
        try:
            return sync(path[0].try_ask(*path[1:])) if path else "end"
        except DeadlockError:
            self.who.append(str(self.sp_proxy.sp_url))
            return "gave way"

    def ask_later(self, other: Any) -> Any:
        runtime.sleep(1)  # all are at it by then
        return self.try_ask(other)

    def try_both(self, one: list[Any], other: list[Any]) -> Any:
        asked = [path[0].try_ask(*path[1:]) for path in (one, other)]
        try:
            return gather(asked).get()
        except DeadlockError:
            self.who.append(str(self.sp_proxy.sp_url))
            return "gave way"


def make_refused(sim: Simulation, count: int) -> list[Any]:
    """Make a process on each of `count` nodes; their proxies."""
    Refused.who.clear()
    made = [sim.node().spawn(Refused, (), {}, "echo") for _ in range(count)]
    sim.loop.advance(0.1)
    return [proxy.get() for proxy in made]


@pytest.mark.parametrize("seed", range(20))
def test_the_greatest_url_gives_way_whoever_finds_the_ring(seed: int) -> None:
    sim = Simulation(seed, jitter=0.1)
    urls = [str(proxy.sp_url) for proxy in make_refused(sim, 5)]

    def scenario() -> Any:
        a, b, c, d, e = map(runtime.connect, urls)
        # all begin at once, so each node of both rings looks for them
        pairs = [(a, b), (b, c), (c, a), (d, e), (e, d)]
        return syncmany([one.ask_later(other) for one, other in pairs], 60)

    sim.run(sim.node(), scenario)
    sim.close()
    assert sorted(Refused.who) == sorted([max(urls[:3]), max(urls[3:])])


@pytest.mark.parametrize("seed", range(20))
def test_two_rings_with_a_wait_in_common_are_both_broken(seed: int) -> None:
    sim = Simulation(seed, jitter=0.1)
    urls = [str(proxy.sp_url) for proxy in make_refused(sim, 3)]

    def scenario() -> Any:
        a, b, c = map(runtime.connect, urls)
        return sync(a.try_both([b, a], [c, a]), 60)

    sim.run(sim.node(), scenario)
    sim.close()
    # either the wait that both have in common, or one in each
    a, b, c = urls
    assert sorted(Refused.who) in ([a], sorted([b, c]), sorted([a, b]), sorted([a, c]))


class Noting(Echo):
    """Asks whoever asks it for a note; it has its own list of those."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[int] = []

    def ask_note(self, number: int, *path: Any) -> Any:
        if len(path) == 1:
            return sync(path[0].note(number))
        return sync(path[0].ask_note(number, *path[1:]))

    async def await_note(self, number: int, *path: Any) -> Any:
        if len(path) == 1:
            return await path[0].note(number)
        return await path[0].await_note(number, *path[1:])

    def note(self, number: int) -> None:
        self.notes.append(number)

    def seen(self) -> list[int]:
        return self.notes


@pytest.mark.parametrize("handler", ["ask_note", "await_note"])
@pytest.mark.parametrize("turned", [False, True])
def test_what_was_asked_in_vain_is_taken_back_where_it_has_not_begun(
    sim: Simulation, handler: str, turned: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        a, b = (runtime.spawn(Noting, sp_dest=node.address) for node in (one, two))
        if turned:  # which of them gives way depends on their urls
            a, b = b, a
        with pytest.raises(DeadlockError):
            getattr(a, handler)(7, b, a).get(timeout=60)
        is_greater = str(a.sp_url) > str(b.sp_url)
        return is_greater, sync(a.seen()), sync(a.echo(1)), sync(b.echo(1))

    first_gave_way, seen, *alive = sim.run(sim.node(), scenario)
    # the wait of the first, if it gives way, was for what had begun: that ends by itself
    assert seen == ([7] if first_gave_way else [])
    assert alive == [1, 1]


def test_nothing_is_left_over_when_a_ring_is_broken(sim: Simulation) -> None:
    assert run_ring(sim, "try_ask", 3) == "gave way"
    sim.loop.advance(200)
    for node in sim.nodes:
        assert not any(node.exchange.owing.values())
        assert not node.scheduler.parked


def test_a_malformed_probe_is_ignored(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        a = runtime.spawn(Echo, sp_dest=two.address)
        sync(a.echo(1))
        (peer,) = two.exchange.owing
        for name in ("probe", "ring"):
            for rest in [(), (1,), (1, 2, 3), ([], (1, 1), ()), (1, (1, 1), ((1,),))]:
                two.exchange.on_batch(peer, [(2, name, *rest)], [])
        return sync(a.echo("alive"))

    assert sim.run(one, scenario) == "alive"


def test_a_lost_node_is_not_remembered_by_the_prober():
    class Slow(Process):
        def nap(self, seconds):
            runtime.sleep(seconds)

    sim = Simulation(seed=1)
    one, two = sim.node(), sim.node()
    slow = sim.run(one, lambda: runtime.spawn(Slow).sp_url)
    sim.run(two, lambda: sync(runtime.connect(slow).nap(20)))
    assert len(one.exchange.prober._newest) == 1
    sim.kill(two)
    sim.advance(60)
    assert one.exchange.prober._newest == {}
    sim.close()
