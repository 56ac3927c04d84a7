"""A clock the test moves: an asyncio loop in virtual time.

Nothing ever sleeps on a `VirtualLoop`.  When nothing is left to be done now, its clock jumps to
the next timer::

    loop = VirtualLoop()
    loop.run_until_complete(main())     # an hour of timeouts takes milliseconds
    loop.advance(10.0)                  # everything that is due in ten seconds

It is single-threaded and has no sockets.  Another thread may reach it by `call_soon_threadsafe`
as any loop; a loop that has nothing to do and no timer waits for that for a while (of real
time), and then says that nobody will ever wake it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

START: Final = 1000.0
"""Where the clock begins: not zero, which would hide a time that nobody has set."""

PATIENCE: Final = 10.0
"""Real seconds to wait for another thread: what it does in a test takes milliseconds."""


class _Jump:
    """Stands where a loop has its selector, and moves the clock where that would sleep."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Let `timeout` seconds pass, or wait for another thread if there is no timer."""
        loop = self._loop
        if timeout is None:
            if not loop.woken.wait(PATIENCE):
                raise RuntimeError(
                    "nothing is left to do, and no timer is set: a deadlock"
                )
        elif timeout > 0 and not loop.woken.is_set():
            loop.jump(timeout)
        loop.woken.clear()
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time passes only when there is nothing else to do."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = threading.Event()
        self._now = START
        self._selector = _Jump(self)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock and run nothing: a handler that computes for so long."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass and run everything that is due until then."""
        target = self._now + seconds
        self.call_at(target, self.stop)
        self.run_forever()
        self._now = max(self._now, target)
        self.settle()

    def settle(self) -> None:
        """Run everything that is due now, and what follows from it, without time passing."""
        # twice: what is due by now moves to the ready ones only while the loop runs
        self._once()
        while self._ready:  # type: ignore[attr-defined]  # asyncio's own list
            self._once()

    def _once(self) -> None:
        self.call_soon(self.stop)
        self.run_forever()

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: there are no sockets."""

    def _write_to_self(self) -> None:
        self.woken.set()
