"""Interrupts: how work on a thread is made to end from outside: by an error, where it waits.

::

    thread ─► interruptible(sleeper) ─► sleeps ◄─ sleeper.refuse ─ Interrupt.throw ◄─ kill

Each wait that is under way raises the error, or else the next one, and no later one: the clean-up
of what was interrupted may wait again.  As of Java's ``Thread.interrupt``.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

_here = threading.local()


class Sleeper(Protocol):
    """What a thread, or a coroutine on its loop, sleeps on."""

    def refuse(self, error: BaseException) -> None:
        """Have it go on with `error`, if it still sleeps.  Thread-safe."""


class Interrupt:
    """The handle on one piece of work; ``with interrupt:`` is around it, on its thread.

    Attributes:
        is_thrown: it was interrupted.
    """

    __slots__ = ("_asleep", "_error", "_lock", "is_thrown")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._asleep: set[Sleeper] = set()  # several on an asyncio loop of its own
        self._error: BaseException | None = None
        self.is_thrown = False

    def __enter__(self) -> None:
        _here.interrupt = self

    def __exit__(self, *exc_info: object) -> None:
        _here.interrupt = None

    def throw(self, error: BaseException) -> None:
        """Have `error` raised in the waits of the work, or else in its next one.  Thread-safe."""
        with self._lock:
            self.is_thrown = True
            self._error = (
                error  # kept until it was raised: who sleeps may be woken just now
            )
            asleep = tuple(self._asleep)
        for sleeper in asleep:
            sleeper.refuse(error)

    @contextmanager
    def may_end(self, sleeper: Sleeper) -> Iterator[None]:
        """Let an interrupt end the wait in the block; raise what was thrown before."""
        self._begin(sleeper)
        try:
            yield
        except BaseException as error:
            with self._lock:
                if error is self._error:
                    self._error = None
            raise
        finally:
            with self._lock:
                self._asleep.discard(sleeper)

    def _begin(self, sleeper: Sleeper) -> None:
        with self._lock:
            error, self._error = self._error, None
            if error is None:
                self._asleep.add(sleeper)
                return
        try:
            raise error
        finally:
            del error  # else it and this frame would be a ring


def interruptible(sleeper: Sleeper) -> AbstractContextManager[None]:
    """Let an interrupt of the work that runs on this thread end the wait in the block."""
    interrupt = interrupt_here()
    return nullcontext() if interrupt is None else interrupt.may_end(sleeper)


def interrupt_here() -> Interrupt | None:
    """Return the handle on the work that runs on this thread, or None."""
    found: Interrupt | None = getattr(_here, "interrupt", None)
    return found


def is_interrupted() -> bool:
    """Tell whether the work that runs on this thread was interrupted."""
    interrupt = interrupt_here()
    return interrupt is not None and interrupt.is_thrown
