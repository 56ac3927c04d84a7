"""Directory: the processes of a node by name and id."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, cast

from splice.errors import NameTaken
from splice.uri import BoundName, Resource, addressee_of, check_name, ident_of

if TYPE_CHECKING:
    from splice.actor.cell import Cell

PAST_NAMES: Final = 1000
"""Names of ended processes that are remembered, so that "has ended" can be told from "never
was"; old ones are forgotten, for names can be made without end."""

PAST_IDS: Final = 1024
"""Processes without a name of which it is remembered why they have ended: two lists of 8 kB, which
a thousand nodes in one OS process can afford."""

WORD_LENGTH: Final = 1000
"""Characters of the longest reason that is remembered, for the same."""

SHRINK_MASK: Final = 2**16 - 1
"""It is looked at once in so many removals whether the directory has become too large."""

SPARSE_BYTES: Final = 400
"""Bytes for each process from which on it is: a dictionary in use takes 40 to 100."""


class Directory:
    """Who lives on a node.  Node's thread only.

    Attributes:
        get: returns the process of a name or id, or None; the dictionary's own method, as every
            message from afar calls it.
        bound: those with names, by what messages call them that mean no later one of the name.
        on_name: called with the name of a process that was just made, or None.
    """

    def __init__(self) -> None:
        self._cells: dict[Resource, Cell] = {}
        self.get: Callable[[Resource], Cell | None] = self._cells.get
        self.bound: dict[Resource, Cell] = {}
        self._next = 1
        self._last_serial = 0
        self._past: dict[str, Any] = {}
        # by id modulo their length; made when the first one ends
        self._past_ids: list[int] = []
        self._reasons: list[Any] = []
        self._removals = 0
        self.on_name: Callable[[str], None] | None = None

    def new_id(self) -> int:
        """Return an id that no process of this node ever had."""
        ident = self._next
        self._next += 1
        return ident

    def ident_for(self, name: str | None) -> Resource:
        """Return what a new process is called: its name, bound to it, or a new id."""
        if name is None:
            return self.new_id()
        self._last_serial += 1
        return BoundName(name, self._last_serial)

    def find(self, addressee: Resource) -> Cell | None:
        """Return the process that messages call so, or None."""
        return self.get(addressee) or self.bound.get(addressee)

    def check_name(self, name: str) -> None:
        """Raise NameTaken if `name` is in use, TypeError or ValueError if it is none."""
        check_name(name)
        if name in self._cells:
            raise NameTaken(f"there is a process named {name!r} on this node already")

    def add(self, cell: Cell) -> None:
        """Enter `cell` under its ident."""
        self._cells[cell.ident] = cell
        if type(cell.ident) is BoundName:
            self.bound[addressee_of(cell.ident)] = cell

    def remove(self, ident: Resource, reason: Any) -> None:
        """Strike out `ident`, which has ended for `reason`; the name is free again."""
        self._cells.pop(ident, None)
        self._removals += 1
        if not self._removals & SHRINK_MASK:
            self._shrink()
        # no other reason: an error holds on to whatever its traceback can reach
        if type(reason) is not str or len(reason) > WORD_LENGTH:
            reason = None
        if type(ident) is int:  # here, for a call more would double what this takes
            slot = ident % PAST_IDS
            ids = self._past_ids
            if not ids:
                ids += [0] * PAST_IDS
                self._reasons += [None] * PAST_IDS
            ids[slot] = ident
            self._reasons[slot] = reason
        else:
            self.bound.pop(addressee_of(ident), None)
            self._remember_name(cast("str", ident), reason)

    def _remember_name(self, name: str, reason: str | None) -> None:
        self._past.pop(name, None)
        self._past[name] = getattr(name, "serial", 0), reason
        if len(self._past) > PAST_NAMES:
            del self._past[next(iter(self._past))]

    def _shrink(self) -> None:
        # a dictionary never gets smaller by itself: a million that were would cost 40 MB
        if _is_sparse(self._cells):
            self._cells = dict(self._cells)
            self.get = self._cells.get
        if _is_sparse(self.bound):
            self.bound = dict(self.bound)

    def was_used(self, ident: Resource) -> bool:
        """Tell whether a process bore that id, or that name not too long ago."""
        ident = ident_of(ident)
        if type(ident) is BoundName:
            return 0 < ident.serial <= self._last_serial
        if isinstance(ident, str):
            return ident in self._past
        return 0 < ident < self._next

    def last_reason(self, ident: Resource) -> str | None:
        """Tell why a process of that name or id has ended; None when that is not known any more.

        Only words are remembered, and those of so many processes.
        """
        ident = ident_of(ident)
        if isinstance(ident, str):
            serial, reason = self._past.get(ident, (0, None))
            is_another = type(ident) is BoundName and ident.serial != serial
            return None if is_another else reason
        slot = ident % PAST_IDS
        is_there = bool(self._reasons) and self._past_ids[slot] == ident
        return self._reasons[slot] if is_there else None

    def cells(self) -> list[Cell]:
        """Return all processes, in the order they were made."""
        return list(self._cells.values())

    def idents(self, start: int, count: int) -> list[Resource]:
        """Return the names and ids of some processes, in the order made.  Thread-safe."""
        while True:
            try:
                return list(islice(self._cells, start, start + count))
            except RuntimeError:
                pass  # it has changed: Python collected garbage in between, and others ran

    def __len__(self) -> int:
        return len(self._cells)


def _is_sparse(cells: dict[Resource, Cell]) -> bool:
    return getsizeof(cells) > SPARSE_BYTES * (len(cells) + 1000)
