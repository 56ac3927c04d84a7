"""Deferred: answers that come later, from anywhere, and are never just forgotten."""

import gc
import threading
from typing import Any

import pytest

from splice.actor.childspec import child
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.supervisor import Supervisor
from splice.errors import Cancelled, CannotWait, Exit, ProcessStopped
from splice.testing.actors import World


class Desk(Process):
    """Answers later."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def ask(self):
        later = Deferred()
        self.waiting.append(later)
        return later

    def answer(self, value):
        self.waiting.pop(0).set(value)

    def fail(self, error):
        self.waiting.pop(0).fail(error)

    def forget(self):
        self.waiting.clear()

    def forward(self, other, *path):
        return other.forward(*path) if path else other.ask()

    def leave(self, answer=None):
        raise Exit("normal", answer=answer)

    def crash(self):
        raise SystemExit(1)

    def thread(self):
        later = Deferred()
        threading.Thread(target=later.set, args=("from a thread",)).start()
        return later

    def wait_for(self, promise):
        return promise.get()


def test_a_handler_answers_later_and_takes_mail_meanwhile(world: World) -> None:
    desk = world.spawn(Desk)
    promise = desk.ask()
    world.wait(desk.answer("later"))
    assert world.wait(promise) == "later"


def test_it_may_fail_later(world: World) -> None:
    desk = world.spawn(Desk)
    promise = desk.ask()
    world.wait(desk.fail(KeyError("no")))
    with pytest.raises(KeyError, match="no"):
        world.wait(promise)


def test_answers_may_come_in_another_order(world: World) -> None:
    desk = world.spawn(Desk)
    first, second = desk.ask(), desk.ask()
    owner = world.cell(desk).object
    world.settle()
    owner.waiting[1].set(2)
    owner.waiting[0].set(1)
    assert (first.get(), second.get()) == (1, 2)


def test_an_answer_that_is_a_promise_is_followed_over_many_processes(
    world: World,
) -> None:
    desks = [world.spawn(Desk) for _ in range(20)]
    promise = desks[0].forward(*desks[1:])
    world.settle()
    world.wait(desks[-1].answer("from the last"))
    assert world.wait(promise) == "from the last"


def test_it_can_be_set_from_any_thread(house: Any) -> None:
    assert house.spawn(Desk).thread().get(30) == "from a thread"


def test_it_is_settled_once_and_later_settings_are_ignored(world: World) -> None:
    later = Deferred(world.scheduler)
    later.set(1)
    later.set(2)
    later.fail(ValueError())
    assert later.get() == 1


def test_it_may_be_set_to_a_promise(world: World) -> None:
    desk, later = world.spawn(Desk), Deferred(world.scheduler)
    later.set(desk.ask())
    later.set("ignored")
    world.settle()
    world.wait(desk.answer("followed"))
    assert world.wait(later) == "followed"


def test_it_fails_with_exceptions_only(world: World) -> None:
    with pytest.raises(TypeError, match="fails with an exception, not 'no'"):
        Deferred(world.scheduler).fail("no")  # type: ignore[arg-type]


def test_one_that_is_thrown_away_unset_fails_its_waiters(world: World) -> None:
    desk, waiter = world.spawn(Desk), world.spawn(Desk)
    promise = desk.ask()
    waiting = waiter.wait_for(promise)
    followed = promise.then(str)
    world.settle()
    world.wait(desk.forget())
    world.settle()
    for one in (promise, waiting, followed):
        with pytest.raises(Cancelled, match="thrown away before it was set"):
            world.wait(one)


ENDS = [
    lambda world, desk: world.stop(desk),
    lambda world, desk: world.scheduler.kill(world.cell(desk)),
    lambda world, desk: quietly(desk.leave()),
    lambda world, desk: quietly(desk.crash()),
]


def quietly(promise: Any) -> None:
    promise.add_done_callback(lambda settled: settled.exception())


@pytest.mark.parametrize("end", ENDS, ids=["stop", "kill", "exit", "crash"])
def test_one_whose_process_ends_fails_those_it_was_promised_to(
    world: World, end: Any
) -> None:
    desk = world.spawn(Desk)
    promise = desk.ask()
    world.settle()
    later = world.cell(desk).object.waiting[0]  # somebody else may still set it
    end(world, desk)
    with pytest.raises(ProcessStopped, match=r"Desk .*ask did not finish"):
        world.wait(promise)
    later.set("too late")
    assert world.wait(later) == "too late"
    assert world.scheduler.owed == {}


def test_one_that_is_settled_is_owed_no_more(world: World) -> None:
    desk = world.spawn(Desk)
    promises = [desk.ask() for _ in range(3)]
    world.wait(desk.answer(1))
    world.wait(desk.fail(KeyError()))
    assert list(world.scheduler.owed[world.cell(desk)]) == promises[2:]
    world.wait(desk.forget())
    for promise in promises[1:]:
        promise.exception()
    assert world.scheduler.owed == {}


def test_one_that_an_exit_answers_with_outlives_its_process(world: World) -> None:
    desk, later = world.spawn(Desk), Deferred(world.scheduler)
    promise = desk.leave(later)
    world.settle()
    later.set("after the end")
    assert world.wait(promise) == "after the end"


def test_a_promise_of_another_process_outlives_the_one_that_passed_it_on(
    world: World,
) -> None:
    desk, other = world.spawn(Desk), world.spawn(Desk)
    promise = desk.forward(other)
    world.settle()
    world.wait(world.stop(desk))
    world.wait(other.answer("still there"))
    assert world.wait(promise) == "still there"


def test_the_next_life_of_a_process_owes_nothing_of_the_last(world: World) -> None:
    sup = world.spawn(Supervisor, children=[child(Desk, id="desk")])
    desk = world.wait(sup.which_children())[0].proxy
    first = desk.ask()
    world.settle()
    quietly(desk.leave())
    with pytest.raises(ProcessStopped, match="did not finish"):
        world.wait(first)
    second = desk.ask()
    world.wait(desk.answer("of the next life"))
    assert world.wait(second) == "of the next life"


def test_one_that_nobody_waits_for_is_thrown_away_quietly(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    Deferred(world.scheduler)
    gc.collect()
    world.settle()
    assert caplog.records == []


def test_it_is_made_in_a_handler(world: World) -> None:
    with pytest.raises(CannotWait, match="no process is running here"):
        Deferred()


def test_a_cancelled_one_ignores_what_it_is_set_to(world: World) -> None:
    later = Deferred(world.scheduler)
    assert later.cancel()
    later.set(1)
    with pytest.raises(Cancelled):
        later.get()
