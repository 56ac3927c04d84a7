"""Clean-up hooks: what they may do does not depend on how their process ends."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

import pytest
from tests.actor.conftest import House

from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.links import Monitor, extra_of, monitor
from splice.actor.process import Process
from splice.errors import DeadlockError, Exit, ProcessStopped
from splice.testing.actors import World


class Log(Process):
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def add(self, line: Any) -> None:
        self.lines.append(line)

    def all(self) -> list[Any]:
        return list(self.lines)


class Guest(Process):
    """Ends itself, and waits in its clean-up hook."""

    def __init__(self, wait: Any) -> None:
        self.wait = wait

    def plain(self, error: BaseException) -> None:
        raise error

    async def asynchronous(self, error: BaseException) -> None:
        raise error

    @blocking
    def block(self, error: BaseException) -> None:
        raise error

    def sp_terminate(self, reason: Any) -> None:
        self.wait(reason)


KINDS = ["plain", "asynchronous", "block"]


@pytest.fixture
def log(world: World) -> Any:
    return world.spawn(Log)


@pytest.fixture
def gate(world: World) -> Deferred:
    return Deferred(world.scheduler)


class Keeper:
    """Lets an error end a process; see `splice.actor.links.Keeper`."""

    def keeps_mail(self, reason: Any) -> bool:
        return False

    def ended(self, reason: Any) -> None: ...


# ---- a handler that ends its process, wherever it runs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [Exit("bored"), SystemExit(3), ValueError("odd")])
def test_a_plain_hook_may_wait_whatever_handler_ends_its_process(
    world: World,
    log: Any,
    kind: str,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    guest = world.spawn(Guest, lambda _: (log.add("bye").get(), log.add("bye").get()))
    extra_of(world.cell(guest)).keeper = Keeper()
    promise = getattr(guest, kind)(error)
    if isinstance(error, ValueError):
        with pytest.raises(ValueError, match="odd"):
            world.wait(promise)
    elif isinstance(error, SystemExit):
        with pytest.raises(ProcessStopped, match="did not finish"):
            world.wait(promise)
    else:
        assert world.wait(promise) is None
    assert world.cell(guest).has_ended
    assert world.wait(log.all()) == ["bye", "bye"]
    assert caplog.text == ""


@pytest.mark.parametrize("kind", KINDS)
def test_others_hear_of_an_end_when_the_plain_hook_is_done(
    world: World, gate: Deferred, kind: str
) -> None:
    begun = Deferred(world.scheduler)

    def wait(reason: Any) -> None:
        begun.set(reason)
        gate.get()

    guest = world.spawn(Guest, wait)
    cell = world.cell(guest)
    down = Monitor(world.scheduler, cell, None)
    monitor(cell, down)
    promise = getattr(guest, kind)(Exit("bored", answer="bye"))
    assert world.wait(begun) == "bored"
    world.settle()
    assert not promise.done()
    assert not down.done()
    gate.set(None)
    assert world.wait(promise) == "bye"
    assert world.wait(down).reason == "bored"


@pytest.mark.parametrize("kind", KINDS)
def test_mail_is_not_handled_before_the_hook_of_a_process_that_ends_itself(
    world: World, kind: str
) -> None:
    guest = world.spawn(Guest, lambda _: None)
    getattr(guest, kind)(Exit("bored"))
    late = guest.plain(ValueError())
    with pytest.raises(ProcessStopped, match="was not handled") as caught:
        world.wait(late)
    assert caught.value.reason == "bored"


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_that_waits_for_who_waits_for_its_process_is_told_of_the_ring(
    world: World, kind: str
) -> None:
    errors: list[Any] = []

    class Caller(Process):
        def go(self, guest: Any) -> Any:
            return getattr(guest, kind)(Exit("bored", answer="bye")).get()

        def nothing(self) -> None: ...

    caller = world.spawn(Caller)

    def wait(_: Any) -> None:
        try:
            caller.nothing().get()
        except DeadlockError as error:
            errors.append(str(error))

    guest = world.spawn(Guest, wait)
    assert world.wait(caller.go(guest)) == "bye"
    (text,) = errors
    assert f"Guest {guest.sp_id}.{kind}" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_killed_in_its_hook_fails_who_has_made_it_end(
    world: World, gate: Deferred, kind: str
) -> None:
    guest = world.spawn(Guest, lambda _: gate.get())
    promise = getattr(guest, kind)(SystemExit(3))
    with pytest.raises(TimeoutError):
        world.run(lambda: promise.get(1))
    world.kill(guest)
    world.settle()
    assert promise.exception().reason == "killed"
    gate.set(None)


def test_what_a_handler_has_answered_is_not_lost_when_its_process_is_killed_before_the_hook(
    world: World,
) -> None:
    seen: list[Any] = []
    guest = world.spawn(Guest, seen.append)
    cell = world.cell(guest)
    promise = guest.asynchronous(Exit("bored", answer="bye"))
    while cell.head is None or cell.head.handler.is_mail:
        world.loop._once()
    world.kill(guest)
    assert (promise.get(), seen) == ("bye", [])


# ---- a hook that blocks


class Blocker(Process):
    """Cleans up on a thread."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def leave(self) -> None:
        raise Exit("left")

    @blocking
    def sp_terminate(self, reason: Any) -> None:
        self.call(reason)


def test_a_blocking_hook_holds_nobody_up_and_a_stop_waits_for_it(house: House) -> None:
    begun, leave = threading.Event(), threading.Event()

    def call(reason: Any) -> None:
        begun.set()
        assert leave.wait(30)

    log, blocker = house.spawn(Log), house.spawn(Blocker, call)
    stopped = house.do(house.world.stop, blocker)
    assert begun.wait(30)
    assert log.all().get(30) == []
    assert not stopped.done()
    leave.set()
    stopped.get(30)


def test_a_blocking_hook_may_wait(house: House) -> None:
    log = house.spawn(Log)
    blocker = house.spawn(Blocker, lambda reason: log.add(reason).get(30))
    house.do(house.world.stop, blocker, "enough").get(30)
    assert log.all().get(30) == ["enough"]


def test_the_blocking_hook_of_a_process_that_ends_itself_runs_after_its_end(
    house: House,
) -> None:
    reasons: SimpleQueue[Any] = SimpleQueue()
    leave = threading.Event()

    def call(reason: Any) -> None:
        assert leave.wait(30)
        reasons.put(reason)

    house.spawn(Blocker, call).leave().get(30)
    leave.set()
    assert reasons.get(timeout=30) == "left"


@pytest.mark.parametrize("error", [ValueError("untidy"), StopIteration()])
def test_a_blocking_hook_that_fails_is_logged_and_the_process_ends(
    house: House, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def call(reason: Any) -> None:
        raise error

    blocker = house.spawn(Blocker, call)
    house.do(house.world.stop, blocker).get(30)
    (record,) = caplog.records
    assert record.getMessage() == f"sp_terminate of Blocker {blocker.sp_id} failed"


def test_a_blocking_hook_does_not_begin_when_its_process_was_killed_before() -> None:
    reasons: list[Any] = []
    at_work, leave = threading.Event(), threading.Event()

    def occupy(reason: Any) -> None:
        at_work.set()
        assert leave.wait(30)

    with House(blocking_threads=1) as house:
        one, two = (house.spawn(Blocker, call) for call in (occupy, reasons.append))
        stop_one = house.do(house.world.stop, one)
        assert at_work.wait(30)
        stop_two = house.do(house.world.stop, two)
        house.do(lambda: None)  # it waits for the thread now
        house.do(house.world.kill, two)
        house.do(lambda: None)  # its task is cancelled now
        leave.set()
        stop_one.get(30)
        assert stop_two.done()
    assert reasons == []


def test_a_blocking_hook_runs_without_a_thread_where_none_can_be_started(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    reasons: list[Any] = []
    blocker = house.spawn(Blocker, reasons.append)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    house.do(house.world.stop, blocker, "enough").get(30)
    assert reasons == ["enough"]
