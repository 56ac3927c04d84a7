"""The wire of the tests does to packets what they ask for."""

from __future__ import annotations

import pytest
from tests.system.wire import QUEUE_SECONDS, Way


def test_a_good_way_takes_no_time_and_loses_nothing() -> None:
    assert [Way().due(float(now), 1500) for now in range(3)] == [0.0, 1.0, 2.0]


def test_a_cut_way_loses_everything_and_counts_it() -> None:
    way = Way(is_cut=True)
    assert [way.due(0.0, 100), way.due(1.0, 100), way.lost] == [None, None, 2]


def test_a_lossy_way_loses_its_share() -> None:
    way = Way(loss=0.1)
    for _ in range(10_000):
        way.due(0.0, 100)
    assert way.lost == pytest.approx(1000, abs=200)


def test_jitter_is_added_to_the_delay() -> None:
    way = Way(delay=0.05, jitter=0.01)
    dues = {way.due(1.0, 100) for _ in range(100)}
    assert len(dues) > 1
    assert all(due is not None and 1.05 <= due <= 1.06 for due in dues)


def test_a_narrow_way_sends_one_packet_after_the_other_and_drops_when_full() -> None:
    way = Way(rate=1000.0)
    dues = [way.due(0.0, 100) for _ in range(6)]
    assert dues[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert pytest.approx(0.4) == QUEUE_SECONDS
    assert dues[5] is None
