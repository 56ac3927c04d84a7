"""What waits is refused where that would stop the loop: before anything is done, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from splice import CannotWait, Process, ProcessStopped, runtime, sync, tell
from splice.testing.simulation import Simulation


class Till(Process):
    """What is spawned, stopped and asked about."""

    def count(self) -> int:
        return 7


class Office(Process):
    """Calls what waits, in an async handler or in a callback there."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    async def call_back(self, function: Callable[..., Any], *args: Any) -> Any:
        return await runtime.spawn_nowait(Till).then(lambda _: function(*args))

    async def call_in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(function, *args)

    async def stop_myself(self) -> str:
        runtime.stop(self)
        return "the handler at hand finishes"

    async def use(self, proxy: Any) -> int:
        async with proxy as till:
            return int(await till.count())

    async def enter(self, proxy: Any) -> None:
        with proxy:
            pass


def spawns(node: str | None) -> dict[str, Callable[[], Any]]:
    """Each way to make processes and wait for them."""
    return {
        "spawn": lambda: runtime.spawn(Till, sp_id="till", sp_dest=node),
        "spawn_many": lambda: runtime.spawn_many(3, Till, sp_dest=node),
        "spawn_scatter": lambda: runtime.spawn_scatter([node, node], Till),
    }


def living(node: Any) -> int:
    return len(node.scheduler.directory)


def refusal_in(how: str, function: Callable[..., Any], *args: Any) -> str:
    """What the refusal of a call in such a place says."""
    office = runtime.spawn(Office)
    error = getattr(office, how)(function, *args).exception()
    assert isinstance(error, CannotWait), error
    runtime.stop(office)
    return str(error)


@pytest.mark.parametrize("call", spawns(None))
@pytest.mark.parametrize("how", ["call", "call_back"])
@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_a_spawn_that_must_not_wait_makes_no_process(
    sim: Simulation, is_far: bool, how: str, call: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        before = living(one), living(two)
        text = refusal_in(how, spawns(two.address if is_far else None)[call])
        assert text.startswith(f"runtime.{call} would wait here and stop the node's")
        runtime.sleep(1)
        # a callback hangs on the answer of a process of its own
        assert (living(one) - (how == "call_back"), living(two)) == before

    sim.run(one, scenario)


def test_the_refusal_of_a_spawn_names_the_one_that_does_not_wait(
    sim: Simulation,
) -> None:
    def scenario() -> str:
        return refusal_in("call", runtime.spawn, Till)

    assert "await runtime.spawn_nowait(...)" in sim.run(sim.node(), scenario)


def test_a_linked_spawn_that_must_not_wait_makes_no_process(sim: Simulation) -> None:
    one = sim.node()

    def scenario() -> None:
        before = living(one)
        refusal_in("call", lambda: runtime.spawn(Till, sp_link=True))
        runtime.sleep(1)
        assert living(one) == before

    sim.run(one, scenario)


@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_an_async_handler_stops_a_process_at_the_end_of_a_block(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        till = runtime.spawn(Till, sp_dest=two.address if is_far else None)
        assert runtime.spawn(Office).use(till).get() == 7
        assert isinstance(till.count().exception(), ProcessStopped)

    sim.run(one, scenario)


@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_a_block_whose_end_would_wait_is_not_entered(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        till = runtime.spawn(Till, sp_dest=two.address if is_far else None)
        error = runtime.spawn(Office).enter(till).exception()
        assert isinstance(error, CannotWait)
        assert str(error).startswith("the end of the block would wait for ")
        assert "write `async with`" in str(error)
        assert till.count().get() == 7

    sim.run(one, scenario)


@pytest.mark.parametrize("how", ["call", "call_back"])
def test_a_fork_that_must_not_wait_starts_no_node(sim: Simulation, how: str) -> None:
    def scenario() -> str:
        return refusal_in(how, runtime.fork, 1)

    assert "to_thread(runtime.fork, ...)" in sim.run(sim.node(), scenario)
    sim.advance(20.0)
    assert len(sim.nodes) == 1


@pytest.mark.parametrize("how", ["call", "call_back"])
@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_a_stop_that_must_not_wait_stops_nobody(
    sim: Simulation, is_far: bool, how: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> str:
        till = runtime.spawn(Till, sp_dest=two.address if is_far else None)
        text = refusal_in(how, runtime.stop, till)
        runtime.sleep(1)
        assert sync(till.count()) == 7
        return text

    assert "to_thread(runtime.stop, ...)" in sim.run(one, scenario)


def test_an_async_handler_may_stop_its_own_process(sim: Simulation) -> None:
    def scenario() -> Any:
        return sync(runtime.spawn(Office).stop_myself())

    assert sim.run(sim.node(), scenario) == "the handler at hand finishes"


@pytest.mark.parametrize("how", ["call", "call_back"])
def test_a_far_shutdown_that_must_not_wait_shuts_nothing_down(
    sim: Simulation, how: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> str:
        till = runtime.spawn(Till, sp_dest=two.address)
        text = refusal_in(how, runtime.shutdown, two.address)
        runtime.sleep(1)
        assert sync(till.count()) == 7
        return text

    assert "to_thread(runtime.shutdown, ...)" in sim.run(one, scenario)


def test_a_node_may_be_shut_down_by_its_own_async_handler(sim: Simulation) -> None:
    one = sim.node()

    def scenario() -> None:
        tell(runtime.spawn(Office).call, runtime.shutdown, one.address)

    sim.run(one, scenario)
    sim.advance(20.0)
    assert one.is_closed


def test_what_a_far_process_does_is_not_asked_where_the_answer_cannot_be_waited_for(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> str:
        return refusal_in(
            "call", runtime.info, runtime.spawn(Till, sp_dest=two.address)
        )

    assert "to_thread(runtime.info, ...)" in sim.run(one, scenario)


@pytest.mark.parametrize("how", ["call", "call_back"])
@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_a_kill_is_sent_and_not_waited_for_where_that_would_stop_the_loop(
    sim: Simulation, is_far: bool, how: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        till = runtime.spawn(Till, sp_dest=two.address if is_far else None)
        down = runtime.monitor(till)
        sync(getattr(runtime.spawn(Office), how)(runtime.kill, till))
        assert down.get(5).reason == "killed"

    sim.run(one, scenario)


def test_a_kill_that_nobody_waits_for_and_that_fails_is_a_dead_letter(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    letters: list[Any] = []

    def scenario() -> None:
        till = runtime.spawn(Till, sp_dest=two.address)
        runtime.on_dead_letter(letters.append)
        sim.kill(two)
        sync(runtime.spawn(Office).call(runtime.kill, till))
        runtime.sleep(60)

    sim.run(one, scenario)
    assert [letter.handler for letter in letters] == ["kill"]


@pytest.mark.system
def test_what_a_refusal_names_does_in_an_async_handler() -> None:
    node = runtime.fork(1)[0]
    office = runtime.spawn(Office)

    def in_thread(function: Callable[..., Any], *args: Any) -> Any:
        return office.call_in_thread(function, *args).get(20)

    near, far = in_thread(runtime.spawn_many, 2, Till)
    assert len(in_thread(runtime.spawn_scatter, [node, node], Till)) == 2
    assert in_thread(runtime.info, runtime.spawn(Till, sp_dest=node)).state == "idle"
    in_thread(runtime.stop, near)
    assert in_thread(runtime.info, near).state == "ended"
    (forked,) = in_thread(runtime.fork, 1)
    assert sync(runtime.spawn(Till, sp_dest=forked).count()) == 7
    for address in (forked, node):
        in_thread(runtime.shutdown, address)
    assert sync(far.count()) == 7
