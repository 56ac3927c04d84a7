"""Lent: what large arguments hold, in memory that the workers of a machine share.

::

    client: buffers ─ keep ─► Memory: a memfd, sealed ─► Lent: which descriptor of which OS process
    worker: Lent.unpack ─► /proc/<pid>/fd/<n> ─► mapped, copied where it is written to

A memfd has no name, so nothing is left of it whoever is killed: it is gone when the client has let
go of the map, or has ended, and no worker has it in its memory any more.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from splice.cluster.packed import Packed
from splice.errors import RemoteError
from splice.log import logger
from splice.net.codec import decode

LEAST_BYTES: Final = 2**20
"""Smaller buffers travel with the message: that takes less than to map them, a millisecond."""

ALIGNMENT: Final = 64
"""Bytes to which each buffer begins: those of a cache line, as numpy has it."""

_log = logger("cluster")


@dataclass(frozen=True, slots=True)
class Loan:
    """Memory of another OS process of this machine.

    Attributes:
        pid: the number of that OS process.
        descriptor: the number of its memfd there.
        inode: of the memfd; the number may have become another one's.
        size: in bytes.
    """

    pid: int
    descriptor: int
    inode: int
    size: int

    def map(self, *, is_writable: bool) -> memoryview:
        """Map it: shared as long as it is only read, copied page by page where it is written to.

        Args:
            is_writable: it may be written to.

        Raises:
            RemoteError: it is not there any more.
        """
        access = mmap.ACCESS_COPY if is_writable else mmap.ACCESS_READ
        try:
            file = os.open(f"/proc/{self.pid}/fd/{self.descriptor}", os.O_RDONLY)
        except OSError as error:
            raise RemoteError(
                f"the lent arguments of a call, {self.size} bytes of OS process {self.pid}, "
                f"cannot be read: {error}"
            ) from error
        try:
            if os.fstat(file).st_ino != self.inode:
                raise RemoteError("the lent arguments of a call that is over are gone")
            return memoryview(mmap.mmap(file, self.size, access=access))
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Stands for a buffer that is lent.

    Attributes:
        loan: where it is.
        begin, end: its first byte there, and that behind its last.
    """

    loan: Loan
    begin: int
    end: int


class Memory:
    """A sealed memfd of this OS process; closed when nobody has this object any more.

    Args:
        descriptor: of the memfd.
    """

    __slots__ = ("__weakref__", "loan")

    def __init__(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self.loan = Loan(os.getpid(), descriptor, found.st_ino, found.st_size)
        weakref.finalize(self, os.close, descriptor).atexit = False


class Lent(Packed):
    """A packed value whose large buffers are lent; for workers of the same machine.

    Args:
        payload: as for `Packed`.
        buffers: same; a `Borrowed` for each that is lent.
        is_writable: those may be written to, which nobody else sees.
        memories: what they are in; they are lent as long as this is kept, by the OS process that
            has made it.
    """

    __slots__ = ("_is_writable", "_memories")

    def __init__(
        self,
        payload: Any,
        buffers: tuple[Any, ...],
        *,
        is_writable: bool = True,
        memories: tuple[Memory, ...] = (),
    ) -> None:
        super().__init__(payload, buffers)
        self._is_writable = is_writable
        self._memories = memories

    @property
    def size_bytes(self) -> int:
        """How many bytes are lent; about so many need not travel."""
        return sum(loan.size for loan in self._loans())

    def unpack(self) -> Any:
        """Return the value; each call makes a new one, on memory that is shared."""
        mapped = {
            loan: loan.map(is_writable=self._is_writable) for loan in self._loans()
        }
        buffers = [
            mapped[buffer.loan][buffer.begin : buffer.end]
            if type(buffer) is Borrowed
            else buffer
            for buffer in self._buffers
        ]
        return decode(self._payload, buffers)

    def _loans(self) -> set[Loan]:
        return {b.loan for b in self._buffers if type(b) is Borrowed}

    def __reduce__(self) -> Any:
        buffers = tuple(
            buffer if type(buffer) is Borrowed else pickle.PickleBuffer(buffer)
            for buffer in self._buffers
        )
        return _received, (self._payload, buffers, self._is_writable)


def _received(payload: Any, buffers: tuple[Any, ...], is_writable: bool) -> Lent:
    return Lent(payload, buffers, is_writable=is_writable)


def lend(packed: Packed) -> Packed:
    """Return `packed` with its large buffers lent; itself where there are none, or no memfd."""
    buffers = [memoryview(buffer) for buffer in packed._buffers]
    large = [buffer for buffer in buffers if buffer.nbytes >= LEAST_BYTES]
    if not large or (kept := keep(large)) is None:
        return packed
    memory, places = kept
    lent = iter(places)
    stand_ins = tuple(
        next(lent) if buffer.nbytes >= LEAST_BYTES else buffer for buffer in buffers
    )
    return Lent(packed._payload, stand_ins, memories=(memory,))


def keep(buffers: list[memoryview]) -> tuple[Memory, list[Borrowed]] | None:
    """Write `buffers` to memory that can be lent; what stands for them, in order.

    Returns:
        None where that cannot be done: they have to travel.
    """
    if not Path("/proc/self/fd").is_dir():
        return None
    try:
        descriptor = os.memfd_create("splice", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError) as error:  # no Linux, or no descriptor left
        _log.info("large arguments travel to each worker: %s", error)
        return None
    try:
        places = _write(descriptor, buffers)
        fcntl.fcntl(
            descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK
        )
    except OSError as error:  # no memory left
        os.close(descriptor)
        _log.info("large arguments travel to each worker: %s", error)
        return None
    memory = Memory(descriptor)
    return memory, [Borrowed(memory.loan, begin, end) for begin, end in places]


def _write(descriptor: int, buffers: list[memoryview]) -> list[tuple[int, int]]:
    """Write `buffers`; return the first byte of each, and that behind its last."""
    position = 0
    places: list[tuple[int, int]] = []
    for memory in buffers:
        rest = memory.cast("B") if memory.c_contiguous else memoryview(bytes(memory))
        begin = position
        while rest:
            written = os.pwrite(descriptor, rest, position)
            rest = rest[written:]
            position += written
        places.append((begin, position))
        position += -position % ALIGNMENT
    return places
