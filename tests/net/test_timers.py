from collections.abc import Iterator

import pytest

from splice.net.timers import Sleeper, Timers
from splice.testing.clock import START, VirtualLoop


class Noting(Sleeper):
    def __init__(self) -> None:
        super().__init__()
        self.woken: list[float] = []

    def wake(self, now: float) -> None:
        self.woken.append(now - START)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    it = VirtualLoop()
    yield it
    it.close()


def test_sleepers_are_woken_in_the_order_of_their_times(loop: VirtualLoop) -> None:
    timers, sleepers = Timers(loop), [Noting() for _ in range(3)]
    for sleeper, seconds in zip(sleepers, (3, 1, 2), strict=True):
        timers.set(sleeper, START + seconds)
    loop.advance(2)
    assert [sleeper.woken for sleeper in sleepers] == [[], [1], [2]]


def test_an_earlier_time_replaces_a_later_one(loop: VirtualLoop) -> None:
    timers, sleeper = Timers(loop), Noting()
    timers.set(sleeper, START + 5)
    timers.set(sleeper, START + 1)
    loop.advance(10)
    assert sleeper.woken == [1]


def test_a_later_time_changes_nothing(loop: VirtualLoop) -> None:
    timers, sleeper = Timers(loop), Noting()
    timers.set(sleeper, START + 1)
    timers.set(sleeper, START + 5)
    loop.advance(10)
    assert sleeper.woken == [1]


def test_one_timer_of_the_loop_is_enough_for_all(loop: VirtualLoop) -> None:
    timers = Timers(loop)
    for seconds in range(1000, 0, -1):
        timers.set(Noting(), START + seconds)
    live = [handle for handle in loop._scheduled if not handle.cancelled()]
    assert len(live) == 1


def test_nobody_is_woken_after_the_end(loop: VirtualLoop) -> None:
    timers, sleeper = Timers(loop), Noting()
    timers.set(sleeper, START + 1)
    timers.close()
    loop.advance(10)
    assert sleeper.woken == []
