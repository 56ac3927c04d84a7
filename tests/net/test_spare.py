"""The memory of large buffers is used again, once nobody else refers to it."""

import os

import numpy as np
import psutil
import pytest

from splice.net.spare import (
    IDLE_SECONDS,
    KEPT_BYTES,
    SPARE_BYTES,
    STEP_BYTES,
    Spares,
)

SIZE = SPARE_BYTES


@pytest.fixture
def spares() -> Spares:
    return Spares()


def place(buffer: bytearray) -> int:
    return np.frombuffer(buffer, np.uint8).ctypes.data


def test_a_buffer_that_nobody_refers_to_is_taken_again(spares):
    first = place(spares.take(SIZE))
    assert place(spares.take(SIZE)) == first


@pytest.mark.parametrize(
    "use",
    [
        lambda buffer: buffer,
        memoryview,
        lambda buffer: memoryview(buffer)[10:20],
        lambda buffer: np.frombuffer(buffer, np.uint8),
        lambda buffer: np.frombuffer(buffer, np.uint8)[5:].reshape(-1, 1),
    ],
)
def test_a_buffer_that_is_in_use_is_not(spares, use):
    used = use(spares.take(SIZE))
    before = bytes(used)
    memoryview(spares.take(SIZE))[:] = b"x" * SIZE
    assert bytes(used) == before


def test_a_buffer_of_another_size_is_not(spares):
    spares.take(SIZE)
    assert len(spares.take(SIZE + 1)) == SIZE + 1


def test_small_buffers_are_not_kept(spares):
    spares.take(SIZE - 1)
    assert spares.kept_bytes == 0


def test_a_copy_is_one(spares):
    array = np.arange(SIZE, dtype=np.uint8)
    copied = spares.copy(memoryview(array).cast("B"))
    array[:] = 0
    assert bytes(copied[:5]) == b"\x00\x01\x02\x03\x04"
    assert len(copied) == SIZE


def test_a_copy_that_takes_several_steps_is_whole(spares):
    array = np.random.default_rng(1).integers(256, size=2 * STEP_BYTES + 5, dtype="u1")
    assert bytes(spares.copy(memoryview(array))) == array.tobytes()


def test_what_could_never_be_kept_takes_memory_only_as_it_is_written_to(spares):
    def resident() -> int:
        return psutil.Process().memory_info().rss

    before = resident()
    giant = spares.take(2**32)
    giant[-1] = 1
    assert (len(giant), giant[0], giant[-1]) == (2**32, 0, 1)
    assert resident() - before < 2**24
    assert spares.kept_bytes == 0


def test_what_is_mapped_is_not_shared_with_a_copy_made_by_fork(spares):
    giant = spares.take(KEPT_BYTES + 1)
    copy = os.fork()
    if not copy:
        giant[0] = 1
        os._exit(0)
    os.waitpid(copy, 0)
    assert giant[0] == 0


def test_no_more_is_kept_than_allowed_and_what_is_beyond_is_had_all_the_same(spares):
    size = KEPT_BYTES // 2
    made = [spares.take(size) for _ in range(3)]
    assert spares.kept_bytes == KEPT_BYTES
    assert {len(buffer) for buffer in made} == {size}


def test_what_nobody_took_for_some_time_is_let_go(spares):
    spares.take(SIZE)
    spares.tidy(0.0)
    spares.tidy(0.9 * IDLE_SECONDS)
    assert spares.kept_bytes == SIZE
    spares.tidy(1.1 * IDLE_SECONDS)
    assert spares.kept_bytes == 0


def test_what_is_taken_again_and_again_is_kept(spares):
    first = place(spares.take(SIZE))
    for step in range(10):
        spares.tidy(step * IDLE_SECONDS)
        assert place(spares.take(SIZE)) == first


def test_what_is_in_use_outlives_a_clearing(spares):
    used = spares.take(SIZE)
    spares.clear()
    assert spares.kept_bytes == 0
    assert spares.take(SIZE) is not used


def test_memory_that_there_is_not_is_an_error(spares):
    with pytest.raises((MemoryError, OverflowError)):
        spares.take(2**62)
    assert spares.kept_bytes == 0


def test_who_cannot_have_the_lock_gets_new_memory(spares):
    first = spares.take(SIZE)
    with (
        spares._lock
    ):  # a finalizer in the middle of it, or a copy made by os.fork meanwhile
        assert len(spares.take(SIZE)) == SIZE
        spares.tidy(100.0)
        spares.clear()
    assert spares.kept_bytes == len(first)
