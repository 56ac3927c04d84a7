"""Ended: why nodes that are gone for good have ended, for those who still write to them."""

from __future__ import annotations

from typing import Final, TypeVar

from splice.net.actions import Cause

_Node = TypeVar("_Node")

KEPT: Final = 10_000
"""Ends that are remembered, about 2 MB: mail to a node that is forgotten fails after a dial."""


class Ended(dict[_Node, Cause]):
    """The causes by incarnation, or by address: the latest `KEPT` of them."""

    def __setitem__(self, node: _Node, cause: Cause) -> None:
        self.pop(node, None)  # an address may be left twice: it is the latest then
        super().__setitem__(node, cause)
        if len(self) > KEPT:
            del self[next(iter(self))]
