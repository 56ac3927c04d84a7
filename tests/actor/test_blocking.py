"""Blocking handlers: on threads, still one message at a time, and never out of threads."""

import asyncio
import gc
import itertools
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from tests.actor.conftest import House

from splice import runtime
from splice.actor.blocking import Threads
from splice.actor.childspec import child
from splice.actor.combine import as_completed, syncmany
from splice.actor.context import current_cell, slot_released
from splice.actor.coroutine import Coroutine
from splice.actor.deferred import Deferred
from splice.actor.handlers import BlockingHandler, blocking
from splice.actor.info import count_mail
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.supervisor import Supervisor
from splice.errors import (
    Exit,
    ProcessKilled,
    ProcessStopped,
    SpliceError,
)
from splice.testing.actors import Actor, World


class Blocker(Process):
    def __init__(self):
        self.events = []

    @blocking
    def thread(self):
        return threading.get_ident()

    @blocking
    def wait(self, event):
        assert event.wait(30)
        return "waited"

    @blocking
    def fail(self, error):
        raise error

    @blocking
    def relay(self, *others):
        return others[0].relay(*others[1:]).get() if others else "end"

    @blocking
    def span(self, n, others):
        self.events.append(("start", n))
        others.wait(0.001)
        self.events.append(("end", n))

    @blocking
    def ask(self, actor):
        return actor.run(lambda: "asked").get()

    @blocking
    def me(self):
        return current_cell() is self._sp_cell

    @blocking
    def keywords(self, a, *, b):
        return a, b

    def plain(self):
        return list(self.events)


@pytest.fixture
def house() -> Iterator[House]:
    with House(blocking_threads=2) as house:
        yield house


def test_a_blocking_handler_runs_on_a_thread_of_its_own(house: House) -> None:
    there = house.spawn(Blocker).thread().get(30)
    assert there not in (threading.get_ident(), house.world.scheduler.thread)


def test_the_node_serves_others_while_a_handler_blocks(house: House) -> None:
    event = threading.Event()
    blocked = house.spawn(Blocker).wait(event)
    assert house.spawn(Blocker).plain().get(30) == []
    event.set()
    assert blocked.get(30) == "waited"


def test_a_process_is_one_at_a_time_also_when_it_blocks(house: House) -> None:
    blocker, never = house.spawn(Blocker), threading.Event()
    syncmany([blocker.span(n, never) for n in range(5)], timeout=30)
    events = blocker.plain().get(30)
    assert events == [(what, n) for n in range(5) for what in ("start", "end")]


def test_errors_and_ends_are_those_of_any_handler(house: House) -> None:
    blocker = house.spawn(Blocker)
    with pytest.raises(KeyError, match="broken"):
        blocker.fail(KeyError("broken")).get(30)
    assert blocker.fail(Exit("bored", answer="bye")).get(30) == "bye"
    with pytest.raises(ProcessStopped) as caught:
        blocker.plain().get(30)
    assert caught.value.reason == "bored"


def test_system_exit_on_a_thread_ends_the_process(house: House) -> None:
    with pytest.raises(ProcessStopped) as caught:
        house.spawn(Blocker).fail(SystemExit(1)).get(30)
    assert isinstance(caught.value.reason, SystemExit)


def test_arguments_given_by_name_arrive(house: House) -> None:
    assert house.spawn(Blocker).keywords(1, b=2).get(30) == (1, 2)


def test_a_blocking_handler_knows_its_process(house: House) -> None:
    assert house.spawn(Blocker).me().get(30)


def test_handlers_that_wait_for_each_other_never_use_up_the_threads(
    house: House,
) -> None:
    chain = [house.spawn(Blocker) for _ in range(20)]
    assert chain[0].relay(*chain[1:]).get(30) == "end"


class Awaiter(Process):
    """Asks others on a loop of its own."""

    @blocking
    def relay(self, *others):
        async def main():
            return await others[0].relay(*others[1:])

        return asyncio.run(main()) if others else "end"

    @blocking
    def relay_twice(self, leaf, *others):
        async def main():
            waits = [wait(leaf.me()), wait(others[0].relay_twice(leaf, *others[1:]))]
            return (await asyncio.gather(*waits))[1]

        async def wait(promise):
            return await promise

        return asyncio.run(main()) if others else "end"

    @blocking
    def leave_waits(self, gate):
        """End with waits that go on, of tasks that nobody ends."""

        async def wait():
            await gate

        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(wait()) for _ in range(3)]
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        return tasks


@pytest.mark.parametrize("how", ["relay", "relay_twice"])
def test_handlers_that_await_each_other_never_use_up_the_threads(
    house: House, how: str
) -> None:
    leaf = [house.spawn(Blocker)] if how == "relay_twice" else []
    chain = [house.spawn(Awaiter) for _ in range(20)]
    assert getattr(chain[0], how)(*leaf, *chain[1:]).get(30) == "end"


def most_at_once(house: House) -> int:
    """Have many handlers run; how many of them did at once, at most."""
    lock, running, most, event = threading.Lock(), [0], [0], threading.Event()

    class Greedy(Process):
        @blocking
        def run(self):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            event.wait(0.005)
            with lock:
                running[0] -= 1

    greedy = [house.spawn(Greedy) for _ in range(10)]
    syncmany([g.run() for g in greedy], timeout=30)
    return most[0]


def test_several_waits_at_once_give_up_one_place(house: House) -> None:
    leaf, others = house.spawn(Blocker), [house.spawn(Awaiter) for _ in range(5)]
    assert others[0].relay_twice(leaf, *others[1:]).get(30) == "end"
    assert most_at_once(house) == 2


def test_a_handler_that_ends_before_its_waits_gives_up_one_place(house: House) -> None:
    gate = house.do(Deferred, house.world.scheduler)
    left = [house.spawn(Awaiter).leave_waits(gate).get(30) for _ in range(3)]
    try:
        assert most_at_once(house) == 2
    finally:
        for task in itertools.chain(*left):
            task._log_destroy_pending = False
            task.get_coro().close()
    assert most_at_once(house) == 2
    gate.set(None)


def test_no_more_handlers_run_at_once_than_there_are_threads(house: House) -> None:
    assert most_at_once(house) == 2


def test_a_killed_handler_that_got_no_thread_yet_never_runs(house: House) -> None:
    event, ran = threading.Event(), []

    class Late(Process):
        @blocking
        def run(self):
            ran.append(1)

    holders = [house.spawn(Blocker) for _ in range(2)]
    blocked = [holder.wait(event) for holder in holders]
    late = house.spawn(Late)
    promise = late.run()
    house.do(lambda: None)
    house.do(house.world.kill, late)
    event.set()
    syncmany(blocked, timeout=30)
    house.spawn(Blocker).thread().get(30)
    assert (promise.exception(30).reason, ran) == ("killed", [])


def test_what_a_killed_blocking_handler_answers_is_not_heard(house: House) -> None:
    begun, event = threading.Event(), threading.Event()

    class Slow(Process):
        @blocking
        def work(self):
            begun.set()
            event.wait(30)

    slow = house.spawn(Slow)
    promise = slow.work()
    begun.wait(30)
    house.do(house.world.kill, slow)
    event.set()
    assert promise.exception(30).verdict == "unknown"


# ---- killed while it waits


class Waiter(Process):
    """Waits in many ways, and notes how that ended."""

    def __init__(self, notes):
        self.notes = notes

    @blocking
    def wait(self, how, *args):
        begun, over = self.notes
        try:
            how(begun, *args)
        except BaseException as error:
            over.put(error)
            raise
        finally:
            over.put("over")


def unset(house: House) -> Any:
    """Return a promise that stays open, and whose failure at the end is no news."""
    promise = Deferred(house.world.scheduler)
    promise.add_done_callback(Promise.exception)
    return promise


def never(begun: Any, promise: Any, timeout: Any = None) -> None:
    begun.set()
    promise.get(timeout)


def never_many(begun: Any, promise: Any) -> None:
    begun.set()
    syncmany([promise, promise])


def never_next(begun: Any, promise: Any) -> None:
    begun.set()
    next(as_completed([promise], timeout=1000))


def sleep(begun: Any, _: Any) -> None:
    begun.set()
    runtime.sleep(1000)


def await_in_a_loop_of_its_own(begun: Any, promise: Any) -> None:
    async def main() -> None:
        begun.set()
        await promise

    asyncio.run(main())


def await_in_two_tasks(begun: Any, promise: Any) -> None:
    async def wait() -> None:
        await promise

    async def main() -> None:
        begun.set()
        await asyncio.gather(wait(), wait())

    asyncio.run(main())


@pytest.mark.parametrize(
    "how",
    [
        never,
        never_many,
        never_next,
        sleep,
        await_in_a_loop_of_its_own,
        await_in_two_tasks,
    ],
)
@pytest.mark.parametrize("is_waiting_already", [True, False])
def test_a_blocking_handler_that_waits_while_its_process_is_killed_is_unwound(
    house: House, how: Any, is_waiting_already: bool
) -> None:
    begun, over = threading.Event(), queue.Queue()
    promise: Any = Deferred(house.world.scheduler)
    waiter = house.spawn(Waiter, (begun, over))
    answer = waiter.wait(how, promise)
    assert begun.wait(30)
    if is_waiting_already:
        wait_until(lambda: runner_of(waiter).interrupt._asleep)
    house.do(house.world.kill, waiter)
    error = over.get(timeout=30)
    assert (type(error), str(error)) == (ProcessKilled, "Waiter 1 was killed")
    assert (over.get(timeout=30), answer.exception(30).reason) == ("over", "killed")
    error.__traceback__ = None  # of frames that wait
    house.do(lambda: None)  # what it has posted was done
    assert set(waiters_of(promise)) <= {promise.nobody}
    promise.set()  # else it would fail with the node, and nobody look


def waiters_of(promise: Any) -> list[Any]:
    found = promise.waiter
    if type(found) is list:
        return found
    return [] if found is None else [found]


def runner_of(proxy: Any) -> Any:
    return proxy._sp_target.runner


def wait_until(is_true: Any) -> None:
    soon = threading.Event()
    for _ in range(3000):
        if is_true():
            return
        soon.wait(0.01)
    raise AssertionError("it never was")


@pytest.mark.parametrize("how", [never, never_many, never_next, sleep])
def test_what_an_unwound_handler_has_held_is_freed_at_once(
    house: House, how: Any
) -> None:
    begun, over = threading.Event(), queue.Queue()
    promise: Any = Deferred(house.world.scheduler)
    promise.add_done_callback(Promise.exception)
    freed = threading.Event()

    class Holder(Process):
        @blocking
        def hold(self):
            thing = type("Thing", (), {})()
            weakref.finalize(thing, freed.set)
            how(begun, promise)
            over.put(thing)

    gc.disable()
    try:
        holder = house.spawn(Holder)
        holder.hold().add_done_callback(Promise.exception)
        assert begun.wait(30)
        house.do(house.world.kill, holder)
        assert freed.wait(10)
    finally:
        gc.enable()


def test_what_a_stream_has_asked_for_is_taken_back_when_its_reader_is_killed(
    house: House,
) -> None:
    begun, over = threading.Event(), queue.Queue()
    gate: Any = Deferred(house.world.scheduler)

    def values() -> Iterator[Any]:
        begun.set()
        yield gate.get()

    def read(_: Any, coroutine: Any) -> None:
        async def main() -> None:
            async for _ in coroutine.stream():
                pass

        asyncio.run(main())

    coroutine = house.spawn(Coroutine, values, (), {})
    reader = house.spawn(Waiter, (begun, over))
    reader.wait(read, coroutine).add_done_callback(Promise.exception)
    assert begun.wait(30)
    gc.disable()  # asyncio.run leaves a ring behind that holds the stream
    try:
        house.do(house.world.kill, reader)
        while over.get(timeout=30) != "over":
            pass
        wait_until(lambda: count_mail(coroutine._sp_target) == 0)
    finally:
        gc.enable()
        gate.set("late")


def test_a_wait_with_a_timeout_is_unwound_as_well(house: House) -> None:
    begun, over = threading.Event(), queue.Queue()
    waiter = house.spawn(Waiter, (begun, over))
    waiter.wait(never, unset(house), 1000).add_done_callback(Promise.exception)
    assert begun.wait(30)
    house.do(house.world.kill, waiter)
    assert type(over.get(timeout=30)) is ProcessKilled


def test_a_kill_that_meets_the_answer_harms_neither_the_node_nor_the_handler(
    house: House,
) -> None:
    for _ in range(50):
        begun, over = threading.Event(), queue.Queue()
        promise: Any = Deferred(house.world.scheduler)
        waiter = house.spawn(Waiter, (begun, over))
        waiter.wait(never, promise).add_done_callback(Promise.exception)
        assert begun.wait(30)

        def both(waiter: Any = waiter, promise: Any = promise) -> None:
            promise.set("answer")
            house.world.kill(waiter)

        house.do(both)
        while over.get(timeout=30) != "over":
            pass  # it was the kill that it has seen
    assert house.spawn(Blocker).plain().get(30) == []


def test_a_blocking_clean_up_hook_that_waits_is_unwound_by_a_kill(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    begun, over = threading.Event(), queue.Queue()
    promise = Deferred(house.world.scheduler)

    class Tidy(Process):
        @blocking
        def sp_terminate(self, reason):
            begun.set()
            try:
                promise.get()
            finally:
                over.put("over")

    tidy = house.spawn(Tidy)
    stopped = house.do(house.world.stop, tidy)
    assert begun.wait(30)
    house.do(house.world.kill, tidy)
    assert over.get(timeout=30) == "over"
    stopped.get(30)
    house.do(lambda: None)  # what the thread has posted was done
    assert waiters_of(promise) == [promise.nobody]
    wait_until(lambda: caplog.records)
    (record,) = caplog.records
    assert record.getMessage() == "sp_terminate of Tidy 1 failed"
    assert "the clean-up of Tidy 1 was given up" in str(record.exc_info)


def test_what_a_thread_has_the_node_do_is_not_lost_by_a_kill(house: House) -> None:
    begun, gate, over = threading.Event(), threading.Event(), queue.Queue()

    def story(begun: Any, _: Any) -> None:
        begun.set()
        gate.wait(30)
        over.put(house.do(lambda: "done"))
        unset(house).get()

    waiter = house.spawn(Waiter, (begun, over))
    waiter.wait(story, None).add_done_callback(Promise.exception)
    assert begun.wait(30)
    house.do(house.world.kill, waiter)
    gate.set()
    assert over.get(timeout=30) == "done"
    assert type(over.get(timeout=30)) is ProcessKilled


def test_the_clean_up_of_a_killed_blocking_handler_may_wait(house: House) -> None:
    begun, over = threading.Event(), queue.Queue()
    actor = house.spawn(Actor)

    def story(begun: Any, promise: Any) -> None:
        begun.set()
        try:
            promise.get()
        finally:
            over.put(actor.run(lambda: "released").get())

    waiter = house.spawn(Waiter, (begun, over))
    waiter.wait(story, unset(house)).add_done_callback(Promise.exception)
    assert begun.wait(30)
    house.do(house.world.kill, waiter)
    assert over.get(timeout=30) == "released"
    assert type(over.get(timeout=30)) is ProcessKilled


def test_a_killed_handler_goes_on_with_an_answer_that_came_before(
    house: House,
) -> None:
    begun, over, gate = threading.Event(), queue.Queue(), threading.Event()
    promise: Any = Deferred(house.world.scheduler)

    def story(begun: Any, promise: Any) -> None:
        begun.set()
        gate.wait(30)
        over.put(promise.get())  # there already: nothing to wait for
        unset(house).get()

    waiter = house.spawn(Waiter, (begun, over))
    waiter.wait(story, promise).add_done_callback(Promise.exception)
    assert begun.wait(30)
    promise.set("answer")
    house.do(house.world.kill, waiter)
    gate.set()
    assert over.get(timeout=30) == "answer"
    assert type(over.get(timeout=30)) is ProcessKilled


def test_a_kill_is_not_heard_by_what_the_thread_does_next() -> None:
    with House(blocking_threads=1) as house:
        begun, gate = threading.Event(), threading.Event()

        class Busy(Process):
            @blocking
            def work(self):
                begun.set()
                gate.wait(30)

        busy = house.spawn(Busy)
        busy.work().add_done_callback(Promise.exception)
        assert begun.wait(30)
        house.do(house.world.kill, busy)
        gate.set()
        actor = house.spawn(Actor)
        relay = house.spawn(Blocker).ask(actor)
        assert relay.get(30) == "asked"


def test_a_restarted_process_waits_undisturbed_by_the_kill_of_its_last_life(
    house: House,
) -> None:
    class Child(Process):
        @blocking
        def hold(self, begun, promise, seen):
            begun.set()
            try:
                seen.put(promise.get())
            except BaseException as error:
                seen.put(type(error))
                raise

    scheduler = house.world.scheduler
    sup = house.spawn(Supervisor, children=[child(Child, id="child")])
    [info] = sup.which_children().get(30)
    proxy: Any = info.proxy
    first, second = queue.Queue(), queue.Queue()
    begun, again = threading.Event(), threading.Event()
    promise: Any = Deferred(scheduler)
    proxy.hold(begun, unset(house), first).add_done_callback(Promise.exception)
    assert begun.wait(30)
    house.do(house.world.kill, proxy)
    answer = proxy.hold(again, promise, second)
    assert again.wait(30)
    assert first.get(timeout=30) is ProcessKilled
    promise.set("new life")
    assert second.get(timeout=30) == "new life"
    assert answer.exception(30) is None


def test_a_handler_may_wait_for_plain_processes(house: House) -> None:
    class Asking(Process):
        @blocking
        def ask(self, other):
            return other.run(lambda: 7).get()

    assert house.spawn(Asking).ask(house.spawn(Actor)).get(30) == 7


def refuse(error: RuntimeError) -> None:
    raise error


def start_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


def test_without_any_thread_a_handler_fails_by_name_and_its_process_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = house.spawn(Blocker)
    start_no_more(monkeypatch)

    promise = blocker.thread()

    with pytest.raises(SpliceError, match=r"Blocker 1.thread was not run: no thread"):
        promise.get(30)
    assert blocker.plain().get(30) == []


class Mixed(Process):
    """Counts how many of its handlers are at work."""

    def __init__(self):
        self.now = self.most = 0

    @blocking
    def thread(self):
        """Be refused."""

    async def slow(self, gate):
        self.now += 1
        self.most = max(self.most, self.now)
        await gate
        self.now -= 1


def test_a_refused_handler_that_is_cancelled_meanwhile_is_taken_back_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = world.spawn(Mixed)
    gate = Deferred(world.scheduler)
    start_no_more(monkeypatch)
    refused = BlockingHandler._refused

    def cancelled(cell: Any, message: Any, *rest: Any) -> None:
        def call_off() -> None:
            world.scheduler.schedule()  # as mail does that comes at the same time
            message.call_off(Promise(world.scheduler))

        world.scheduler.post(call_off)
        refused(cell, message, *rest)

    monkeypatch.setattr(BlockingHandler, "_refused", staticmethod(cancelled))
    for promise in (mixed.thread(), mixed.slow(gate), mixed.slow(gate)):
        promise.add_done_callback(Promise.exception)
    world.settle()

    assert world.cell(mixed).object.most == 1
    gate.set(None)
    world.settle()


def test_work_waits_for_a_thread_in_use_where_no_other_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, event, ran = Threads(2), threading.Event(), threading.Event()
    begun = threading.Event()

    def first() -> None:
        begun.set()
        event.wait(30)

    threads.submit(refuse, first)
    assert begun.wait(30)
    start_no_more(monkeypatch)
    threads.submit(refuse, ran.set)
    event.set()
    assert ran.wait(30)
    threads.close()


def test_work_is_refused_when_the_last_thread_waits_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, refused, ran = Threads(2), [], threading.Event()

    def waits() -> None:
        start_no_more(monkeypatch)
        threads.submit(refused.append, threading.get_ident)
        with slot_released():
            pass
        ran.set()

    threads.submit(refuse, waits)
    assert ran.wait(30)
    assert [str(error) for error in refused] == ["can't start new thread"]
    threads.close()


def test_closed_threads_begin_nothing_more() -> None:
    threads, event, ran = Threads(1), threading.Event(), []
    begun = threading.Event()

    def first() -> None:
        begun.set()
        event.wait(30)

    threads.submit(refuse, first)
    threads.submit(refuse, ran.append, 1)
    begun.wait(30)
    threads.close()
    event.set()
    for thread in threading.enumerate():
        if thread.name == "splice-blocking" and thread.is_alive():
            thread.join(0.2)
    assert ran == []


def test_unlooked_answers_of_threads_do_not_pile_up(house: House) -> None:
    blocker: Any = house.spawn(Blocker)
    for _ in range(50):
        blocker.thread()
    assert blocker.plain().get(30) == []
