"""Ended: why incarnations that are gone for good have ended, for those who still write to them."""

from __future__ import annotations

from typing import Final

from splice.net.actions import Cause

KEPT: Final = 10_000
"""Ends that are remembered, about 2 MB: mail to a node that is forgotten fails after a dial."""


class Ended(dict[int, Cause]):
    """The causes by incarnation, the latest `KEPT` of them."""

    def __setitem__(self, incarnation: int, cause: Cause) -> None:
        super().__setitem__(incarnation, cause)
        if len(self) > KEPT:
            del self[next(iter(self))]
