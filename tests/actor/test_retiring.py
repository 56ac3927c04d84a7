"""At the end of a node, the processes that clean up get the time to do so."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest

from splice.actor.childspec import child
from splice.actor.coroutine import AsyncCoroutine, Coroutine
from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.links import link
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.retiring import retire
from splice.actor.supervisor import Supervisor
from splice.errors import Exit, ProcessStopped
from splice.testing.actors import World

PATIENCE = 2.5


class Log(Process):
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def add(self, line: Any) -> None:
        self.lines.append(line)

    def all(self) -> list[Any]:
        return list(self.lines)

    def hold(self, gate: Deferred) -> Any:
        return gate.get()

    async def wait(self, gate: Deferred) -> Any:
        return await gate


class Guest(Log):
    """Calls a function to clean up."""

    def __init__(self, hook: Any) -> None:
        super().__init__()
        self.hook = hook

    def leave(self) -> None:
        raise Exit("left")

    def sp_terminate(self, reason: Any) -> Any:
        return self.hook(reason)


@pytest.fixture
def log(world: World) -> Any:
    return world.spawn(Log)


@pytest.fixture
def gate(world: World) -> Any:
    gate = Deferred(world.scheduler)
    yield gate
    if not gate.done():
        gate.set(None)


def end(world: World) -> float:
    """Have everybody retire; how long that took."""
    before = world.loop.time()
    world.loop.run_until_complete(retire(world.scheduler, PATIENCE))
    return float(world.loop.time() - before)


def test_an_async_hook_comes_to_its_end(world: World) -> None:
    seen: list[Any] = []

    async def hook(reason: Any) -> None:
        await asyncio.sleep(1)
        seen.append(reason)

    world.spawn(Guest, hook)
    world.spawn(Guest, hook)
    assert end(world) == pytest.approx(1)
    assert seen == ["shutdown"] * 2


def test_the_finally_block_of_an_asynchronous_generator_comes_to_its_end(
    world: World,
) -> None:
    seen: list[Any] = []

    async def count() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(1)
            seen.append("end")

    world.wait(world.spawn(AsyncCoroutine, count, (), {}).next())
    assert end(world) == pytest.approx(1)
    assert seen == ["end"]


def test_a_plain_hook_may_wait_for_who_has_none(world: World, log: Any) -> None:
    guest = world.spawn(Guest, lambda _: (log.add(1).get(), log.add(2).get()))
    end(world)
    assert world.cell(guest).has_ended
    assert world.wait(log.all()) == [1, 2]


def test_a_hook_that_waits_for_one_that_has_retired_is_told(world: World) -> None:
    errors: list[Any] = []
    first = world.spawn(Guest, lambda _: None)
    world.spawn(Guest, lambda _: errors.append(first.all().exception()))
    end(world)
    (error,) = errors
    assert isinstance(error, ProcessStopped)
    assert error.reason == "shutdown"


def test_hooks_that_take_too_long_are_given_up_and_named(
    world: World, gate: Deferred, caplog: pytest.LogCaptureFixture
) -> None:
    async def sleep(_: Any) -> None:
        await asyncio.sleep(60)

    seen: list[Any] = []
    world.spawn(Guest, lambda _: gate.get())
    world.spawn(Guest, sleep)
    world.spawn(Guest, seen.append)
    assert end(world) == pytest.approx(PATIENCE)
    assert seen == ["shutdown"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "not cleaned up within 2.5 s (see shutdown_timeout): Guest 1, Guest 2"
    )


def test_a_hook_of_a_process_that_has_ended_itself_comes_to_its_end(
    world: World,
) -> None:
    seen: list[Any] = []

    async def hook(reason: Any) -> None:
        await asyncio.sleep(1)
        seen.append(reason)

    world.wait(world.spawn(Guest, hook).leave())
    end(world)
    assert seen == ["left"]


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "left"])
def test_a_plain_hook_that_is_at_work_already_comes_to_its_end(
    world: World, gate: Deferred, is_stopped: bool
) -> None:
    seen: list[Any] = []
    guest = world.spawn(Guest, lambda reason: seen.append((reason, gate.get())))
    ending = world.stop(guest) if is_stopped else guest.leave()
    ending.add_done_callback(Promise.exception)
    world.settle()
    world.loop.call_later(1, gate.set, "done")
    assert end(world) == pytest.approx(1)
    assert seen == [("normal" if is_stopped else "left", "done")]
    assert world.cell(guest).has_ended


@pytest.mark.parametrize("kind", ["hold", "wait"])
def test_the_handler_at_hand_of_a_busy_process_is_let_finish(
    world: World, gate: Deferred, kind: str
) -> None:
    seen: list[Any] = []
    guest = world.spawn(Guest, seen.append)
    held, queued = getattr(guest, kind)(gate), guest.all()
    queued.add_done_callback(Promise.exception)
    world.settle()
    world.loop.call_later(1, gate.set, "done")
    assert end(world) == pytest.approx(1)
    assert (world.wait(held), seen) == ("done", ["shutdown"])
    assert isinstance(queued.exception(), ProcessStopped)


def test_a_handler_that_never_ends_is_given_up_and_named(
    world: World, gate: Deferred, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    guest = world.spawn(Guest, seen.append)
    held = guest.hold(gate)
    world.settle()
    assert end(world) == pytest.approx(PATIENCE)
    assert (held.done(), seen) == (False, [])
    assert [record.getMessage() for record in caplog.records] == [
        "not cleaned up within 2.5 s (see shutdown_timeout): Guest 1"
    ]


def test_nobody_waits_for_a_busy_process_without_a_hook(
    world: World, log: Any, gate: Deferred
) -> None:
    held = log.hold(gate)
    world.settle()
    assert end(world) == 0
    assert not held.done()


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_nobody_waits_for_a_coroutine_at_work(
    world: World, gate: Deferred, kind: str
) -> None:
    def plain() -> Iterator[Any]:
        yield gate.get()

    async def asynchronous() -> AsyncIterator[Any]:
        yield await gate

    cls, function = Coroutine, plain
    if kind == "async":
        cls, function = AsyncCoroutine, asynchronous  # type: ignore[assignment]
    held = world.spawn(cls, function, (), {}).next()
    world.settle()
    assert end(world) == 0
    assert not held.done()


def test_one_that_becomes_idle_meanwhile_retires_as_well(
    world: World, gate: Deferred
) -> None:
    seen: list[Any] = []
    busy = world.spawn(Guest, seen.append)
    held = busy.hold(gate)
    world.settle()
    world.spawn(Guest, lambda _: gate.set("go on"))
    end(world)
    assert (held.get(), seen) == ("go on", ["shutdown"])


def test_one_without_a_hook_gets_no_message(world: World, log: Any) -> None:
    turns = world.scheduler.turns
    end(world)
    assert not world.cell(log).has_ended
    assert world.scheduler.turns == turns


def test_who_is_linked_to_one_that_retires_lives_on(world: World, log: Any) -> None:
    first = world.spawn(Guest, lambda _: None)
    link(world.cell(first), world.cell(log))
    second = world.spawn(Guest, lambda _: world.cell(first).has_ended)

    async def hook(_: Any) -> None:
        await asyncio.sleep(1)
        await log.add("late")

    world.spawn(Guest, hook)
    end(world)
    assert world.cell(first).has_ended
    assert world.cell(second).has_ended
    assert world.wait(log.all()) == ["late"]


def test_no_process_is_made_while_others_retire(world: World) -> None:
    errors: list[Any] = []
    world.spawn(Guest, lambda _: errors.append(_error_of(world.spawn_nowait, Log)))
    end(world)
    (error,) = errors
    assert str(error) == "no Log was made: the node is shut down"


def _error_of(function: Any, *args: Any) -> Any:
    try:
        function(*args)
    except ProcessStopped as error:
        return error


def test_one_that_is_killed_in_its_hook_holds_up_nobody(
    world: World, gate: Deferred, caplog: pytest.LogCaptureFixture
) -> None:
    guest = world.spawn(Guest, lambda _: gate.get())
    world.loop.call_later(1, world.kill, guest)
    assert end(world) == pytest.approx(1)


# ---- supervised ones


def test_a_child_cleans_up_once_and_is_not_restarted(world: World, log: Any) -> None:
    supervisor = world.spawn(
        Supervisor,
        children=[
            child(Log, id="log"),
            child(Guest, lambda reason: log.add(reason).get(), id="guest"),
        ],
    )
    assert end(world) == 0
    assert world.wait(log.all()) == ["shutdown"]
    assert not world.cell(supervisor).has_ended
    states = {c.id: c.state for c in world.wait(supervisor.which_children())}
    assert states == {"log": "running", "guest": "stopped"}


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_a_child_that_fails_while_others_retire_is_not_restarted(
    world: World, restart: str
) -> None:
    class Frail(Process):
        def fail(self) -> None:
            raise ValueError("frail")

        def answer(self) -> int:
            return 42

    supervisor = world.spawn(
        Supervisor, children=[child(Frail, id="frail", restart=restart)]
    )
    (info,) = world.wait(supervisor.which_children())
    errors: list[Any] = []

    def hook(_: Any) -> None:
        errors.extend([info.proxy.fail().exception(), info.proxy.answer().exception()])

    world.spawn(Guest, hook)
    assert end(world) == 0
    assert [type(error) for error in errors] == [ValueError, ProcessStopped]


def test_a_child_has_the_time_of_its_spec(world: World, gate: Deferred) -> None:
    world.spawn(
        Supervisor, children=[child(Guest, lambda _: gate.get(), id=1, shutdown=1.0)]
    )
    assert end(world) == pytest.approx(1)


def test_a_child_that_was_terminated_is_not_restarted_on_demand(world: World) -> None:
    supervisor = world.spawn(Supervisor, children=[child(Log, id="log")])
    world.wait(supervisor.terminate_child("log"))
    errors: list[Any] = []

    def hook(_: Any) -> None:
        errors.append(supervisor.restart_child("log").exception())

    world.spawn(Guest, hook)
    end(world)
    (error,) = errors
    assert isinstance(error, ProcessStopped)
    assert str(error) == "no Log was made: the node is shut down"
    (info,) = world.wait(supervisor.which_children())
    assert info.state == "stopped"


class Opened(Log):
    """Is made when its gate is open."""

    def __init__(self, gate: Deferred) -> None:
        super().__init__()
        gate.get()


def test_mail_that_waits_for_a_child_fails_when_that_will_not_be_restarted(
    world: World, gate: Deferred
) -> None:
    supervisor = world.spawn(Supervisor, children=[child(Log, id="log")])
    (info,) = world.wait(supervisor.which_children())
    supervisor.start_child(child(Opened, gate, id="opened"))
    world.settle()
    world.kill(info.proxy)  # its supervisor is busy, and sees to that later
    kept = info.proxy.all()
    outcomes: list[Any] = []

    def hook(_: Any) -> None:
        gate.set(None)
        supervisor.count_children().get()
        outcomes.append(kept.done() and kept.exception())

    world.spawn(Guest, hook)
    end(world)
    (outcome,) = outcomes
    assert isinstance(outcome, ProcessStopped)


class Fickle(Log):
    """Cannot be made again."""

    made: ClassVar[int] = 0

    def __init__(self, gate: Deferred) -> None:
        super().__init__()
        type(self).made += 1
        if self.made > 1:
            gate.get()
            raise ValueError("fickle")


def test_a_restart_that_failed_is_not_tried_again(
    world: World, gate: Deferred, caplog: pytest.LogCaptureFixture
) -> None:
    Fickle.made = 0
    supervisor = world.spawn(Supervisor, children=[child(Fickle, gate, id="fickle")])
    (info,) = world.wait(supervisor.which_children())
    world.kill(info.proxy)
    world.settle()
    kept = info.proxy.all()
    states: list[Any] = []

    def hook(_: Any) -> None:
        gate.set(None)
        supervisor.count_children().get()
        states.extend(c.state for c in supervisor.which_children().get())

    world.spawn(Guest, hook)
    end(world)
    assert Fickle.made == 2
    assert states == ["stopped"]
    assert isinstance(kept.exception(), (ProcessStopped, ValueError))
    assert not world.cell(supervisor).has_ended


def test_a_child_that_is_to_be_killed_does_not_clean_up(world: World) -> None:
    seen: list[Any] = []
    world.spawn(Supervisor, children=[child(Guest, seen.append, id=1, shutdown="kill")])
    assert end(world) == 0
    assert seen == []


# ---- what is left over


@pytest.mark.filterwarnings("error")
def test_a_hook_whose_loop_ends_before_it_has_begun_leaves_no_complaint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Slow(Process):
        @blocking
        def sp_terminate(self, reason: Any) -> None:
            """Is not called: the loop has ended."""

    class Async(Process):
        async def sp_terminate(self, reason: Any) -> None:
            """Likewise."""

    world = World()
    for cls in (Slow, Async):
        world.spawn(cls)
    world.scheduler.close()
    for task in asyncio.all_tasks(world.loop):
        task.cancel()  # as `asyncio.Runner` does
    world.close()
    gc.collect()
    assert caplog.records == []
