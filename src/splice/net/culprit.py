"""Culprit: the part of a value that cannot be pickled, for the error that names it.

Called by `net.codec` after a failure only.  It goes down from the value into whichever part
fails by itself, along what pickle would look at: items, closures, and what
``__reduce_ex__`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import Any, Final

DEPTH: Final = 16
"""Steps down: a path longer than that helps nobody."""

WIDTH: Final = 256
"""Parts tried at each step: an error must not take seconds to be told."""


def find_culprit(
    named: Iterable[tuple[str, Any]], travels: Callable[[Any], bool]
) -> tuple[str, Any]:
    """Return path and value of the smallest part found that does not travel.

    Args:
        named: the parts to begin with: (path, value).
        travels: whether a value can be pickled by itself.
    """
    parts = list(named)
    path, value = parts[0] if parts else ("value", None)
    seen: set[int] = set()
    for _ in range(DEPTH):
        found = _first_failing(parts, travels, seen)
        if found is None:
            break
        suffix, value = found
        path = suffix if not seen else path + suffix
        seen.add(id(value))
        parts = _parts(value)
    return path, value


def remedy_for(culprit: Any) -> str:
    """Say what to do about a part that does not travel."""
    if isinstance(culprit, (GeneratorType, AsyncGeneratorType)):
        return (
            "send its values as a list, or spawn the generator function as a process of"
            " its own"
        )
    if isinstance(culprit, CoroutineType):
        return "this is an 'async def' that nobody has awaited; await it there"
    return "leave it out of the message, or give its class a __reduce__ method"


def _first_failing(
    parts: list[tuple[str, Any]], travels: Callable[[Any], bool], seen: set[int]
) -> tuple[str, Any] | None:
    for suffix, value in parts:
        if id(value) not in seen and not travels(value):
            return suffix, value
    return None


def _parts(value: Any) -> list[tuple[str, Any]]:
    try:
        return list(islice(_walk(value), WIDTH))
    except BaseException:  # the user's __repr__ or __reduce__: then this is the culprit
        return []


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if type(value) in (list, tuple, set, frozenset):
        yield from ((f"[{place}]", item) for place, item in enumerate(value))
    elif type(value) is dict:
        for key, item in value.items():
            yield f"[{key!r}]", item
            yield f".keys()[{key!r}]", key
    elif isinstance(value, FunctionType):
        yield from _walk_function(value)
    elif isinstance(value, MethodType):
        yield ".__self__", value.__self__
    else:
        yield from _walk_reduced(value)


def _walk_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    cells = function.__closure__ or ()
    for name, cell in zip(code.co_freevars, cells, strict=True):
        yield f".<closure>.{name}", cell.cell_contents
    for name in code.co_names:
        if name in function.__globals__:
            yield f".<globals>.{name}", function.__globals__[name]


def _walk_reduced(value: Any) -> Iterator[tuple[str, Any]]:
    reduced = value.__reduce_ex__(5)
    if not isinstance(reduced, tuple):
        return
    state = reduced[2] if len(reduced) > 2 else None
    # objects with slots give a pair: their __dict__ or None, and their slots
    for names in state if isinstance(state, tuple) else (state,):
        if isinstance(names, dict):
            yield from ((f".{name}", item) for name, item in names.items())
    yield from ((f".args[{place}]", item) for place, item in enumerate(reduced[1]))
