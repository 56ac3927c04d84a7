"""Spare: the memory of large buffers, used again once nobody else refers to it.

Memory that is new to an OS process costs a page fault for every 4 KiB, 32 ms for 64 MiB where a
copy into memory in use takes 5.  Every large message needs such memory twice: for the copy that is
taken when it is sent, and for the parts that are put together from its pieces.

What is larger than all that may be kept is mapped: its pages come one by one as they are written,
where the whole of it at once would hold up a node for half a second in a gigabyte.

A buffer is handed out and stays known here.  Arrays and views that are made of it refer to it, so
when its only reference is ours, nobody can see it any more.  Thread-safe.
"""

from __future__ import annotations

import sys
from math import inf
from mmap import MAP_PRIVATE, mmap
from threading import Lock
from typing import Final

SPARE_BYTES: Final = 2**20
"""Buffers from this size on are kept: below it, the C library keeps them itself."""

KEPT_BYTES: Final = 256 * 2**20
"""Bytes that are kept at most, those in use included: as many as the mail that a node may hold."""

IDLE_SECONDS: Final = 5.0
"""Seconds after which a buffer that nobody took is let go: the next array of a stream comes
sooner, and a node that is idle shall hold nothing."""

STEP_BYTES: Final = 4 * 2**20
"""Bytes that are copied in one step; after each, another thread may have the interpreter."""

LEARN_BYTES: Final = 32 * 2**20 - 2**12
"""The largest block by which glibc learns, when it is freed, that blocks of that size come and go
(mallopt(3)): it then keeps the memory of the megabytes that ZeroMQ reads a piece into, instead of
giving it back after each."""


class Spares:
    """The large buffers of an OS process."""

    def __init__(self) -> None:
        self._kept: list[bytearray] = []
        self._fresh: list[bytearray] = []
        self._lock = Lock()
        self._tidied = -inf
        self._has_taught = False

    def take(self, size: int) -> bytearray | memoryview:
        """Return a buffer of `size` bytes, whatever is in it.

        Raises:
            MemoryError, OverflowError: there is no memory for it.
        """
        if size > KEPT_BYTES:
            return _mapped(size)
        # never waited for: a finalizer or a signal handler may send in the middle of this, and a
        # copy made by os.fork may have it locked for ever; memory that is new serves as well
        if size < SPARE_BYTES or not self._lock.acquire(blocking=False):
            return bytearray(size)
        try:
            return self._find(size) or self._make(size)
        finally:
            self._lock.release()

    def _find(self, size: int) -> bytearray | None:
        for buffers in (self._fresh, self._kept):
            for place in range(len(buffers)):
                if len(buffers[place]) == size and _is_ours(buffers, place):
                    buffer = buffers.pop(place)
                    self._fresh.append(buffer)
                    return buffer
        return None

    def _make(self, size: int) -> bytearray:
        if not self._has_taught:
            self._has_taught = True
            bytes(LEARN_BYTES)  # untouched memory; a bytearray would be written to
        buffer = bytearray(size)
        if self.kept_bytes + size <= KEPT_BYTES:
            self._fresh.append(buffer)
        return buffer

    def copy(self, raw: memoryview) -> bytearray | memoryview:
        """Return a copy of `raw`, which is bytes in one row."""
        if raw.nbytes < SPARE_BYTES:
            return bytearray(raw)
        buffer = self.take(raw.nbytes)
        # through a view: assigning to a slice of the buffer itself makes a copy more
        view = memoryview(buffer)
        for start in range(0, raw.nbytes, STEP_BYTES):
            view[start : start + STEP_BYTES] = raw[start : start + STEP_BYTES]
        return buffer

    def tidy(self, now: float) -> None:
        """Let go of what nobody took for some time; every node calls it now and then."""
        # the clocks of two nodes need not agree
        if self._tidied <= now < self._tidied + IDLE_SECONDS:
            return
        if self._lock.acquire(blocking=False):
            self._tidied = now
            self._kept, self._fresh = self._fresh, []
            self._lock.release()

    def clear(self) -> None:
        """Let go of everything; what is in use lives on with those who use it."""
        if self._lock.acquire(blocking=False):
            self._kept, self._fresh = [], []
            self._lock.release()

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept, those in use included."""
        return sum(map(len, self._kept)) + sum(map(len, self._fresh))


def _mapped(size: int) -> memoryview:
    try:
        # private: a copy made by os.fork writes into a copy of it, as into all other memory
        return memoryview(mmap(-1, size, flags=MAP_PRIVATE))
    except OSError as error:
        raise MemoryError(f"{size} bytes: {error}") from error


def _references(buffers: list[bytearray], place: int) -> int:
    return sys.getrefcount(buffers[place])


_ALONE: Final = _references([bytearray()], 0)
"""What `_references` counts where the list has the only one."""


def _is_ours(buffers: list[bytearray], place: int) -> bool:
    return _references(buffers, place) == _ALONE


spares: Final = Spares()
"""Those of this OS process: memory is its own, and no node's."""
