"""Passing: what passes the codec by.

It catches whatever an object of the user raises while it is encoded or decoded: but not what only
comes by meanwhile.  And it hands on arguments that were decoded before.
"""

from __future__ import annotations

from typing import Any

from splice.errors import ProcessKilled, SpliceError


class Postponed(BaseException):
    """What is decoded needs a module that must be fetched first: try again where one may wait."""


class Interrupted(BaseException):
    """Raised in user code that is to be stopped; not for its ``except Exception``."""


class Decoded:
    """The arguments of a request that had to wait for a module, in the place of their payload.

    Attributes:
        size: roughly what the payload took.
    """

    __slots__ = ("_outcome", "size")

    def __init__(
        self, outcome: tuple[tuple[Any, ...], dict[str, Any]] | SpliceError, size: int
    ) -> None:
        self._outcome = outcome
        self.size = size

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return them, or raise why they cannot be rebuilt."""
        if isinstance(self._outcome, SpliceError):
            raise self._outcome
        return self._outcome


def pass_on(error: BaseException) -> None:
    """Raise what only came by while the user's object was at work.

    That is the end of the process that sends, a wait for a module, the stop of an item, and Ctrl-C:
    on the thread of a loop that is none, for there it is raised by nobody but the object itself.
    """
    if isinstance(error, ProcessKilled | Postponed | Interrupted):
        raise error
    if isinstance(error, KeyboardInterrupt):
        import asyncio  # loaded with the node, and this runs after a failure only

        if asyncio._get_running_loop() is None:
            raise error
