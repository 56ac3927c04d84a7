"""At the end of a node: who is not made yet, between two lives, or hands on what it lacks."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from splice.actor.childspec import child
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.retiring import retire
from splice.actor.supervisor import Supervisor
from splice.errors import ProcessStopped
from splice.testing.actors import World


class Plain(Process):
    def fail(self) -> None:
        raise ValueError("plain")

    def answer(self) -> int:
        return 42


class Guest(Process):
    """Calls a function to clean up."""

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def sp_terminate(self, reason: Any) -> Any:
        return self.hook(reason)


class Busy(Supervisor):
    def hold(self, gate: Deferred) -> Any:
        return gate.get()


def end(world: World) -> float:
    """Have everybody retire; how long that took."""
    before = world.loop.time()
    world.loop.run_until_complete(retire(world.scheduler, 2.5))
    return float(world.loop.time() - before)


async def order_and_end(world: World, making: list[Any], *what: Any) -> None:
    """Order a process right before all retire."""
    making.append(world.spawn_nowait(*what))
    await retire(world.scheduler, 2.5)


def test_one_with_a_hook_that_was_not_begun_yet_is_not_made(
    world: World,
) -> None:
    seen: list[Any] = []
    making: list[Any] = []
    world.loop.run_until_complete(order_and_end(world, making, Guest, seen.append))
    world.settle()
    assert isinstance(making[0].exception(), ProcessStopped)
    assert seen == []


def test_one_that_was_not_made_is_no_news_for_who_did_not_ask(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    making: list[Any] = []
    world.loop.run_until_complete(order_and_end(world, making, Guest, print))
    making.clear()
    gc.collect()
    assert caplog.records == []


def test_one_without_a_hook_that_was_not_begun_yet_is_there_for_the_hooks(
    world: World,
) -> None:
    seen: list[Any] = []
    making: list[Any] = []
    world.spawn(Guest, lambda _: seen.append(making[0].get().answer().get()))
    world.loop.run_until_complete(order_and_end(world, making, Plain))
    assert seen == [42]


def test_mail_for_a_child_whose_supervisor_is_busy_fails(world: World) -> None:
    gate = Deferred(world.scheduler)
    supervisor = world.spawn(Busy)
    frail = world.wait(supervisor.start_child(child(Plain, id="plain")))
    held = supervisor.hold(gate)
    world.kill(frail)
    kept = frail.answer()
    world.spawn(Guest, lambda _: kept.exception())
    assert end(world) == 0
    assert isinstance(kept.exception(), ProcessStopped)
    assert not held.done()
    gate.set(None)


def test_one_that_hands_on_what_it_lacks_takes_nobodys_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Deferred(world.scheduler)

    class HalfMade(Process):
        def __init__(self) -> None:
            self._inner = gate.get()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    class Strict(Process):
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    seen: list[Any] = []
    world.spawn_nowait(HalfMade).add_done_callback(Promise.exception)
    world.spawn(Strict)
    world.spawn(Guest, seen.append)
    assert end(world) == 0
    assert seen == ["shutdown"]
    world.scheduler.close()
    assert caplog.records == []


def test_a_restart_of_several_that_is_under_way_ends_without_a_complaint(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def hook(reason: Any) -> None:
        await asyncio.sleep(1)

    supervisor = world.spawn(
        Supervisor,
        strategy="one_for_all",
        children=[child(Plain, id="plain"), child(Guest, hook, id="guest")],
    )
    plain = world.wait(supervisor.which_children())[0].proxy
    plain.fail().add_done_callback(Promise.exception)
    world.settle()  # it stops the guest now
    assert end(world) == pytest.approx(1)
    states = [info.state for info in world.wait(supervisor.which_children())]
    assert states == ["stopped", "stopped"]
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []
