"""The names of splice's loggers; the library never configures logging.

``splice.actor``, ``splice.net``, ``splice.node``, ``splice.shipping``, ``splice.cluster``: debug
for a message, info for an event of life, warning for what was recovered from, error for what was
lost.  There is no NullHandler: where a program configures no logging, Python's last resort shows
warnings and errors on standard error, for nothing that was lost may vanish.
"""

from __future__ import annotations

import logging
from typing import Final

ROOT: Final = "splice"


def logger(folder: str) -> logging.Logger:
    """Return the logger of one folder of splice, for example ``logger("net")``."""
    return logging.getLogger(f"{ROOT}.{folder}")
