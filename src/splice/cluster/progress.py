"""Progress: shows how far a map is: a bar on a terminal, lines elsewhere, or as the user likes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

LINE_SECONDS = 5.0
"""Seconds between two lines where there is no terminal: a log is read later, and by people."""

Shown = bool | Callable[[int, int | None], object]
"""What ``progress=`` takes: whether to show it, or a function of items done and all items."""


class Progress(Protocol):
    """What is told how far a map is."""

    def show(self, done: int, total: int | None) -> None:
        """Show that `done` items are done, of `total` if that is known."""

    def close(self) -> None:
        """Show no more."""


def progress_for(shown: Shown) -> Progress | None:
    """Return what ``progress=`` asks for.

    Raises:
        TypeError: it is neither a bool nor callable.
    """
    if callable(shown):
        return Callback(shown)
    if not isinstance(shown, bool):
        raise TypeError(f"progress is True, False or a function, not {shown!r}")
    if not shown:
        return None
    return Bar() if sys.stderr.isatty() else Lines()


class Callback:
    """Calls a function of the user, in the thread that waits, when there is news."""

    def __init__(self, function: Callable[[int, int | None], object]) -> None:
        self._function = function
        self._shown: tuple[int, int | None] | None = None

    def show(self, done: int, total: int | None) -> None:
        """Call the function unless it knows already."""
        if (done, total) != self._shown:
            self._shown = done, total
            self._function(done, total)

    def close(self) -> None:
        """Nothing is left to do."""


class Lines:
    """Writes a line to standard error now and then, and one at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._last = clock()
        self._text = ""

    def show(self, done: int, total: int | None) -> None:
        """Note how far it is, and write it if the last line is long ago."""
        of = f" of {total:,}" if total is not None else ""
        self._text = f"map: {done:,}{of} items"
        if self._clock() - self._last >= LINE_SECONDS:
            self._write()

    def close(self) -> None:
        """Write how far it came."""
        if self._text:
            self._write()
            self._text = ""

    def _write(self) -> None:
        self._last = self._clock()
        print(f"{self._text}, {self._last - self._began:.0f} s", file=sys.stderr)  # noqa: T201


class Bar:
    """A bar on standard error."""

    def __init__(self) -> None:
        from rich.console import Console  # 50 ms, for those who want a bar
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TimeElapsedColumn,
        )

        columns: tuple[Any, ...] = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.start()
        self._shown = self._bar.add_task("map", total=None)

    def show(self, done: int, total: int | None) -> None:
        """Move the bar."""
        self._bar.update(self._shown, completed=done, total=total)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()
