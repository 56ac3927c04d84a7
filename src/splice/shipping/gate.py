"""Gate: one thread of a worker imports at a time.

CPython's import system breaks when several threads import packages with rings in them for the first
time (cpython #82272, #83065, #91238): partially initialized modules, ``_DeadlockError``.  And the
thread of the node's loop must not wait for the lock of a module whose importer waits for the loop.
So everybody passes a gate *before* any lock of importlib's; modules that are ready pass it by.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from splice.errors import DependencyTransferError

GATE_SECONDS: Final = 30.0
"""After which a thread goes on without the gate: the module that is being imported may itself wait
for a thread that imports, and then nobody else would ever open it."""

LOOK_SECONDS: Final = 0.01
"""Between two tries on the loop's thread, which moves messages meanwhile."""


class Gate:
    """The gate of one OS process; thread-safe.

    Args:
        thread: that of the node's loop, which waits by `pause`.
        pause: see `splice.shipping.patience.Patience.pause`.
        postpone: called on that thread before it imports what is not ready; see
            `splice.shipping.patience.Patience.postpone`.
    """

    def __init__(
        self,
        thread: int,
        pause: Callable[[float], None],
        postpone: Callable[[], None] = lambda: None,
    ) -> None:
        self._thread = thread
        self._pause = pause
        self._postpone = postpone
        self._lock = threading.RLock()
        self._import = builtins.__import__
        self._import_module = importlib.import_module

    def install(self) -> None:
        """Stand before all imports from now on."""
        builtins.__import__ = self.enter_import
        importlib.import_module = self.enter_import_module
        # in a forked copy the thread that has the lock does not exist
        os.register_at_fork(after_in_child=self._open)

    def _open(self) -> None:
        self._lock = threading.RLock()

    def remove(self) -> None:
        """Stand there no more."""
        builtins.__import__ = self._import
        importlib.import_module = self._import_module

    def enter_import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - their names
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what ``__import__`` does."""
        if not level and is_ready(name, fromlist):
            return self._import(name, globals, locals, fromlist or (), level)
        lock = self._enter()
        try:
            return self._import(name, globals, locals, fromlist or (), level)
        finally:
            if lock is not None:
                lock.release()

    def enter_import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Do what ``importlib.import_module`` does."""
        lock = self._enter()
        try:
            return self._import_module(name, package)
        finally:
            if lock is not None:
                lock.release()

    def _enter(self) -> Any:
        """Take the lock and return it; None when this thread has to go on without it."""
        if get_ident() == self._thread:
            self._postpone()
        lock = self._lock
        return lock if self._take(lock) else None

    def _take(self, lock: Any) -> bool:
        if lock.acquire(blocking=False):
            return True
        if get_ident() != self._thread:
            return bool(lock.acquire(timeout=GATE_SECONDS))
        give_up = time.monotonic() + GATE_SECONDS
        while time.monotonic() < give_up:
            try:
                self._pause(LOOK_SECONDS)
            except DependencyTransferError:  # a callback may not wait
                return False
            if lock.acquire(blocking=False):
                return True
        return False


def is_ready(name: str, fromlist: Sequence[str] | None) -> bool:
    """Tell whether an import only looks something up."""
    module: Any = sys.modules.get(name)
    if module is None:
        return False
    try:
        names = module.__dict__
        if names["__spec__"]._initializing:
            return False
    except (AttributeError, KeyError):  # made by hand, or no module at all
        return not fromlist
    return not fromlist or all(item in names for item in fromlist)
