"""Pairs: what is known of a near and a far process, whose names may be others' by now.

Who links by a plain name knows no serial, and two ways to call one process shall not be two links.
So names that know their serials are keys as plain ones are, and the serials are compared behind
them: where a name goes to another process before the row of the first is struck out, both stay.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from splice.uri import Resource

Pair = tuple[Resource, Resource]
"""A near and a far process, each by id, by name or by a name that knows its serial."""

T = TypeVar("T")


class Pairs(Generic[T]):
    """A table of pairs."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[Pair, list[tuple[Pair, T]]] = {}

    def get(self, pair: Pair) -> T | None:
        """Return what is known of a pair, or None; of the very one, if its serials are known."""
        row = self._find(pair)
        return None if row is None else row[1]

    def put(self, pair: Pair, value: T) -> None:
        """Enter a pair, in the place of what is known of that very one."""
        rows = self._rows.setdefault(pair, [])
        rows[:] = [row for row in rows if _serials(row[0]) != _serials(pair)]
        rows.append((pair, value))

    def pop(self, pair: Pair) -> T | None:
        """Strike a pair out, and return what was known of it."""
        row = self._find(pair)
        if row is None:
            return None
        rows = self._rows[pair]
        rows.remove(row)
        if not rows:
            del self._rows[pair]
        return row[1]

    def rows(self) -> list[tuple[Pair, T]]:
        """Return all pairs and what is known of them."""
        return [row for rows in self._rows.values() for row in rows]

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def _find(self, pair: Pair) -> tuple[Pair, T] | None:
        """Return the row of a pair; where several may be meant, the latest bearers of the names."""
        rows = [row for row in self._rows.get(pair, ()) if _may_be_one(row[0], pair)]
        return max(rows, key=lambda row: _rank(row[0], pair), default=None)


def _may_be_one(one: Pair, other: Pair) -> bool:
    """Tell of pairs of equal names and ids whether they may be those of the same processes."""
    serials = zip(_serials(one), _serials(other), strict=True)
    return all(mine == theirs or not (mine and theirs) for mine, theirs in serials)


def _rank(row: Pair, pair: Pair) -> tuple[int, list[int]]:
    """Tell how well a row suits a pair: by what is surely the same, and then by how late."""
    serials = _serials(row)
    return sum(map(int.__eq__, serials, _serials(pair))), serials


def _serials(pair: Pair) -> list[int]:
    return [getattr(ident, "serial", 0) for ident in pair]
