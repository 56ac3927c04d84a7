"""Blocking handlers: on threads, still one message at a time, and never out of threads."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.actor.conftest import House

from splice.actor.blocking import Threads
from splice.actor.combine import syncmany
from splice.actor.context import current_cell, slot_released
from splice.actor.deferred import Deferred
from splice.actor.handlers import BlockingHandler, blocking
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.errors import Exit, ProcessStopped, SpliceError
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
