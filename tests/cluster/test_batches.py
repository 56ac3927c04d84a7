"""Items are cut by what they cost, and their outcomes come together again."""

import itertools

import pytest

from splice.cluster.batches import BATCH_BYTES, SPLIT, Batch, Collector, Cutter, Part
from splice.errors import InternalError


def cut_all(cutter: Cutter) -> list[list[object]]:
    return [list(items) for items in iter(cutter.next_items, ())]


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize(
    "items",
    [range(7), list("abcdefg"), tuple("abcdefg"), "abcdefg", dict.fromkeys("abcdefg")],
)
def test_all_items_are_cut_in_order(items):
    cut = cut_all(Cutter(items, chunksize=3))
    assert [len(items) for items in cut] == [3, 3, 1]
    assert list(itertools.chain.from_iterable(cut)) == list(items)


def test_a_list_of_the_users_own_class_is_iterated_and_not_sliced():
    class Picky(list):
        def __getitem__(self, index):
            raise LookupError("not by index")

    assert cut_all(Cutter(Picky([1, 2, 3]), chunksize=2)) == [[1, 2], [3]]


def test_a_piece_of_a_range_stays_a_range():
    assert Cutter(range(10**9), chunksize=10**6).next_items() == range(10**6)


def test_a_generator_is_read_only_as_far_as_it_is_cut():
    numbers = itertools.count()
    Cutter(numbers, chunksize=3).next_items()
    assert next(numbers) == 3


def test_nothing_gives_no_batch():
    cutter = Cutter([])
    assert cutter.next_items() == ()
    assert cutter.is_exhausted
    assert cutter.position == 0


def test_an_error_of_the_iterable_comes_behind_the_items_before_it():
    cutter = Cutter((1 // (2 - n) for n in range(5)), chunksize=10)
    assert cutter.next_items() == [0, 1]
    with pytest.raises(ZeroDivisionError):
        cutter.next_items()
    assert cutter.next_items() == ()


def test_an_error_of_the_iterable_at_a_batchs_border_comes_out_too():
    cutter = Cutter((1 // (2 - n) for n in range(5)), chunksize=2)
    cutter.next_items()
    with pytest.raises(ZeroDivisionError):
        cutter.next_items()


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunksize_below_one_is_refused(chunksize):
    with pytest.raises(ValueError, match=f"at least 1 or None, got {chunksize}"):
        Cutter([], chunksize=chunksize)


def test_the_first_batches_are_single_items():
    cutter = Cutter(range(1000))
    assert [len(cutter.next_items()) for _ in range(3)] == [1, 1, 1]


def test_one_quick_item_does_not_promise_that_all_are():
    cutter = Cutter(range(10**6))
    cutter.pace.record(1, 1e-7)
    assert cutter.size() == 32


def test_a_batch_lasts_no_longer_than_its_target():
    cutter = Cutter(range(10**6))
    cutter.pace.record(1000, 1.0)
    assert cutter.size() == 100


def test_a_batch_is_a_part_of_the_workers_share_of_the_rest():
    cutter = Cutter(range(80))
    cutter.pace.workers = 2
    cutter.pace.record(1000, 1.0)
    assert cutter.size() == 10


def test_batches_get_longer_when_items_get_quicker():
    cutter = Cutter(itertools.count())
    cutter.pace.record(100, 100.0)
    before = cutter.size()
    for _ in range(10):
        cutter.pace.record(100, 0.1)
    assert (before, cutter.size()) == (1, 67)


def test_large_items_travel_in_small_batches():
    cutter = Cutter(itertools.count())
    cutter.pace.record(100, 1e-6, size_bytes=100 * BATCH_BYTES // 8)
    assert cutter.size() == 8


def test_a_clock_without_ticks_is_no_error():
    cutter = Cutter(range(100))
    cutter.pace.record(1, 0.0)
    cutter.pace.record(1, -1.0)
    assert cutter.size() == 32


# ---------------------------------------------------------------- collecting


def test_outcomes_are_given_in_order():
    collector = Collector()
    later, first = Part(2, 2, "cd"), Part(0, 2, "ab")
    collector.add(later)
    assert collector.take() == []
    collector.add(first)
    assert collector.take() == [first, later]
    assert collector.take() == []
    assert collector.count == 4


def test_outcomes_are_given_as_they_come():
    collector = Collector(in_order=False)
    collector.add(Part(2, 2, "cd"))
    assert [part.start for part in collector.take()] == [2]


@pytest.mark.parametrize("first", [0, 2])
def test_a_second_outcome_is_a_defect(first):
    collector = Collector()
    collector.add(Part(first, 1, "a"))
    with pytest.raises(InternalError, match=f"items from {first} on have two outcomes"):
        collector.add(Part(first, 1, "a"))


# ---------------------------------------------------------------- splitting


def test_the_parts_of_a_batch_are_all_of_it_and_count_one_loss_more():
    parts = Batch(100, 1000, "packed", offset=5, losses=1).split()
    assert len(parts) <= SPLIT
    indexes = [i for part in parts for i in range(part.start, part.end)]
    assert indexes == list(range(100, 1100))
    assert all(part.offset - 5 == part.start - 100 for part in parts)
    assert {part.losses for part in parts} == {2}


def test_two_losses_single_out_one_item_of_many():
    parts = Batch(0, SPLIT**2, None).split()[0].split()
    assert [part.count for part in parts] == [1] * SPLIT
