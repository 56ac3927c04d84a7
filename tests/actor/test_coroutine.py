"""Coroutines: a generator as a process, in step with whoever iterates."""

import asyncio
import gc
from typing import Any

import pytest

from splice.actor.coroutine import AsyncCoroutine, Coroutine
from splice.actor.process import Process
from splice.errors import (
    Cancelled,
    CannotWait,
    CoroutineEnded,
    DeadlockError,
    ProcessStopped,
)
from splice.testing.actors import World


def count(n: int) -> Any:
    yield from range(n)
    return "end"


def echo() -> Any:
    got = None
    while True:
        got = yield got


def careful(events: list[str]) -> Any:
    try:
        while True:
            try:
                yield "value"
            except ValueError as error:
                events.append(str(error))
    finally:
        events.append("closed")


async def acount(n: int) -> Any:
    for i in range(n):
        yield i


async def aecho() -> Any:
    got = None
    while True:
        got = yield got


def coroutine(world: World, function: Any, *args: Any) -> Any:
    return world.spawn(Coroutine, function, args, {})


def acoroutine(world: World, function: Any, *args: Any) -> Any:
    return world.spawn(AsyncCoroutine, function, args, {})


def test_it_is_iterated_in_a_handler(world: World) -> None:
    coro = coroutine(world, count, 5)
    assert world.run(lambda: list(coro)) == [0, 1, 2, 3, 4]


def test_the_builtin_next_steps_it(world: World) -> None:
    coro = coroutine(world, count, 5)
    assert world.run(lambda: (next(coro), next(coro))) == (0, 1)


def test_next_is_also_a_message(world: World) -> None:
    coro = coroutine(world, count, 5)
    assert world.wait(coro.next()) == 0


def test_the_end_is_stop_iteration_with_what_it_returned(world: World) -> None:
    coro = coroutine(world, count, 0)

    def story() -> Any:
        with pytest.raises(StopIteration) as caught:
            next(coro)
        return caught.value.value

    assert world.run(story) == "end"


def test_out_of_a_promise_the_end_is_coroutine_ended(world: World) -> None:
    coro = coroutine(world, count, 0)
    for _ in range(2):
        with pytest.raises(CoroutineEnded) as caught:
            world.wait(coro.next())
        assert caught.value.value == "end"


def test_it_is_iterated_asynchronously(world: World) -> None:
    coro = coroutine(world, count, 3)

    async def story() -> Any:
        return [value async for value in coro]

    assert world.run_async(story) == [0, 1, 2]


def test_send_gives_a_value_to_the_yield_it_stands_at(world: World) -> None:
    coro = coroutine(world, echo)
    world.wait(coro.next())
    assert world.wait(coro.send(5)) == 5


def test_send_starts_a_generator_that_has_not_started(world: World) -> None:
    coro = coroutine(world, echo)
    assert world.wait(coro.send(5)) == 5


def test_throw_raises_at_the_yield(world: World) -> None:
    events: list[str] = []
    coro = coroutine(world, careful, events)
    world.wait(coro.next())
    assert world.wait(coro.throw(ValueError("thrown"))) == "value"
    assert events == ["thrown"]


def test_close_ends_the_generator(world: World) -> None:
    events: list[str] = []
    coro = coroutine(world, careful, events)
    world.wait(coro.next())
    world.wait(coro.close())
    assert events == ["closed"]
    with pytest.raises(CoroutineEnded):
        world.wait(coro.next())


def test_stopping_the_process_closes_the_generator(world: World) -> None:
    events: list[str] = []
    coro = coroutine(world, careful, events)
    world.wait(coro.next())
    world.wait(world.stop(coro))
    assert events == ["closed"]


def test_an_error_of_the_generator_is_the_answer(world: World) -> None:
    def broken() -> Any:
        yield 1
        raise KeyError("broken")

    coro = coroutine(world, broken)

    def story() -> None:
        next(coro)
        with pytest.raises(KeyError, match="broken"):
            next(coro)
        with pytest.raises(StopIteration):
            next(coro)

    world.run(story)


def test_a_generator_may_wait_for_other_processes(world: World) -> None:
    class Clerk(Process):
        def double(self, n):
            return n * 2

    clerk = world.spawn(Clerk)

    def doubled(n: int) -> Any:
        for i in range(n):
            yield clerk.double(i).get()

    coro = coroutine(world, doubled, 3)
    assert world.run(lambda: list(coro)) == [0, 2, 4]


# ---- asynchronous generators


def test_an_async_generator_is_iterated_either_way(world: World) -> None:
    first, second = acoroutine(world, acount, 3), acoroutine(world, acount, 3)

    async def story() -> Any:
        return [value async for value in second]

    assert world.run(lambda: list(first)) == [0, 1, 2]
    assert world.run_async(story) == [0, 1, 2]


def test_an_async_generator_takes_send_throw_and_close(world: World) -> None:
    coro = acoroutine(world, aecho)
    assert world.wait(coro.send(5)) == 5
    with pytest.raises(ValueError, match="thrown"):
        world.wait(coro.throw(ValueError("thrown")))
    world.wait(coro.close())
    with pytest.raises(CoroutineEnded):
        world.wait(coro.next())


@pytest.mark.parametrize("how", ["returned", "failed", "closed"])
@pytest.mark.parametrize("make", [coroutine, acoroutine])
def test_nothing_can_be_thrown_into_a_generator_that_has_ended(
    world: World, make: Any, how: str
) -> None:
    coro = make(world, count if make is coroutine else acount, 1)
    world.wait(coro.next())
    end = {
        "returned": coro.next,
        "failed": lambda: coro.throw(KeyError("thrown")),
        "closed": coro.close,
    }[how]()
    world.settle()
    assert isinstance(
        end.exception(),
        {"returned": CoroutineEnded, "failed": KeyError, "closed": type(None)}[how],
    )
    for late in coro.throw(ValueError("late")), coro.send(1), coro.next():
        with pytest.raises(CoroutineEnded):
            world.wait(late)


async def acareful(events: list[str], seconds: float = 1) -> Any:
    try:
        while True:
            yield await asyncio.sleep(0, "value")
    finally:
        events.append("closing")
        await asyncio.sleep(seconds)
        events.append("closed")


def test_stopping_waits_for_what_an_async_generator_does_last(world: World) -> None:
    events: list[str] = []
    coro = acoroutine(world, acareful, events)
    world.wait(coro.next())
    queued = coro.next()
    world.wait(world.stop(coro))
    assert events == ["closing", "closed"]
    assert isinstance(queued.exception(), ProcessStopped) or queued.get() == "value"


def test_killing_a_process_that_closes_its_async_generator_ends_it_at_once(
    world: World,
) -> None:
    events: list[str] = []
    coro = acoroutine(world, acareful, events, 1000)
    world.wait(coro.next())
    stopped = world.stop(coro)
    world.loop.advance(1)
    before = world.loop.time()
    world.kill(coro)
    world.settle()
    assert stopped.done()
    assert events == ["closing"]
    assert world.loop.time() == before


@pytest.mark.parametrize("is_async", [False, True])
def test_killing_a_coroutine_closes_its_generator_as_well(
    world: World, is_async: bool
) -> None:
    events: list[str] = []
    coro = (
        acoroutine(world, acareful, events)
        if is_async
        else coroutine(world, careful, events)
    )
    world.wait(coro.next())
    world.kill(coro)
    world.loop.advance(5)
    assert events[-1:] == ["closed"]


# ---- asking ahead


@pytest.mark.parametrize("prefetch", [1, 2, 5, 100])
def test_a_stream_gives_every_value_in_order(world: World, prefetch: int) -> None:
    coro = coroutine(world, count, 50)
    assert world.run(lambda: list(coro.stream(prefetch))) == list(range(50))


def test_a_stream_is_iterated_asynchronously(world: World) -> None:
    coro = acoroutine(world, acount, 50)

    async def story() -> Any:
        return [value async for value in coro.stream(7)]

    assert world.run_async(story) == list(range(50))


def test_a_stream_asks_ahead_no_more_than_it_was_told(world: World) -> None:
    produced: list[int] = []

    def noted() -> Any:
        for i in range(100):
            produced.append(i)
            yield i

    stream = coroutine(world, noted).stream(5)
    assert world.run(lambda: next(stream)) == 0
    assert len(produced) == 5


def test_what_a_stream_asked_for_beyond_the_end_is_no_failure_to_report(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    coro = coroutine(world, count, 3)
    world.run(lambda: list(coro.stream(10)))
    world.settle()
    gc.collect()
    assert caplog.records == []


def test_a_stream_stays_at_its_end(world: World) -> None:
    coro = coroutine(world, count, 3)

    def story() -> Any:
        stream = coro.stream(10)
        return list(stream), list(stream)

    assert world.run(story) == ([0, 1, 2], [])


async def patiently(stream: Any, seconds: float) -> Any:
    """Iterate over `stream` by waits that are too short; what was got, the waits in vain."""
    got, in_vain = [], 0
    while True:
        try:
            got.append(await asyncio.wait_for(anext(stream), seconds))
        except TimeoutError:
            in_vain += 1
        except StopAsyncIteration:
            return got, in_vain


@pytest.mark.parametrize("prefetch", [1, 3, 10])
def test_a_wait_for_a_stream_that_is_given_up_loses_no_value(
    world: World, prefetch: int
) -> None:
    stream = acoroutine(world, slowly, 6).stream(prefetch)
    got, in_vain = world.run_async(patiently, stream, 0.7)
    assert got == list(range(6))
    assert in_vain > 0


def test_a_wait_for_a_stream_that_is_refused_loses_no_value(world: World) -> None:
    stream = acoroutine(world, slowly, 3).stream(2)

    async def story() -> Any:
        with pytest.raises(CannotWait):
            next(stream)
        return [value async for value in stream]

    assert world.run_async(story) == [0, 1, 2]


def test_an_error_of_the_generator_comes_once_out_of_a_stream(world: World) -> None:
    async def cancelled() -> Any:
        yield 1
        raise Cancelled("the error of its own")

    stream = acoroutine(world, cancelled).stream(3)

    async def story() -> Any:
        first = await anext(stream)
        with pytest.raises(Cancelled, match="of its own"):
            await anext(stream)
        return first, [value async for value in stream]

    assert world.run_async(story) == (1, [])


def test_a_wait_for_a_stream_that_would_close_a_ring_leaves_it_usable(
    world: World,
) -> None:
    streams: list[Any] = []

    def selfish() -> Any:
        yield "first"
        try:
            next(streams[0])
        except DeadlockError:
            yield "refused"
        yield "last"

    streams.append(coroutine(world, selfish).stream(1))
    assert world.run(lambda: list(streams[0])) == ["first", "refused", "last"]


# ---- an end that is another's


def forwarded(other: Any) -> Any:
    while True:
        yield other.next().get()


async def aforwarded(other: Any) -> Any:
    while True:
        yield await other.next()


@pytest.mark.parametrize(
    ("make", "function"), [(coroutine, forwarded), (acoroutine, aforwarded)]
)
def test_an_end_that_comes_out_of_a_generator_is_an_error_and_not_its_own(
    world: World, make: Any, function: Any
) -> None:
    coro = make(world, function, coroutine(world, count, 1))
    assert world.wait(coro.next()) == 0
    with pytest.raises(RuntimeError, match="CoroutineEnded came out") as caught:
        world.wait(coro.next())
    assert isinstance(caught.value.__cause__, CoroutineEnded)
    with pytest.raises(CoroutineEnded):
        world.wait(coro.next())


@pytest.mark.parametrize("make", [coroutine, acoroutine])
def test_an_end_that_is_thrown_into_a_generator_is_an_error_if_it_comes_out(
    world: World, make: Any
) -> None:
    coro = make(world, echo if make is coroutine else aecho)
    world.wait(coro.next())
    with pytest.raises(RuntimeError, match="CoroutineEnded came out"):
        world.wait(coro.throw(CoroutineEnded(5)))


# ---- streams that are given up


async def slowly(n: int) -> Any:
    for i in range(n):
        await asyncio.sleep(1)
        yield i


@pytest.mark.parametrize("is_closed", [True, False])
def test_an_async_generator_that_is_at_work_outlives_its_stream(
    world: World, is_closed: bool
) -> None:
    coro = acoroutine(world, slowly, 10)

    async def story() -> Any:
        stream = coro.stream(4)
        first = await anext(stream)
        await asyncio.sleep(0.5)
        if is_closed:
            stream.close()
        del stream
        return first, [value async for value in coro]

    # what was at work is lost, and the two asked for behind it are taken back
    assert world.run_async(story) == (0, list(range(2, 10)))


def test_a_stream_asks_for_one_at_least(world: World) -> None:
    with pytest.raises(ValueError, match="at least 1 value ahead, not 0"):
        coroutine(world, count, 3).stream(0)
