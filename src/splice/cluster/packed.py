"""Packed: a value that passes a node unopened.

User code is packed by the thread that calls ``map`` and unpacked by the thread that runs it: what
its unpickling does, imports and all, never happens on a node's loop.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from splice.errors import SpliceError
from splice.net.codec import decode, decode_error, encode, encode_error, is_plain

NUMBER_BYTES = 8
"""About how many bytes a plain value takes that is no text and no bytes."""


class Packed:
    """A value as a payload with its buffers; large buffers travel uncopied.

    Thread-safe: immutable.
    """

    __slots__ = ("_buffers", "_payload")

    def __init__(self, payload: Any, buffers: tuple[Any, ...]) -> None:
        self._payload = payload
        self._buffers = buffers

    @property
    def size_bytes(self) -> int:
        """About how many bytes it has on its way."""
        payload, size = self._payload, 0
        if self._buffers:
            size = sum(memoryview(buffer).nbytes for buffer in self._buffers)
        if type(payload) is list:
            return size + len(payload[1] or b"")
        value = payload[0] if type(payload) is tuple else payload
        return len(value) if type(value) in {str, bytes} else NUMBER_BYTES

    def unpack(self) -> Any:
        """Return the value; each call makes a new one.

        Raises:
            RemoteError: it cannot be rebuilt here; the text says what is missing.
            VersionMismatch: it holds code by value from another Python.
        """
        return decode(self._payload, self._buffers)

    def unpack_error(self) -> BaseException:
        """Return the exception that `pack_error` packed."""
        return decode_error(self._payload, self._buffers)

    def __reduce__(self) -> Any:
        return Packed, (self._payload, tuple(map(pickle.PickleBuffer, self._buffers)))


def pack(value: Any) -> Packed:
    """Pack any value.

    Raises:
        UnpicklableError: the value, or the part of it that ``path`` names, cannot travel.
    """
    buffers: list[Any] = []
    return Packed(encode(value, buffers), tuple(buffers))


def pack_items(items: Sequence[Any]) -> Packed:
    """Pack the items of a batch, or what became of them; as a list, a tuple or a range.

    One that is alone and plain stands for itself: a stream for each would cost more than it.

    Raises:
        UnpicklableError: same as `pack`.
    """
    if len(items) == 1 and is_plain(items[0]):
        return Packed((items[0],), ())
    return pack(items)


def pack_error(error: BaseException, note: str = "") -> Packed:
    """Pack an exception with its traceback; never fails."""
    buffers: list[Any] = []
    return Packed(encode_error(error, buffers, note=note), tuple(buffers))


def pack_or_error(
    value: Any, how: Callable[[Any], Packed] = pack
) -> tuple[bool, Packed]:
    """Pack `value`, or the error that it cannot travel; the flag says which."""
    try:
        return True, how(value)
    except SpliceError as error:
        return False, pack_error(error)


def bare(packed: Packed) -> Any:
    """Return what stands for a packed sequence beside others: often its payload alone."""
    if packed._buffers or type(packed) is not Packed:
        return packed
    return packed._payload


def clothed(stands: Any) -> Packed:
    """Return what was packed before `bare`."""
    return stands if isinstance(stands, Packed) else Packed(stands, ())
