"""Batches are given out: each has exactly one outcome, whatever is lost, and works take turns."""

import heapq
import itertools
import random
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.cluster.batches import SPLIT, Batch, Collector, Cutter, Part
from splice.cluster.ledger import RUN, Given, Ledger
from splice.cluster.share import AHEAD_BATCHES, AHEAD_BYTES, STOCK, Share


class Supplier:
    """The caller of a map: cuts when it is asked to."""

    def __init__(
        self, ledger: Ledger, items, *, retries: int = 2, chunksize=1, **options
    ):
        self.ledger = ledger
        self.cutter = Cutter(items, chunksize=chunksize)
        self.share = Share(
            self.cutter.pace, retries=retries, chunksize=chunksize, **options
        )
        self.share.uncut = self.cutter.remaining

    def supply(self) -> None:
        while wanted := self.ledger.wanted(self.share):
            for _ in range(wanted):
                start = self.cutter.position
                if items := self.cutter.next_items():
                    self.ledger.supply(self.share, [Batch(start, len(items), items)])
            self.share.is_fed = self.cutter.is_exhausted
            self.share.uncut = self.cutter.remaining


def ledger_of(items, *workers: str, **options) -> tuple[Ledger, Supplier]:
    ledger: Ledger = Ledger()
    for worker in workers:
        ledger.add(worker)
    return ledger, Supplier(ledger, items, **options)


def give(ledger: Ledger, *suppliers: Supplier) -> list[tuple[str, int]]:
    for supplier in suppliers:
        supplier.supply()
    return [(given.worker, given.batch.start) for given in ledger.give()]


def starts(given: list[Given]) -> list[int]:
    return [one.batch.start for one in given]


def answer(ledger: Ledger, worker: str, seconds: float = 1.0) -> Given:
    given = ledger.done(worker, ledger.held_by(worker)[0].ticket, seconds)
    assert given is not None
    return given


# ---------------------------------------------------------------- one work


def test_each_worker_has_one_batch_in_work_and_one_in_stock():
    ledger, items = ledger_of(range(100), "a", "b")
    assert give(ledger, items) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]


def test_the_last_batches_wait_for_whoever_is_free():
    ledger, items = ledger_of(range(3), "a", "b")
    assert give(ledger, items) == [("a", 0), ("b", 1)]
    answer(ledger, "b")
    assert give(ledger, items) == [("b", 2)]


def test_quick_batches_of_a_fixed_size_are_given_further_ahead():
    ledger, items = ledger_of(range(10 * AHEAD_BATCHES), "a")
    give(ledger, items)
    answer(ledger, "a", 1e-6)
    answer(ledger, "a", 1e-6)
    give(ledger, items)
    assert len(ledger.held_by("a")) == AHEAD_BATCHES


def test_large_batches_are_not_given_far_ahead_however_quick_they_are():
    ledger, items = ledger_of(range(1000), "a")
    items.share.pace.record(1, 1e-6, AHEAD_BYTES // 4)
    give(ledger, items)
    assert len(ledger.held_by("a")) == 4
    items.share.pace.record(1, 1e-6, 10 * AHEAD_BYTES)
    assert items.share.stock() == STOCK


def test_what_items_weigh_counts_as_much_as_their_answers():
    ledger, _ = ledger_of((), "a")
    calls = Share()
    ledger.supply(calls, [Batch(0, 1, None, size_bytes=500)])
    give(ledger)
    ledger.done("a", ledger.held_by("a")[0].ticket, 1.0, 200)
    assert calls.pace.bytes_for(1) == 700


def test_neighbours_of_a_stock_go_to_one_worker_as_long_as_nobody_starves():
    ledger, items = ledger_of(range(10_000), "a", "b")
    items.share.pace.record(1000, 1e-3)
    given = give(ledger, items)
    assert [start for worker, start in given if worker == "a"][2 : 2 + RUN] == list(
        range(2 * STOCK, 2 * STOCK + RUN)
    )
    held = [len(ledger.held_by(worker)) for worker in "ab"]
    assert abs(held[0] - held[1]) <= RUN


def test_long_batches_of_a_stock_are_dealt_out_one_by_one():
    ledger, items = ledger_of(range(10_000), "a", "b")
    items.share.pace.record(1, 1e-3)
    workers = [worker for worker, _ in give(ledger, items)]
    assert workers == ["a", "b"] * (len(workers) // 2)


def test_a_worker_that_comes_later_gets_its_batches():
    ledger, items = ledger_of(range(100), "a")
    give(ledger, items)
    ledger.add("b")
    assert give(ledger, items) == [("b", 2), ("b", 3)]


def test_without_workers_nothing_is_given():
    ledger, items = ledger_of(range(3))
    assert give(ledger, items) == []
    assert not items.share.is_finished


def test_the_answer_of_a_lost_worker_is_ignored():
    ledger, items = ledger_of(range(3), "a")
    give(ledger, items)
    ticket = ledger.held_by("a")[0].ticket
    ledger.lost("a")
    assert ledger.done("a", ticket, 1.0) is None


def test_an_unknown_length_is_no_end():
    ledger, items = ledger_of(iter([1]), "a")
    give(ledger, items)
    answer(ledger, "a")
    assert give(ledger, items) == []
    assert items.share.is_finished


@pytest.mark.parametrize("retries", [-1, True, "two", 1.5])
def test_retries_are_a_number_of_times(retries):
    with pytest.raises(ValueError, match=f"at least 0, got {retries!r}"):
        Share(retries=retries)


# ---------------------------------------------------------------- losses


def test_the_batches_of_a_lost_worker_go_first():
    ledger, items = ledger_of(range(100), "a", "b")
    give(ledger, items)
    assert ledger.lost("a") == []
    answer(ledger, "b")
    answer(ledger, "b")
    assert give(ledger, items) == [("b", 0)]
    answer(ledger, "b")
    assert give(ledger, items)[0] == ("b", 2)


def test_a_batch_that_was_lost_before_shares_no_worker():
    ledger, items = ledger_of(range(100), "a", "b")
    give(ledger, items)
    ledger.lost("a")
    assert give(ledger, items) == []
    answer(ledger, "b")
    answer(ledger, "b")
    assert give(ledger, items) == [("b", 0)]
    assert give(ledger, items) == []


def test_a_batch_is_given_out_again_as_often_as_retries_says():
    ledger, items = ledger_of([0], "a", "b", "c", retries=2)
    for worker in "abc":
        assert give(ledger, items) == [(worker, 0)]
        failed = ledger.lost(worker)
    assert [(one.batch.start, one.batch.losses) for one in failed] == [(0, 2)]
    assert items.share.is_finished


def test_without_retries_no_item_is_ever_given_out_twice():
    ledger, items = ledger_of(range(100), "a", "b", retries=0)
    assert give(ledger, items) == [("a", 0), ("b", 1)]
    assert starts(ledger.lost("a")) == [0]
    assert give(ledger, items) == []


def test_a_batch_in_stock_is_not_blamed_for_the_one_in_work():
    ledger, items = ledger_of(range(100), "a", retries=1)
    give(ledger, items)
    ledger.lost("a")
    ledger.add("b")
    give(ledger, items)
    assert [(g.batch.start, g.batch.losses) for g in ledger.held_by("b")] == [(0, 1)]
    answer(ledger, "b")
    give(ledger, items)
    first = ledger.held_by("b")[0].batch
    assert (first.start, first.losses) == (1, 0)


def test_nothing_is_blamed_for_the_end_of_a_worker_that_was_killed_on_purpose():
    ledger, items = ledger_of(range(100), "a", retries=0)
    give(ledger, items)
    assert ledger.lost("a", is_blameless=True) == []
    ledger.add("b")
    assert give(ledger, items) == [("b", 0)]


def test_a_work_is_not_blamed_for_the_one_before_it_on_the_same_worker():
    ledger, killer = ledger_of(range(1), "a")
    other = Supplier(ledger, range(100), retries=1)
    assert give(ledger, killer, other) == [("a", 0), ("a", 0)]
    ledger.lost("a")
    assert [batch.losses for batch in other.share.waiting][:1] == [0]


def test_an_item_that_kills_its_worker_is_singled_out():
    ledger, items = ledger_of(range(SPLIT**2), 0, chunksize=SPLIT**2)
    failed: list[Given] = []
    for successor in itertools.count(1):
        worker = successor - 1
        give(ledger, items)
        while not items.share.is_finished:
            batch = ledger.held_by(worker)[0].batch
            if batch.start <= 1234 < batch.end:
                break
            answer(ledger, worker)
            give(ledger, items)
        if items.share.is_finished:
            break
        failed += ledger.lost(worker)
        ledger.add(successor)
    assert [(one.batch.start, one.batch.count) for one in failed] == [(1234, 1)]


def test_an_item_may_be_tried_again_as_often_as_retries_says():
    ledger, items = ledger_of([7], "a", retries=1)
    give(ledger, items)
    assert ledger.again(answer(ledger, "a"))
    assert give(ledger, items) == [("a", 0)]
    assert not ledger.again(answer(ledger, "a"))
    assert items.share.is_finished


# ---------------------------------------------------------------- several works


def test_works_take_turns():
    ledger, one = ledger_of(range(100), "a")
    other = Supplier(ledger, range(100))
    one.supply()
    other.supply()
    turns = [given.share for given in ledger.give()]
    for _ in range(2):
        answer(ledger, "a")
        turns += [given.share for given in ledger.give()]
    assert turns == [one.share, other.share, one.share, other.share]


def test_a_work_that_must_have_a_worker_for_itself_gets_one():
    ledger, endless = ledger_of(itertools.count(), "a", "b")
    give(ledger, endless)
    careful = Supplier(ledger, range(3), retries=0)
    seen = 0
    for _ in range(50):
        for worker in "ab":
            if ledger.held_by(worker):
                if answer(ledger, worker).share is careful.share:
                    seen += 1
                give(ledger, endless, careful)
    assert seen == 3


def test_single_calls_are_spread_over_the_workers_that_are_free():
    ledger, endless = ledger_of((), "a", "b", "c")
    calls = Share()
    ledger.supply(calls, [Batch(n, 1, None) for n in range(2)])
    assert give(ledger, endless) == [("a", 0), ("b", 1)]
    ledger.supply(calls, [Batch(2, 1, None)])
    assert give(ledger, endless) == [("c", 2)]
    ledger.supply(calls, [Batch(3, 1, None)])
    assert give(ledger, endless) == []


def test_a_call_that_nobody_wants_any_more_is_not_given():
    ledger, _ = ledger_of((), "a")
    calls = Share()
    batches = [Batch(n, 1, None) for n in range(2)]
    ledger.supply(calls, batches)
    assert ledger.holder(batches[0]) is None
    batches[0].is_void = True
    assert give(ledger) == [("a", 1)]
    ledger.void(ledger.holder(batches[1]))
    assert calls.out == 0


def test_an_idle_worker_gets_from_the_stock_of_another_one():
    ledger, _ = ledger_of((), "a", "b")
    calls = Share()
    calls.pace.record(1000, 1e-3)
    ledger.supply(calls, [Batch(n, 1, None) for n in range(40)])
    give(ledger)
    while ledger.held_by("b"):
        answer(ledger, "b", 1e-6)
        give(ledger)
    recalled = ledger.recall()
    held = ledger.held_by("a")
    assert recalled == held[1:][(len(held) - 1) // 2 :]
    assert ledger.recall() == []
    ledger.returned("a", recalled[0].ticket)
    assert give(ledger)[0] == ("b", recalled[0].batch.start)


def test_cancel_tells_what_is_in_hands_and_gives_no_more():
    ledger, items = ledger_of(range(100), "a", "b")
    give(ledger, items)
    assert starts(ledger.cancel(items.share)) == [0, 2, 1, 3]
    assert items.share.is_finished
    assert give(ledger, items) == []
    assert answer(ledger, "a").batch.is_void
    assert items.share.is_finished


def test_what_was_cancelled_still_occupies_its_worker():
    ledger, items = ledger_of(range(100), "a")
    give(ledger, items)
    ledger.cancel(items.share)
    other = Supplier(ledger, range(100))
    assert give(ledger, other) == []
    answer(ledger, "a")
    assert give(ledger, other) == [("a", 0)]


def test_a_batch_for_one_worker_goes_to_no_other():
    ledger, _ = ledger_of((), "a", "b")
    share = Share(retries=5)
    given = ledger.pin("a", share, Batch(0, 1, None))
    assert ledger.held_by("a") == [given]
    assert ledger.lost("a") == [given]
    assert give(ledger) == []


def test_a_worker_that_is_let_go_ends_what_it_has_and_gets_no_more():
    ledger, items = ledger_of(range(100), "a", "b")
    give(ledger, items)
    assert not ledger.retire("a")
    answer(ledger, "a")
    answer(ledger, "a")
    assert give(ledger, items) == []
    assert ledger.retire("a")


# ---------------------------------------------------------------- how far ahead


def test_a_reader_who_does_not_read_bounds_what_is_supplied():
    ledger, items = ledger_of(itertools.count(), "a", "b", is_windowed=True)
    for _ in range(100):
        give(ledger, items)
        for worker in "ab":
            if ledger.held_by(worker):
                answer(ledger, worker)
                items.share.unread += 1
    assert items.cutter.position <= 12
    items.share.unread = 0
    assert give(ledger, items) != []


def test_the_caller_is_not_asked_for_every_batch_of_many():
    ledger, items = ledger_of(itertools.count(), "a")
    items.share.pace.record(1000, 1e-3)
    give(ledger, items)
    answer(ledger, "a", 1e-6)
    assert ledger.wanted(items.share) == 0


# ---------------------------------------------------------------- all together


class Farm:
    """Workers that answer or die as the test says; every item's outcomes are noted."""

    def __init__(self, count: int, chunksize: int | None, retries: int) -> None:
        self.ledger: Ledger[int] = Ledger()
        self.works = [
            Supplier(self.ledger, range(n), chunksize=chunksize, retries=retries)
            for n in (count, count // 2)
        ]
        self.collectors = {work.share: Collector() for work in self.works}
        self.tried: Counter[tuple[Share, int]] = Counter()
        self.failed: set[tuple[Share, int]] = set()
        self.in_work: dict[int, deque[Given[int]]] = {}
        self.names = itertools.count()
        self.add()

    def add(self) -> None:
        name = next(self.names)
        self.in_work[name] = deque()
        self.ledger.add(name)
        self.give()

    def give(self) -> None:
        for work in self.works:
            work.supply()
        for given_ in self.ledger.give():
            self.in_work[given_.worker].append(given_)
            assert len(self.in_work[given_.worker]) <= AHEAD_BATCHES
        for given_ in self.ledger.recall():
            # half of them come too late
            if given_.ticket % 2 and given_ is not self.in_work[given_.worker][0]:
                self.in_work[given_.worker].remove(given_)
                self.ledger.returned(given_.worker, given_.ticket)
        if any(not held for held in self.in_work.values()):
            self.give_to_the_idle()

    def give_to_the_idle(self) -> None:
        for given_ in self.ledger.give():
            self.in_work[given_.worker].append(given_)

    def try_(self, given_: Given[int]) -> None:
        batch = given_.batch
        self.tried.update((given_.share, i) for i in range(batch.start, batch.end))

    def answer(self, choice: int) -> None:
        if (worker := self.pick(choice)) is None:
            return
        given_ = self.in_work[worker].popleft()
        self.try_(given_)
        seconds = 0.001 * (choice % 7) if choice % 2 else 1e-6  # stocks of all sizes
        assert self.ledger.done(worker, given_.ticket, seconds) is given_
        if choice % 3 or not self.ledger.again(given_):
            self.settle(given_)
        self.give()

    def settle(self, given_: Given[int]) -> None:
        batch = given_.batch
        self.collectors[given_.share].add(Part(batch.start, batch.count, None))

    def lose(self, choice: int) -> None:
        if (worker := self.pick(choice)) is None:
            return
        self.try_(self.in_work.pop(worker)[0])
        for given_ in self.ledger.lost(worker):
            self.settle(given_)
        self.add()

    def pick(self, choice: int) -> int | None:
        busy = [worker for worker, batches in self.in_work.items() if batches]
        return busy[choice % len(busy)] if busy else None

    @property
    def is_finished(self) -> bool:
        return all(work.share.is_finished for work in self.works)


@given(
    count=st.integers(0, 200),
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
    for _ in itertools.takewhile(lambda _: not farm.is_finished, range(10_000)):
        farm.answer(1)
    for work, total in zip(farm.works, (count, count // 2), strict=True):
        collector = farm.collectors[work.share]
        taken = collector.take()
        assert collector.count == work.cutter.position == total
        assert sum(part.count for part in taken) == total
        assert work.share.out == 0
    assert max(farm.tried.values(), default=0) <= retries + 1


def simulate(costs: list[float], workers: int, **options) -> tuple[float, int]:
    """Return the seconds and the messages that a hub and its workers would need.

    A message takes 0.3 ms each way and holds the hub for 20 µs.
    """
    ledger, items = ledger_of(range(len(costs)), *range(workers), **options)
    now = hub_free = 0.0
    free = [0.0] * workers
    answers: list[tuple[float, int, int, float]] = []
    messages = 0
    while True:
        items.supply()
        for one in ledger.give():
            messages += 1
            hub_free = max(hub_free, now) + 20e-6
            cost = sum(costs[one.batch.start : one.batch.end])
            free[one.worker] = max(free[one.worker], hub_free + 0.0003) + cost
            done = free[one.worker] + 0.0003
            heapq.heappush(answers, (done, one.worker, one.ticket, cost))
        if not answers:
            return now, messages
        now, worker, ticket, cost = heapq.heappop(answers)
        hub_free = max(hub_free, now) + 20e-6
        ledger.done(worker, ticket, cost)


@pytest.mark.parametrize("seed", range(5))
def test_skewed_items_keep_two_workers_busy(seed):
    chance = random.Random(seed)
    costs = [chance.uniform(0.005, 0.05) for _ in range(200)]
    seconds, _ = simulate(costs, 2, chunksize=None)
    assert sum(costs) / 2 / seconds > 0.98


def test_a_million_trivial_items_travel_in_a_handful_of_batches():
    seconds, messages = simulate([1e-7] * 1_000_000, 2, chunksize=None)
    assert messages < 60
    assert seconds < 0.06


def test_a_few_long_items_are_spread_evenly():
    seconds, _ = simulate([30.0, 1.0, 1.0, 1.0, 1.0], 2, chunksize=None)
    assert seconds < 30.1


# ---------------------------------------------------------------- a limited life


def limited(life: int, *workers: str) -> tuple[Ledger, Supplier]:
    ledger: Ledger = Ledger(life)
    for worker in workers:
        ledger.add(worker)
    return ledger, Supplier(ledger, range(100))


def test_a_worker_is_given_no_more_than_it_may_do_in_its_life():
    ledger, items = limited(3, "a")
    assert give(ledger, items) == [("a", 0), ("a", 1)]
    answer(ledger, "a")
    assert give(ledger, items) == [("a", 2)]
    answer(ledger, "a")
    assert give(ledger, items) == []
    assert not ledger.is_used_up("a")
    answer(ledger, "a")
    assert give(ledger, items) == []
    assert ledger.is_used_up("a")


def test_what_a_worker_gives_back_is_not_counted_for_its_life():
    ledger, items = limited(2, "a")
    give(ledger, items)
    ledger.returned("a", ledger.held_by("a")[1].ticket)
    answer(ledger, "a")
    assert not ledger.is_used_up("a")
    assert give(ledger, items) == [("a", 1)]


def test_what_is_for_every_worker_is_not_counted_for_its_life():
    ledger, items = limited(1, "a")
    pinned = ledger.pin("a", Share(retries=0), Batch(0, 1, None))
    ledger.done("a", pinned.ticket, 0.0)
    assert not ledger.is_used_up("a")
    assert give(ledger, items) == [("a", 0)]


def test_a_worker_without_a_limit_is_never_used_up():
    ledger, items = ledger_of(range(1), "a")
    give(ledger, items)
    answer(ledger, "a")
    assert not ledger.is_used_up("a")


def quick(count: int, **options) -> tuple[Share, list[Batch]]:
    share = Share(chunksize=1, **options)
    share.pace.record(1000, 0.001)
    return share, [Batch(start, 1, None) for start in range(count)]


def test_a_worker_is_given_no_more_in_a_row_than_its_life_has_left():
    ledger = Ledger[str](life=5)
    ledger.add("a")
    share, batches = quick(100)
    ledger.supply(share, batches)
    assert len(ledger.give()) == 5


def test_each_lost_worker_makes_the_stock_of_the_others_smaller():
    ledger = Ledger[str]()
    share, batches = quick(5000)
    ledger.supply(share, batches)
    held = []
    for worker in ("a", "b", "c"):
        ledger.add(worker)
        while (first := ledger.give()[0]).batch.losses:  # a suspect, by itself
            ledger.done(worker, first.ticket, 0.0)
        held.append(len(ledger.held_by(worker)))
        ledger.lost(worker)
    assert held == [AHEAD_BATCHES, AHEAD_BATCHES >> 5, STOCK]


def test_a_work_that_was_at_rest_has_its_full_stock_again():
    ledger = Ledger[str]()
    ledger.add("a")
    share, batches = quick(1, retries=0)
    ledger.supply(share, batches)
    ledger.give()
    ledger.lost("a")
    share.retries = 2
    ledger.add("b")
    ledger.supply(share, quick(2000)[1])
    ledger.give()
    assert len(ledger.held_by("b")) == AHEAD_BATCHES
