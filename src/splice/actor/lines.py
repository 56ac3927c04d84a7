"""Lines: in which line of whose source handlers wait, and the text that says so.

Looked up only when something is wrong: it costs nothing until then.  Node's thread only.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from greenlet import getcurrent

from splice.actor.context import Worker, frames_from

if TYPE_CHECKING:
    from splice.actor.promise import Promise

Call = tuple[str, str, str]
"""A handler that waits: its process and name, its node, the line of its source."""

_ADVICE: Final = (
    "each would wait for the next for ever; use tell, a timeout, or answer with "
    "a promise"
)

_HERE = __name__.partition(".")[0]


def line_of(runner: Any, message: Promise) -> str:
    """Return the place, ``file:line``, where the handler of `message` is on its way.

    Args:
        runner: who runs it: a worker, or an async or blocking handler.
        message: one of those at hand there.

    Returns:
        The line of the handler itself, where it can be told apart; else the innermost line
        that is not splice's; else an empty string.
    """
    frames = _frames(runner)
    function: Any = getattr(message.handler, "function", None)
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    own = [frame for frame in frames if frame.f_code is code]
    users = [frame for frame in frames if not _is_ours(frame)]
    for frame in (own or users)[:1]:
        return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return ""


def call_of(runner: Any, message: Promise) -> Call:
    """Say which handler waits, where; its node is known by its address, once it has one."""
    home = getattr(message.scheduler, "home", None)
    node = getattr(home, "known_address", None) or "this node"
    return message.describe(), node, line_of(runner, message)


def ring_text(calls: Iterable[Call]) -> str:
    """Say who waits for whom in a ring, and where; for messages to people."""
    ring = list(dict.fromkeys(calls))
    names = [f"{name} on {node}" for name, node, _ in ring]
    lines = [
        f"\n  {name} waits at {line}"
        for name, (_, _, line) in zip(names, ring, strict=True)
        if line
    ]
    return f"{' -> '.join(names)} -> {names[0]}: {_ADVICE}{''.join(lines)}"


def _frames(runner: Any) -> list[FrameType]:
    is_worker = type(runner) is Worker
    if runner is getcurrent() if is_worker else runner.is_here():
        return list(frames_from(sys._getframe()))  # else a running stack shows nothing
    return list(frames_from(runner.gr_frame)) if is_worker else runner.frames()


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _HERE
