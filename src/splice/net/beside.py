"""What of a value travels beside its stream: large memory, uncopied where nobody can write to it.

Called by `net.codec` as it pickles a value; see there how a payload looks.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from splice.net.spare import spares
from splice.net.wire import Buffer

Collect = Callable[[pickle.PickleBuffer], bool]
"""Gets each buffer of a value as it is pickled; whether it stays in the stream."""

Borrow = Callable[[memoryview], Any]
"""Gets each buffer of a value; returns what stands for it, or None to have it travel."""


class Blob:
    """A large bytes object that pickle passes on as a buffer, uncopied."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.value),)


def wrapped(value: Any, limit: int) -> Any:
    """Return what is to be pickled for `value`: large bytes, too, travel beside the stream."""
    return Blob(value) if type(value) is bytes and len(value) >= limit else value


def collector(buffers: list[Buffer], limit: int, borrow: Borrow | None) -> Collect:
    """Return what takes the buffers of a value.

    Args:
        buffers: gets what travels beside the stream.
        limit: bytes from which on a buffer does.
        borrow: has other things travel for some buffers.
    """

    def collect(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if borrow is not None and (lent := borrow(raw)) is not None:
            buffers.append(lent)
            return False
        if raw.nbytes < limit:
            return True  # pickle keeps it in its stream
        # what may change before it is sent, or sent again, is copied now
        buffers.append(raw if _is_frozen(raw) else spares.copy(raw))
        return False

    return collect


def _is_frozen(raw: memoryview) -> bool:
    """Tell whether nobody can write to that memory; a read-only array may be a view of another."""
    owner: Any = raw.obj
    while (base := getattr(owner, "base", None)) is not None:
        owner = base
    return isinstance(owner, bytes)
