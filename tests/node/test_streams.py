"""Coroutines across nodes: stepped, streamed, handed on, and cleaned up after."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from splice import Process, runtime, sync
from splice.errors import CoroutineEnded, NodeLost, NoSuchHandler, ProcessStopped
from splice.testing.simulation import Simulation


def count(n: int) -> Any:
    yield from range(n)
    return "end"


async def acount(n: int) -> Any:
    for number in range(n):
        yield number


def echo() -> Any:
    got = None
    while True:
        got = yield got


def careful(log: Any) -> Any:
    try:
        number = 0
        while True:
            try:
                yield number
            except ValueError as error:
                log.note(str(error)).get()
            number += 1
    finally:
        runtime.whereis("here").note("closed")


async def acareful(log: Any) -> Any:
    try:
        for number in range(1000):
            await asyncio.sleep(0)
            yield number
    finally:
        await asyncio.sleep(0)
        await runtime.whereis("here").note("closed")


def broken() -> Any:
    yield 1
    raise KeyError("broken")


def forwarded(other: Any) -> Any:
    while True:
        yield other.next().get()


async def aforwarded(other: Any) -> Any:
    while True:
        yield await other.next()


class Log(Process):
    def __init__(self) -> None:
        self.notes: list[Any] = []

    def note(self, what: Any) -> None:
        self.notes.append(what)

    def all(self) -> list[Any]:
        return self.notes


class Reader(Process):
    def take(self, coro: Any, n: int) -> list[Any]:
        return [next(coro) for _ in range(n)]

    def stream(self, coro: Any, prefetch: int) -> list[Any]:
        return list(coro.stream(prefetch))

    def hold(self, coro: Any) -> None:
        stream = coro.stream(8)
        next(stream)
        runtime.sleep(1000)

    async def aiterate(self, coro: Any) -> list[Any]:
        return [value async for value in coro]

    async def astream(self, coro: Any) -> list[Any]:
        return [value async for value in coro.stream(5)]

    async def hurry(self, coro: Any) -> tuple[list[Any], int]:
        stream, got, in_vain = coro.stream(3), [], 0
        while True:
            try:
                got.append(await asyncio.wait_for(anext(stream), 0.7))
            except TimeoutError:
                in_vain += 1
            except StopAsyncIteration:
                return got, in_vain

    def server(self, function: Any, *args: Any) -> Any:
        return runtime.spawn(function, *args)


class Far:
    """Two or three nodes; scenarios run on the first, coroutines live on the second."""

    def __init__(self) -> None:
        self.sim = Simulation(seed=2, delay=0.01)
        self.one, self.two, self.three = (self.sim.node() for _ in range(3))

    def run(self, scenario: Any) -> Any:
        return self.sim.run(self.one, scenario)

    def coroutine(self, function: Any, *args: Any) -> Any:
        return runtime.spawn(function, *args, sp_dest=self.two.address)

    def log(self) -> Any:
        return runtime.spawn(Log, sp_dest=self.two.address, sp_id="here")


@pytest.fixture
def far() -> Iterator[Far]:
    far = Far()
    yield far
    far.sim.close()


def test_a_far_generator_is_iterated(far: Far) -> None:
    assert far.run(lambda: list(far.coroutine(count, 5))) == [0, 1, 2, 3, 4]


def test_a_far_generator_is_iterated_and_streamed_asynchronously(far: Far) -> None:
    def scenario() -> Any:
        reader = runtime.spawn(Reader)
        return (
            sync(reader.aiterate(far.coroutine(count, 5))),
            sync(reader.astream(far.coroutine(count, 12))),
        )

    assert far.run(scenario) == ([0, 1, 2, 3, 4], list(range(12)))


def test_the_end_carries_what_the_far_generator_returned(far: Far) -> None:
    def scenario() -> Any:
        coro = far.coroutine(count, 1)
        assert next(coro) == 0
        with pytest.raises(StopIteration) as stop:
            next(coro)
        with pytest.raises(CoroutineEnded) as end:
            coro.next().get()
        return stop.value.value, end.value.value

    assert far.run(scenario) == ("end", "end")


def test_send_throw_and_close_travel(far: Far) -> None:
    def scenario() -> Any:
        log = far.log()
        echoing, coro = far.coroutine(echo), far.coroutine(careful, log)
        sent = [echoing.send(number).get() for number in range(3)]
        stepped = [next(coro), sync(coro.throw(ValueError("thrown"))), next(coro)]
        sync(coro.close())
        return sent, stepped, sync(log.all())

    assert far.run(scenario) == ([0, 1, 2], [0, 1, 2], ["thrown", "closed"])


@pytest.mark.parametrize("function", [count, acount])
def test_nothing_can_be_thrown_into_a_far_generator_that_has_ended(
    far: Far, function: Any
) -> None:
    def scenario() -> Any:
        with far.coroutine(function, 1) as coro:
            list(coro)
            return type(coro.throw(ValueError("late")).exception())

    assert far.run(scenario) is CoroutineEnded


def test_an_error_of_a_far_generator_comes_once_and_then_the_end(far: Far) -> None:
    def scenario() -> Any:
        stream = far.coroutine(broken).stream(10)
        first = next(stream)
        with pytest.raises(KeyError, match="broken"):
            next(stream)
        return first, list(stream)

    assert far.run(scenario) == (1, [])


@pytest.mark.parametrize("where", ["near", "far"])
def test_a_coroutine_is_iterated_by_its_url(far: Far, where: str) -> None:
    def scenario() -> Any:
        node = far.one if where == "near" else far.two
        for name in "first", "second":
            runtime.spawn(count, 5, sp_id=name, sp_dest=node.address)
        first, second = (
            runtime.connect(f"{node.address}/{name}") for name in ("first", "second")
        )
        reader = runtime.spawn(Reader)
        return next(first), list(first), sync(reader.aiterate(second))

    assert far.run(scenario) == (0, [1, 2, 3, 4], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("where", ["near", "far"])
def test_a_process_that_is_no_coroutine_says_so_when_it_is_iterated(
    far: Far, where: str
) -> None:
    def scenario() -> Any:
        node = far.one if where == "near" else far.two
        runtime.spawn(Log, sp_id="log", sp_dest=node.address)
        with pytest.raises(NoSuchHandler, match="Log has no handler 'next'"):
            list(runtime.connect(f"{node.address}/log"))

    far.run(scenario)


@pytest.mark.parametrize("function", [forwarded, aforwarded])
def test_an_end_that_comes_out_of_a_far_generator_is_an_error_and_not_its_own(
    far: Far, function: Any
) -> None:
    def scenario() -> Any:
        inner = runtime.spawn(count, 1, sp_dest=far.three.address)
        with far.coroutine(function, inner) as coro:
            stream = coro.stream(3)
            first = next(stream)
            with pytest.raises(RuntimeError, match="CoroutineEnded came out"):
                next(stream)
            return first, list(stream)

    assert far.run(scenario) == (0, [])


@pytest.mark.parametrize("prefetch", [1, 3, 200])
def test_a_far_stream_gives_every_value_in_order(far: Far, prefetch: int) -> None:
    assert far.run(lambda: list(far.coroutine(count, 100).stream(prefetch))) == list(
        range(100)
    )


def test_a_stream_asks_ahead_and_saves_the_way(far: Far) -> None:
    def scenario() -> Any:
        clock = runtime.node.loop.time
        plain, ahead = far.coroutine(count, 64), far.coroutine(count, 64)
        started = clock()
        list(plain)
        between = clock()
        list(ahead.stream(32))
        return (between - started) / (clock() - between)

    # time is virtual: nothing costs any but the way there and back
    assert far.run(scenario) > 10


def test_a_stream_runs_the_far_generator_no_further_than_its_credit(far: Far) -> None:
    def scenario() -> Any:
        coro = far.coroutine(count, 1000)
        stream = coro.stream(5)
        next(stream)
        runtime.sleep(1)
        # five were asked for: the next that anybody gets is the sixth
        return next(coro)

    assert far.run(scenario) == 5


def test_a_reference_is_good_on_a_third_node(far: Far) -> None:
    def scenario() -> Any:
        coro = far.coroutine(count, 10)
        reader = runtime.spawn(Reader, sp_dest=far.three.address)
        return next(coro), sync(reader.take(coro, 3)), list(coro)

    assert far.run(scenario) == (0, [1, 2, 3], [4, 5, 6, 7, 8, 9])


def test_a_third_node_streams(far: Far) -> None:
    def scenario() -> Any:
        reader = runtime.spawn(Reader, sp_dest=far.three.address)
        return sync(reader.stream(far.coroutine(count, 50), 8))

    assert far.run(scenario) == list(range(50))


@pytest.mark.parametrize("function", [careful, acareful])
def test_stopping_a_far_coroutine_runs_its_finally(far: Far, function: Any) -> None:
    def scenario() -> Any:
        log = far.log()
        coro = far.coroutine(function, log)
        next(coro)
        runtime.stop(coro)
        return sync(log.all())

    assert far.run(scenario) == ["closed"]


@pytest.mark.parametrize("function", [careful, acareful])
def test_a_coroutine_ends_when_the_node_that_had_it_made_is_lost(
    far: Far, function: Any
) -> None:
    def scenario() -> Any:
        log = far.log()
        two = far.two.address
        maker = runtime.spawn(Maker, sp_dest=far.three.address)
        coro = sync(maker.make(function, log, two))
        far.sim.kill(far.three)
        runtime.sleep(60)
        return sync(log.all()), type(coro.next().exception())

    assert far.run(scenario) == (["closed"], ProcessStopped)


class Maker(Process):
    def make(self, function: Any, log: Any, where: str) -> Any:
        self.coro = runtime.spawn(function, log, sp_dest=where)
        next(self.coro)
        return self.coro


def test_a_coroutine_ends_when_its_last_consumer_is_lost_in_mid_stream(
    far: Far,
) -> None:
    def scenario() -> Any:
        log = far.log()
        server = runtime.spawn(Reader, sp_dest=far.two.address)
        coro = sync(server.server(careful, log))
        reader = runtime.spawn(Reader, sp_dest=far.three.address)
        lost = reader.hold(coro)
        runtime.sleep(1)
        far.sim.kill(far.three)
        runtime.sleep(60)
        return type(lost.exception()), sync(log.all())

    assert far.run(scenario) == (NodeLost, ["closed"])


def test_a_coroutine_lives_on_while_another_consumer_does(far: Far) -> None:
    def scenario() -> Any:
        log = far.log()
        coro = far.coroutine(careful, log)
        reader = runtime.spawn(Reader, sp_dest=far.three.address)
        sync(reader.take(coro, 3))
        far.sim.kill(far.three)
        runtime.sleep(60)
        return next(coro), sync(log.all())

    assert far.run(scenario) == (3, [])


def test_a_coroutine_that_its_own_node_draws_from_lives_on(far: Far) -> None:
    def scenario() -> Any:
        log = far.log()
        near = runtime.spawn(Reader, sp_dest=far.two.address)
        coro = sync(near.server(careful, log))
        sync(near.take(coro, 1))
        reader = runtime.spawn(Reader, sp_dest=far.three.address)
        sync(reader.take(coro, 1))
        far.sim.kill(far.three)
        runtime.sleep(60)
        return sync(near.take(coro, 1)), sync(log.all())

    assert far.run(scenario) == ([2], [])


def test_a_consumer_that_goes_away_takes_back_what_it_asked_ahead(far: Far) -> None:
    def slow() -> Any:
        for number in range(1000):
            runtime.sleep(1)
            yield number

    def scenario() -> Any:
        coro = far.coroutine(slow)
        for value in coro.stream(30):
            if value == 2:
                break
        # the next that anybody gets: what was at work, and not the thirty asked ahead
        return next(coro)

    assert far.run(scenario) == 4


def test_a_wait_for_a_far_stream_that_is_given_up_loses_no_value(far: Far) -> None:
    def slow() -> Any:
        for number in range(6):
            runtime.sleep(1)
            yield number

    def scenario() -> Any:
        return sync(runtime.spawn(Reader).hurry(far.coroutine(slow)))

    got, in_vain = far.run(scenario)
    assert got == list(range(6))
    assert in_vain > 0


def test_a_far_async_generator_that_is_at_work_outlives_its_stream(far: Far) -> None:
    async def slow() -> Any:
        for number in range(10):
            await asyncio.sleep(1)
            yield number

    def scenario() -> Any:
        coro = far.coroutine(slow)
        for value in coro.stream(5):
            if value == 2:
                break
        with coro:
            return list(coro)

    assert far.run(scenario) == [4, 5, 6, 7, 8, 9]


def test_what_a_dropped_or_lost_stream_asked_ahead_is_no_failure_to_report(
    far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    def scenario() -> Any:
        stream = far.coroutine(count, 1000).stream(10)
        next(stream)
        far.sim.kill(far.two)
        with pytest.raises(NodeLost):
            list(stream)

    gc.collect()  # what other tests left is not ours to report
    caplog.clear()
    far.run(scenario)
    gc.collect()
    assert [r.getMessage() for r in caplog.records if "nobody" in r.getMessage()] == []


# ---- a real node


@pytest.fixture
def there() -> Iterator[str]:
    (address,) = runtime.fork(1)
    yield address
    runtime.shutdown(remote_node=address)


def test_a_forked_node_streams_to_a_thread(there: str) -> None:
    coro = runtime.spawn(count, 1000, sp_dest=there)
    assert next(coro) == 0
    assert list(coro.stream(50)) == list(range(1, 1000))
    assert coro.next().exception().value == "end"


PROGRAM = """
from splice import runtime

def count():
    number = 0
    while True:
        yield number
        number += 1

stream = runtime.spawn(count, sp_dest={dest}).stream()
print(next(stream), next(stream))
"""


@pytest.mark.parametrize(
    "dest",
    ["None", pytest.param("runtime.fork(1)[0]", marks=pytest.mark.system)],
    ids=["near", "far"],
)
def test_a_stream_that_a_program_has_at_its_end_is_let_go_in_silence(dest: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(dest=dest)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 1\n", "")
