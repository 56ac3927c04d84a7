"""A `@blocking` handler that awaits on an asyncio loop of its own waits as any handler does."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.actor.conftest import House

from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.process import Process
from splice.errors import DeadlockError

PATIENCE = 20.0
"""Seconds after which a test fails instead of waiting; nothing here takes one."""


class Clerk(Process):
    """Asks others, each of its calls on a loop of its own."""

    @blocking
    def run(self, function: Any) -> Any:
        return asyncio.run(function(self))

    @blocking
    def ask(self, other: Any) -> Any:
        async def main() -> Any:
            return await other.call_back(self.sp_proxy)

        return asyncio.run(main())

    @blocking
    def ask_itself(self) -> Any:
        async def main() -> Any:
            return await self.sp_proxy.echo(1)

        return asyncio.run(main())

    def call_back(self, other: Any) -> Any:
        return other.echo("called back").get()

    def echo(self, value: Any) -> Any:
        return value

    def hold(self) -> Any:
        self.gate = Deferred()
        return self.gate

    def open(self) -> None:
        self.gate.set("open")


@pytest.fixture
def house() -> Iterator[House]:
    with House(blocking_threads=2) as house:
        yield house
    gc.collect()  # failures that nobody saw shall be reported here, not in another test


def test_a_wait_that_closes_a_ring_is_refused(house: House) -> None:
    with pytest.raises(DeadlockError, match=r"Clerk 1\.ask_itself on this node -> "):
        house.spawn(Clerk).ask_itself().get(PATIENCE)


def test_the_error_names_each_handler_and_its_line(house: House) -> None:
    one, two = house.spawn(Clerk), house.spawn(Clerk)
    with pytest.raises(DeadlockError) as caught:
        one.ask(two).get(PATIENCE)
    lines = re.findall(
        r"(\w+) on this node waits at \S*test_elsewhere", str(caught.value)
    )
    assert sorted(lines) == ["ask", "call_back"]


def test_a_wait_that_was_cancelled_closes_no_ring(house: House) -> None:
    one, two = house.spawn(Clerk), house.spawn(Clerk)
    cell, waits, go_on = house.world.cell(one), [], threading.Event()
    caught = threading.Event()

    async def story(clerk: Any) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def cancel() -> None:
            waits.append(cell.runner.waiting)
            loop.call_soon_threadsafe(task.cancel)

        # when the task waits, and the node knows of it
        loop.call_soon(house.world.scheduler.post, cancel)
        held = two.hold()
        try:
            await held
        except asyncio.CancelledError:
            caught.set()
        go_on.wait(PATIENCE)
        return waits == [held]

    run = one.run(story)
    assert caught.wait(PATIENCE)
    assert house.do(lambda: cell.runner.waiting) is None
    go_on.set()
    assert run.get(PATIENCE)
    two.open().get(PATIENCE)


async def with_timeout(clerk: Any, other: Any) -> Any:
    try:
        async with asyncio.timeout(0.05):
            return await other.call_back(clerk.sp_proxy)
    except TimeoutError:
        return "in time"


async def beside_another(clerk: Any, other: Any) -> Any:
    task = asyncio.current_task()
    beside = asyncio.ensure_future(asyncio.sleep(0.02))
    beside.add_done_callback(lambda _: task.cancel())
    try:
        return await other.call_back(clerk.sp_proxy)
    except asyncio.CancelledError:
        return "in time"


async def one_of_two(clerk: Any, other: Any) -> Any:
    async def wait(promise: Any) -> Any:
        return await promise

    waits = [other.call_back(clerk.sp_proxy), clerk.leaf.echo("in time")]
    tasks = [asyncio.ensure_future(wait(promise)) for promise in waits]
    (done,), _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done.result()


@pytest.mark.parametrize("story", [with_timeout, beside_another, one_of_two])
def test_a_wait_that_something_else_on_its_loop_may_end_closes_no_ring(
    house: House, story: Any
) -> None:
    one, two, leaf = (house.spawn(Clerk) for _ in range(3))

    async def told(clerk: Any) -> Any:
        clerk.leaf = leaf
        return await story(clerk, two)

    assert one.run(told).get(PATIENCE) == "in time"
    assert two.call_back(leaf).get(PATIENCE) == "called back"


def test_the_wait_after_a_settled_one_is_seen(house: House) -> None:
    one, two = house.spawn(Clerk), house.spawn(Clerk)

    async def story(clerk: Any) -> Any:
        assert await two.echo(1) == 1
        with pytest.raises(DeadlockError):
            await clerk.sp_proxy.echo(2)
        assert two.echo(2).get() == 2
        return await two.echo(3)

    assert one.run(story).get(PATIENCE) == 3


def test_a_refused_wait_takes_back_what_it_asked(house: House) -> None:
    one, handled = house.spawn(Clerk), []

    class Witness(Clerk):
        def echo(self, value: Any) -> Any:
            handled.append(value)

    witness = house.spawn(Witness)
    with pytest.raises(DeadlockError):
        witness.ask_itself().get(PATIENCE)
    assert one.call_back(witness).get(PATIENCE) is None
    assert handled == ["called back"]
