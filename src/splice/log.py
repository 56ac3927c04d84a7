"""The names of splice's loggers; the library never configures logging.

``splice.actor``, ``splice.net``, ``splice.node``, ``splice.shipping``, ``splice.cluster``: debug
for a message, info for an event of life, warning for what was recovered from, error for what was
lost.  There is no NullHandler: where a program configures no logging, Python's last resort shows
warnings and errors on standard error, for nothing that was lost may vanish.
"""

from __future__ import annotations

import logging
from math import inf
from typing import Final

ROOT: Final = "splice"

WARN_SECONDS: Final = 60.0
"""Between two lines about strangers: they may knock a thousand times a second."""


class Seldom:
    """Lets a line into the log once in a while, and counts those that it keeps out.

    Args:
        seconds: between two lines; who provokes them may do so a thousand times a second.

    Attributes:
        missed: lines kept out since the last one; for the next one to tell.
    """

    def __init__(self, seconds: float) -> None:
        self.missed = 0
        self._seconds = seconds
        self._next = -inf
        self._count = 0

    def passes(self, now: float) -> bool:
        """Tell whether a line may be written now."""
        if now < self._next:
            self._count += 1
            return False
        self._next = now + self._seconds
        self.missed, self._count = self._count, 0
        return True


def logger(folder: str) -> logging.Logger:
    """Return the logger of one folder of splice, for example ``logger("net")``."""
    return logging.getLogger(f"{ROOT}.{folder}")
