"""Arrays that lie in a file are mapped anew from that file, wherever in it they begin."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splice.cluster.mapped import Mapped, mapped


@pytest.fixture
def array(tmp_path: Path) -> Any:
    """One that begins behind a header."""
    made = np.memmap(tmp_path / "file", "i4", "w+", offset=10, shape=(60, 40))
    made[:] = np.arange(2400).reshape(60, 40)
    return made


def received(value: Any) -> Any:
    stand_in = mapped(value)
    assert type(stand_in) is Mapped
    return pickle.loads(pickle.dumps(stand_in))


@pytest.mark.parametrize(
    "part",
    [
        lambda whole: whole,
        lambda whole: whole.T,
        lambda whole: whole[7:12],
        lambda whole: whole[7:12][1:2],
        lambda whole: np.asarray(whole)[3],
        lambda whole: whole[20:].reshape(-1).view("i8"),
    ],
)
def test_any_part_that_lies_in_one_piece_is_found_again(array: Any, part: Any) -> None:
    found = received(part(array))
    assert np.array_equal(found, part(array))
    assert found.dtype == part(array).dtype
    found[-1] = 77
    assert np.all(part(array)[-1] == 77)


def test_a_file_that_was_opened_to_be_read_is_only_read(array: Any) -> None:
    array.flush()
    read = np.memmap(array.filename, "i4", "r", offset=10, shape=(60, 40))
    with pytest.raises(ValueError, match="read-only"):
        received(read)[0, 0] = 1


def test_an_array_of_a_class_with_more_to_it_travels(array: Any) -> None:
    masked = np.ma.MaskedArray(array, array > 3)
    assert mapped(masked) is masked


def test_what_is_not_in_a_file_in_one_piece_travels(array: Any) -> None:
    private = np.memmap(array.filename, "i4", "c", offset=10, shape=(60, 40))
    for value in (array[:, ::2], private, np.ones(9), array[:0], array.sum(), "text"):
        assert mapped(value) is value
    Path(array.filename).unlink()
    assert mapped(array) is array
