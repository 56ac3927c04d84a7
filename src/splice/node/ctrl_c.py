"""CtrlC: under `splice.run`, Ctrl-C interrupts `main`, whatever the node is doing just then.

Python raises KeyboardInterrupt in the code that runs when the key is pressed.  On a node that may
be the scheduler, or the handler of another process, which it would end; and while `main` waits it
is the loop::

    pressed ─► main computes ─────► raised there
            ─► main waits ────────► raised out of its wait, at the next turn of the loop
            ─► another process ───► the same, when its handler has come to an end
    once more before that, or when main is over ─► raised in whatever runs
"""

from __future__ import annotations

import signal
import threading
from types import CodeType, FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splice.actor.cell import Cell


class CtrlC:
    """Where Ctrl-C goes while this is entered; the user's own handler of SIGINT is left alone.

    Attributes:
        has_cancelled: it has cancelled an ``async def`` main.
        is_pressed: it has not reached main yet; when main is over, it never will.
    """

    def __init__(self) -> None:
        self.has_cancelled = False
        self.is_pressed = False
        self._main: Cell | None = None
        self._code: CodeType | None = None
        self._is_set = False

    def __enter__(self) -> CtrlC:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._pressed)
            self._is_set = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_set:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def aim(self, main: Cell | None, code: CodeType | None = None) -> None:
        """Say which process it is for, and the code of the handler that runs there."""
        self._main, self._code = main, code

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        if self._main is None or self.is_pressed or self._is_in_main(frame):
            raise KeyboardInterrupt
        self.is_pressed = True
        self._main.scheduler.loop.call_soon_threadsafe(self._interrupt)

    def _is_in_main(self, frame: FrameType | None) -> bool:
        """Tell whether the code of `frame` is called by main, and not by splice for main."""
        while frame is not None and frame.f_code is not self._code:
            if str(frame.f_globals.get("__name__")).startswith("splice."):
                return False
            frame = frame.f_back
        return frame is not None

    def _interrupt(self) -> None:
        main = self._main
        if main is None:
            return
        runner, scheduler = main.runner, main.scheduler
        if runner in scheduler.parked:
            # by a direct call another process may stand on main's stack: it is in main's way
            scheduler.inject(runner, KeyboardInterrupt())
            self.is_pressed = False
        elif hasattr(runner, "cancel"):
            self.has_cancelled = bool(runner.cancel())
            self.is_pressed = False
