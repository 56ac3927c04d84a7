"""Lender: lends the large arrays of many calls, each array once.

::

    call ─ pack ─► Lent ─────────► worker: maps the arrays, read-only if so wished
             └─ an array that was lent before, and lives: the same memory again

What joblib's memory mapping does for its own workers: an array is copied once for all calls that
have it among their arguments, wherever in them it is.  Used by `cluster.backend`, on whichever
threads joblib hands out its batches.
"""

from __future__ import annotations

import sys
import threading
import weakref
from functools import partial
from typing import Any, Final

from splice.cluster.lent import Borrowed, Lent, Memory, keep
from splice.cluster.packed import Packed
from splice.net.codec import encode

MOST_LENT: Final = 64
"""Arrays that one call of joblib lends at a time: each takes an open file of the client, of which a
program often has 1,024.  Others travel with their batches."""


class Lender:
    """Packs values whose large arrays stay where they are.  Thread-safe.

    An array that changes is not lent anew: as with joblib, calls see it as it was when the first
    of them was packed.

    Args:
        limit_bytes: of more than so many an array is lent.
        is_writable: workers may write to what they are lent, which nobody else sees.
    """

    def __init__(self, limit_bytes: int, *, is_writable: bool) -> None:
        self._limit_bytes = limit_bytes
        self._is_writable = is_writable
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, int], tuple[weakref.ref[Any], Memory]] = {}

    def pack(self, value: Any) -> Packed:
        """Pack a value; its large arrays are lent as long as what this returns is kept.

        Raises:
            UnpicklableError: it, or the part of it that ``path`` names, cannot travel.
        """
        buffers: list[Any] = []
        memories: list[Memory] = []
        payload = encode(value, buffers, borrow=partial(self._borrow, memories))
        if not memories:
            return Packed(payload, tuple(buffers))
        return Lent(
            payload,
            tuple(buffers),
            is_writable=self._is_writable,
            memories=tuple(memories),
        )

    def _borrow(self, memories: list[Memory], raw: memoryview) -> Borrowed | None:
        """Return what stands for an array, or None to have it travel."""
        if raw.nbytes <= self._limit_bytes:
            return None
        with self._lock:
            memory = self._memory(raw)
        if memory is None:
            return None
        memories.append(memory)
        return Borrowed(memory.loan, 0, raw.nbytes)

    def _memory(self, raw: memoryview) -> Memory | None:
        """Return the memory that holds what is in `raw`; written now, unless it was before."""
        owner, address = _owner(raw), _address(raw)
        key = address, raw.nbytes
        reference, memory = self._kept.get(key, (None, None))
        if memory is not None and reference is not None and reference() is owner:
            return memory
        if len(self._kept) >= MOST_LENT or (kept := keep([raw])) is None:
            return None
        if owner is not None and address:
            forget = partial(_forget, weakref.ref(self), key)
            self._kept[key] = weakref.ref(owner, forget), kept[0]
        return kept[0]


def _forget(
    lender: weakref.ref[Lender], key: tuple[int, int], reference: weakref.ref[Any]
) -> None:
    """An array is gone: another one may come to lie where it was."""
    found = lender()
    if found is None:
        return
    # without the lock: it may be held, by this thread or for long
    owner, _ = found._kept.get(key, (None, None))
    if owner is reference:
        found._kept.pop(key, None)


def _owner(raw: memoryview) -> Any:
    """Return the array itself, or None if that cannot be watched.

    Not what it is a view of: a buffer that is filled again has a view for each filling.
    """
    return raw.obj if type(raw.obj).__weakrefoffset__ else None


def _address(raw: memoryview) -> int:
    """Return where memory begins; 0 where nobody can tell."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return 0
    return int(numpy.frombuffer(raw, "u1").__array_interface__["data"][0])
