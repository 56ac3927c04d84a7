"""One node's view of the loop of a simulation: it can stand still while the others go on.

::

    Node ─► NodeLoop ─► VirtualLoop
               │ stand_still: what is due is held back, as by SIGSTOP
               │ go_on: it happens now, late

Async handlers run on the loop itself: what such a handler awaits may come while its node stands
still, but nothing of it is heard outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from splice.testing.clock import VirtualLoop


class NodeLoop:
    """Takes the place of an `asyncio.AbstractEventLoop`; whatever is not here, the loop does."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._held: list[_Call] = []
        self.is_still = False

    def stand_still(self) -> None:
        """Hold back what is due from now on."""
        self.is_still = True

    def go_on(self) -> None:
        """Have everything done that was held back."""
        self.is_still = False
        self._loop.call_soon(self._catch_up)

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """Have ``callback(*args)`` called."""
        call = _Call(self, callback, args)
        call.handle = self._loop.call_soon(call, context=context)
        return call.handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Have ``callback(*args)`` called at a time of the loop's clock."""
        call = _Call(self, callback, args)
        call.handle = timer = self._loop.call_at(when, call, context=context)
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Any = None,
    ) -> asyncio.TimerHandle:
        """Have ``callback(*args)`` called in `delay` seconds."""
        return self.call_at(self._loop.time() + delay, callback, *args, context=context)

    def hold(self, call: _Call) -> None:
        """Keep a call for later."""
        self._held.append(call)

    def _catch_up(self) -> None:
        held, self._held = self._held, []
        for call in held:
            if not call.handle.cancelled():  # by one before it
                call()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class _Call:
    """A callback that is held back while its node stands still."""

    __slots__ = ("_args", "_callback", "_loop", "handle")

    handle: asyncio.Handle

    def __init__(
        self, loop: NodeLoop, callback: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._args = args

    def __call__(self) -> None:
        if self._loop.is_still:
            self._loop.hold(self)
        else:
            self._callback(*self._args)
