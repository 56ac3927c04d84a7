"""EarlyNames: what has come for names that a young node does not know yet.

Those who start several nodes at once must not care which is first, so mail and signals to an
unknown name wait until it is made, or until the node is old enough to say that there is none.
Node's thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from splice.uri import Resource

NAME_PATIENCE: Final = 2.0
"""Seconds after its start for which a node keeps what comes for names it does not know."""


class EarlyNames:
    """The names that are waited for.

    Args:
        loop: the node's; its time now is the node's birth.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._born = loop.time()
        self._kept: dict[str, list[Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, resource: Resource, again: Callable[[], None]) -> bool:
        """Keep what has come for an unknown name for a while, for it may be made soon.

        Args:
            again: delivers it; called when there is a process of that name, or no hope for one.

        Returns:
            False when there is no hope.
        """
        age = self._loop.time() - self._born
        if not isinstance(resource, str) or "#" in resource:
            return False  # it has been made, and has ended
        if age >= NAME_PATIENCE:
            return False
        if not self._kept:
            self._loop.call_later(NAME_PATIENCE - age, self._give_up)
        self._kept.setdefault(resource, []).append(again)
        return True

    def made(self, name: str) -> None:
        """Deliver what was kept for `name`, which has a process now."""
        for deliver in self._kept.pop(name, ()):
            deliver()

    def _give_up(self) -> None:
        kept, self._kept = self._kept, {}
        for deliveries in kept.values():
            for deliver in deliveries:
                deliver()
