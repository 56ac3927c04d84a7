"""Async handlers: tasks of the node's loop, one message at a time."""

import asyncio
from typing import Any

import pytest

from splice.actor.context import current_cell
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.proxy import AnyProxy
from splice.errors import Cancelled, Exit, ProcessStopped
from splice.testing.actors import World


class Async(Process):
    def __init__(self) -> None:
        self.events: list[Any] = []

    async def echo(self, value):
        return value

    async def span(self, n):
        self.events.append(("start", n))
        await asyncio.sleep(1)
        self.events.append(("end", n))

    async def ask(self, other):
        return await other.echo("asked")

    async def fail(self, error):
        await asyncio.sleep(0)
        raise error

    async def hold(self, promise):
        try:
            return await promise
        finally:
            self.events.append("unwound")

    async def in_time(self, promise, seconds):
        async with asyncio.timeout(seconds):
            return await promise

    async def group(self, others):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(other)) for other in others]
        return [task.result() for task in tasks]

    async def _one(self, other):
        return await other.echo(current_cell() is self._sp_cell)

    async def cancel_me(self):
        raise asyncio.CancelledError

    def plain(self):
        return list(self.events)


def test_an_async_handler_answers(world: World) -> None:
    assert world.wait(world.spawn(Async).echo(5)) == 5


def test_an_async_handler_answers_a_plain_one(world: World) -> None:
    asynchronous = world.spawn(Async)
    assert world.run(lambda: asynchronous.echo(5).get()) == 5


def test_async_handlers_ask_each_other(world: World) -> None:
    one, other = world.spawn(Async), world.spawn(Async)
    assert world.wait(one.ask(other)) == "asked"


def test_a_process_is_one_at_a_time_also_when_it_awaits(world: World) -> None:
    asynchronous = world.spawn(Async)
    for n in range(3):
        asynchronous.span(n)
    events = world.wait(asynchronous.plain())
    assert events == [(what, n) for n in range(3) for what in ("start", "end")]


def test_processes_await_side_by_side(world: World) -> None:
    started = world.loop.time()
    promises = [world.spawn(Async).span(n) for n in range(10)]
    for promise in promises:
        world.wait(promise)
    assert world.loop.time() - started == pytest.approx(1)


def test_an_error_is_the_answer_with_the_users_frames_only(world: World) -> None:
    promise = world.spawn(Async).fail(KeyError("broken"))
    world.settle()
    with pytest.raises(KeyError, match="broken") as caught:
        promise.get()
    names = [frame.name for frame in caught.traceback]
    assert names[-1] == "fail"
    assert "_shielded" not in names


def test_exit_ends_the_process(world: World) -> None:
    asynchronous = world.spawn(Async)
    assert world.wait(asynchronous.fail(Exit("bored", answer="bye"))) == "bye"
    assert asynchronous.plain().exception().reason == "bored"


def test_arguments_that_do_not_fit_are_the_answer(world: World) -> None:
    class Wrong(Process):
        async def go(self, value):
            return value

    wrong: Any = AnyProxy(world.cell(world.spawn(Wrong)))
    with pytest.raises(TypeError, match="missing 1"):
        world.wait(wrong.go())


def test_timeouts_of_asyncio_hold_for_promises(world: World) -> None:
    never = Deferred(world.scheduler)
    with pytest.raises(asyncio.TimeoutError):
        world.wait(world.spawn(Async).in_time(never, 5))


def test_task_groups_work_and_belong_to_the_process(world: World) -> None:
    asynchronous = world.spawn(Async)
    others = [world.spawn(Async) for _ in range(5)]
    assert world.wait(asynchronous.group(others)) == [True] * 5


def test_a_handler_that_is_cancelled_answers_cancelled(world: World) -> None:
    with pytest.raises(Cancelled, match=r"Async 1\.cancel_me was cancelled"):
        world.wait(world.spawn(Async).cancel_me())


def test_a_killed_process_has_its_handler_unwound(world: World) -> None:
    asynchronous = world.spawn(Async)
    owner = world.cell(asynchronous).object
    promise = asynchronous.hold(Deferred(world.scheduler))
    world.settle()
    world.kill(asynchronous)
    world.settle()
    assert (promise.exception().reason, owner.events) == ("killed", ["unwound"])


def test_a_handler_cancelled_before_its_first_step_frees_the_process(
    world: World,
) -> None:
    asynchronous = world.spawn(Async)
    promise = asynchronous.span(1)

    async def cancel() -> bool:
        await asyncio.sleep(0)
        return promise.cancel()

    assert world.loop.run_until_complete(cancel())
    assert world.wait(asynchronous.echo("free")) == "free"


def test_many_async_handlers_leave_the_loop_its_turns(world: World) -> None:
    before = world.scheduler.turns
    promises = [world.spawn_nowait(Async) for _ in range(2000)]
    proxies = [world.wait(promise) for promise in promises]
    answers = [proxy.echo(n) for n, proxy in enumerate(proxies)]
    world.settle()
    assert [answer.get() for answer in answers] == list(range(2000))
    assert world.scheduler.turns - before > 2 * 2000 // 256


def test_a_promise_of_a_closed_loop_is_no_harm(world: World) -> None:
    promise = Deferred(world.scheduler)
    other = asyncio.new_event_loop()

    async def awaiting() -> None:
        await promise

    task = other.create_task(awaiting())
    other.run_until_complete(asyncio.sleep(0))
    task.cancel()
    other.run_until_complete(asyncio.wait([task]))
    other.close()
    promise.set(1)
    world.settle()
    assert promise.get() == 1


def test_an_async_constructor_argument_is_passed_as_any_other(world: World) -> None:
    class Kept(Process):
        def __init__(self, promise):
            self.promise = promise

        async def see(self):
            return await self.promise

    later = Deferred(world.scheduler)
    answer = world.spawn(Kept, later).see()
    world.settle()
    later.set("seen")
    assert world.wait(answer) == "seen"


def test_stopped_while_it_awaits_it_finishes_first(world: World) -> None:
    asynchronous = world.spawn(Async)
    promise = asynchronous.span(1)
    late = asynchronous.echo(1)
    world.settle()
    world.wait(world.stop(asynchronous))
    assert promise.get() is None
    assert isinstance(late.exception(), ProcessStopped)
