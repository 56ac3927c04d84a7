"""Outlets: what a child writes, read by the OS process that started it.

::

    the child                     launcher's thread
    descriptor 1 ── stdout ──┐
    descriptor 2 ── stderr ──┼──► Outlets ── on_output(stream, chunk, go_on) ──► whoever shows it
    log records ─── records ─┘        ◄── go_on() ── it has been shown: read the next

The parent reads, so that the last words of a child that was killed are there, also those of C code
and of what the child has started.  Of each stream one chunk is on its way at a time: who writes
faster than anybody reads waits in its own write, and nobody's memory grows.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from splice.node.launch import OsLauncher

STREAMS: Final = ("stdout", "stderr", "records")

END: Final = "end"
"""Stands for a stream once, behind everything: the child has ended."""

CHUNK_BYTES: Final = 65536
"""Read at once: as much as a pipe holds."""

DRAIN_BYTES: Final = 1 << 20
"""Read of each stream after the child's end: the greatest pipe that Linux grants.  More can only
come from something that it has left running, which nobody waits for."""

TAIL_LINES: Final = 50
TAIL_BYTES: Final = 8192
"""Kept of what a child wrote last, for the message that tells of its death: the stack of
a crash in whichever thread, and what came before it."""

OnOutput = Callable[[str, bytes, Callable[[], None]], None]
"""Is given a stream, what came, and what is to be called (from any thread) for more."""


class Outlets:
    """The streams of one child; launcher's thread only.

    Args:
        launcher: that watches the pipes.
        on_output: is told what comes.
    """

    def __init__(self, launcher: OsLauncher, on_output: OnOutput) -> None:
        self._launcher = launcher
        self._on_output = on_output
        self._near: dict[str, int] = {}
        self._tail: deque[bytes] = deque(maxlen=TAIL_BYTES // 64)

    @contextlib.contextmanager
    def open(self) -> Iterator[list[int]]:
        """Make the pipes; gives the child's ends, closed here when it has them."""
        far: list[int] = []
        try:
            for stream in STREAMS:
                self._near[stream], end = os.pipe()
                far.append(end)
            yield far
        finally:
            for end in far:
                os.close(end)

    def watch(self) -> None:
        """Begin to read."""
        for stream, descriptor in self._near.items():
            os.set_blocking(descriptor, False)
            self._go_on(stream)

    def drain(self) -> None:
        """Read what is left; the child has ended."""
        for stream in list(self._near):
            left = DRAIN_BYTES
            while left > 0 and (chunk := self._read(stream)):
                left -= len(chunk)
                self._on_output(stream, chunk, _nothing)
        self._on_output(END, b"", _nothing)

    def close(self) -> None:
        """Close the pipes; in a forked copy this is all there is to do."""
        for descriptor in self._near.values():
            self._launcher.unwatch(descriptor)
            os.close(descriptor)
        self._near.clear()

    def last_lines(self) -> tuple[str, ...]:
        """Return what it wrote last, both streams as they were read."""
        text = b"".join(self._tail)[-TAIL_BYTES:].decode("utf-8", "replace")
        return tuple(text.splitlines()[-TAIL_LINES:])

    def _arrives(self, stream: str) -> None:
        descriptor = self._near[stream]
        chunk = self._read(stream)
        if chunk is None:
            return
        self._launcher.unwatch(descriptor)
        if not chunk:
            os.close(self._near.pop(stream))
            return
        go_on = partial(self._launcher.post, partial(self._go_on, stream))
        self._on_output(stream, chunk, go_on)

    def _go_on(self, stream: str) -> None:
        # meanwhile it may have ended, and everything have been read
        if stream in self._near:
            read = partial(self._arrives, stream)
            self._launcher.watch(self._near[stream], selectors.EVENT_READ, read)

    def _read(self, stream: str) -> bytes | None:
        try:
            chunk = os.read(self._near[stream], CHUNK_BYTES)
        except BlockingIOError:
            return None
        if stream != "records":
            self._keep(chunk)
        return chunk

    def _keep(self, chunk: bytes) -> None:
        # whole chunks while they are small: the last ones may be of a few bytes each
        self._tail.append(chunk[-TAIL_BYTES:])


def _nothing() -> None:
    """Stands for `go_on` where no more comes."""
