"""Lent: what large common arguments hold, in memory that the workers of a machine share.

::

    client: Packed ─ lend ─► a memfd, sealed ─► Lent: which descriptor of which OS process
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

    def map(self) -> memoryview:
        """Map it: shared as long as it is only read, copied page by page where it is written to.

        Raises:
            RemoteError: it is not there any more.
        """
        try:
            file = os.open(f"/proc/{self.pid}/fd/{self.descriptor}", os.O_RDONLY)
        except OSError as error:
            raise RemoteError(
                f"the common arguments of a map, {self.size} bytes of OS process {self.pid}, "
                f"cannot be read: {error}"
            ) from error
        try:
            if os.fstat(file).st_ino != self.inode:
                raise RemoteError("the common arguments of a map that is over are gone")
            return memoryview(mmap.mmap(file, self.size, access=mmap.ACCESS_COPY))
        finally:
            os.close(file)


class Lent(Packed):
    """A packed value whose large buffers are lent; for workers of the same machine.

    Args:
        payload: as for `Packed`.
        buffers: same; where one is lent, its first byte in the loan and that behind its last.
        loan: where those are.
    """

    def __init__(self, payload: Any, buffers: tuple[Any, ...], loan: Loan) -> None:
        super().__init__(payload, buffers)
        self._loan = loan

    @property
    def size_bytes(self) -> int:
        """How many bytes are lent; about so many need not travel."""
        return self._loan.size

    def unpack(self) -> Any:
        """Return the value; each call makes a new one, on memory that is shared."""
        memory = self._loan.map()
        buffers = [
            memory[slice(*buffer)] if type(buffer) is tuple else buffer
            for buffer in self._buffers
        ]
        return decode(self._payload, buffers)

    def __reduce__(self) -> Any:
        buffers = tuple(
            buffer if type(buffer) is tuple else pickle.PickleBuffer(buffer)
            for buffer in self._buffers
        )
        return Lent, (self._payload, buffers, self._loan)


def lend(packed: Packed) -> Packed:
    """Return `packed` with its large buffers lent; itself where there are none, or no memfd."""
    sizes = [memoryview(buffer).nbytes for buffer in packed._buffers]
    if max(sizes, default=0) < LEAST_BYTES or not Path("/proc/self/fd").is_dir():
        return packed
    try:
        descriptor = os.memfd_create("splice", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError) as error:  # no Linux, or no descriptor left
        _log.info("common arguments travel to each worker: %s", error)
        return packed
    try:
        buffers = _write(descriptor, packed._buffers)
        fcntl.fcntl(
            descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK
        )
        found = os.fstat(descriptor)
    except OSError as error:  # no memory left
        os.close(descriptor)
        _log.info("common arguments travel to each worker: %s", error)
        return packed
    loan = Loan(os.getpid(), descriptor, found.st_ino, found.st_size)
    lent = Lent(packed._payload, buffers, loan)
    weakref.finalize(lent, os.close, descriptor).atexit = False
    return lent


def _write(descriptor: int, buffers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Write the large ones of `buffers`; return what stands for all of them."""
    position = 0
    found: list[Any] = []
    for buffer in buffers:
        memory = memoryview(buffer)
        if memory.nbytes < LEAST_BYTES:
            found.append(buffer)
            continue
        rest = memory.cast("B") if memory.c_contiguous else memoryview(bytes(memory))
        begin = position
        while rest:
            written = os.pwrite(descriptor, rest, position)
            rest = rest[written:]
            position += written
        found.append((begin, position))
        position += -position % ALIGNMENT
    return tuple(found)
