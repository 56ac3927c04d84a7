"""Lines: in which line of whose source a handler waits, for errors that people read.

Looked up only when something is wrong: it costs nothing until then.  Node's thread only.
"""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Any

from splice.actor.context import Worker, frames_from
from splice.actor.promise import Promise

_HERE = __name__.partition(".")[0]


def line_of(runner: Any, message: Promise) -> str:
    """Return the place, ``file:line``, where the handler of `message` is on its way.

    Args:
        runner: who runs it: a parked worker, or an async or blocking handler.
        message: one of those at hand there.

    Returns:
        The line of the handler itself, where it can be told apart; else the innermost line
        that is not splice's; else an empty string.
    """
    frames = list(
        frames_from(runner.gr_frame) if type(runner) is Worker else runner.frames()
    )
    function: Any = getattr(message.handler, "function", None)
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    own = [frame for frame in frames if frame.f_code is code]
    users = [frame for frame in frames if not _is_ours(frame)]
    for frame in (own or users)[:1]:
        return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return ""


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _HERE
