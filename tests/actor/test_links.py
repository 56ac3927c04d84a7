"""Links and monitors: who ends with whom, who is told, and what reasons travel."""

import pickle
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.actor.coroutine import Coroutine
from splice.actor.deferred import Deferred
from splice.actor.links import (
    Down,
    Exited,
    Fate,
    Monitor,
    fate_of,
    link,
    monitor,
    unlink,
)
from splice.actor.process import Process
from splice.actor.proxy import tell
from splice.errors import Cancelled, CoroutineEnded, Exit, ProcessStopped
from splice.testing.actors import World
from splice.uri import url


class Member(Process):
    """Ends as it is asked to, and notes what it is told."""

    def __init__(self, notes=None):
        self.notes = [] if notes is None else notes

    def note(self, value):
        self.notes.append(value)
        return list(self.notes)

    def fail(self, error):
        raise error

    async def fail_async(self, error):
        raise error

    def leave(self, reason):
        raise Exit(reason)

    def hold(self, promise):
        return promise.get()

    async def hold_async(self, promise):
        return await promise

    def sp_terminate(self, reason):
        self.notes.append(("cleaned up", reason))


class Trapper(Member):
    sp_trap_exit = True

    def sp_exited(self, end):
        self.notes.append(end)


class Observer(Member):
    def sp_down(self, down):
        self.notes.append(down)


class AsyncTrapper(Member):
    sp_trap_exit = True

    async def sp_exited(self, end):
        self.notes.append(end.reason)


def linked(world: World, *classes: type) -> list[Any]:
    made = [world.spawn(cls) for cls in classes]
    for one, other in pairwise(made):
        link(world.cell(one), world.cell(other))
    return made


def watch(world: World, proc: Any, owner: Any = None) -> Monitor:
    cell = world.cell(proc)
    promise = Monitor(world.scheduler, cell, world.cell(owner) if owner else None)
    monitor(cell, promise)
    return promise


def ignore(promise: Any) -> None:
    """Look at a failure, so that it is not logged."""
    promise.add_done_callback(lambda _: None)


def has_ended(world: World, proc: Any) -> bool:
    world.settle()
    return world.cell(proc).has_ended


def reason_of(world: World, proc: Any) -> Any:
    world.settle()
    return world.cell(proc).runner.reason


# ---- decisions


@given(st.one_of(st.text(), st.integers(), st.builds(ValueError)))
def test_one_that_traps_is_told_whatever_the_reason(reason):
    assert fate_of(traps=True, reason=reason) is Fate.TOLD


@pytest.mark.parametrize("reason", ["shutdown", "killed", "noproc", 7, None, OSError()])
def test_an_end_that_is_not_normal_ends_the_other_too(reason):
    assert fate_of(traps=False, reason=reason) is Fate.ENDS


def test_a_normal_end_leaves_the_other_untouched():
    assert fate_of(traps=False, reason="normal") is Fate.UNTOUCHED


# ---- links


def test_a_process_that_is_linked_to_one_that_fails_ends_for_the_same_reason(world):
    one, other = linked(world, Member, Member)
    error = ValueError("broken")
    ignore(one.fail(error))
    assert has_ended(world, other)
    assert reason_of(world, other) is error


def test_the_caller_of_a_handler_that_fails_a_linked_process_gets_the_error(world):
    one, _ = linked(world, Member, Member)
    with pytest.raises(ValueError, match="broken"):
        world.wait(one.fail(ValueError("broken")))
    assert has_ended(world, one)


def test_an_async_handler_that_raises_ends_a_linked_process(world):
    one, other = linked(world, Member, Member)
    ignore(one.fail_async(KeyError()))
    world.settle()
    one_error = reason_of(world, one)
    assert isinstance(one_error, KeyError)
    assert reason_of(world, other) is one_error


def test_a_tell_that_fails_ends_a_linked_process(world, caplog):
    one, other = linked(world, Member, Member)
    tell(one.fail, ValueError("unasked"))
    assert has_ended(world, other)
    assert "unasked" in caplog.text


def test_a_process_without_links_survives_its_errors(world):
    one = world.spawn(Member)
    ignore(one.fail(ValueError()))
    assert world.wait(one.note(1)) == [1]


def test_a_process_survives_its_errors_again_once_it_is_unlinked(world):
    one, other = linked(world, Member, Member)
    unlink(world.cell(one), world.cell(other))
    with pytest.raises(ValueError, match="mine"):
        world.wait(one.fail(ValueError("mine")))
    assert not has_ended(world, one)


def test_a_link_works_both_ways(world):
    one, other = linked(world, Member, Member)
    other.leave("bored")
    assert reason_of(world, one) == "bored"


def test_an_end_travels_along_a_chain_of_links(world):
    chain = linked(world, *[Member] * 5)
    chain[2].leave("bored")
    assert [reason_of(world, each) for each in chain] == ["bored"] * 5


def test_a_ring_of_links_ends_as_a_whole(world):
    ring = linked(world, *[Member] * 4)
    link(world.cell(ring[-1]), world.cell(ring[0]))
    ring[1].leave("bored")
    assert all(has_ended(world, each) for each in ring)


def test_a_process_can_be_linked_to_itself_without_effect(world):
    one = world.spawn(Member)
    link(world.cell(one), world.cell(one))
    assert world.wait(one.note(1)) == [1]


def test_a_link_that_is_made_twice_is_one_link(world):
    one, other = linked(world, Member, Member)
    link(world.cell(one), world.cell(other))
    unlink(world.cell(other), world.cell(one))
    one.leave("bored")
    assert not has_ended(world, other)


def test_a_normal_end_does_not_travel(world):
    one, other = linked(world, Member, Member)
    world.wait(world.stop(one))
    assert not has_ended(world, other)


def test_a_kill_travels_as_killed(world):
    one, other = linked(world, Member, Member)
    world.kill(one)
    assert reason_of(world, other) == "killed"


def test_a_process_that_ends_by_a_link_cleans_up(world):
    notes: list[Any] = []
    one, other = world.spawn(Member), world.spawn(Member, notes)
    link(world.cell(one), world.cell(other))
    one.leave("bored")
    world.settle()
    assert notes == [("cleaned up", "bored")]


def test_a_link_to_one_that_has_ended_ends_with_noproc(world):
    one, gone = world.spawn(Member), world.spawn(Member)
    world.wait(world.stop(gone))
    link(world.cell(one), world.cell(gone))
    assert reason_of(world, one) == "noproc"


def test_the_mail_of_one_that_ends_by_a_link_is_answered(world):
    one, other = linked(world, Member, Member)
    one.leave("bored")
    late = other.note(1)
    world.settle()
    assert isinstance(late.exception(), ProcessStopped)


@pytest.mark.parametrize("hold", ["hold", "hold_async"])
def test_the_handler_at_hand_may_finish_before_a_link_ends_its_process(world, hold):
    one, other = linked(world, Member, Member)
    gate = Deferred(world.scheduler)
    answer = getattr(other, hold)(gate)
    world.settle()
    one.leave("bored")
    world.settle()
    gate.set("done")
    assert world.wait(answer) == "done"
    assert reason_of(world, other) == "bored"


@pytest.mark.parametrize("hold", ["hold", "hold_async"])
def test_a_handler_that_takes_too_long_is_unwound(world, hold):
    one, other = linked(world, Member, Member)
    gate = Deferred(world.scheduler)
    answer = getattr(other, hold)(gate)
    world.settle()
    one.leave("bored")
    world.loop.advance(6.0)
    assert reason_of(world, other) == "bored"
    assert answer.exception().reason == "bored"


def test_the_end_of_a_generator_is_no_failure_of_its_process(world):
    def once():
        yield 1

    coro = world.spawn(Coroutine, once, (), {})
    link(world.cell(coro), world.cell(world.spawn(Member)))
    assert world.wait(coro.next()) == 1
    with pytest.raises(CoroutineEnded):
        world.wait(coro.next())
    assert not has_ended(world, coro)


@pytest.mark.parametrize("fail", ["fail", "fail_async"])
def test_the_end_of_a_generator_that_a_handler_raises_ends_its_process(world, fail):
    one, other = linked(world, Member, Member)
    error = CoroutineEnded("of another")
    with pytest.raises(CoroutineEnded):
        world.wait(getattr(one, fail)(error))
    assert reason_of(world, other) == error


def test_a_cancelled_handler_is_no_failure_of_its_process(world):
    one, _ = linked(world, Member, Member)
    answer = one.hold_async(Deferred(world.scheduler))
    world.settle()
    world.scheduler.post(answer.cancel)
    world.settle()
    assert isinstance(answer.exception(), Cancelled)
    assert not has_ended(world, one)


# ---- trapping


def test_one_that_traps_is_told_and_lives_on(world):
    one, trapper = linked(world, Member, Trapper)
    error = ValueError("broken")
    tell(one.fail, error)
    world.settle()
    [told] = [n for n in world.wait(trapper.note("asked")) if n != "asked"]
    assert (type(told), told.url, told.reason) == (Exited, one.sp_url, error)


@pytest.mark.parametrize("reason", ["normal", "shutdown", "killed"])
def test_one_that_traps_is_told_of_any_reason(world, reason):
    one, trapper = linked(world, Member, Trapper)
    one.leave(reason)
    world.settle()
    assert world.wait(trapper.note("asked"))[0].reason == reason


def test_an_exit_is_handled_after_the_mail_that_was_sent_before(world):
    one, trapper = linked(world, Member, Trapper)
    tell(trapper.note, "first")
    one.leave("bored")
    world.settle()
    notes = world.wait(trapper.note("last"))
    assert [n if isinstance(n, str) else n.reason for n in notes] == [
        "first",
        "bored",
        "last",
    ]


def test_a_kill_cannot_be_trapped(world):
    one, trapper = linked(world, Member, Trapper)
    world.kill(trapper)
    assert has_ended(world, trapper)
    assert reason_of(world, one) == "killed"


def test_a_trapper_ends_its_chain(world):
    first, trapper, last = linked(world, Member, Trapper, Member)
    first.leave("bored")
    assert not has_ended(world, trapper)
    assert not has_ended(world, last)


def test_the_hook_may_be_async(world):
    one, trapper = linked(world, Member, AsyncTrapper)
    one.leave("bored")
    world.settle()
    assert world.wait(trapper.note("asked")) == ["bored", "asked"]


def test_trapping_without_the_hook_is_surviving(world):
    class Stoic(Member):
        sp_trap_exit = True

    one, stoic = linked(world, Member, Stoic)
    one.leave("bored")
    assert not has_ended(world, stoic)


# ---- monitors


def test_a_monitor_tells_who_ended_and_why(world):
    one = world.spawn(Member)
    down = watch(world, one)
    one.leave("bored")
    assert world.wait(down) == Down(one.sp_url, "bored")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_monitor_sees_every_kind_of_end(world, end):
    one = world.spawn(Member)
    down = watch(world, one)
    getattr(world, end)(one)
    assert world.wait(down).reason == {"stop": "normal", "kill": "killed"}[end]


def test_a_monitor_of_one_that_has_ended_says_noproc_at_once(world):
    one = world.spawn(Member)
    world.wait(world.stop(one))
    assert watch(world, one).get().reason == "noproc"


def test_a_monitor_ends_nobody(world):
    one, observer = world.spawn(Member), world.spawn(Member)
    watch(world, one, observer)
    one.leave("bored")
    assert not has_ended(world, observer)


def test_one_that_ends_its_watcher_and_then_itself_is_no_trouble(world):
    one, observer = world.spawn(Member), world.spawn(Observer)
    down = watch(world, one, observer)
    world.kill(observer)
    one.leave("bored")
    assert has_ended(world, one)
    assert isinstance(down.exception(), ProcessStopped)


def test_a_process_may_watch_itself(world):
    one = world.spawn(Observer)
    down = watch(world, one, one)
    world.wait(world.stop(one))
    assert isinstance(down.exception(), ProcessStopped)


def test_a_monitor_may_be_taken_back_twice_and_after_the_end(world):
    one, observer = world.spawn(Member), world.spawn(Observer)
    early, late = watch(world, one, observer), watch(world, one, observer)
    for _ in range(2):
        world.scheduler.post(early.cancel_nowait)
    world.settle()
    one.leave("bored")
    world.settle()
    world.scheduler.post(late.cancel_nowait)
    assert len(world.wait(observer.note("asked"))) == 2
    assert late.get().reason == "bored"


def test_a_reason_may_be_large(world):
    one = world.spawn(Member)
    down, reason = watch(world, one), ["big", 10**100] * 10_000
    one.leave(reason)
    assert world.wait(down).reason == reason


def test_a_name_is_free_when_its_end_is_told(world):
    one = world.spawn(Member, name="jeeves")
    names = []
    watch(world, one).add_done_callback(
        lambda _: names.append(world.scheduler.directory.get("jeeves"))
    )
    world.kill(one)
    world.settle()
    assert names == [None]


def test_a_class_with_sp_down_gets_it_as_a_message_too(world):
    one, observer = world.spawn(Member), world.spawn(Observer)
    down = watch(world, one, observer)
    tell(observer.note, "before")
    one.leave("bored")
    world.settle()
    assert world.wait(observer.note("after"))[:2] == ["before", down.get()]


def test_each_monitor_tells_once(world):
    one, observer = world.spawn(Member), world.spawn(Observer)
    watch(world, one, observer)
    watch(world, one, observer)
    one.leave("bored")
    world.settle()
    assert len(world.wait(observer.note("asked"))) == 3


def test_a_monitor_that_is_taken_back_tells_nothing(world):
    one, observer = world.spawn(Member), world.spawn(Observer)
    down = watch(world, one, observer)
    world.scheduler.post(down.cancel)
    world.settle()
    one.leave("bored")
    assert world.wait(observer.note("asked")) == ["asked"]
    assert isinstance(down.exception(), Cancelled)


def test_a_monitor_ends_with_the_process_that_set_it(world):
    one, observer = world.spawn(Member), world.spawn(Observer)
    down = watch(world, one, observer)
    world.wait(world.stop(observer))
    assert isinstance(down.exception(), ProcessStopped)
    assert world.cell(one).extra.watchers == {}


def test_a_down_and_an_exit_travel(world):
    where = url(5, "tcp://127.0.0.1:1", 1)
    for notice in (Down(where, "x"), Exited(where, "x")):
        assert pickle.loads(pickle.dumps(notice)) == notice


def test_an_idle_process_has_no_record(world):
    one = world.spawn(Member)
    world.wait(one.note(1))
    assert world.cell(one).extra is None


# ---- any graph of links


@given(
    st.integers(2, 7).flatmap(
        lambda n: st.tuples(
            st.lists(st.booleans(), min_size=n, max_size=n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))),
            st.integers(0, n - 1),
        )
    )
)
def test_those_end_who_are_reached_without_passing_one_that_traps(graph):
    traps, edges, first = graph
    world = World()
    made = [world.spawn(Trapper if t else Member) for t in traps]
    for one, other in edges:
        link(world.cell(made[one]), world.cell(made[other]))
    tell(made[first].leave, "bored")
    world.settle()
    ended = {i for i, each in enumerate(made) if has_ended(world, each)}
    world.close()
    assert ended == _reached(traps, edges, first)


def _reached(traps, edges, first):
    reached, to_do = {first}, [first]
    while to_do:
        here = to_do.pop()
        for one, other in [*edges, *[(b, a) for a, b in edges]]:
            if one == here and other not in reached and not traps[other]:
                reached.add(other)
                to_do.append(other)
    return reached
