"""Other threads: they wait on locks of their own, and the loop is woken no more than needed."""

import asyncio
import contextlib
import gc
import threading
import time
from typing import Any

import pytest
from tests.actor.conftest import House

from splice.actor.combine import as_completed, gather, syncmany
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.proxy import tell
from splice.errors import CannotWait, ProcessStopped, TimeoutError
from splice.testing.actors import World


class Clerk(Process):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def echo(self, value):
        return value

    def note(self, value):
        self.seen.append(value)

    def what(self):
        return list(self.seen)

    def fail(self, text):
        raise ValueError(text)

    def hold(self):
        self.gate = Deferred()
        return self.gate

    def open(self, value):
        self.gate.set(value)

    def call_back(self, function):
        return function()


def test_a_thread_waits_for_the_answer(house: House) -> None:
    assert house.spawn(Clerk).echo(1).get() == 1


def test_a_thread_gets_the_error_as_its_own_type(house: House) -> None:
    with pytest.raises(ValueError, match="broken"):
        house.spawn(Clerk).fail("broken").get()


def test_a_thread_that_waits_too_long_gets_an_error_and_may_wait_again(
    house: House,
) -> None:
    clerk = house.spawn(Clerk)
    promise = clerk.hold()
    with pytest.raises(
        TimeoutError, match=r"no answer from Clerk 1\.hold within 0\.01"
    ):
        promise.get(timeout=0.01)
    clerk.open("later")
    assert promise.get(30) == "later"


def test_a_wait_that_was_too_long_leaves_no_waiter_behind(house: House) -> None:
    clerk = house.spawn(Clerk)
    promise = clerk.hold()
    for _ in range(10):
        with pytest.raises(TimeoutError):
            promise.get(timeout=0)
    # the message has been handed to the Deferred by then, which follows it
    assert house.do(lambda: promise.waiter) is None
    clerk.open(1)


def test_a_wait_of_no_time_gets_what_is_there_already(house: House) -> None:
    clerk = house.spawn(Clerk)
    promise = clerk.echo(1)
    promise.get()
    assert promise.get(timeout=0) == 1


def test_messages_of_one_thread_arrive_in_the_order_sent(house: House) -> None:
    clerk = house.spawn(Clerk)
    for i in range(1000):
        tell(clerk.note, i) if i % 2 else clerk.note(i)
    assert clerk.what().get() == list(range(1000))


def test_messages_of_many_threads_keep_the_order_of_each(house: House) -> None:
    clerk = house.spawn(Clerk)

    def send(thread: int) -> None:
        for i in range(300):
            tell(clerk.note, (thread, i))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = clerk.what().get()
    for n in range(4):
        assert [i for thread, i in seen if thread == n] == list(range(300))


def test_a_tell_from_a_thread_promises_delivery(house: House) -> None:
    clerk = house.spawn(Clerk)
    assert tell(clerk.note, 1).get() is None


def test_one_wake_up_serves_many_messages(house: House) -> None:
    wakes: list[int] = []
    loop, clerk = house.world.loop, house.spawn(Clerk)
    original = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *args: (wakes.append(1), original(*args))[1]
    holding, release = threading.Event(), threading.Event()
    held = clerk.call_back(lambda: (holding.set(), release.wait(30))[1])
    holding.wait(30)
    promises = [clerk.echo(i) for i in range(1000)]
    count = len(wakes)
    release.set()
    assert (syncmany(promises), held.get()) == (list(range(1000)), True)
    assert count <= 3


def test_a_thread_cancels_what_is_in_the_mailbox(house: House) -> None:
    clerk = house.spawn(Clerk)
    holding, release = threading.Event(), threading.Event()
    clerk.call_back(lambda: (holding.set(), release.wait(30)))
    holding.wait(30)
    promise = clerk.note(1)
    canceller = threading.Thread(target=promise.cancel)
    canceller.start()
    release.set()
    canceller.join(30)
    assert clerk.what().get() in ([], [1])


def test_many_promises_are_brought_together_for_a_thread(house: House) -> None:
    clerk = house.spawn(Clerk)
    assert gather(clerk.echo(i) for i in range(10)).get(30) == list(range(10))
    done = as_completed([clerk.echo(i) for i in range(10)], timeout=30)
    assert sorted(promise.get() for promise in done) == list(range(10))


def test_promises_of_several_nodes_are_brought_together(house: House) -> None:
    with House() as other:
        clerks = [house.spawn(Clerk), other.spawn(Clerk)] * 3
        together = gather(clerk.echo(i) for i, clerk in enumerate(clerks))
        assert together.get(30) == list(range(6))
        done = as_completed([clerk.echo(i) for i, clerk in enumerate(clerks)], 30)
        assert sorted(promise.get() for promise in done) == list(range(6))


def test_what_fails_in_the_inbox_keeps_nothing_else_from_being_served(
    house: House,
) -> None:
    clerk, reported = house.spawn(Clerk), threading.Event()
    house.world.loop.set_exception_handler(lambda *args: reported.set())
    holding, release = threading.Event(), threading.Event()
    clerk.call_back(lambda: (holding.set(), release.wait(30)))
    holding.wait(30)
    house.world.scheduler.post(lambda: 1 / 0)
    promise = clerk.echo("served")
    release.set()
    assert promise.get(30) == "served"
    assert reported.wait(30)


def test_a_loop_of_another_thread_may_await(house: House) -> None:
    clerk = house.spawn(Clerk)

    async def story() -> Any:
        return await asyncio.gather(clerk.echo(1), clerk.echo(2))

    assert asyncio.run(story()) == [1, 2]


def test_a_thread_with_a_loop_of_its_own_may_block_it(house: House) -> None:
    # as a cell of a notebook does
    clerk = house.spawn(Clerk)

    async def story() -> Any:
        return clerk.echo(1).get(30)

    assert asyncio.run(story()) == 1


def test_a_function_called_on_the_loop_answers_and_fails_in_the_thread(
    house: House,
) -> None:
    assert house.do(lambda: threading.get_ident()) == house.world.scheduler.thread
    with pytest.raises(ZeroDivisionError):
        house.do(lambda: 1 / 0)


def test_a_handler_of_one_node_waits_for_a_process_of_another(house: House) -> None:
    with House() as other:
        mine, theirs = house.spawn(Clerk), other.spawn(Clerk)
        assert mine.call_back(lambda: theirs.echo(5).get()).get(30) == 5


def test_a_handler_that_waited_too_long_for_another_node_is_not_woken_by_it_later(
    house: House,
) -> None:
    with House() as other:
        mine, theirs = house.spawn(Clerk), other.spawn(Clerk)
        local = house.spawn(Clerk)

        def story() -> Any:
            far = theirs.hold()
            with contextlib.suppress(TimeoutError):
                far.get(timeout=0.01)
            near = local.hold()
            theirs.open("from far").get()
            return near.get()

        promise = mine.call_back(story)
        while (
            local.call_back(lambda: hasattr(_owner(house, local), "gate")).get()
            is False
        ):
            time.sleep(0)
        local.open("from near")
        assert promise.get(30) == "from near"


def _owner(house: House, proxy: Any) -> Any:
    return house.world.cell(proxy).object


def test_an_async_handler_of_one_node_may_not_block_for_another(house: House) -> None:
    class Async(Process):
        async def ask(self, other):
            with pytest.raises(CannotWait):
                other.hold().get()
            return await other.echo(2)

    with House() as other:
        assert house.spawn(Async).ask(other.spawn(Clerk)).get(30) == 2


# ---- after the end


def test_what_is_sent_after_the_end_fails_at_once(house: House) -> None:
    clerk = house.spawn(Clerk)
    house.close()
    with pytest.raises(ProcessStopped, match="shutdown"):
        clerk.echo(1).get(30)
    with pytest.raises(ProcessStopped):
        tell(clerk.note, 1).get(30)


def test_a_thread_that_waits_at_the_end_is_told(house: House) -> None:
    clerk = house.spawn(Clerk)
    promise = clerk.hold()
    house.do(lambda: None)
    closer = threading.Thread(target=house.close)
    closer.start()
    with pytest.raises(ProcessStopped, match="shut"):
        promise.get(30)
    closer.join(30)


def test_everything_settles_though_threads_send_while_the_node_ends(
    house: House,
) -> None:
    clerk = house.spawn(Clerk)
    promises: list[Any] = []
    going = threading.Event()

    def send() -> None:
        while len(promises) < 20_000:
            promises.append(clerk.echo(len(promises)))
            going.set()

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    going.wait(30)
    house.close()
    for thread in threads:
        thread.join(30)
    outcomes = {type(promise.exception(30)) for promise in promises}
    assert outcomes <= {type(None), ProcessStopped}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_everything_settles_though_the_loop_was_closed_without_a_word() -> None:
    world = World(asyncio.new_event_loop())
    clerk, desk = world.spawn(Clerk), world.spawn(Clerk)
    held = desk.hold()
    world.wait(clerk.echo(1))
    queued = clerk.echo(2)
    world.loop.close()
    errors: list[Any] = []

    def wait() -> None:
        errors.extend(p.exception(30) for p in (clerk.echo(3), queued, held))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(30)
    assert [type(error) for error in errors] == [ProcessStopped] * 3
    gc.collect()
