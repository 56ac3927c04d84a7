"""Large arrays of many calls are lent once each, and none is taken for another."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest

from splice import UnpicklableError
from splice.cluster.lender import MOST_LENT, Lender
from splice.cluster.lent import Borrowed, Lent
from splice.cluster.packed import Packed, pack

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="this system has no memfd"
)

LIMIT = 1000


@pytest.fixture
def lender() -> Lender:
    return Lender(LIMIT, is_writable=False)


def loans(packed: Packed) -> list[Any]:
    return [each.loan for each in packed._buffers if type(each) is Borrowed]


def received(packed: Packed) -> Any:
    """What a worker makes of it."""
    return pack(packed).unpack().unpack()


def test_an_array_is_lent_once_for_all_that_have_it(lender: Lender) -> None:
    array = np.arange(1000.0)
    first, second = lender.pack([array, 1]), lender.pack({"of": (2, array)})
    assert isinstance(first, Lent)
    assert loans(first) == loans(second)
    assert np.array_equal(received(first)[0], array)
    assert np.array_equal(received(second)["of"][1], array)


def test_an_array_in_the_order_of_fortran_arrives_as_it_is(lender: Lender) -> None:
    array = np.asfortranarray(np.arange(1000.0).reshape(20, 50))
    second = lender.pack(array)
    assert np.array_equal(received(second), array)
    assert received(second).flags.f_contiguous


def test_each_view_of_a_buffer_that_is_filled_again_has_its_content(
    lender: Lender,
) -> None:
    buffer, kept = np.zeros(1000), []
    for number in range(3):
        buffer[:] = number
        kept.append(lender.pack(buffer[:]))
    assert [received(packed)[0] for packed in kept] == [0, 1, 2]


def test_no_more_arrays_are_lent_at_a_time_than_a_program_has_files_for(
    lender: Lender,
) -> None:
    arrays = [np.full(1000, float(number)) for number in range(MOST_LENT + 5)]
    kept = [lender.pack(array) for array in arrays]
    assert sum(type(packed) is Lent for packed in kept) == MOST_LENT
    assert [received(packed)[0] for packed in kept] == list(range(MOST_LENT + 5))


def test_a_part_of_an_array_is_lent_by_itself(lender: Lender) -> None:
    array = np.arange(1000.0)
    whole = loans(lender.pack(array))
    part = lender.pack(array[:500])
    assert loans(part) != whole
    assert np.array_equal(received(part), array[:500])


def test_an_array_where_another_one_was_is_not_taken_for_it(lender: Lender) -> None:
    kept, places = [], []
    for number in range(20):
        array = np.full(10_000, float(number))
        places.append(array.ctypes.data)
        kept.append(lender.pack(array))
        del array
    assert len(set(places)) < 20, "no memory was used again, which this is about"
    assert [received(each)[0] for each in kept] == list(range(20))


def test_an_array_of_which_the_owner_cannot_be_watched_is_lent(lender: Lender) -> None:
    array = np.frombuffer(bytes(8000), "f8")
    assert np.array_equal(received(lender.pack(array)), array)


@pytest.mark.parametrize("size", [0, 10, LIMIT // 8])
def test_small_arrays_travel(lender: Lender, size: int) -> None:
    packed = lender.pack(np.ones(size))
    assert type(packed) is Packed
    assert np.array_equal(received(packed), np.ones(size))


@pytest.mark.parametrize("kind", [">f8", "S8", [("a", "f4"), ("b", "i8")]])
def test_arrays_of_every_kind_are_lent(lender: Lender, kind: Any) -> None:
    array = np.zeros(5000, kind)
    packed = lender.pack(array)
    assert loans(packed)
    found = received(packed)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_nobody_writes_to_what_is_lent_unless_that_was_asked_for(
    lender: Lender,
) -> None:
    array = np.zeros(1000)
    with pytest.raises(ValueError, match="read-only"):
        received(lender.pack(array))[0] = 1
    packed = Lender(LIMIT, is_writable=True).pack(array)
    found = received(packed)
    found[0] = 1
    assert received(packed)[0] == 0


def test_memory_is_kept_as_long_as_its_array_or_a_call_that_has_it(
    lender: Lender,
) -> None:
    array = np.ones(1000)
    packed = lender.pack(array)
    number = loans(packed)[0].descriptor
    memory = os.fstat(number)

    def is_open() -> bool:
        # other threads may have got the number since, for something else
        gc.collect()
        try:
            return os.path.samestat(os.fstat(number), memory)
        except OSError:
            return False

    del packed
    assert is_open()
    packed = lender.pack(array)
    del array
    assert is_open()
    assert received(packed).sum() == 1000
    del packed
    assert not is_open()


def test_what_cannot_travel_is_named(lender: Lender) -> None:
    with pytest.raises(UnpicklableError, match="generator"):
        lender.pack([np.ones(1000), (n for n in range(3))])
