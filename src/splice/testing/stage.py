"""Stage: puts parties on a node and has them act; the same for simulated and for real nodes."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from splice.actor.supervisor import Supervisor
from splice.node.node import Node
from splice.testing.facts import DRIVER
from splice.testing.notes import Notes
from splice.testing.party import Party
from splice.testing.script import Script

PARTIES: Final = ("p1", "p2")
"""Those that every node begins with."""


def populate(node: Node, notes: Notes) -> None:
    """Give a node that has just started its parties, and a supervisor for more."""
    for name in PARTIES:
        node.spawn(Party, (notes,), {}, name)
    node.spawn(Supervisor, (), {"intensity": 3}, "super")


def act(node: Node, notes: Notes, script: Script, random: Random) -> None:
    """Have some party of a node do what comes next, if there is one left."""
    cells = [
        cell
        for cell in node.scheduler.directory.cells()
        if isinstance(cell.object, Party) and not cell.has_ended
    ]
    if not cells:
        return
    cell = random.choice(cells)
    where = node.url_of(cell)
    action, args = script.next()
    message = notes.sent(DRIVER, notes.place(where), action)
    proxy: Any = node.proxy_of(cell)
    notes.follow(message, getattr(proxy, action)(message, *args), node)
