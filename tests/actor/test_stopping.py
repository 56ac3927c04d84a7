"""Stopping: ahead of the mail, with a reason, and nothing that was asked stays unanswered."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from splice.actor.deferred import Deferred
from splice.actor.endings import revive
from splice.actor.links import extra_of
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import AnyProxy, tell
from splice.actor.spawning import CONSTRUCT
from splice.errors import Exit, NameTaken, ProcessKilled, ProcessStopped
from splice.testing.actors import Actor, World


class Clerk(Process):
    __slots__ = ("__weakref__", "seen")

    def __init__(self, seen=None):
        self.seen = [] if seen is None else seen

    def note(self, value):
        self.seen.append(value)
        return value

    def hold(self, promise):
        try:
            return promise.get()
        except ProcessKilled:
            self.seen.append("unwound")
            raise

    async def hold_async(self, promise):
        return await promise

    def leave(self, reason="normal", answer=None):
        raise Exit(reason, answer=answer)

    def raise_it(self, error):
        raise error

    async def raise_async(self, error):
        raise error

    def stop_myself(self, world):
        world.stop(self._sp_cell)
        self.seen.append("after stop")
        return "answered"

    def sp_terminate(self, reason):
        self.seen.append(("ended", reason))


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def clerk(world: World, seen: list[Any]) -> Any:
    return world.spawn(Clerk, seen)


@pytest.fixture
def gate(world: World) -> Deferred:
    return Deferred(world.scheduler)


# ---- stop


def test_a_stop_goes_ahead_of_the_mail(
    world: World, clerk: Any, seen: list[Any]
) -> None:
    late = clerk.note(1)
    world.wait(world.stop(clerk))
    assert seen == [("ended", "normal")]
    assert isinstance(late.exception(), ProcessStopped)


def test_with_drain_the_mail_is_handled_first(
    world: World, clerk: Any, seen: list[Any]
) -> None:
    in_time = clerk.note(1)
    stopped = world.stop(clerk, drain=True)
    late = clerk.note(2)
    world.wait(stopped)
    assert (seen, in_time.get()) == ([1, ("ended", "normal")], 1)
    assert isinstance(late.exception(), ProcessStopped)


def test_the_handler_at_hand_finishes_before_the_stop(
    world: World, clerk: Any, seen: list[Any], gate: Deferred
) -> None:
    at_hand = clerk.hold(gate)
    world.settle()
    stopped = world.stop(clerk)
    world.settle()
    assert not stopped.done()
    gate.set("done")
    world.wait(stopped)
    assert (at_hand.get(), seen) == ("done", [("ended", "normal")])


def test_an_async_handler_at_hand_finishes_before_the_stop(
    world: World, clerk: Any, gate: Deferred
) -> None:
    at_hand = clerk.hold_async(gate)
    world.settle()
    stopped = world.stop(clerk)
    world.settle()
    assert not stopped.done()
    gate.set("done")
    world.wait(stopped)
    assert at_hand.get() == "done"


def test_a_process_that_stops_itself_ends_after_the_handler_at_hand(
    world: World, clerk: Any, seen: list[Any]
) -> None:
    assert world.wait(clerk.stop_myself(world)) == "answered"
    world.settle()
    assert seen == ["after stop", ("ended", "normal")]


def test_queued_messages_fail_with_the_reason_and_were_not_delivered(
    world: World, clerk: Any
) -> None:
    late = clerk.note(1)
    world.wait(world.stop(clerk, "tired"))
    error = late.exception()
    assert (error.reason, error.verdict) == ("tired", "not delivered")
    assert str(error) == (
        "Clerk 1.note was not handled: the process has ended ('tired')"
    )


def test_a_call_to_an_ended_process_fails_at_once(world: World, clerk: Any) -> None:
    world.wait(world.stop(clerk, "tired"))
    promise = clerk.note(1)
    assert promise.exception().reason == "tired"


def test_stopping_what_has_ended_is_done_at_once(world: World, clerk: Any) -> None:
    world.wait(world.stop(clerk))
    assert world.stop(clerk).done()


def test_a_stop_counts_as_done_when_the_process_ends_for_another_reason_first(
    world: World, clerk: Any
) -> None:
    clerk.leave("bored")
    stopped = world.stop(clerk, drain=True)
    assert world.wait(stopped) is None
    assert clerk.note(1).exception().reason == "bored"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stop_counts_as_done_when_its_clean_up_hook_is_cut_off_by_a_kill(
    world: World, gate: Deferred, is_async: bool
) -> None:
    class Slow(Process):
        def sp_terminate(self, reason):
            gate.get()

    class SlowAsync(Process):
        async def sp_terminate(self, reason):
            await gate

    slow = world.spawn(SlowAsync if is_async else Slow)
    stopped = world.stop(slow)
    world.settle()
    world.kill(slow)
    assert world.wait(stopped) is None


def test_a_process_can_be_stopped_before_its_constructor_has_run(world: World) -> None:
    made = world.spawn_nowait(Clerk, name="clerk")
    cell = world.scheduler.directory.get("clerk")
    assert cell is not None
    world.wait(world.stop(cell))
    assert isinstance(made.exception(), ProcessStopped)


def test_the_clean_up_hook_may_ask_others(world: World, clerk: Any) -> None:
    class Polite(Process):
        def sp_terminate(self, reason):
            clerk.note("bye").get()

    polite = world.spawn(Polite)
    world.wait(world.stop(polite))
    world.settle()
    assert world.wait(clerk.note(1)) == 1


def test_a_failing_clean_up_hook_is_logged_and_the_process_ends(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy(Process):
        def sp_terminate(self, reason):
            raise RuntimeError("oops")

    clumsy = world.spawn(Clumsy)
    world.wait(world.stop(clumsy))
    assert "sp_terminate of Clumsy 1 failed" in caplog.text


def test_an_ended_process_is_let_go_without_a_collector(world: World) -> None:
    clerk = world.spawn(Clerk)
    ghost = weakref.ref(world.cell(clerk).object)
    gc.disable()
    try:
        world.wait(world.stop(clerk))
        assert ghost() is None
    finally:
        gc.enable()


# ---- kill


def test_a_kill_ends_at_once_and_runs_no_clean_up(
    world: World, clerk: Any, seen: list[Any]
) -> None:
    late = clerk.note(1)
    world.kill(clerk)
    assert (late.exception().reason, seen) == ("killed", [])


def test_a_kill_unwinds_a_parked_handler(
    world: World, clerk: Any, seen: list[Any], gate: Deferred
) -> None:
    at_hand = clerk.hold(gate)
    world.settle()
    world.kill(clerk)
    error = at_hand.exception()
    world.settle()
    assert (error.reason, error.verdict, seen) == ("killed", "unknown", ["unwound"])


def test_a_kill_unwinds_a_handler_whose_wait_is_just_over(
    world: World, clerk: Any, seen: list[Any], gate: Deferred
) -> None:
    clerk.hold(gate).add_done_callback(lambda promise: promise.exception())
    world.settle()
    gate.set("just over")
    world.kill(clerk)
    world.settle()
    assert seen == ["unwound"]


def test_a_kill_cancels_an_async_handler(
    world: World, clerk: Any, gate: Deferred
) -> None:
    at_hand = clerk.hold_async(gate)
    world.settle()
    world.kill(clerk)
    assert at_hand.exception().verdict == "unknown"


def test_the_caller_below_a_killed_callee_gets_an_error(
    world: World, clerk: Any, gate: Deferred
) -> None:
    outcome = world.spawn(Actor).run(lambda: clerk.hold(gate).exception())
    world.settle()
    world.kill(clerk)
    assert world.wait(outcome).reason == "killed"


def test_a_killed_caller_is_unwound_when_its_callee_returns(
    world: World, seen: list[Any], gate: Deferred
) -> None:
    class Caller(Process):
        def call(self, callee):
            try:
                return callee.hold(gate).get()
            except ProcessKilled:
                seen.append("unwound")
                raise

    caller, callee = world.spawn(Caller), world.spawn(Clerk)
    promise = caller.call(callee)
    world.settle()
    world.kill(caller)
    assert (promise.exception().reason, seen) == ("killed", [])
    gate.set("go on")
    world.settle()
    assert seen == ["unwound"]
    assert world.wait(callee.note("lives")) == "lives"


def test_a_callee_that_kills_its_caller_still_answers_nobody_twice(
    world: World, seen: list[Any]
) -> None:
    class Assassin(Process):
        def strike(self, victim):
            world.kill(victim)
            return "done"

    class Victim(Process):
        def call(self, assassin):
            try:
                return assassin.strike(self.sp_proxy).get()
            finally:
                seen.append("unwound")

    assassin, victim = world.spawn(Assassin), world.spawn(Victim)
    promise = victim.call(assassin)
    world.settle()
    assert (promise.exception().reason, seen) == ("killed", ["unwound"])


def test_a_process_that_kills_itself_goes_no_further(
    world: World, seen: list[Any]
) -> None:
    class Tired(Process):
        def give_up(self):
            raise ProcessKilled("enough")

    promise = world.spawn(Tired).give_up()
    world.settle()
    assert promise.exception().reason == "killed"


# ---- ends from inside


def test_exit_ends_the_process_with_its_reason_and_answer(
    world: World, clerk: Any, seen: list[Any]
) -> None:
    assert world.wait(clerk.leave("bored", "bye")) == "bye"
    assert seen == [("ended", "bored")]
    assert clerk.note(1).exception().reason == "bored"


@pytest.mark.parametrize("how", ["raise_it", "raise_async"])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_system_exit_ends_the_process_and_not_the_node(
    world: World, clerk: Any, seen: list[Any], how: str, error: BaseException
) -> None:
    promise = getattr(clerk, how)(error)
    world.settle()
    stopped = promise.exception()
    assert (type(stopped), stopped.reason) == (ProcessStopped, error)
    assert seen == [("ended", error)]
    assert world.wait(world.spawn(Clerk).note(1)) == 1


def test_an_error_ends_no_process_that_nobody_supervises(
    world: World, clerk: Any
) -> None:
    failed = clerk.raise_it(ValueError("x"))
    world.settle()
    assert (str(failed.exception()), world.wait(clerk.note(1))) == ("x", 1)


# ---- constructors


class Fails(Process):
    def __init__(self, error):
        raise error


def test_what_the_constructor_raises_spawn_raises(world: World) -> None:
    with pytest.raises(ValueError, match="cannot"):
        world.spawn(Fails, ValueError("cannot"))
    assert len(world.scheduler.directory) == 0


def test_an_exit_in_the_constructor_is_an_ended_process(world: World) -> None:
    with pytest.raises(
        ProcessStopped, match="Fails 1 ended in its constructor"
    ) as caught:
        world.spawn(Fails, Exit("no need"))
    assert caught.value.reason == "no need"


def test_system_exit_in_the_constructor_ends_the_process_only(world: World) -> None:
    with pytest.raises(ProcessStopped, match="did not finish") as caught:
        world.spawn(Fails, SystemExit(1))
    assert isinstance(caught.value.reason, SystemExit)


def test_a_half_made_process_runs_no_clean_up(world: World, seen: list[Any]) -> None:
    class HalfMade(Fails):
        def sp_terminate(self, reason):
            seen.append(reason)

    for error in (ValueError(), Exit(), SystemExit()):
        world.spawn_nowait(HalfMade, error).add_done_callback(lambda p: p.exception())
    world.settle()
    assert seen == []


def test_mail_to_a_process_whose_constructor_fails_fails_too(world: World) -> None:
    made = world.spawn_nowait(Fails, ValueError("cannot"), name="clerk")
    cell = world.scheduler.directory.get("clerk")
    assert cell is not None
    early = AnyProxy(cell).note(1)
    world.settle()
    assert isinstance(early.exception(), ProcessStopped)
    made.exception()


def test_arguments_that_do_not_fit_the_constructor_are_a_type_error(
    world: World,
) -> None:
    with pytest.raises(TypeError, match="takes"):
        world.spawn(Clerk, 1, 2, 3)


# ---- names


def test_a_name_in_use_is_taken(world: World) -> None:
    world.spawn(Clerk, name="clerk")
    with pytest.raises(NameTaken, match="a process named 'clerk' on this node already"):
        world.spawn(Clerk, name="clerk")


def test_a_name_is_free_again_after_the_end(world: World) -> None:
    world.wait(world.stop(world.spawn(Clerk, name="clerk")))
    assert world.spawn(Clerk, name="clerk").sp_id == "clerk"


def test_a_name_is_free_for_whoever_learns_that_the_constructor_failed(
    world: World,
) -> None:
    made = world.spawn_nowait(Fails, ValueError(), name="clerk")
    again: list[Any] = []
    made.add_done_callback(
        lambda p: again.append((p.exception(), world.spawn_nowait(Clerk, name="clerk")))
    )
    world.settle()
    assert again[0][1].get().sp_id == "clerk"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "12"])
def test_a_malformed_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(ValueError, match="malformed name"):
        world.spawn(Clerk, name=name)


# ---- the node's end


def test_at_the_end_of_the_node_every_process_ends_with_shutdown() -> None:
    world, seen = World(), []
    world.spawn(Clerk, seen)
    world.close()
    assert seen == [("ended", "shutdown")]


def test_at_the_end_of_the_node_everything_asked_fails() -> None:
    world = World()
    gate = Deferred(world.scheduler)
    clerk = world.spawn(Clerk)
    at_hand, queued = clerk.hold(gate), clerk.note(1)
    asynchronous = world.spawn(Clerk).hold_async(gate)
    follower = gate.then(lambda v: v)
    world.settle()
    world.close()
    for promise in (at_hand, queued, asynchronous, follower, gate, clerk.note(2)):
        assert promise.exception().reason == "shutdown"


def test_no_process_is_made_while_the_node_ends() -> None:
    world, errors = World(), []

    class Phoenix(Process):
        def sp_terminate(self, reason):
            try:
                world.spawn_nowait(Phoenix)
            except ProcessStopped as error:
                errors.append(str(error))

    world.spawn(Phoenix)
    world.close()
    assert errors == ["no Phoenix was made: the node is shut down"]


def test_a_handler_that_waits_while_it_is_unwound_does_not_hold_up_the_end() -> None:
    world, seen = World(), []
    gate = Deferred(world.scheduler)

    class Stubborn(Process):
        def hold(self):
            try:
                gate.get()
            finally:
                try:
                    Deferred().get()
                except ProcessKilled:
                    seen.append("refused")

    promise = world.spawn(Stubborn).hold()
    world.settle()
    world.close()
    assert (promise.exception().reason, seen) == ("shutdown", ["refused"])


def test_mail_in_a_mailbox_of_an_ended_process_is_dropped_when_it_was_told(
    world: World, clerk: Any
) -> None:
    delivered = tell(clerk.note, 1)
    world.kill(clerk)
    world.settle()
    assert delivered.get() is None


# ---- clean-up hooks that await


class Tidy(Process):
    def __init__(self, events: list[Any], error: BaseException | None = None) -> None:
        self.events = events
        self.error = error

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(1)
        self.events.append(reason)
        if self.error is not None:
            raise self.error

    def leave(self) -> None:
        raise Exit("left")


def test_a_stop_waits_for_an_async_clean_up_hook(world: World) -> None:
    events: list[Any] = []
    world.wait(world.stop(world.spawn(Tidy, events), "enough"))
    assert events == ["enough"]


def test_the_async_hook_of_a_process_that_ends_itself_runs_after_its_end(
    world: World,
) -> None:
    events: list[Any] = []
    tidy = world.spawn(Tidy, events)
    world.wait(tidy.leave())
    assert events == []
    world.loop.advance(2)
    assert events == ["left"]


@pytest.mark.parametrize("error", [ValueError("untidy"), SystemExit("untidy")])
def test_an_async_hook_that_fails_is_logged_and_the_process_ends(
    world: World, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    tidy = world.spawn(Tidy, [], error)
    world.wait(world.stop(tidy))
    assert world.cell(tidy).has_ended
    (record,) = caplog.records
    assert record.getMessage() == "sp_terminate of Tidy 1 failed"


class Keeper:
    """Restarts a process whatever it ended for; see `splice.actor.links.Keeper`."""

    def keeps_mail(self, reason: Any) -> bool:
        return reason != "shutdown"

    def ended(self, reason: Any) -> None: ...


def test_a_process_killed_in_its_async_hook_has_another_life_untouched(
    world: World,
) -> None:
    events: list[Any] = []
    cell = world.cell(world.spawn(Tidy, events))
    extra_of(cell).keeper = Keeper()
    world.stop(cell)
    world.settle()
    world.scheduler.kill(cell)
    revive(cell, Promise(cell, CONSTRUCT, (Tidy, (events,), {})))
    world.loop.advance(5)
    assert not cell.has_ended
