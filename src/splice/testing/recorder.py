"""Recorder: writes the history of a simulated cluster while it runs.

It names nodes in the order they come up.  What a dead node goes on doing is nobody's business, so
it is not noted.
"""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from splice.node.node import Node
from splice.testing.history import Event, History, What
from splice.testing.notes import Notes
from splice.testing.simulation import Simulation
from splice.uri import url

_recorders: WeakValueDictionary[int, Recorder] = WeakValueDictionary()
_numbers = count(1)


def _recorder_of(number: int) -> Recorder:
    return _recorders[number]


class Recorder(Notes):
    """Notes what happens in one simulation.

    It can be handed to processes of all nodes: all are in this OS process, so it travels as its
    number.

    Attributes:
        history: what was noted.
    """

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.loop, count(1))
        self.history = History()
        self._lives: dict[int, str] = {}
        self._places: dict[str, str] = {}
        self._generations: dict[str, int] = {}
        self._dead: set[str] = set()
        self._number = next(_numbers)
        _recorders[self._number] = self
        simulation.on_node = self.watch

    def __reduce__(self) -> Any:
        return _recorder_of, (self._number,)

    def write(self, event: Event) -> None:
        """Keep an event."""
        self.history.add(event)

    def watch(self, node: Node) -> None:
        """Note what becomes of a node from now on; called before it listens."""
        super().watch(node)
        self._lives[node.incarnation] = ""

    def up(self, node: Node) -> str:
        """Note that a node listens, and return its name."""
        address = self._places.setdefault(node.address, f"n{len(self._places) + 1}")
        generation = self._generations[address] = self._generations.get(address, 0) + 1
        name = self._lives[node.incarnation] = f"{address}.{generation}"
        self.note(What.UP, place=name)
        return name

    def down(self, node: Node, how: str) -> None:
        """Note the death of a node; nothing of it is noted from now on."""
        name = self._lives[node.incarnation]
        if name not in self._dead:
            self.note(What.DOWN, place=name, text=how)
            self._dead.add(name)

    def name(self, node: Node) -> str:
        """Return the short name of a node."""
        return self._lives[node.incarnation]

    def place(self, where: url) -> str:
        """Return the short name of a process."""
        if where.incarnation is None:
            return f"{self._places[where.address]}:{where.resource}"
        return f"{self._lives[where.incarnation]}:{where.resource}"

    def _is_heard(self, name: str) -> bool:
        return name not in self._dead and super()._is_heard(name)
