"""Large arguments and answers between two OS processes, and what passes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from splice import Process, as_completed, runtime, syncmany
from splice.config import Config

PIECE = Config().piece_bytes


class Echo(Process):
    def echo(self, value: Any) -> Any:
        return value

    def total(self, array: Any) -> int:
        return int(array.sum())


@pytest.fixture(scope="module")
def there() -> Iterator[str]:
    (address,) = runtime.fork(1)
    yield address
    runtime.shutdown()


@pytest.mark.parametrize("size", [PIECE - 200, PIECE, PIECE + 1, 10 * PIECE + 7])
def test_a_large_array_comes_back_as_it_was(there: str, size: int) -> None:
    array = np.arange(size, dtype=np.uint8)
    back = runtime.spawn(Echo, sp_dest=there).echo([array, "beside"]).get()
    assert np.array_equal(back[0], array)
    assert back[0].flags.writeable


def test_an_array_that_changes_after_it_was_sent_arrives_as_it_was(there: str) -> None:
    far = runtime.spawn(Echo, sp_dest=there)
    array = np.ones(8 * PIECE, dtype=np.uint8)
    sums = []
    for _ in range(4):
        sums.append(far.total(array))
        array += 1
    assert syncmany(sums) == [8 * PIECE * (turn + 1) for turn in range(4)]


def test_an_ask_of_another_process_passes_a_large_one(there: str) -> None:
    busy, free = (runtime.spawn(Echo, sp_dest=there) for _ in range(2))
    slow = busy.echo(np.zeros(64 * PIECE, dtype=np.uint8))
    quick = free.echo(1)
    assert list(as_completed([slow, quick])) == [quick, slow]


def test_an_ask_of_the_same_process_waits_behind_a_large_one(there: str) -> None:
    far = runtime.spawn(Echo, sp_dest=there)
    first, second = far.total(np.ones(32 * PIECE, dtype=np.uint8)), far.echo(1)
    assert list(as_completed([first, second])) == [first, second]
