"""Progress: tells the client's user of a transfer that takes long enough to be noticed.

On a terminal as one line that is written again and again; elsewhere, in a notebook or a file, as a
line when it begins to be long and one at its end.
Supplier's thread only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

from splice.shipping.manifest import Cut, Manifest

PATIENCE_SECONDS: Final = 2.0
"""Transfers that are shorter are not worth a line; nearly all are, in a fast network."""

SHOW_SECONDS: Final = 0.25
"""Between two updates of the line: as often as anybody can read it."""


class Progress:
    """The transfers under way.

    Args:
        clock: seconds; the system's unless a test says otherwise.
        stream: where the line goes; standard error if None.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        self._clock = clock
        self._stream = stream
        self._begun: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def sent(self, manifest: Manifest, chunk: int) -> None:
        """Note that a chunk was given out."""
        now = self._clock()
        ident = str(manifest)
        count = Cut(manifest).count
        if chunk == 0:
            self._begun[ident] = now
            self._shown.pop(ident, None)  # of a worker that died in the middle
        begun = self._begun.get(ident, now)
        is_last = chunk >= count - 1
        if is_last:
            self._begun.pop(ident, None)
        if now - begun < PATIENCE_SECONDS:
            return
        shown = self._shown.get(ident)
        if is_last or shown is None or now - shown >= SHOW_SECONDS:
            self._shown[ident] = now
            is_edge = is_last or shown is None
            self._show(manifest, (chunk + 1) / count, is_edge=is_edge)
        if is_last:
            self._shown.pop(ident, None)

    def _show(self, manifest: Manifest, part: float, *, is_edge: bool) -> None:
        total = manifest.size / 1e6
        text = f"shipping {manifest}: {part * total:.0f} of {total:.0f} MB"
        stream = sys.stderr if self._stream is None else self._stream
        # a console that is closed, or none at all: the transfer goes on
        with suppress(OSError, ValueError, AttributeError):
            if stream.isatty():
                stream.write(f"\r{text}\033[K{chr(10) if part == 1 else ''}")
            elif is_edge:
                stream.write(f"{text}\n")
            stream.flush()
