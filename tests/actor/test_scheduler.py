"""The scheduler: turns, workers, the order of messages, and one settlement for each."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.actor.combine import syncmany
from splice.actor.context import current_cell, current_scheduler
from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import tell
from splice.config import RUN_BUDGET
from splice.errors import (
    Cancelled,
    CannotWait,
    DeadlockError,
    ProcessStopped,
    TimeoutError,
)
from splice.testing.actors import World


class Clerk(Process):
    def __init__(self, seen=None):
        self.seen = [] if seen is None else seen

    def note(self, value):
        self.seen.append(value)
        return value

    def me(self):
        return current_cell()

    def hold(self, promise):
        return promise.get()


# ---- order


def test_messages_are_handled_in_the_order_sent(world: World) -> None:
    clerk = world.spawn(Clerk)
    for i in range(10):
        tell(clerk.note, i) if i % 3 else clerk.note(i)
    world.settle()
    assert world.cell(clerk).object.seen == list(range(10))


def test_mail_that_a_callback_of_the_loop_brings_is_handled_in_it(world: World) -> None:
    clerk = world.spawn(Clerk)
    world.settle()
    world.scheduler.turn_after(lambda: tell(clerk.note, 1))
    assert world.cell(clerk).object.seen == [1]


def test_mail_is_handled_although_what_brought_it_failed(world: World) -> None:
    clerk = world.spawn(Clerk)
    world.settle()

    def bring() -> None:
        tell(clerk.note, 1)
        raise ValueError("after the first")

    with pytest.raises(ValueError, match="after the first"):
        world.scheduler.turn_after(bring)
    assert world.cell(clerk).object.seen == [1]


def test_mail_that_is_brought_waits_for_a_turn_that_is_on_its_way(world: World) -> None:
    clerk = world.spawn(Clerk)
    world.settle()
    tell(clerk.note, 1)
    world.scheduler.turn_after(lambda: tell(clerk.note, 2))
    assert world.cell(clerk).object.seen == []
    world.settle()
    assert world.cell(clerk).object.seen == [1, 2]


def test_processes_with_mail_take_turns_in_the_order_they_got_it(world: World) -> None:
    seen: list[Any] = []
    clerks = [world.spawn(Clerk, seen) for _ in range(5)]
    for i in (3, 1, 4, 0, 2):
        clerks[i].note(i)
    world.settle()
    assert seen == [3, 1, 4, 0, 2]


def test_a_direct_call_takes_the_mail_in_order_up_to_its_own(world: World) -> None:
    seen: list[Any] = []
    clerk = world.spawn(Clerk, seen)

    def story() -> Any:
        clerk.note(1)
        tell(clerk.note, 2)
        clerk.note(3).get()
        after = list(seen)
        clerk.note(4)
        return after

    assert world.run(story) == [1, 2, 3]


# ---- turns


def test_a_turn_ends_after_so_many_messages(world: World) -> None:
    clerk = world.spawn(Clerk)
    before = world.scheduler.turns
    for i in range(10 * RUN_BUDGET):
        clerk.note(i)
    world.settle()
    assert world.scheduler.turns - before >= 10


def test_a_turn_ends_after_so_long(world: World) -> None:
    class Slow(Process):
        def work(self):
            world.loop.jump(0.001)

    slow = world.spawn(Slow)
    before = world.scheduler.turns
    for _ in range(20):
        slow.work()
    world.settle()
    assert world.scheduler.turns - before >= 4


def test_frames_are_flushed_at_the_end_of_each_turn(world: World) -> None:
    flushed: list[int] = []
    world.scheduler.flush = lambda: flushed.append(world.scheduler.turns)
    world.wait(world.spawn(Clerk).note(1))
    assert flushed
    assert flushed == sorted(set(flushed))


# ---- workers


def test_workers_are_used_again(world: World) -> None:
    for _ in range(20):
        gate = Deferred(world.scheduler)
        promises = [world.spawn(Clerk).hold(gate) for _ in range(5)]
        world.settle()
        gate.set(1)
        world.settle()
        assert [promise.get() for promise in promises] == [1] * 5
    assert len(world.scheduler.idle) <= 6


def test_the_current_process_is_known_in_a_handler(world: World) -> None:
    clerk = world.spawn(Clerk)
    assert world.wait(clerk.me()) is world.cell(clerk)
    assert current_cell() is None


def test_the_current_process_is_right_after_a_direct_call(world: World) -> None:
    other = world.spawn(Clerk)

    class Asker(Process):
        def ask(self):
            before = current_cell()
            there = other.me().get()
            return before, there, current_cell()

    asker = world.spawn(Asker)
    mine, theirs = world.cell(asker), world.cell(other)
    assert world.wait(asker.ask()) == (mine, theirs, mine)


def test_the_current_scheduler_is_that_of_the_handler(world: World) -> None:
    assert world.run(current_scheduler) is world.scheduler
    with pytest.raises(CannotWait):
        current_scheduler()


def test_sleeping_parks_the_handler_only(world: World) -> None:
    class Sleepy(Process):
        def nap(self, seconds):
            world.scheduler.sleep(_worker(), seconds)
            return world.loop.time()

    started = world.loop.time()
    naps = [world.spawn(Sleepy).nap(n) for n in (3, 1, 2)]
    ended = [world.wait(nap) - started for nap in naps]
    assert ended == pytest.approx([3, 1, 2])


def _worker() -> Any:
    from splice.actor.context import current_worker

    return current_worker()


def test_the_sleep_of_a_killed_process_leaves_no_timer(world: World) -> None:
    class Sleepy(Process):
        def nap(self):
            world.scheduler.sleep(_worker(), 86400)

    sleeper = world.spawn(Sleepy)
    sleeper.nap().add_done_callback(lambda done: done.exception())
    world.settle()
    assert len(world.scheduler.timers.pending()) == 1
    world.kill(sleeper)
    world.settle()
    assert world.scheduler.timers.pending() == []


def test_several_schedulers_live_on_one_loop() -> None:
    one = World()
    two = World(one.loop)
    clerk = two.spawn(Clerk)
    later = clerk.hold(Deferred(two.scheduler))

    def story() -> Any:
        with pytest.raises(TimeoutError):
            later.get(timeout=1)
        return clerk.me

    assert one.run(lambda: two.spawn(Clerk).note(5).get()) == 5
    one.run(story)
    two.scheduler.close()
    assert isinstance(later.exception(), ProcessStopped)
    one.close()


# ---- any program

ACTIONS = st.sampled_from(["tell", "ask", "drop", "sync", "timeout", "cancel"])


class Player(Process):
    """Acts out a script: messages to others, which act in turn."""

    def __init__(self, world, me, log):
        self.world = world
        self.me = me
        self.log = log

    def play(self, sender, number, script, players):
        """Note the message, then send one for each step of the script."""
        self.log.append((sender, self.me, number))
        for to, action, inner in script:
            self.world.step(self.me, to, action, inner, players)
        return number


class Theatre(World):
    """A world that counts what was sent and keeps each promise."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[tuple[int, int], int] = {}
        self.promises: list[tuple[tuple[int, int, int], Promise, str]] = []

    def step(self, me: int, to: int, action: str, inner: Any, players: Any) -> None:
        number = self.sent[me, to] = self.sent.get((me, to), 0) + 1
        arguments = (me, number, inner, players)
        if action == "tell":
            tell(players[to].play, *arguments)
            return
        promise = players[to].play(*arguments)
        self.promises.append(((me, to, number), promise, action))
        try:
            if action == "sync":
                promise.get()
            elif action == "timeout":
                promise.get(timeout=1)
            elif action == "cancel":
                promise.cancel()
        except (DeadlockError, TimeoutError, Cancelled):
            pass


def scripts(players: int) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.just([]),
        lambda inner: st.lists(
            st.tuples(st.integers(0, players - 1), ACTIONS, inner), max_size=4
        ),
        max_leaves=25,
    )


@given(script=scripts(4))
def test_any_program_keeps_the_order_and_settles_each_promise_once(script: Any) -> None:
    world = Theatre()
    log: list[tuple[int, int, int]] = []
    settled: list[int] = []
    players: list[Any] = []
    players += [world.spawn(Player, world, i, log) for i in range(4)]
    players[0].play(-1, 0, script, players)
    world.loop.advance(1000)
    for index, (_, promise, _) in enumerate(world.promises):
        promise.add_done_callback(lambda p, i=index: settled.append(i))
    world.settle()

    assert sorted(settled) == list(range(len(world.promises)))
    assert len(set(log)) == len(log)
    for pair in world.sent:
        numbers = [n for sender, to, n in log if (sender, to) == pair]
        assert numbers == sorted(numbers)
    cancelled = {key for key, promise, action in world.promises if _gave_up(promise)}
    expected = {
        (*pair, n) for pair, sent in world.sent.items() for n in range(1, sent + 1)
    }
    assert set(log) - {(-1, 0, 0)} == expected - cancelled
    world.close()


def _gave_up(promise: Promise) -> bool:
    return isinstance(promise.exception(), Cancelled)


@given(seed=st.integers(0, 2**32), kills=st.integers(1, 4))
def test_every_promise_settles_whoever_is_killed_in_between(
    seed: int, kills: int
) -> None:
    chance = random.Random(seed)
    world = World()

    class Node(Process):
        def ask(self, others, depth):
            if depth == 0:
                world.scheduler.sleep(_worker(), chance.random())
                return 1
            asked = [chance.choice(others).ask(others, depth - 1) for _ in range(2)]
            try:
                return sum(syncmany(asked))
            except (ProcessStopped, DeadlockError):
                return 0

    nodes: list[Any] = [world.spawn(Node) for _ in range(6)]
    promises = [node.ask(nodes, 3) for node in nodes]
    for _ in range(kills):
        world.loop.advance(chance.random())
        victim = chance.choice(nodes)
        chance.choice([world.kill, world.stop])(victim)
    world.loop.advance(10_000)
    assert all(promise.done() for promise in promises)
    for promise in promises:
        promise.exception()
    world.close()
    assert not world.scheduler.parked
