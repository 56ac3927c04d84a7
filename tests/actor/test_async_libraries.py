"""Async handlers and the libraries of asyncio: they find what they expect of a task."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from splice.actor.context import current_cell
from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.process import Process
from splice.errors import Cancelled, DeadlockError
from splice.testing.actors import World


@pytest.fixture
def sockets() -> Iterator[World]:
    """A world on a real loop, whose processes may open sockets."""
    world = World(asyncio.new_event_loop())
    yield world
    world.close()


# ---- one message at a time, whatever the kind of handler


class Crowd(Process):
    """Notes how many of its handlers are at work at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.order: list[str] = []

    def _enter(self, kind):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(kind)

    def _leave(self):
        self.inside -= 1

    def plain(self, promise):
        self._enter("plain")
        promise.get()
        self._leave()

    async def awaiting(self, promise):
        self._enter("async")
        await promise
        await asyncio.sleep(0)
        self._leave()

    @blocking
    def threaded(self, promise):
        self._enter("blocking")
        promise.get()
        self._leave()

    def seen(self):
        return self.most, self.order


def test_one_message_at_a_time_holds_for_plain_async_and_blocking_mixed(
    sockets: World,
) -> None:
    crowd = sockets.spawn(Crowd)
    gates = [Deferred(sockets.scheduler) for _ in range(9)]
    kinds = [crowd.plain, crowd.awaiting, crowd.threaded] * 3
    answers = [ask(gate) for ask, gate in zip(kinds, gates, strict=True)]
    # the last first: whoever took its message out of turn would go on at once
    for gate in reversed(gates):
        gate.set()
    for answer in answers:
        sockets.wait(answer)
    expected = (1, ["plain", "async", "blocking"] * 3)
    assert sockets.wait(crowd.seen()) == expected


# ---- asyncio itself


class Asyncio(Process):
    def __init__(self) -> None:
        self.events: list[Any] = []

    async def in_time(self, promise, seconds):
        try:
            async with asyncio.timeout(seconds):
                return await promise
        except TimeoutError:
            return "too late"

    async def ask_in_time(self, seconds, other, *path):
        async with asyncio.timeout(seconds):
            return await other.ask(*path)

    async def ask(self, other, *path):
        return await other.ask(*path)

    async def race(self, promises):
        done, rest = await asyncio.wait(
            [asyncio.ensure_future(self._of(promise)) for promise in promises],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for waiting in rest:
            waiting.cancel()
        return [waiting.result() for waiting in done]

    async def group(self, promise):
        async with asyncio.TaskGroup() as group:
            group.create_task(self._noted(promise))
            group.create_task(self._broken())

    async def shielded(self, promise):
        return await asyncio.shield(self._of(promise))

    async def in_a_thread(self, function):
        return await asyncio.to_thread(function), current_cell() is self._sp_cell

    async def seen(self):
        return self.events

    async def _of(self, promise):
        return await promise

    async def _noted(self, promise):
        try:
            await promise
        finally:
            self.events.append("cancelled")

    async def _broken(self):
        await asyncio.sleep(1)
        raise KeyError("broken")


def test_a_timeout_that_passes_leaves_the_handler_at_work(world: World) -> None:
    slow = Deferred(world.scheduler)
    assert world.wait(world.spawn(Asyncio).in_time(slow, 5)) == "too late"


def test_a_timeout_that_does_not_pass_does_no_harm(world: World) -> None:
    promise = Deferred(world.scheduler)
    world.loop.call_later(4, promise.set, "in time")
    assert world.wait(world.spawn(Asyncio).in_time(promise, 5)) == "in time"


def test_a_failing_child_of_a_task_group_cancels_the_others_and_is_the_answer(
    world: World,
) -> None:
    grouped = world.spawn(Asyncio)
    with pytest.raises(ExceptionGroup) as caught:
        world.wait(grouped.group(Deferred(world.scheduler)))
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert world.wait(grouped.seen()) == ["cancelled"]


def test_the_first_of_several_promises_is_waited_for(world: World) -> None:
    promises = [Deferred(world.scheduler) for _ in range(3)]
    world.loop.call_later(1, promises[1].set, "second")
    assert world.wait(world.spawn(Asyncio).race(promises)) == ["second"]


def test_cancelling_the_message_ends_a_shielded_wait_too(world: World) -> None:
    promise = Deferred(world.scheduler)
    answer = world.spawn(Asyncio).shielded(promise)
    world.settle()
    assert answer.cancel()
    promise.set("still used by the shielded part")
    world.settle()
    with pytest.raises(Cancelled):
        answer.get()


def test_to_thread_runs_beside_the_handler_and_belongs_to_its_process(
    sockets: World,
) -> None:
    here = threading.get_ident()
    thread, is_ours = sockets.wait(
        sockets.spawn(Asyncio).in_a_thread(threading.get_ident)
    )
    assert (thread != here, is_ours) == (True, True)
    sockets.loop.run_until_complete(sockets.loop.shutdown_default_executor())


# ---- a wait that a timer ends is no edge


def test_a_ring_with_a_timeout_of_asyncio_in_it_ends_by_the_timeout(
    world: World,
) -> None:
    one, other = world.spawn(Asyncio), world.spawn(Asyncio)
    with pytest.raises(TimeoutError):
        world.wait(one.ask_in_time(5, other, one, other))


def test_the_wait_that_would_close_a_ring_may_have_the_timeout(world: World) -> None:
    class Closing(Asyncio):
        async def ask(self, other, *path):
            return await self.ask_in_time(5, other, *path)

    one, closing = world.spawn(Asyncio), world.spawn(Closing)
    with pytest.raises(TimeoutError):
        world.wait(one.ask(closing, one, closing))


def test_somebody_elses_timeout_does_not_hide_a_ring(world: World) -> None:
    bystander = world.spawn(Asyncio).in_time(Deferred(world.scheduler), 50)
    one, other = world.spawn(Asyncio), world.spawn(Asyncio)
    with pytest.raises(DeadlockError):
        world.wait(one.ask(other, one, other))
    assert world.wait(bystander) == "too late"


# ---- anyio


class Anyio(Process):
    def __init__(self) -> None:
        self.events: list[Any] = []

    async def group(self, promises):
        import anyio

        answers: dict[int, Any] = {}

        async def one(number, promise):
            answers[number] = await promise

        async with anyio.create_task_group() as group:
            for number, promise in enumerate(promises):
                group.start_soon(one, number, promise)
        return [answers[number] for number in range(len(promises))]

    async def move_on(self, promise, seconds):
        import anyio

        with anyio.move_on_after(seconds) as scope:
            await promise
        return scope.cancelled_caught

    async def cancelled_group(self, promise):
        import anyio

        async def hold():
            try:
                await promise
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1)
                    self.events.append("cleaned up")

        async with anyio.create_task_group() as group:
            group.start_soon(hold)
            await anyio.sleep(1)
            group.cancel_scope.cancel()
        return self.events

    async def streams(self, count):
        import anyio

        sender, receiver = anyio.create_memory_object_stream[int](1)

        async def send():
            async with sender:
                for number in range(count):
                    await sender.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            async with receiver:
                got = [number async for number in receiver]
        return got

    async def ask(self, other, *path):
        import anyio

        with anyio.fail_after(5):
            return await other.ask(*path)


@pytest.fixture
def anyio() -> Any:
    return pytest.importorskip("anyio", reason="anyio is not installed")


def test_task_groups_of_anyio_wait_for_promises(anyio: Any, world: World) -> None:
    promises = [Deferred(world.scheduler) for _ in range(3)]
    for number, promise in enumerate(reversed(promises)):
        world.loop.call_later(number + 1, promise.set, number)
    assert world.wait(world.spawn(Anyio).group(promises)) == [2, 1, 0]


def test_a_cancel_scope_of_anyio_ends_a_wait_for_a_promise(
    anyio: Any, world: World
) -> None:
    holding = world.spawn(Anyio)
    assert world.wait(holding.move_on(Deferred(world.scheduler), 5)) is True


def test_clean_up_in_a_shielded_scope_runs_to_its_end(anyio: Any, world: World) -> None:
    holding = world.spawn(Anyio)
    answer = holding.cancelled_group(Deferred(world.scheduler))
    assert world.wait(answer) == ["cleaned up"]


def test_memory_streams_of_anyio_work(anyio: Any, world: World) -> None:
    assert world.wait(world.spawn(Anyio).streams(5)) == [0, 1, 2, 3, 4]


def test_a_cancelled_message_unwinds_anyios_task_group(
    anyio: Any, world: World
) -> None:
    holding = world.spawn(Anyio)
    answer = holding.group([Deferred(world.scheduler)])
    world.settle()
    assert answer.cancel()
    assert world.wait(holding.streams(1)) == [0]


def test_a_ring_with_a_deadline_of_anyio_ends_by_the_deadline(
    anyio: Any, world: World
) -> None:
    one, other = world.spawn(Anyio), world.spawn(Asyncio)
    with pytest.raises(TimeoutError):
        world.wait(one.ask(other, one, other))


# ---- aiohttp


class Shop(Process):
    """Serves HTTP from an async handler; a request is answered by asking a process."""

    async def open(self, clerk):
        from aiohttp import web

        async def buy(request):
            return web.json_response(await clerk.sell(request.match_info["what"]))

        app = web.Application()
        app.router.add_get("/buy/{what}", buy)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self._runner.addresses[0][1]

    async def close(self):
        await self._runner.cleanup()


class Clerk(Process):
    def __init__(self) -> None:
        self.sold: list[str] = []

    async def sell(self, what):
        await asyncio.sleep(0)
        self.sold.append(what)
        return {"sold": what, "number": len(self.sold)}

    def hold(self):
        self.gate = Deferred()
        return self.gate


class Customer(Process):
    async def buy(self, port, *things):
        import aiohttp

        bought = []
        async with aiohttp.ClientSession() as session:
            for what in things:
                url = f"http://127.0.0.1:{port}/buy/{what}"
                async with session.get(url) as response:
                    bought.append(await response.json())
        return bought


@pytest.fixture
def aiohttp() -> Any:
    return pytest.importorskip("aiohttp", reason="aiohttp is not installed")


def test_aiohttp_serves_and_fetches_in_handlers(aiohttp: Any, sockets: World) -> None:
    shop, clerk = sockets.spawn(Shop), sockets.spawn(Clerk)
    port = sockets.wait(shop.open(clerk))
    bought = sockets.wait(sockets.spawn(Customer).buy(port, "fig", "plum"))
    sockets.wait(shop.close())
    assert bought == [{"sold": "fig", "number": 1}, {"sold": "plum", "number": 2}]


def test_many_clients_of_aiohttp_are_served_side_by_side(
    aiohttp: Any, sockets: World
) -> None:
    shop, clerk = sockets.spawn(Shop), sockets.spawn(Clerk)
    port = sockets.wait(shop.open(clerk))
    customers = [sockets.spawn(Customer) for _ in range(10)]
    answers = [customer.buy(port, "fig", "fig") for customer in customers]
    numbers = [b["number"] for answer in answers for b in sockets.wait(answer)]
    sockets.wait(shop.close())
    assert sorted(numbers) == list(range(1, 21))
