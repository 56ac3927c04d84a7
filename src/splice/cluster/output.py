"""Output: what workers print and log, at the client.

::

    a worker's pipes ─► launcher's thread ─► (instance ─► Claim) ─► Output.take
                                                                        │ queue
    sys.stdout, sys.stderr, loggers, a function ◄── Lines ◄── the thread "splice-output"
                            go_on ─► the next chunk is read

A thread of its own writes, since a terminal or a pipe may be slow, and nodes must not stand still
meanwhile.  It writes to what ``sys.stdout`` is at the moment: a notebook's cell, a test's capture.
Of each worker one chunk of each stream is on its way, so a flood waits at the worker.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Literal

from splice.cluster.records import handle_record
from splice.log import logger
from splice.node.outlets import END, STREAMS, OnOutput

REPEAT_SECONDS: Final = 1.0
"""Between two looks at how often lines were repeated: a person sees that it goes on."""

LINE_BYTES: Final = 1 << 20
"""A longer line is cut into pieces: somebody prints without an end, and memory is bounded."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a worker has written.

    Attributes:
        worker: its name: ``worker 2``, or ``worker 2 of one`` at the instance ``one``.
        stream: ``stdout`` or ``stderr``.
        text: without the end of the line.
    """

    worker: str
    stream: str
    text: str


How = Literal["prefix", "plain", "off"] | Callable[[Line], object]
"""What becomes of workers' output; see `splice.cluster.sessions.session`."""

_log = logger("cluster")


class Lines:
    """Cuts the chunks of one stream of one worker into lines.

    Args:
        worker: its name.
        stream: ``stdout``, ``stderr`` or ``records``.
    """

    def __init__(self, worker: str, stream: str) -> None:
        self._worker = worker
        self._stream = stream
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that are whole now."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        return [self._line(line) for line in whole]

    def end(self) -> list[Line]:
        """Return what came behind the last end of a line."""
        rest, self._rest = self._rest, b""
        return [self._line(rest)] if rest else []

    def _line(self, line: bytes) -> Line:
        text = line.decode("utf-8", "replace").removesuffix("\r")
        return Line(self._worker, self._stream, text)


class Repeats:
    """Lets a line of a worker pass once, and counts those like it that follow."""

    def __init__(self) -> None:
        self._last: Line | None = None
        self._count = 0

    def feed(self, lines: list[Line]) -> list[Line]:
        """Return what is to be shown of `lines`."""
        shown: list[Line] = []
        for line in lines:
            if line == self._last and line.text:
                self._count += 1
                continue
            shown += self.end()
            self._last = line
            shown.append(line)
        return shown

    def end(self) -> list[Line]:
        """Return what is to be said of the repetitions so far."""
        count, self._count = self._count, 0
        if not count or self._last is None:
            return []
        if count == 1:
            return [self._last]
        said = f"… repeated {count} times"
        return [Line(self._last.worker, self._last.stream, said)]


class Output:
    """Shows the output of a session's workers.

    Args:
        how: what becomes of it.

    Raises:
        ValueError: `how` is nothing that is known.
    """

    def __init__(self, how: How = "prefix") -> None:
        if not callable(how) and how not in ("prefix", "plain", "off"):
            raise ValueError(
                f"output is 'prefix', 'plain', 'off' or a function, not {how!r}"
            )
        self._how = how
        self._chunks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._lines: dict[tuple[str, str], Lines] = {}
        self._repeats: dict[tuple[str, str], Repeats] = {}
        self._named = 0

    def outlet(self) -> OnOutput:
        """Return what shows the output of a new worker on this machine."""
        self._named += 1
        with self._starting:
            self._start()  # now: when a program ends, Python starts no more threads
        return partial(self.take, f"worker {self._named}")

    def take(
        self, worker: str, stream: str, chunk: bytes, go_on: Callable[[], None]
    ) -> None:
        """Show what a worker has written, soon.  Thread-safe, and never waits.

        Args:
            worker: its name.
            stream: see `splice.node.outlets`.
            chunk: what came, any part of lines.
            go_on: called when it has been shown, on whichever thread.
        """
        if self._how == "off":
            go_on()
            return
        show = partial(self._show, worker, stream, chunk, go_on)
        with self._starting:
            if is_served := self._start():
                self._chunks.put(show)
        if not is_served:
            show()

    def _start(self) -> bool:
        """Start the thread unless it runs; False: none can be had."""
        is_running = self._thread is not None and self._thread.is_alive()
        if not is_running and self._how != "off":
            thread = threading.Thread(
                target=self._serve, name="splice-output", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # too many, or the interpreter ends
                _log.debug("output is shown without a thread of its own: %s", error)
                return False
            self._thread = thread
        return True

    def finish(self) -> None:
        """Return when all that was taken has been shown; not for the node's thread."""
        shown = threading.Event()
        self.finish_soon(shown.set)
        shown.wait()

    def finish_soon(self, then: Callable[[], object]) -> None:
        """Call `then` when all that was taken has been shown, on whichever thread."""
        with self._starting:
            # in a copy made by os.fork there is no thread, and nothing of its own to show
            if self._thread is None or not self._thread.is_alive():
                then()
                return
            for last in (self._tell_repeats, then, None):
                self._chunks.put(last)

    # ---- the thread of the output

    def _serve(self) -> None:
        show: Callable[[], object] | None
        told = time.monotonic()
        while True:
            try:
                show = self._chunks.get(
                    timeout=REPEAT_SECONDS if self._repeats else None
                )
            except Empty:
                show = _nothing
            if show is None:
                if self._has_ended():
                    return
                continue
            show()
            if time.monotonic() - told >= REPEAT_SECONDS:
                told = time.monotonic()
                self._tell_repeats()

    def _has_ended(self) -> bool:
        """Tell whether this thread is to end; not if there is more to be shown."""
        with self._starting:
            if not self._chunks.empty():
                return False
            self._thread = None
            return True

    def _show(
        self, worker: str, stream: str, chunk: bytes, go_on: Callable[[], None]
    ) -> None:
        try:
            for each, lines in self._cut(worker, stream, chunk):
                self._write(worker, each, lines)
        except Exception:
            _log.exception("output of %s could not be shown", worker)
        finally:
            go_on()  # or the worker would wait for ever

    def _cut(
        self, worker: str, stream: str, chunk: bytes
    ) -> Iterator[tuple[str, list[Line]]]:
        if stream != END:
            lines = self._lines.setdefault((worker, stream), Lines(worker, stream))
            yield stream, lines.feed(chunk)
            return
        for each in STREAMS:
            if (found := self._lines.pop((worker, each), None)) is not None:
                yield each, found.end()

    def _write(self, worker: str, stream: str, lines: list[Line]) -> None:
        if stream == "records":
            for line in lines:
                handle_record(worker, line.text)
        elif callable(self._how):
            for line in lines:
                self._call(line)
        elif self._how == "plain":
            _print(stream, "".join(f"{line.text}\n" for line in lines))
        else:
            repeats = self._repeats.setdefault((worker, stream), Repeats())
            _print(stream, _prefixed(repeats.feed(lines)))

    def _tell_repeats(self) -> None:
        for (_, stream), repeats in self._repeats.items():
            _print(stream, _prefixed(repeats.end()))
        self._repeats = {k: r for k, r in self._repeats.items() if k in self._lines}

    def _call(self, line: Line) -> None:
        assert callable(self._how)
        try:
            self._how(line)
        except Exception:
            _log.exception("the function that gets the output of workers failed")


def _nothing() -> None:
    """There is nothing to show."""


def _prefixed(lines: list[Line]) -> str:
    return "".join(f"[{line.worker}] {line.text}\n" for line in lines)


def _print(stream: str, text: str) -> None:
    if not text:
        return
    target = sys.stdout if stream == "stdout" else sys.stderr
    if target is None:  # a program without a console
        return
    encoding = getattr(target, "encoding", None) or "utf-8"
    try:
        target.write(text.encode(encoding, "backslashreplace").decode(encoding))
        target.flush()
    except (
        Exception
    ) as error:  # closed, nobody reads it any more; or it is the user's own
        _log.debug("output of workers could not be shown: %s", error)
