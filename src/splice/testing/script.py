"""Script: what the parties of a trial do next, drawn from its seed."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any, Final

from splice.uri import url

ACTIONS: Final = {
    "asks": 10,
    "tells": 12,
    "waits": 10,
    "relays": 5,
    "cancels": 3,
    "streams": 3,
    "spawns": 2,
    "supervises": 2,
    "ends": 1,
    "links": 1,
    "monitors": 2,
}
"""What a party may do, and how often it does."""

KINDS: Final = {"echo": 20, "nap": 3, "fail": 3, "quit": 1}
"""What it asks others for."""

Args = tuple[Any, ...]


class Script:
    """Draws actions and their targets.

    Args:
        random: what they are drawn from.
        kinds: what parties ask each other for, and how often.
        patience: the longest timeout of a wait, in seconds.
    """

    def __init__(
        self, random: Random, kinds: dict[str, int] = KINDS, *, patience: float = 2.0
    ) -> None:
        self._random = random
        self._kinds = kinds
        self._patience = patience
        self._lives: list[tuple[str, url]] = []
        self._names = ["p1", "p2"]
        self._numbers = count(3)

    def settle(self, name: str, where: url) -> None:
        """Take note of a new incarnation, which can be meant from now on."""
        self._lives.append((name, where))

    def next(self) -> tuple[str, Args]:
        """Return the handler that a party shall run, and its arguments."""
        action = self._draw(ACTIONS)
        args: Args = getattr(self, f"_{action}")()
        return action, args

    # ---- arguments, as the handlers of Party take them

    def _asks(self) -> Args:
        return self._where(), self._kind(), self._random.choice([1, 1, 2, 5, 20])

    def _tells(self) -> Args:
        return self._asks()

    def _waits(self) -> Args:
        return self._where(), self._kind(), self._timeout()

    def _relays(self) -> Args:
        return self._where(), self._where(), self._timeout()

    def _cancels(self) -> Args:
        return self._where(), self._random.choice([0.0, 0.001, 0.1, 1.0])

    def _streams(self) -> Args:
        count, prefetch = self._random.choice([0, 1, 7, 30]), [0, 1, 4, 32]
        return self._dest(), count, self._random.choice(prefetch)

    def _spawns(self) -> Args:
        name, where = self._life()
        return where.address, name.partition(".")[0], self._new_name()

    def _supervises(self) -> Args:
        name, where = self._life()
        supervisor = url("super", where.address, where.incarnation)
        return str(supervisor), name, self._new_name()

    def _ends(self) -> Args:
        return self._bound(), self._random.choice(["stop", "kill"])

    def _links(self) -> Args:
        return (self._bound(),)

    def _monitors(self) -> Args:
        return (self._bound(),)

    # ---- parts

    def _draw(self, weights: dict[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _kind(self) -> str:
        return self._draw(self._kinds)

    def _timeout(self) -> float | None:
        return self._random.choice([None, None, 0.001, 0.1, self._patience])

    def _life(self) -> tuple[str, url]:
        """Return an incarnation, mostly one of the last ones."""
        recent = self._lives[-8:]
        return self._random.choice(
            recent if self._random.random() < 0.9 else self._lives
        )

    def _dest(self) -> str:
        return self._life()[1].address

    def _new_name(self) -> str:
        if self._random.random() < 0.2:
            return self._random.choice(self._names)
        self._names.append(f"p{next(self._numbers)}")
        return self._names[-1]

    def _name(self) -> str:
        if self._random.random() < 0.03:
            return "nobody"
        return self._random.choice(
            self._names[:2] if self._random.random() < 0.7 else self._names
        )

    def _bound(self) -> str:
        where = self._life()[1]
        return str(url(self._name(), where.address, where.incarnation))

    def _where(self) -> str:
        if self._random.random() < 0.75:
            return self._bound()
        return str(url(self._name(), self._dest()))
