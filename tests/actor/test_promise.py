"""Promises: settled once, waited for in every way, failures shown and never lost."""

import asyncio
import builtins
import gc
import logging
import pickle
import traceback
from typing import Any

import pytest

from splice.actor.combine import as_completed, gather, sync, syncmany
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import tell
from splice.actor.waiters import DEEPEST
from splice.errors import Cancelled, CannotWait, ProcessStopped, TimeoutError
from splice.testing.actors import World


class Clerk(Process):
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gate: Any = None

    def echo(self, value):
        self.seen.append(value)
        return value

    def fail(self, text):
        raise ValueError(text)

    def hold(self):
        self.gate = Deferred()
        return self.gate

    def wait_for(self, promise):
        return promise.get()

    def open(self, value=None):
        self.gate.set(value)

    def what(self):
        return list(self.seen)


class Sleeper(Process):
    async def nap(self, seconds):
        await asyncio.sleep(seconds)
        return "rested"


# ---- waiting


def test_get_returns_the_answer_in_a_handler(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.run(lambda: clerk.echo(1).get()) == 1


def test_result_is_another_name_of_get(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.run(lambda: clerk.echo(1).result(timeout=1)) == 1


def test_sync_is_get(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.run(lambda: sync(clerk.echo(1))) == 1


def test_get_raises_the_error_as_its_own_type(world: World) -> None:
    clerk = world.spawn(Clerk)
    with pytest.raises(ValueError, match=r"^broken$"):
        world.run(lambda: clerk.fail("broken").get())


def test_exception_returns_the_error_and_none_for_a_value(world: World) -> None:
    clerk = world.spawn(Clerk)

    def story() -> Any:
        return clerk.fail("broken").exception(), clerk.echo(1).exception()

    error, none = world.run(story)
    assert (type(error), str(error), none) == (ValueError, "broken", None)


def test_done_tells_whether_it_is_settled(world: World) -> None:
    clerk = world.spawn(Clerk)
    promise = clerk.echo(1)
    before = promise.done()
    world.wait(promise)
    assert (before, promise.done()) == (False, True)


def test_a_settled_promise_can_be_read_anywhere(world: World) -> None:
    promise = world.spawn(Clerk).echo(1)
    world.settle()
    assert promise.get() == 1


def test_a_wait_that_takes_too_long_raises_and_leaves_the_promise_usable(
    world: World,
) -> None:
    sleeper = world.spawn(Sleeper)

    def story() -> Any:
        promise = sleeper.nap(10)
        with pytest.raises(
            TimeoutError, match=r"no answer from Sleeper \d+\.nap within 3"
        ):
            promise.get(timeout=3)
        return promise.get(timeout=20)

    assert world.run(story) == "rested"


def test_an_error_of_many_promises_names_the_first_of_them(world: World) -> None:
    sleeper, clerk = world.spawn(Sleeper), world.spawn(Clerk)

    def story() -> Any:
        naps = [sleeper.nap(10), sleeper.nap(10)]
        with pytest.raises(TimeoutError, match=r"Sleeper \d+\.nap and 1 more within 3"):
            gather(naps).get(timeout=3)
        with pytest.raises(TimeoutError, match=r"from Sleeper \d+\.nap within 3"):
            gather(naps[:1]).get(timeout=3)
        with pytest.raises(TimeoutError, match=r"no answer from a Deferred within 3"):
            Deferred().get(timeout=3)
        return clerk.echo(1).get()

    assert world.run(story) == 1


def test_asyncio_wait_is_told_what_to_wait_for_instead(world: World) -> None:
    clerk = world.spawn(Clerk)
    promise = clerk.echo(1)

    async def wait() -> Any:
        with pytest.raises(TypeError, match=r"asyncio\.ensure_future\(promise\)"):
            await asyncio.wait([promise])
        done, _ = await asyncio.wait([asyncio.ensure_future(promise)])
        return [future.result() for future in done]

    world.settle()
    assert asyncio.run(wait()) == [1]


def test_a_timeout_is_also_the_built_in_one(world: World) -> None:
    sleeper = world.spawn(Sleeper)

    def story() -> None:
        with pytest.raises(builtins.TimeoutError):
            sleeper.nap(10).get(timeout=0)

    world.run(story)


def test_a_wait_with_a_timeout_ends_as_soon_as_the_answer_is_there(
    world: World,
) -> None:
    sleeper = world.spawn(Sleeper)
    started = world.loop.time()
    world.run(lambda: sleeper.nap(2).get(timeout=50))
    assert world.loop.time() - started == pytest.approx(2)


def test_waiting_on_the_loop_outside_a_handler_raises_and_says_what_to_do(
    world: World,
) -> None:
    promise = world.spawn(Clerk).echo(1)
    with pytest.raises(CannotWait, match=r"await the promise, or .* then\(\)"):
        promise.get()
    world.wait(promise)


def test_an_async_handler_may_not_wait_but_await(world: World) -> None:
    clerk = world.spawn(Clerk)

    async def story() -> Any:
        with pytest.raises(CannotWait):
            clerk.echo(1).get()
        return await clerk.echo(2)

    assert world.run_async(story) == 2


def test_a_plain_handler_may_not_await_but_wait(world: World) -> None:
    clerk = world.spawn(Clerk)

    def story() -> None:
        promise = clerk.echo(1)
        with pytest.raises(CannotWait, match="cannot await; use"):
            next(promise.__await__())
        promise.get()

    world.run(story)


def test_many_awaiters_get_the_same_answer(world: World) -> None:
    clerk = world.spawn(Clerk)

    async def story() -> Any:
        promise = clerk.echo(7)

        async def one() -> Any:
            return await promise

        return await asyncio.gather(*(one() for _ in range(5)))

    assert world.run_async(story) == [7] * 5


def test_an_await_that_is_cancelled_leaves_no_waiter_behind(world: World) -> None:
    clerk = world.spawn(Clerk)

    async def story() -> Any:
        promise = clerk.hold()
        for _ in range(10):
            with pytest.raises(builtins.TimeoutError):
                await asyncio.wait_for(asyncio.ensure_future(_awaited(promise)), 1)
        left = promise.waiter
        clerk.open("at last")
        return left, await promise

    left, answer = world.run_async(story)
    assert (type(left).__name__, answer) == ("NoneType", "at last")


async def _awaited(promise: Promise) -> Any:
    return await promise


def test_as_future_has_the_outcome(world: World) -> None:
    clerk = world.spawn(Clerk)
    good, bad = clerk.echo(1).as_future(), clerk.fail("no").as_future()
    world.settle()
    assert (good.result(0), str(bad.exception(0))) == (1, "no")


# ---- many


def test_syncmany_answers_in_order(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.run(lambda: syncmany(clerk.echo(i) for i in range(5))) == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_syncmany_waits_for_all_and_raises_the_first_failure_in_order(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    clerk = world.spawn(Clerk)

    def story() -> Any:
        promises = [clerk.echo(1), clerk.fail("a"), clerk.fail("b"), clerk.echo(2)]
        with pytest.raises(ValueError, match="a"):
            syncmany(promises)
        return [promise.done() for promise in promises]

    assert world.run(story) == [True] * 4
    gc.collect()
    assert caplog.records == []


def test_gather_is_a_promise_of_the_list(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.wait(gather(clerk.echo(i) for i in range(4))) == [0, 1, 2, 3]


def test_gather_fails_with_the_first_failure_in_order_when_all_are_there(
    world: World,
) -> None:
    clerk = world.spawn(Clerk)
    last = clerk.echo("last")
    with pytest.raises(ValueError, match="one"):
        world.wait(gather([clerk.fail("one"), clerk.fail("two"), last]))
    assert last.done()


def test_gather_of_nothing_is_an_empty_list_everywhere(world: World) -> None:
    assert gather([]).get() == []
    assert world.run(lambda: gather([]).get()) == []
    assert gather([]).then(len).get() == 0


def test_gather_keeps_no_thrown_away_deferred_alive(world: World) -> None:
    def story() -> None:
        with pytest.raises(Cancelled, match="thrown away"):
            gather([Deferred(), Deferred()]).get()

    world.run(story)


def test_as_completed_gives_each_promise_as_it_is_settled(world: World) -> None:
    sleepers = [world.spawn(Sleeper) for _ in range(3)]

    def story() -> list[int]:
        naps = [s.nap(n) for s, n in zip(sleepers, (3, 1, 2), strict=True)]
        return [naps.index(promise) for promise in as_completed(naps)]

    assert world.run(story) == [1, 2, 0]


def test_as_completed_can_be_iterated_asynchronously(world: World) -> None:
    sleepers = [world.spawn(Sleeper) for _ in range(3)]

    async def story() -> list[int]:
        naps = [s.nap(n) for s, n in zip(sleepers, (3, 1, 2), strict=True)]
        return [naps.index(promise) async for promise in as_completed(naps)]

    assert world.run_async(story) == [1, 2, 0]


def test_as_completed_says_how_many_were_too_late(world: World) -> None:
    sleepers = [world.spawn(Sleeper) for _ in range(3)]

    def story() -> None:
        naps = [s.nap(n) for s, n in zip(sleepers, (30, 1, 20), strict=True)]
        coming = as_completed(naps, timeout=5)
        next(coming)
        with pytest.raises(TimeoutError, match=r"2 of 3 promises .* within 5 s"):
            next(coming)

    world.run(story)


def test_as_completed_says_so_asynchronously_too(world: World) -> None:
    sleeper = world.spawn(Sleeper)

    async def story() -> None:
        with pytest.raises(TimeoutError, match="1 of 1"):
            [promise async for promise in as_completed([sleeper.nap(9)], timeout=5)]

    world.run_async(story)


def left_waiting(promise: Promise) -> bool:
    return promise.waiter is not None


def test_as_completed_that_is_dropped_early_leaves_no_waiter_behind(
    world: World,
) -> None:
    clerk, sleeper = world.spawn(Clerk), world.spawn(Sleeper)

    def story() -> list[bool]:
        stop, waits = clerk.hold(), []
        for _ in range(3):
            for done in as_completed([stop, sleeper.nap(1)]):
                assert done is not stop
                break
            sleeper.nap(0).get()
            waits.append(left_waiting(stop))
        return waits

    assert world.run(story) == [False] * 3


def test_as_completed_that_is_too_late_leaves_no_waiter_behind(world: World) -> None:
    clerk, sleeper = world.spawn(Clerk), world.spawn(Sleeper)

    def story() -> bool:
        stop = clerk.hold()
        with pytest.raises(TimeoutError):
            list(as_completed([stop], timeout=1))
        sleeper.nap(0).get()
        return left_waiting(stop)

    assert not world.run(story)


def test_as_completed_that_is_dropped_leaves_what_others_wait_for(world: World) -> None:
    clerk, sleeper = world.spawn(Clerk), world.spawn(Sleeper)

    def story() -> list[bool]:
        stop = clerk.hold()
        kept = as_completed([stop])
        next(iter(as_completed([stop, sleeper.nap(1)])))
        clerk.open()
        return [done is stop for done in kept]

    assert world.run(story) == [True]


def test_as_completed_of_nothing_is_empty() -> None:
    assert list(as_completed([])) == []


# ---- callbacks


def test_then_hands_the_answer_on(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.wait(clerk.echo(20).then(lambda v: v + 1)) == 21


def test_then_may_return_a_promise(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.wait(clerk.echo(1).then(lambda v: clerk.echo(v + 1))) == 2


def test_an_error_passes_then_by(world: World) -> None:
    clerk = world.spawn(Clerk)
    called: list[Any] = []
    with pytest.raises(ValueError, match="no"):
        world.wait(clerk.fail("no").then(called.append))
    assert called == []


def test_what_a_then_raises_is_its_outcome(world: World) -> None:
    clerk = world.spawn(Clerk)
    with pytest.raises(ZeroDivisionError):
        world.wait(clerk.echo(0).then(lambda v: 1 / v))


def test_a_then_may_not_wait(world: World) -> None:
    clerk = world.spawn(Clerk)

    def story() -> None:
        clerk.echo(1).then(lambda v: clerk.echo(2).get()).get()

    with pytest.raises(CannotWait):
        world.run(story)


def test_a_then_on_a_settled_promise_may_not_wait_either(world: World) -> None:
    clerk = world.spawn(Clerk)

    def story() -> None:
        promise = clerk.echo(1)
        promise.get()
        promise.then(lambda v: clerk.echo(2).get()).get()

    with pytest.raises(CannotWait):
        world.run(story)


def test_a_cancelled_then_is_not_called(world: World) -> None:
    clerk = world.spawn(Clerk)
    called: list[Any] = []
    follower = clerk.echo(1).then(called.append)
    assert follower.cancel()
    world.settle()
    assert called == []


LONG = 20_000


def longer(chain: str, promise: Promise) -> Promise:
    if chain == "then":
        return promise.then(lambda value: value)
    if chain == "gather":
        return gather([promise]).then(lambda values: values[0])
    following = Deferred(promise.scheduler)
    if chain == "set":
        following.set(promise)
    else:
        promise.add_done_callback(lambda settled: pass_on(settled, following))
    return following


def pass_on(settled: Promise, following: Deferred) -> None:
    error = settled.exception()
    if error is None:
        following.set(settled.get())
    else:
        following.fail(error)


@pytest.mark.parametrize("chain", ["then", "gather", "set", "callback"])
@pytest.mark.parametrize("fails", [False, True], ids=["a value", "an error"])
def test_a_chain_of_promises_may_be_as_long_as_one_likes(
    world: World, chain: str, fails: bool
) -> None:
    clerk = world.spawn(Clerk)
    last = held = clerk.hold()
    for _ in range(LONG):
        last = longer(chain, last)
    world.settle()
    gate = world.cell(clerk).object.gate
    if fails:
        gate.fail(ValueError("passed on"))
        with pytest.raises(ValueError, match="passed on"):
            world.wait(last)
        held.exception()
    else:
        gate.set("passed on")
        assert world.wait(last) == "passed on"


def test_a_long_chain_can_be_waited_for_by_a_handler_and_thrown_away(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    clerk, waiter = world.spawn(Clerk), world.spawn(Clerk)
    last = clerk.hold()
    for _ in range(LONG):
        last = last.then(str)
    waiting = waiter.wait_for(last)
    world.settle()
    assert not waiting.done()
    del last
    world.scheduler.kill(world.cell(waiter))
    world.wait(world.stop(clerk))
    assert isinstance(waiting.exception(), ProcessStopped)
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("before", range(DEEPEST - 3, DEEPEST + 3))
def test_what_is_gathered_at_the_end_of_a_chain_is_settled_once(
    world: World, before: int
) -> None:
    first = last = Deferred(world.scheduler)
    for _ in range(before):
        last = last.then(lambda value: value)
    gathered = gather([last])
    told: list[Any] = []
    gathered.add_done_callback(lambda promise: told.append(promise.exception()))
    last.add_done_callback(lambda _: gathered.cancel_nowait())
    first.set(1)
    world.settle()
    [error] = told
    assert gathered.exception() is error


def test_a_done_callback_gets_the_promise(world: World) -> None:
    promise = world.spawn(Clerk).echo(5)
    seen: list[Any] = []
    promise.add_done_callback(lambda p: seen.append((p is promise, p.get())))
    world.settle()
    assert seen == [(True, 5)]


@pytest.mark.parametrize("error", [RuntimeError("oh"), SystemExit(3)])
def test_a_failing_callback_is_logged_and_harms_nobody(
    world: World, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    clerk = world.spawn(Clerk)

    def bad(promise: Promise) -> None:
        raise error

    promise = clerk.echo(1)
    promise.add_done_callback(bad)
    world.settle()
    assert (world.wait(clerk.echo(2)), "done callback" in caplog.text) == (2, True)


# ---- cancelling


def test_a_message_cancelled_in_the_mailbox_is_never_handled(world: World) -> None:
    clerk = world.spawn(Clerk)
    kept, dropped, last = clerk.echo(1), clerk.echo(2), clerk.echo(3)
    assert dropped.cancel()
    assert (world.wait(clerk.what()), kept.done(), last.done()) == ([1, 3], True, True)


def test_waiting_for_a_cancelled_promise_raises_cancelled(world: World) -> None:
    promise = world.spawn(Clerk).echo(1)
    promise.cancel()
    with pytest.raises(Cancelled, match=r"Clerk 1\.echo was cancelled"):
        promise.get()


def test_cancelling_comes_too_late_for_an_answered_message(world: World) -> None:
    promise = world.spawn(Clerk).echo(1)
    world.settle()
    assert (promise.cancel(), promise.get()) == (False, 1)


def test_cancelling_comes_too_late_for_a_handler_at_work(world: World) -> None:
    clerk, other = world.spawn(Clerk), world.spawn(Clerk)
    gate = other.hold()
    waiting = clerk.wait_for(gate)
    world.settle()
    assert not waiting.cancel()
    other.open("open")
    assert world.wait(waiting) == "open"


def test_cancelling_ends_an_async_handler_at_work(world: World) -> None:
    sleeper = world.spawn(Sleeper)
    first, second = sleeper.nap(1000), sleeper.nap(1)
    world.settle()
    started = world.loop.time()
    assert first.cancel()
    assert world.wait(second) == "rested"
    assert world.loop.time() - started == pytest.approx(1)


def test_a_cancelled_spawn_leaves_no_process(world: World) -> None:
    made = world.spawn_nowait(Clerk, name="clerk")
    assert made.cancel()
    world.settle()
    assert len(world.scheduler.directory) == 0


# ---- failures


def test_a_failure_that_nobody_looks_at_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    promise = world.spawn(Clerk).fail("unseen")
    world.settle()
    del promise
    gc.collect()
    assert [r.getMessage() for r in caplog.records] == [
        "nobody looked at the failure of Clerk 1.fail"
    ]


def test_a_failure_that_somebody_looked_at_is_not_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    promise = world.spawn(Clerk).fail("seen")
    world.settle()
    assert promise.exception() is not None
    del promise
    gc.collect()
    assert caplog.records == []


def test_a_cancelled_promise_is_not_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    promise = world.spawn(Clerk).echo(1)
    promise.cancel()
    world.settle()
    del promise
    gc.collect()
    assert caplog.records == []


def test_a_failed_tell_is_logged_with_its_traceback(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    clerk = world.spawn(Clerk)
    tell(clerk.fail, "untold")
    world.settle()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "Clerk 1.fail failed, and nobody asked"
    assert record.exc_info


def test_the_traceback_begins_in_the_handler_and_ends_where_it_was_waited_for(
    world: World,
) -> None:
    clerk = world.spawn(Clerk)
    promise = clerk.fail("broken")
    world.settle()
    with pytest.raises(ValueError, match="broken") as caught:
        promise.get()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "fail"
    assert "run" not in frames


def test_a_promise_cannot_be_pickled_and_says_what_can(world: World) -> None:
    promise = world.spawn(Clerk).echo(1)
    with pytest.raises(TypeError, match="send its answer"):
        pickle.dumps(promise)
    world.settle()


def test_the_repr_shows_the_outcome(world: World) -> None:
    clerk = world.spawn(Clerk)
    good, bad = clerk.echo(1), clerk.fail("no")
    pending = repr(good)
    world.settle()
    assert (pending, repr(good)) == ("<Promise pending>", "<Promise value 1>")
    assert repr(bad) == "<Promise error ValueError('no')>"
    bad.exception()


def test_a_callback_of_a_future_ends_nothing_and_cannot_wait(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    clerk = world.spawn(Clerk)
    waited: list[type] = []

    def leave(future: Any) -> None:
        raise SystemExit("in a callback")

    def wait(future: Any) -> None:
        try:
            clerk.echo(2).get()
        except CannotWait as error:
            waited.append(type(error))

    for callback in (leave, wait):
        promise = clerk.echo(1)
        future = promise.as_future()
        future.add_done_callback(callback)
        assert world.wait(promise) == 1
    assert world.wait(clerk.echo(3)) == 3
    assert waited == [CannotWait]
    (record,) = caplog.records
    assert record.getMessage() == "a callback of a future of Clerk 1.echo failed"
