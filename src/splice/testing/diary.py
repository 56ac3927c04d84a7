"""Diary: the history of one real node, in a file of its own; and those of a cluster as one.

Every event is in the file when `note` returns, so nothing is missing of a node that was killed.
The clock is the machine's, so that the diaries of nodes on one machine can be put together.  A
place bears the incarnation's number, which no two nodes have to agree on: ``n2.1f2e:p5``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

from splice.node.node import Node
from splice.testing.history import Event, History, What
from splice.testing.notes import Notes
from splice.uri import url

MESSAGES: Final = 1_000_000
"""Numbers that one life of a node has for its messages: more than it can send in a test."""


class Diary(Notes):
    """Notes what happens on the node of this OS process; there is one.

    It travels as whichever diary there is where it arrives.

    Args:
        path: of the file; it is made.
        node: whose diary it is.
        names: the short name of every node, by address.
        life: a number that no other diary of the cluster has.
    """

    here: Diary

    def __init__(
        self, path: Path, node: Node, names: Mapping[str, str], life: int
    ) -> None:
        super().__init__(node.loop, count(life * MESSAGES + 1))
        self._names = names
        self._file = path.open("ab", buffering=0)
        Diary.here = self
        self.watch(node)

    def __reduce__(self) -> Any:
        return _diary_here, ()

    def write(self, event: Event) -> None:
        """Keep an event, whatever becomes of this OS process."""
        if self._file.closed:
            return
        fields = (
            event.at,
            event.what.value,
            event.message,
            event.place,
            event.other,
            event.text,
            event.seconds,
        )
        self._file.write(json.dumps(fields).encode() + b"\n")

    def close(self) -> None:
        """Note nothing any more."""
        super().close()
        self._file.close()

    def name(self, node: Node) -> str:
        """Return the short name of the node."""
        return f"{self._names[node.address]}.{node.incarnation:x}"

    def place(self, where: url) -> str:
        """Return the short name of a process."""
        life = "" if where.incarnation is None else f".{where.incarnation:x}"
        return f"{self._names[where.address]}{life}:{where.resource}"


def _diary_here() -> Diary:
    return Diary.here


def read(paths: Iterable[Path], others: Iterable[Event] = ()) -> History:
    """Return what has happened according to some diaries, in order of time.

    Args:
        paths: the files.
        others: events that no node knows of: faults, and deaths.
    """
    events = [event for path in paths for event in _events(path)]
    return History(sorted([*others, *events], key=lambda event: event.at))


def _events(path: Path) -> Iterator[Event]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # else it was killed while it wrote
            at, what, *fields = json.loads(line)
            yield Event(at, What(what), *fields)
