"""The traps of the engine, each of which once caught a prototype; see core-spike.md 8."""

import asyncio
import gc
import sys
import threading
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from greenlet import GreenletExit, greenlet

from splice.actor.combine import gather, syncmany
from splice.actor.context import current_worker
from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import tell
from splice.config import DIRECT_CREDIT, DIRECT_DEPTH, RUN_BUDGET
from splice.errors import CannotWait, DeadlockError, ProcessStopped, TimeoutError
from splice.testing.actors import Actor, World

VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


class Echo(Process):
    def echo(self, value):
        return value

    def ask(self, other, *path):
        """Ask the next of the path, and so on."""
        return other.ask(*path).get() if path else other.echo("end").get()

    def wait_for(self, promise):
        return promise.get()

    def recurse(self, depth):
        return 0 if depth == 0 else 1 + self.recurse(depth - 1)

    def recurse_and_ask(self, depth, other, deep):
        if depth:
            return self.recurse_and_ask(depth - 1, other, deep)
        return other.recurse(deep).get()


def frames() -> int:
    """Count the frames of the running stack."""
    count, frame = 0, sys._getframe()
    while frame is not None:
        count, frame = count + 1, frame.f_back  # type: ignore[assignment]
    return count


# ---- workers start from the hub


class Sky(Process):
    """Skynet: ten children each, down to the leaves; each adds up what its children say."""

    def __init__(self, world):
        self.world = world

    def grow(self, number, size):
        if size == 1:
            return number
        part = size // 10
        children = [self.world.spawn_nowait(Sky, self.world) for _ in range(10)]
        sums = [
            child.get().grow(number + i * part, part)
            for i, child in enumerate(children)
        ]
        return sum(syncmany(sums))


def test_skynet_adds_up(world: World) -> None:
    assert world.wait(world.spawn(Sky, world).grow(0, 10_000)) == 49_995_000


@pytest.mark.slow
def test_twenty_thousand_handlers_can_be_blocked_at_once(world: World) -> None:
    gate = Deferred(world.scheduler)
    waiting = [world.spawn(Echo).wait_for(gate) for _ in range(20_000)]
    world.settle()
    parked = len(world.scheduler.parked)
    gate.set("open")
    world.settle()
    assert (parked, {promise.get() for promise in waiting}) == (20_000, {"open"})


def test_no_more_workers_are_kept_than_are_worth_it(world: World) -> None:
    gate = Deferred(world.scheduler)
    waiting = [world.spawn(Echo).wait_for(gate) for _ in range(1500)]
    world.settle()
    gate.set()
    world.settle()
    assert all(promise.done() for promise in waiting)
    assert len(world.scheduler.idle) == 1000


def test_a_handler_starts_on_a_shallow_stack_however_many_are_blocked(
    world: World,
) -> None:
    gate = Deferred(world.scheduler)
    depths: list[int] = []

    class Deep(Process):
        def go(self):
            depths.append(frames())
            gate.get()

    for _ in range(500):
        world.spawn(Deep).go()
    world.settle()
    gate.set()
    world.settle()
    assert len(depths) == 500
    assert max(depths) - min(depths) == 0


# ---- direct calls


def test_a_deep_caller_leaves_its_callee_room_to_recurse(world: World) -> None:
    caller, callee = world.spawn(Echo), world.spawn(Echo)
    assert world.wait(caller.recurse_and_ask(930, callee, 100)) == 100


def test_direct_calls_are_no_deeper_than_the_limit(world: World) -> None:
    depths: list[int] = []

    class Link(Process):
        def call(self, others):
            worker = current_worker()
            assert worker is not None
            depths.append(len(worker.stack))
            return others[0].call(others[1:]).get() if others else "end"

    chain = [world.spawn(Link) for _ in range(50)]
    assert world.wait(chain[0].call(chain[1:])) == "end"
    assert (max(depths), len(depths)) == (DIRECT_DEPTH, 50)


def test_a_wait_with_a_timeout_ends_in_time_though_the_callee_is_blocked(
    world: World,
) -> None:
    gate = Deferred(world.scheduler)
    callee = world.spawn(Echo)
    started = world.loop.time()

    def story() -> None:
        with pytest.raises(TimeoutError):
            callee.wait_for(gate).get(timeout=0.05)

    world.run(story)
    assert world.loop.time() - started == pytest.approx(0.05)
    gate.set()


def test_a_direct_call_is_over_when_its_message_is_answered_with_a_promise(
    world: World,
) -> None:
    assert wait_before_later_mail(world, Promise.get) == "rate later"


def test_a_direct_call_for_what_is_made_of_an_answer_handles_no_later_mail(
    world: World,
) -> None:
    answer = wait_before_later_mail(world, lambda rate: rate.then(str).get())
    assert answer == "rate later"


def test_no_direct_call_is_made_for_a_message_that_has_had_its_turn(
    world: World,
) -> None:
    assert wait_before_later_mail(world, Promise.get, is_late=True) == "rate later"


def wait_before_later_mail(world: World, wait: Any, *, is_late: bool = False) -> Any:
    """Wait for what a broker has handed on; its next message waits for the asker's next step."""
    bank, broker = world.spawn(Echo), world.spawn(Echo)
    first, second = Deferred(world.scheduler), Deferred(world.scheduler)
    world.loop.call_later(1, first.set, "rate")

    def story() -> Any:
        rate = broker.echo(bank.wait_for(first))
        if is_late:
            world.scheduler.sleep(_worker(), 0.1)
        later = broker.wait_for(second)
        answer = wait(rate)
        second.set("later")
        return f"{answer} {later.get()}"

    promise = world.spawn(Actor).run(story)
    world.settle()
    world.loop.advance(2)
    return promise.get()


def _worker() -> Any:
    return current_worker()


def test_later_mail_of_one_that_has_handed_an_answer_on_closes_no_ring(
    world: World,
) -> None:
    class User(Process):
        def go(self, broker, bank, gate):
            rate = broker.echo(bank.wait_for(gate))
            back = broker.ask(self.sp_proxy)
            return rate.get(), back

        def echo(self, value):
            return value

    gate = Deferred(world.scheduler)
    world.loop.call_later(1, gate.set, "rate")
    answer = world.spawn(User).go(world.spawn(Echo), world.spawn(Echo), gate)
    rate, back = world.wait(answer)
    assert (rate, world.wait(back)) == ("rate", "end")


def test_endless_direct_calls_do_not_starve_others(world: World) -> None:
    # counted in messages: how many are handled between two turns of a ball
    handled: list[int] = [0]
    gaps: list[int] = []

    class Counter(Process):
        def count(self):
            handled[0] += 1

    class Endless(Process):
        def run(self, other):
            while len(gaps) < 50:
                other.count().get()

    class Player(Process):
        def hit(self, other):
            gaps.append(handled[0])
            handled[0] = 0
            if len(gaps) < 50:
                tell(other.hit, self)

    one, other = world.spawn(Player), world.spawn(Player)
    endless, counter = world.spawn(Endless), world.spawn(Counter)
    tell(one.hit, other)
    world.wait(endless.run(counter))
    assert max(gaps[2:]) <= DIRECT_CREDIT + 1
    assert min(gaps[2:]) > 0


def test_a_direct_call_into_a_long_mailbox_does_not_starve_the_loop(
    world: World,
) -> None:
    counter = world.spawn(Echo)
    turns: list[int] = []

    def story() -> None:
        promises = [counter.echo(i) for i in range(10_000)]
        before = world.scheduler.turns
        promises[-1].get()
        turns.append(world.scheduler.turns - before)

    world.run(story)
    assert turns[0] >= 10_000 // RUN_BUDGET - 1


def test_slow_handlers_end_the_turn_however_they_alternate_with_waiters(
    world: World,
) -> None:
    clock = world.loop
    latest: list[float] = [0.0]

    class Slow(Process):
        def work(self, other, n):
            for _ in range(n):
                clock.jump(0.001)
                other.echo(1).get(timeout=1000)

    started = clock.time()
    clock.call_soon(_note_gaps, clock, latest, started)
    world.wait(world.spawn(Slow).work(world.spawn(Echo), 200))
    assert latest[0] < 0.02


def _note_gaps(clock: Any, latest: list[float], since: float) -> None:
    now = clock.time()
    latest[0] = max(latest[0], now - since)
    if now < since + 1:
        clock.call_soon(_note_gaps, clock, latest, now) if now > since else None


# ---- one message at a time


def test_a_parked_callee_handles_its_mail_one_at_a_time_and_in_order(
    world: World,
) -> None:
    events: list[Any] = []

    class Busy(Process):
        def work(self, n, promise):
            events.append(("start", n))
            promise.get()
            events.append(("end", n))

    gates = [Deferred(world.scheduler) for _ in range(3)]
    busy = world.spawn(Busy)

    def story() -> None:
        syncmany([busy.work(n, gate) for n, gate in enumerate(gates)])

    for gate in reversed(gates):
        world.loop.call_later(1, gate.set)
    world.run(story)
    assert events == [(what, n) for n in range(3) for what in ("start", "end")]


# ---- rings of waits


def test_a_process_that_waits_for_itself_gets_an_error(world: World) -> None:
    class Narcissus(Process):
        def look(self):
            return self.sp_proxy.see().get()

        def see(self): ...

    with pytest.raises(
        DeadlockError,
        match=r"^Narcissus 1\.look on this node -> Narcissus 1\.look on this node: each would ",
    ):
        world.wait(world.spawn(Narcissus).look())


@pytest.mark.parametrize("length", [2, 3, 7, 8, 9, 40])
def test_a_ring_of_any_length_names_each_process_and_handler(
    world: World, length: int
) -> None:
    ring = [world.spawn(Echo) for _ in range(length)]
    with pytest.raises(DeadlockError) as caught:
        world.wait(ring[0].ask(*ring[1:], ring[0]))
    names = [f"Echo {i}.ask on this node" for i in range(1, length + 1)]
    assert str(caught.value).startswith(f"{' -> '.join([*names, names[0]])}: each")


def test_a_ring_is_found_however_it_is_entered(world: World) -> None:
    # the first of the path is not part of the ring
    outside, a, b = (world.spawn(Echo) for _ in range(3))
    with pytest.raises(DeadlockError) as caught:
        world.wait(outside.ask(a, b, a))
    assert "Echo 1" not in str(caught.value)
    text = str(caught.value).replace(" on this node", "")
    assert text.startswith("Echo 2.ask -> Echo 3.ask -> Echo 2.ask")


def test_a_ring_frees_the_others_by_the_answer_of_one(world: World) -> None:
    a, b = world.spawn(Echo), world.spawn(Echo)

    class Careful(Process):
        def ask(self, *path):
            try:
                return path[0].echo("never").get()
            except DeadlockError:
                return "gave way"

    careful = world.spawn(Careful)
    assert world.wait(a.ask(b, careful, a)) == "gave way"


def test_a_wait_with_a_timeout_is_no_edge(world: World) -> None:
    class Patient(Process):
        def ask(self, other):
            try:
                return other.ask(self.sp_proxy).get(timeout=5)
            except TimeoutError:
                return "timed out"

        def echo(self, value): ...

    patient, echo = world.spawn(Patient), world.spawn(Echo)
    answer = world.wait(patient.ask(echo))
    assert answer == "timed out"


def test_a_ring_through_a_promised_answer_is_found(world: World) -> None:
    # A waits for B, which has answered with a promise of what A owes
    class Deputy(Process):
        def delegate(self, other):
            return other.echo(1)

    class Asker(Process):
        def ask(self, deputy):
            return deputy.delegate(self.sp_proxy).get()

        def echo(self, value): ...

    with pytest.raises(DeadlockError, match="Asker"):
        world.wait(world.spawn(Asker).ask(world.spawn(Deputy)))


def test_a_ring_that_a_late_promised_answer_closes_is_found(world: World) -> None:
    # A already waits for B when B, by an async handler, answers with A's own promise
    gate = Deferred(world.scheduler)

    class Deputy(Process):
        async def delegate(self, other):
            await gate
            return other.echo(1)

    class Asker(Process):
        def ask(self, deputy):
            return deputy.delegate(self.sp_proxy).get()

        def echo(self, value): ...

    promise = world.spawn(Asker).ask(world.spawn(Deputy))
    world.settle()
    gate.set()
    world.settle()
    assert isinstance(promise.exception(), DeadlockError)


def test_a_ring_through_then_is_found(world: World) -> None:
    class Asker(Process):
        def ask(self, other):
            return other.ask(self.sp_proxy).then(str).get()

        def echo(self, value): ...

    with pytest.raises(
        DeadlockError, match=r"Asker 1\.ask.* -> Echo 2\.ask.* -> Asker 1"
    ):
        world.wait(world.spawn(Asker).ask(world.spawn(Echo)))


def test_a_ring_through_one_of_many_is_found(world: World) -> None:
    class Asker(Process):
        def ask(self, one, other):
            return gather([one.echo(1), other.ask(self.sp_proxy)]).get()

        def echo(self, value): ...

    asker = world.spawn(Asker).ask(world.spawn(Echo), world.spawn(Echo))
    with pytest.raises(
        DeadlockError, match=r"Echo 3\.ask on this node -> Asker 1\.ask"
    ):
        world.wait(asker)


def test_a_ring_of_async_handlers_is_found(world: World) -> None:
    class Async(Process):
        async def ask(self, other, *path):
            return await other.ask(*path)

    a, b = world.spawn(Async), world.spawn(Async)
    with pytest.raises(
        DeadlockError, match=r"Async 1\.ask.* -> Async 2\.ask.* -> Async 1"
    ):
        world.wait(a.ask(b, a, b))


def test_a_ring_through_a_blocking_handler_is_found() -> None:
    class Blocking(Process):
        @blocking
        def ask(self, other, *path):
            return other.ask(*path).get()

    world = World(asyncio.new_event_loop())
    a, b = world.spawn(Blocking), world.spawn(Echo)
    with pytest.raises(
        DeadlockError,
        match=r"(Blocking 1|Echo 2)\.ask.* -> (Blocking 1|Echo 2)\.ask.* -> ",
    ):
        world.wait(a.ask(b, a, b))
    world.close()


def test_a_promise_that_would_settle_itself_fails(world: World) -> None:
    class Loop(Process):
        def keep(self, promises):
            self.promises = promises

        def loop(self):
            return self.promises[0]

    loop, promises = world.spawn(Loop), []
    loop.keep(promises)
    promises.append(loop.loop())
    with pytest.raises(DeadlockError):
        world.wait(promises[0])


def test_two_that_wait_for_a_third_are_no_ring(world: World) -> None:
    gate = Deferred(world.scheduler)
    third, one, other = (world.spawn(Echo) for _ in range(3))
    waits = [third.wait_for(gate), one.ask(third), other.ask(third), other.ask(one)]
    world.settle()
    gate.set(1)
    world.settle()
    assert [promise.get() for promise in waits] == [1, "end", "end", "end"]


# ---- context variables


def test_context_variables_do_not_leak_between_handlers_on_one_worker(
    world: World,
) -> None:
    class Leaky(Process):
        def set(self):
            VARIABLE.set("leaked")
            return VARIABLE.get()

        def get(self):
            return VARIABLE.get()

    one, other = world.spawn(Leaky), world.spawn(Leaky)
    promises = [one.set(), one.get(), other.get()]
    world.settle()
    assert [promise.get() for promise in promises] == ["leaked", "unset", "unset"]


def test_context_variables_do_not_leak_over_direct_calls_either_way(
    world: World,
) -> None:
    class Callee(Process):
        def look(self):
            seen = VARIABLE.get()
            VARIABLE.set("of the callee")
            return seen

    class Caller(Process):
        def call(self, callee):
            VARIABLE.set("of the caller")
            return callee.look().get(), VARIABLE.get()

    seen = world.wait(world.spawn(Caller).call(world.spawn(Callee)))
    assert seen == ("unset", "of the caller")


def test_a_context_variable_holds_over_a_wait(world: World) -> None:
    gate = Deferred(world.scheduler)

    class Holder(Process):
        def hold(self, value):
            VARIABLE.set(value)
            gate.get()
            return VARIABLE.get()

    promises = [world.spawn(Holder).hold(i) for i in range(5)]
    world.settle()
    gate.set()
    world.settle()
    assert [promise.get() for promise in promises] == list(range(5))


# ---- failures that are looked at often


def test_a_failed_promise_waited_for_a_thousand_times_keeps_its_traceback_short(
    world: World,
) -> None:
    class Fails(Process):
        def fail(self):
            raise ValueError("once")

    class Big:
        """Stands for what the frame of a waiter holds."""

    ghosts: list[weakref.ref[Any]] = []
    lengths: set[int] = set()

    def look(promise: Promise) -> None:
        big = Big()
        ghosts.append(weakref.ref(big))
        try:
            promise.get()
        except ValueError as error:
            lengths.add(_length(error))

    def story() -> Any:
        promise = world.spawn(Fails).fail()
        for _ in range(1000):
            look(promise)
        return promise

    promise = world.run(lambda: [story()])[0]
    gc.collect()
    alive = [ghost for ghost in ghosts if ghost() is not None]
    assert len(lengths) == 1
    # the first, on whose stack the handler ran, and the last
    assert len(alive) <= 2
    assert promise.exception() is not None


def _length(error: BaseException) -> int:
    count, trace = 0, error.__traceback__
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


# ---- promises that are never settled


def test_handlers_parked_for_ever_are_unwound_at_the_end() -> None:
    world = World()
    never = Promise(world.scheduler)
    waiting = [world.spawn(Echo).wait_for(never) for _ in range(100)]
    world.settle()
    parked = len(world.scheduler.parked)
    world.close()
    assert (parked, len(world.scheduler.parked)) == (100, 0)
    assert all(isinstance(p.exception(), ProcessStopped) for p in waiting)


# ---- threads


def test_no_answer_is_lost_between_settling_and_waiting_of_threads(house: Any) -> None:
    echo = house.spawn(Echo)
    wrong: list[Any] = []

    def asks(thread: int) -> None:
        for i in range(250):
            if echo.echo((thread, i)).get(timeout=30) != (thread, i):
                wrong.append((thread, i))
            promises = [echo.echo(j) for j in range(20)]
            if [promise.get(timeout=30) for promise in promises] != list(range(20)):
                wrong.append(promises)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=asks, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


# ---- foreign greenlets


def test_a_foreign_greenlet_in_a_handler_cannot_wait_and_hangs_nobody(
    world: World,
) -> None:
    echo = world.spawn(Echo)
    errors: list[str] = []

    def foreign() -> None:
        try:
            echo.echo(1).get()
        except CannotWait as error:
            errors.append(str(error))

    def story() -> Any:
        greenlet(foreign).switch()
        return echo.echo(2).get()

    assert (world.run(story), len(errors)) == (2, 1)


def test_a_foreign_greenlet_exit_ends_one_process_only(world: World) -> None:
    class Odd(Process):
        def go(self):
            raise GreenletExit

    promise = world.spawn(Odd).go()
    world.settle()
    assert isinstance(promise.exception(), ProcessStopped)
    assert world.wait(world.spawn(Echo).echo(1)) == 1
