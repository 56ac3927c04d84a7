"""Leaving: what a program that comes to its end still does, in order, before its node ends.

Executors finish what was submitted; then sessions show the last lines of their workers and end.
One hook of `atexit` does both: several would be called in the order in which modules happened to
be loaded.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum

# its hook must be called after ours, so it is registered before
import splice.node.runtime  # noqa: F401

Hook = Callable[[], object]


class Stage(IntEnum):
    """What comes first."""

    EXECUTORS = 1
    SESSIONS = 2


_hooks: dict[Hook, Stage] = {}


def before_leaving(stage: Stage, hook: Hook) -> None:
    """Have `hook` called when the program ends.  Thread-safe."""
    _hooks[hook] = stage


def forget(hook: Hook) -> None:
    """Do not call `hook` any more.  Thread-safe."""
    _hooks.pop(hook, None)


def _leave() -> None:
    with ExitStack() as last_first:  # all of them, whatever one raises
        # a copy: threads that go on may open and end sessions meanwhile
        hooks = sorted(_hooks.copy().items(), key=lambda each: each[1], reverse=True)
        for hook, _ in hooks:
            last_first.callback(hook)


atexit.register(_leave)
