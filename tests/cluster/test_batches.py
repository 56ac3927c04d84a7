"""Items are cut, given out and collected: each gets exactly one outcome, whatever is lost."""

import heapq
import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.cluster.batches import (
    AHEAD_BATCHES,
    BATCH_BYTES,
    SPLIT,
    Batch,
    Collector,
    Cutter,
    Ledger,
    Piece,
    assemble,
    without,
)
from splice.errors import InternalError


def cut_all(cutter: Cutter) -> list[Batch]:
    return list(iter(cutter.next_batch, None))


def ledger_of(items, *workers: str, retries: int = 2, chunksize: int | None = 1):
    ledger = Ledger(Cutter(items, chunksize=chunksize), retries=retries)
    for worker in workers:
        ledger.add(worker)
    return ledger


def starts(given: list[tuple[str, Batch]]) -> list[tuple[str, int]]:
    return [(worker, batch.start) for worker, batch in given]


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize(
    "items",
    [range(7), list("abcdefg"), tuple("abcdefg"), "abcdefg", dict.fromkeys("abcdefg")],
)
def test_all_items_are_cut_in_order(items):
    batches = cut_all(Cutter(items, chunksize=3))
    assert [batch.start for batch in batches] == [0, 3, 6]
    assert list(itertools.chain.from_iterable(b.items for b in batches)) == list(items)


def test_a_piece_of_a_range_stays_a_range():
    assert Cutter(range(10**9), chunksize=10**6).next_batch().items == range(10**6)


def test_a_generator_is_read_only_as_far_as_it_is_cut():
    numbers = itertools.count()
    Cutter(numbers, chunksize=3).next_batch()
    assert next(numbers) == 3


def test_nothing_gives_no_batch():
    cutter = Cutter([])
    assert (cutter.next_batch(), cutter.is_exhausted, cutter.position) == (
        None,
        True,
        0,
    )


def test_an_error_of_the_iterable_comes_behind_the_items_before_it():
    cutter = Cutter((1 // (2 - n) for n in range(5)), chunksize=10)
    assert cutter.next_batch().items == [0, 1]
    with pytest.raises(ZeroDivisionError):
        cutter.next_batch()
    assert cutter.next_batch() is None


def test_an_error_of_the_iterable_at_a_batchs_border_comes_out_too():
    cutter = Cutter((1 // (2 - n) for n in range(5)), chunksize=2)
    cutter.next_batch()
    with pytest.raises(ZeroDivisionError):
        cutter.next_batch()


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunksize_below_one_is_refused(chunksize):
    with pytest.raises(ValueError, match=f"at least 1 or None, got {chunksize}"):
        Cutter([], chunksize=chunksize)


def test_the_first_batches_are_single_items():
    cutter = Cutter(range(1000))
    assert [len(cutter.next_batch().items) for _ in range(3)] == [1, 1, 1]


def test_one_quick_item_does_not_promise_that_all_are():
    cutter = Cutter(range(10**6))
    cutter.record(1, 1e-7)
    assert cutter.size() == 32


def test_a_batch_lasts_no_longer_than_its_target():
    cutter = Cutter(range(10**6))
    cutter.record(1000, 1.0)
    assert cutter.size() == 100


def test_a_batch_is_a_part_of_the_workers_share_of_the_rest():
    cutter = Cutter(range(80))
    cutter.workers = 2
    cutter.record(1000, 1.0)
    assert cutter.size() == 10


def test_batches_get_longer_when_items_get_quicker():
    cutter = Cutter(itertools.count())
    cutter.record(100, 100.0)
    before = cutter.size()
    for _ in range(10):
        cutter.record(100, 0.1)
    assert (before, cutter.size()) == (1, 67)


def test_large_items_travel_in_small_batches():
    cutter = Cutter(itertools.count())
    cutter.record(100, 1e-6, size_bytes=100 * BATCH_BYTES // 8)
    assert cutter.size() == 8


def test_a_clock_without_ticks_is_no_error():
    cutter = Cutter(range(100))
    cutter.record(1, 0.0)
    cutter.record(1, -1.0)
    assert cutter.size() == 32


# ---------------------------------------------------------------- giving out


def test_each_worker_has_one_batch_in_work_and_one_in_stock():
    ledger = ledger_of(range(100), "a", "b")
    assert starts(ledger.give()) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]


def test_the_last_batches_wait_for_whoever_is_free():
    ledger = ledger_of(range(3), "a", "b")
    assert starts(ledger.give()) == [("a", 0), ("b", 1)]
    ledger.done("b", 1, 1.0)
    assert starts(ledger.give()) == [("b", 2)]


def test_quick_batches_of_a_fixed_size_are_given_further_ahead():
    ledger = ledger_of(range(1000), "a")
    ledger.give()
    ledger.done("a", 0, 1e-6)
    ledger.give()
    assert len(ledger.held_by("a")) == AHEAD_BATCHES


def test_a_worker_that_comes_later_gets_its_batches():
    ledger = ledger_of(range(100), "a")
    ledger.give()
    ledger.add("b")
    assert starts(ledger.give()) == [("b", 2), ("b", 3)]


def test_without_workers_nothing_is_given():
    ledger = ledger_of(range(3))
    assert (ledger.give(), ledger.is_finished) == ([], False)


def test_the_answer_of_a_lost_worker_is_ignored():
    ledger = ledger_of(range(3), "a")
    ledger.give()
    ledger.lost("a")
    assert ledger.done("a", 0, 1.0) is None


def test_the_batches_of_a_lost_worker_go_first():
    ledger = ledger_of(range(100), "a", "b")
    ledger.give()
    assert ledger.lost("a") == []
    ledger.done("b", 1, 1.0)
    ledger.done("b", 3, 1.0)
    assert starts(ledger.give()) == [("b", 0)]
    ledger.done("b", 0, 1.0)
    assert starts(ledger.give())[0] == ("b", 2)


def test_a_batch_that_was_lost_before_shares_no_worker():
    ledger = ledger_of(range(100), "a", "b")
    ledger.give()
    ledger.lost("a")
    assert ledger.give() == []
    ledger.done("b", 1, 1.0)
    ledger.done("b", 3, 1.0)
    assert starts(ledger.give()) == [("b", 0)]
    assert starts(ledger.give()) == []


def test_a_batch_is_given_out_again_as_often_as_retries_says():
    ledger = ledger_of([0], "a", "b", "c", retries=2)
    for worker in "abc":
        assert starts(ledger.give()) == [(worker, 0)]
        failed = ledger.lost(worker)
    assert failed == [Batch(0, [0], losses=2)]
    assert ledger.is_finished


def test_without_retries_no_item_is_ever_given_out_twice():
    ledger = ledger_of(range(100), "a", "b", retries=0)
    assert starts(ledger.give()) == [("a", 0), ("b", 1)]
    assert ledger.lost("a") == [Batch(0, range(1))]
    assert starts(ledger.give()) == []


def test_a_batch_in_stock_is_not_blamed_for_the_one_in_work():
    ledger = ledger_of(range(100), "a", retries=1)
    ledger.give()
    ledger.lost("a")
    ledger.add("b")
    ledger.give()
    assert ledger.held_by("b") == [Batch(0, range(1), losses=1)]
    ledger.done("b", 0, 1.0)
    ledger.give()
    assert ledger.held_by("b")[0] == Batch(1, range(1, 2), losses=0)


def test_an_item_that_kills_its_worker_is_singled_out():
    ledger = ledger_of(range(SPLIT**2), 0, chunksize=SPLIT**2)
    failed: list[Batch] = []
    for successor in itertools.count(1):
        worker = successor - 1
        while not ledger.is_finished:
            ledger.give()
            batch = ledger.held_by(worker)[0]
            if 1234 in batch.items:
                break
            ledger.done(worker, batch.start, 1.0)
        if ledger.is_finished:
            break
        failed += ledger.lost(worker)
        ledger.add(successor)
    assert [list(batch.items) for batch in failed] == [[1234]]


def test_an_item_may_be_tried_again_as_often_as_retries_says():
    ledger = ledger_of([7, 8, 9], "a", retries=1, chunksize=3)
    ledger.give()
    batch = ledger.done("a", 0, 1.0)
    assert ledger.again(batch, 1)
    assert [b for _, b in ledger.give()] == [Batch(1, [8], losses=1)]
    assert not ledger.again(ledger.done("a", 1, 1.0), 1)
    assert ledger.is_finished


def test_cancel_tells_what_is_in_work_and_gives_no_more():
    ledger = ledger_of(range(100), "a", "b")
    ledger.give()
    assert starts(ledger.cancel()) == [("a", 0), ("a", 2), ("b", 1), ("b", 3)]
    assert ledger.done("a", 0, 1.0) is None
    assert (ledger.give(), ledger.is_finished) == ([], True)


def test_an_unknown_length_is_no_end():
    ledger = ledger_of(iter([1]), "a")
    ledger.give()
    ledger.done("a", 0, 1.0)
    assert ledger.give() == []
    assert ledger.is_finished


def test_negative_retries_are_refused():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Ledger(Cutter([]), retries=-1)


# ---------------------------------------------------------------- collecting


def test_outcomes_are_given_in_order():
    collector = Collector()
    collector.add(Piece(2, [2, 3]))
    assert collector.take() == []
    collector.add(Piece(0, [0, 1]))
    assert assemble(collector.take()) == ([0, 1, 2, 3], {})
    assert collector.take() == []


def test_outcomes_are_given_as_they_come():
    collector = Collector(in_order=False)
    collector.add(Piece(2, [2, 3]))
    assert [piece.start for piece in collector.take()] == [2]


def test_a_failed_batch_is_an_error_for_each_item():
    collector, error = Collector(), ValueError()
    collector.fail(Batch(0, "ab"), error)
    assert assemble(collector.take()) == ([None, None], {0: error, 1: error})
    assert collector.count == 2


@pytest.mark.parametrize("first", [0, 2])
def test_a_second_outcome_is_a_defect(first):
    collector = Collector()
    collector.add(Piece(first, [1]))
    with pytest.raises(InternalError, match=f"items from {first} on have two outcomes"):
        collector.add(Piece(first, [1]))


def test_items_that_are_tried_again_are_left_out():
    errors = {11: ValueError(), 13: KeyError()}
    piece = Piece(10, "abcde", errors)
    assert without(piece, [13, 10]) == [
        Piece(11, "bc", {11: errors[11]}),
        Piece(14, "e", {}),
    ]


# ---------------------------------------------------------------- all together


class Farm:
    """Workers that answer or die as the test says; every item's outcomes are noted."""

    def __init__(self, count: int, chunksize: int | None, retries: int) -> None:
        self.cutter = Cutter(range(count), chunksize=chunksize)
        self.ledger: Ledger[int] = Ledger(self.cutter, retries=retries)
        self.collector = Collector()
        self.tried: Counter[int] = Counter()
        self.in_work: dict[int, list[Batch]] = {}
        self.names = itertools.count()
        self.add()

    def add(self) -> None:
        name = next(self.names)
        self.in_work[name] = []
        self.ledger.add(name)
        self.give()

    def give(self) -> None:
        for worker, batch in self.ledger.give():
            self.in_work[worker].append(batch)
            assert len(self.in_work[worker]) <= AHEAD_BATCHES

    def answer(self, choice: int) -> None:
        if (worker := self.pick(choice)) is None:
            return
        batch = self.in_work[worker].pop(0)
        self.tried.update(batch.items)
        assert self.ledger.done(worker, batch.start, 0.001 * (choice % 7)) is batch
        piece = Piece(batch.start, [-item for item in batch.items])
        again = [
            i for i in batch.items if choice % 3 == 0 and self.ledger.again(batch, i)
        ]
        for part in without(piece, again):
            self.collector.add(part)
        self.give()

    def lose(self, choice: int) -> None:
        if (worker := self.pick(choice)) is None:
            return
        held = self.in_work.pop(worker)
        self.tried.update(held[0].items)
        for batch in self.ledger.lost(worker):
            self.collector.fail(batch, ValueError())
        self.add()

    def pick(self, choice: int) -> int | None:
        busy = [worker for worker, batches in self.in_work.items() if batches]
        return busy[choice % len(busy)] if busy else None


@given(
    count=st.integers(0, 300),
    chunksize=st.sampled_from([None, 1, 7, 100]),
    retries=st.integers(0, 3),
    events=st.lists(st.tuples(st.sampled_from("aadl"), st.integers(0, 100))),
)
def test_every_item_has_one_outcome_in_order_whatever_happens(
    count, chunksize, retries, events
):
    farm = Farm(count, chunksize, retries)
    for event, choice in events:
        if event == "a":
            farm.answer(choice)
        elif event == "d":
            farm.lose(choice)
        elif len(farm.in_work) < 5:
            farm.add()
    for _ in itertools.takewhile(lambda _: not farm.ledger.is_finished, range(10_000)):
        farm.answer(1)
    values, errors = assemble(farm.collector.take())
    assert farm.cutter.position == farm.collector.count == count
    assert len(values) == count
    assert all(index in errors or values[index] == -index for index in range(count))
    assert max(farm.tried.values(), default=0) <= retries + 1


def simulate(costs: list[float], workers: int, **options) -> tuple[float, int]:
    """Return the seconds and the messages that a hub and its workers would need.

    A message takes 0.3 ms each way and holds the hub for 20 µs.
    """
    cutter = Cutter(range(len(costs)), **options)
    ledger: Ledger[int] = Ledger(cutter)
    for worker in range(workers):
        ledger.add(worker)
    now = hub_free = 0.0
    free = [0.0] * workers
    answers: list[tuple[float, int, int, float]] = []
    messages = 0
    while True:
        for worker, batch in ledger.give():
            messages += 1
            hub_free = max(hub_free, now) + 20e-6
            cost = sum(costs[batch.start : batch.end])
            free[worker] = max(free[worker], hub_free + 0.0003) + cost
            heapq.heappush(answers, (free[worker] + 0.0003, worker, batch.start, cost))
        if not answers:
            return now, messages
        now, worker, start, cost = heapq.heappop(answers)
        hub_free = max(hub_free, now) + 20e-6
        ledger.done(worker, start, cost)


@pytest.mark.parametrize("seed", range(5))
def test_skewed_items_keep_two_workers_busy(seed):
    chance = random.Random(seed)
    costs = [chance.uniform(0.005, 0.05) for _ in range(200)]
    seconds, _ = simulate(costs, 2)
    assert sum(costs) / 2 / seconds > 0.98


def test_a_million_trivial_items_travel_in_a_handful_of_batches():
    seconds, messages = simulate([1e-7] * 1_000_000, 2)
    assert messages < 60
    assert seconds < 0.06


def test_a_few_long_items_are_spread_evenly():
    seconds, _ = simulate([30.0, 1.0, 1.0, 1.0, 1.0], 2)
    assert seconds < 30.1
