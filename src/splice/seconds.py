"""Seconds: durations that callers give, checked before anything is done with them.

A NaN among the times that a heap of timers compares leaves it unsorted, and then others that wait
there are not woken either.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX
from math import isnan
from numbers import Real
from typing import Any


def is_number(value: Any) -> bool:
    """Whether `value` can be a number of seconds; NaN is none."""
    return _is_real(value) and not isnan(value)


def refusal(value: Any, text: str) -> Exception:
    """Make the error of a value that is no such number: TypeError when it is none at all."""
    return ValueError(text) if _is_real(value) else TypeError(text)


def timeout_of(value: Any, what: str = "a timeout") -> float | None:
    """Return how many seconds a wait may take, None for ever.

    Args:
        value: what the caller gave; from what a thread can wait at all, 292 years, it is for ever.
        what: it is, for the text of an error.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN.
    """
    if value is None:
        return None
    seconds = _checked(value, f"{what} is seconds, or None for ever")
    return None if seconds >= TIMEOUT_MAX else seconds


def seconds_of(value: Any, what: str) -> float:
    """Return how many seconds something takes, at most what a thread can wait.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN.
    """
    return min(_checked(value, f"{what} is seconds"), TIMEOUT_MAX)


def _checked(value: Any, text: str) -> float:
    if not is_number(value):
        raise refusal(value, f"{text}, not {value!r}")
    # an int stays one, for texts that name it
    return value if type(value) in (int, float) else float(value)


def _is_real(value: Any) -> bool:
    # by its type, for a bool is a Real, too
    return issubclass(type(value), Real) and type(value) is not bool
