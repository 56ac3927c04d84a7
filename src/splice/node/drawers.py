"""Drawers: which nodes draw values out of coroutines here; those of a lost one end.

Node's thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from splice.errors import DeliveryError
from splice.node.replies import again

if TYPE_CHECKING:
    from splice.actor.coroutine import Drawn
    from splice.node.node import Node


class Drawers:
    """The coroutines of one node that others draw values out of, by their incarnation."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._drawn: dict[int | None, WeakKeyDictionary[Drawn, None]] = {}

    def note(self, drawer: int | None, coroutine: Drawn) -> None:
        """Take note that a node draws values out of a coroutine of this one."""
        if drawer not in coroutine.sp_drawers:
            coroutine.sp_drawers.add(drawer)
            self._drawn.setdefault(drawer, WeakKeyDictionary())[coroutine] = None

    def lost(self, drawer: int | None, error: DeliveryError) -> None:
        """End the coroutines that only the lost node drew values out of."""
        for coroutine in self._drawn.pop(drawer, ()):
            coroutine.sp_drawers.discard(drawer)
            if not coroutine.sp_drawers and not coroutine._sp_cell.has_ended:
                self._node.stop(coroutine._sp_cell, again(error))
