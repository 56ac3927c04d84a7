"""Clean-up hooks: what they may do does not depend on how their process ends."""

from __future__ import annotations

from typing import Any

import pytest

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
