"""Timers: one timer of the loop for many, in order, cancelled for nothing, swept in time."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.actor.timers import SWEEP_FROM, Timer, Timers
from splice.testing.clock import START, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def timers(loop: VirtualLoop) -> Timers:
    return Timers(loop)


def every(timers: Timers, seconds: float, function) -> Timer:
    timer = Timer(function, START + seconds, every=seconds)
    timers.add(timer)
    return timer


@given(st.lists(st.integers(0, 1000).map(lambda n: n / 16), max_size=30))
def test_all_fire_at_their_times_in_order(delays):
    loop = VirtualLoop()
    timers = Timers(loop)
    fired = []
    for delay in delays:
        timers.after(delay, lambda delay=delay: fired.append((delay, loop.time())))
    loop.advance(101)
    loop.close()
    assert [delay for delay, _ in fired] == sorted(delays)
    assert all(abs(now - START - delay) < 1e-5 for delay, now in fired)


def test_those_of_one_time_fire_in_the_order_they_were_set(loop, timers):
    fired = []
    for number in range(5):
        timers.after(1, fired.append, number)
    loop.advance(1)
    assert fired == [0, 1, 2, 3, 4]


def test_a_thousand_timers_are_one_of_the_loop(loop, timers):
    for number in range(1000):
        timers.after(1000 - number, print)
    assert sum(not handle.cancelled() for handle in loop._scheduled) == 1


def test_a_cancelled_timer_does_not_fire(loop, timers):
    fired = []
    timer = timers.after(1, fired.append, "late")
    assert timer.cancel()
    loop.advance(2)
    assert fired == []


def test_a_timer_is_cancelled_once(timers):
    timer = timers.after(1, print)
    assert (timer.cancel(), timer.cancel()) == (True, False)


def test_a_timer_that_has_fired_cannot_be_cancelled(loop, timers):
    timer = timers.after(1, list)
    loop.advance(1)
    assert not timer.is_running
    assert not timer.cancel()


def test_a_timer_nobody_wants_any_more_does_not_fire_and_cannot_be_cancelled(
    loop, timers
):
    fired = []
    timer = Timer(lambda: fired.append(1), START + 1, is_wanted=lambda: False)
    timers.add(timer)
    loop.advance(2)
    assert (fired, timer.cancel()) == ([], False)


def test_an_every_timer_fires_until_it_is_cancelled(loop, timers):
    fired = []
    timer = every(timers, 2, lambda: fired.append(loop.time() - START))
    loop.advance(7)
    assert timer.cancel()
    loop.advance(7)
    assert fired == [2, 4, 6]


def test_an_every_timer_may_cancel_itself(loop, timers):
    fired = []
    timer = every(timers, 1, lambda: fired.append(timer.cancel()))
    loop.advance(5)
    assert fired == [True]


def test_an_every_timer_leaves_out_what_a_busy_loop_has_missed(loop, timers):
    fired = []
    every(timers, 1, lambda: fired.append(loop.time() - START))
    loop.jump(3.5)
    loop.advance(2)
    assert fired == [3.5, 4, 5]


def test_one_that_raises_does_not_keep_the_others_from_firing(loop, timers):
    told, fired = [], []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    every(timers, 1, lambda: {}[1])
    timers.after(1, fired.append, "other")
    loop.advance(2)
    assert fired == ["other"]
    assert [type(error) for error in told] == [KeyError, KeyError]


def test_a_timer_set_by_a_timer_fires(loop, timers):
    fired = []
    timers.after(1, lambda: timers.after(1, lambda: fired.append(loop.time() - START)))
    loop.advance(3)
    assert fired == [2]


def test_cancelled_timers_are_swept_out(timers):
    for _ in range(100 * SWEEP_FROM):
        timers.after(1000, print).cancel()
    assert len(timers) <= SWEEP_FROM


def test_pending_are_those_that_will_fire_the_next_one_first(timers):
    late, soon = timers.after(2, print), timers.after(1, print)
    timers.after(3, print).cancel()
    assert timers.pending() == [soon, late]


def test_closed_timers_fire_no_more_and_take_no_more(loop, timers):
    fired = []
    timer = timers.after(1, fired.append, "before")
    timers.close()
    after = timers.after(1, fired.append, "after")
    loop.advance(2)
    assert (fired, timer.is_running, after.is_running) == ([], False, False)
    assert not loop._scheduled


def test_a_timer_says_what_it_does():
    timer = Timer(print, 0, every=5, what="Till 3.tick")
    assert repr(timer) == "<Timer Till 3.tick every 5 s>"
    timer.cancel()
    assert repr(timer) == "<Timer Till 3.tick every 5 s, over>"


def test_a_scheduler_whose_loop_is_gone_has_no_timer_that_seems_to_run(world):
    timers = world.scheduler.timers
    timer = timers.after(1, print)
    world.scheduler.abandon()
    assert not timer.is_running
    assert not timer.cancel()
    assert not timers.after(1, print).is_running  # one more, on a loop that is closed
