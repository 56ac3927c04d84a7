"""What is over leaves nothing behind: no greenlet, frame, traceback, promise or asyncio task."""

import asyncio
import gc
from collections import Counter
from types import FrameType, TracebackType
from typing import Any
from weakref import ref

import pytest
from greenlet import greenlet

from splice.actor.cell import Cell
from splice.actor.childspec import child
from splice.actor.coroutine import AsyncCoroutine, Coroutine
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.supervisor import Supervisor
from splice.errors import Exit, TimeoutError
from splice.testing.actors import Actor, World

KINDS = (Promise, greenlet, FrameType, TracebackType, asyncio.Task, Cell, BaseException)


class Clerk(Process):
    def echo(self, value):
        return value

    def fail(self):
        raise ValueError("broken")

    def ask(self, other):
        return other.fail().get()

    def hold(self):
        self.gate = Deferred()
        return self.gate

    def wait_for(self, promise):
        return promise.get()

    def impatient(self, promise):
        try:
            promise.get(timeout=1)
        except TimeoutError:
            return "too late"

    async def nap(self):
        await asyncio.sleep(1000)

    async def afail(self):
        await asyncio.sleep(0)
        raise ValueError("broken")

    def quit(self):
        raise Exit("bored")


def answered(world: World) -> None:
    clerk = world.spawn(Clerk)
    run(world, lambda: [clerk.echo(n).get() for n in range(10)])
    world.wait(clerk.quit())


def failed(world: World) -> None:
    one, other = world.spawn(Clerk), world.spawn(Clerk)
    for ask in (lambda: one.ask(other), one.fail, one.afail):
        caught = 0
        try:
            world.wait(ask())
        except ValueError:
            caught += 1
        assert caught == 1
    stop(world, one, other)


def timed_out(world: World) -> None:
    clerk = world.spawn(Clerk)
    never = Deferred(world.scheduler)
    assert world.wait(clerk.impatient(never)) == "too late"
    stop(world, clerk)


def cancelled(world: World) -> None:
    clerk = world.spawn(Clerk)
    at_work, queued = clerk.nap(), clerk.echo(1)
    world.settle()
    assert queued.cancel()
    assert at_work.cancel()
    world.settle()
    stop(world, clerk)


def killed(world: World) -> None:
    parked, napping = world.spawn(Clerk), world.spawn(Clerk)
    promises = [parked.wait_for(Deferred(world.scheduler)), napping.nap()]
    world.settle()
    world.kill(parked)
    world.kill(napping)
    world.settle()
    assert all(promise.exception() for promise in promises)


def drawn(world: World) -> None:
    def numbers() -> Any:
        yield from range(100)

    async def anumbers() -> Any:
        for number in range(100):
            yield number

    for cls, function in ((Coroutine, numbers), (AsyncCoroutine, anumbers)):
        coro = world.spawn(cls, function, (), {})
        run(world, lambda coro=coro: next(coro.stream(10)))
        stop(world, coro)
        world.settle()


def run(world: World, function: Any) -> None:
    actor = world.spawn(Actor)
    world.wait(actor.run(function))
    stop(world, actor)


def stop(world: World, *proxies: Any) -> None:
    for proxy in proxies:
        world.wait(world.stop(proxy))


def living() -> Counter[str]:
    gc.collect()
    counts: Counter[str] = Counter()
    for thing in gc.get_objects():
        if isinstance(thing, KINDS):
            counts[type(thing).__name__] += 1
    return counts


@pytest.mark.parametrize(
    "story", [answered, failed, timed_out, cancelled, killed, drawn]
)
def test_a_story_that_is_over_leaves_nothing_behind(world: World, story: Any) -> None:
    for _ in range(3):  # workers and caches of the first rounds stay
        story(world)
    before = living()
    for _ in range(20):
        story(world)
    assert living() - before == Counter()


@pytest.mark.parametrize("story", [answered, timed_out, killed])
def test_it_needs_no_collector_for_that(world: World, story: Any) -> None:
    for _ in range(3):
        story(world)
    gc.collect()
    gc.disable()
    try:
        before = len(promises())
        for _ in range(20):
            story(world)
        left = len(promises()) - before
    finally:
        gc.enable()
    assert left <= 0


def promises() -> list[Promise]:
    return [thing for thing in gc.get_objects() if isinstance(thing, Promise)]


class Hoarder(Process):
    """Fails while it holds something."""

    def fail(self, told):
        held = Deferred(self._sp_cell.scheduler)
        told.append(ref(held))
        raise ValueError("broken")


def test_a_restarted_child_keeps_nothing_of_its_last_end(world: World) -> None:
    sup = world.spawn(Supervisor, children=[child(Hoarder, id="a")])
    [info] = world.wait(sup.which_children())
    told: list[Any] = []
    info.proxy.fail(told).add_done_callback(lambda _: None)
    world.loop.advance(1)
    assert world.wait(sup.count_children()).active == 1
    gc.collect()
    assert told[0]() is None
