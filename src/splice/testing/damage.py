"""Damage: changes what is valid, a little, so that its readers get far before they notice.

Used by `splice.testing.fuzz`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

_STRANGE: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1, 2**31, 2**64, -(2**63), 0.5, float("nan"), 1j, "", "nobody", b"",
    b"\x80", (), (None,), [], [None], [0, b"", 1], [1, None, 9, b""], [2, (), None], {},
    {"": 0}, [[[]]],
)  # fmt: skip
"""What stands where something else is due; the lists look like payloads."""

_BYTES: Final = (
    b"",
    b"\0",
    b"\xff" * 8,
    b"F\x01\x01\0",
    b"H{}",
    b"\x80\x05",
    b'"',
    b"1e999",
)
"""Bytes that mean something in one of the formats."""


class Damager:
    """Damages values and bytes; `random` decides what and how."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def bytes(self, data: Any) -> bytes:
        """Return the bytes with one to three changes."""
        damaged = bytearray(data)
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randint(0, len(damaged))
            end = min(len(damaged), place + self._random.randint(0, 8))
            self._random.choice(_CHANGES)(damaged, place, end, self._random)
        return bytes(damaged)

    def parts(self, parts: Sequence[Any]) -> list[Any]:
        """Return the parts of a message, one of them damaged, lost, doubled or moved."""
        if self._random.random() < 0.3:
            return self.some(parts)
        damaged = list(parts)
        if damaged:
            place = self._random.randrange(len(damaged))
            damaged[place] = self.bytes(damaged[place])
        return damaged

    def some(self, parts: Sequence[Any]) -> list[Any]:
        """Return the parts with one lost, doubled, put in or moved, and none changed."""
        damaged = list(parts)
        place = self._random.randint(0, len(damaged))
        what = self._random.randrange(4)
        if what == 0:
            del damaged[place : place + 1]
        elif what == 1:
            damaged[place:place] = damaged[place : place + 1]
        elif what == 2:
            damaged.insert(place, self._random.choice(_BYTES))
        else:
            self._random.shuffle(damaged)
        return damaged

    def shape(self, value: Any) -> Any:
        """Return a value in which something is lost, added or something else."""
        if (
            not isinstance(value, (tuple, list))
            or not value
            or self._random.random() < 0.1
        ):
            return self._random.choice(_STRANGE)
        damaged = list(value)
        place = self._random.randint(0, len(damaged))
        what = self._random.randrange(6)
        if what == 0:
            del damaged[place : place + 1]
        elif what == 1:
            damaged.insert(place, self._random.choice(_STRANGE))
        else:
            place = min(place, len(damaged) - 1)
            damaged[place:] = [self.shape(damaged[place]), *damaged[place + 1 :]]
        return type(value)(damaged)


def _flip(data: bytearray, place: int, end: int, random: Random) -> None:
    if place < len(data):
        data[place] ^= 1 << random.randrange(8)


def _overwrite(data: bytearray, place: int, end: int, random: Random) -> None:
    data[place:end] = random.randbytes(end - place)


def _insert(data: bytearray, place: int, end: int, random: Random) -> None:
    data[place:place] = random.choice(_BYTES)


def _double(data: bytearray, place: int, end: int, random: Random) -> None:
    data[place:place] = data[place:end]


def _cut(data: bytearray, place: int, end: int, random: Random) -> None:
    del data[place:end]


def _truncate(data: bytearray, place: int, end: int, random: Random) -> None:
    del data[place:]


_CHANGES: Final[tuple[Callable[[bytearray, int, int, Random], None], ...]] = (
    _flip, _flip, _flip, _overwrite, _insert, _double, _cut, _truncate,
)  # fmt: skip
