"""Field: a real node with the simulator's workload, as an OS process that a test commands.

::

    python -m splice.testing.field SETTINGS     (JSON: see `main`)

A command is a line of JSON on its standard input, ``[name, argument, ...]``, and gets one line in
return.  The node ends with its standard input, so with the test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from splice.node.node import Node
from splice.node.runtime import runtime
from splice.testing.diary import Diary
from splice.testing.history import What
from splice.testing.planted import planted
from splice.testing.script import Script
from splice.testing.stage import act, populate
from splice.testing.tidiness import leftovers
from splice.uri import parse, url

KINDS: Final = {"echo": 200, "nap": 1, "fail": 5, "quit": 1}
"""What parties ask each other for: naps take real time here, and a party that has ended makes
no load."""

PATIENCE: Final = 0.2
"""Seconds of the longest wait: rings of those that wait with a timeout stand so long."""


class Field:
    """A node and its workload; everything here runs on the node's thread.

    Args:
        node: the node of this OS process.
        diary: its diary.
        seed: what the workload is drawn from.
    """

    def __init__(self, node: Node, diary: Diary, seed: str) -> None:
        self._node = node
        self._diary = diary
        self._random = Random(seed)
        self._script = Script(self._random, KINDS, patience=PATIENCE)
        self._is_acting = False
        node.loop.set_exception_handler(self._note_crash)
        diary.note(What.UP, place=diary.name(node))
        populate(node, diary)

    def settle(self, name: str, where: str) -> str:
        """Tell of an incarnation that can be meant from now on."""
        self._script.settle(name, parse(where))
        return ""

    def begin(self, pace: float) -> str:
        """Act about so many times a second from now on."""
        self._is_acting = True
        self._act(pace)
        return ""

    def rest(self) -> str:
        """Begin nothing any more."""
        self._is_acting = False
        return ""

    def left(self, nodes: int) -> str:
        """Tell what is still going on, where there were so many nodes; empty for nothing."""
        left = list(leftovers(self._node, nodes=nodes))
        if self._diary.is_owed:
            left.append("messages without a verdict")
        return ", ".join(left)

    def _act(self, pace: float) -> None:
        if self._is_acting:
            act(self._node, self._diary, self._script, self._random)
            delay = self._random.expovariate(pace)
            self._node.loop.call_later(delay, self._act, pace)

    def _note_crash(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = f"{context.get('message')}: {error!r}"
        self._diary.note(What.CRASH, text=text)


def main(text: str) -> None:
    """Serve until the end of standard input.

    Args:
        text: as JSON: ``config``, the node's settings; ``diary``, the path of its file; ``names``
            of all nodes by address; ``life``, the number of this one; ``seed``; ``plant``,
            name of a defect to put in, or an empty text.
    """
    settings = json.loads(text)
    runtime.config(**settings["config"])
    with planted(settings["plant"]):
        _serve(settings)


def _serve(settings: dict[str, Any]) -> None:
    node = runtime.node
    diary = Diary(Path(settings["diary"]), node, settings["names"], settings["life"])
    make: Callable[..., Field] = Field
    field = node.on_thread(make, node, diary, settings["seed"])
    answer(diary.name(node), str(url("node", node.address, node.incarnation)))
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        answer(node.on_thread(getattr(field, command), *arguments))
    node.on_thread(diary.close)
    runtime.shutdown()


def answer(*words: str) -> None:
    """Write a line for who commands this node."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
