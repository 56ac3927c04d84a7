"""Leaving: what a program that comes to its end still does, in order.

Executors finish what was submitted; sessions show the last lines of their workers and end; then
the node sends what is left, and ends.  One hook of `atexit` does it all: several would be called
in the order in which modules happened to be loaded.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum

Hook = Callable[[], object]


class Stage(IntEnum):
    """What comes first."""

    EXECUTORS = 1
    SESSIONS = 2
    NODE = 3


class _Leaving:
    """The end of this OS process."""

    def __init__(self) -> None:
        self.hooks: dict[Hook, Stage] = {}
        self.is_first = False
        atexit.register(self.leave)

    def leave(self) -> None:
        with ExitStack() as last_first:  # all of them, whatever one raises
            # a copy: threads that go on may open and end sessions meanwhile
            hooks = self.hooks.copy().items()
            for hook, _ in sorted(hooks, key=lambda each: each[1], reverse=True):
                last_first.callback(hook)


_leaving = _Leaving()


def before_leaving(stage: Stage, hook: Hook) -> None:
    """Have `hook` called when the program ends, perhaps twice.  Thread-safe."""
    _leaving.hooks[hook] = stage


def forget(hook: Hook) -> None:
    """Do not call `hook` any more.  Thread-safe."""
    _leaving.hooks.pop(hook, None)


def come_first() -> None:
    """Leave before those that have registered a hook of `atexit` until now."""
    if not _leaving.is_first:
        _leaving.is_first = True
        # not moved: in the middle of the end it would not be called any more
        atexit.register(_leaving.leave)
