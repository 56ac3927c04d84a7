"""Packed: a value that passes a node unopened.

User code is packed by the thread that calls ``map`` and unpacked by the thread that runs it: what
its unpickling does, imports and all, never happens on a node's loop.
"""

from __future__ import annotations

import pickle
from typing import Any

from splice.errors import SpliceError
from splice.net.codec import decode, decode_error, encode, encode_error


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
        if type(payload) is list and type(payload[1]) is bytes:
            size += len(payload[1])
        return size

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


def pack_error(error: BaseException, note: str = "") -> Packed:
    """Pack an exception with its traceback; never fails."""
    buffers: list[Any] = []
    return Packed(encode_error(error, buffers, note=note), tuple(buffers))


def pack_or_error(value: Any) -> tuple[bool, Packed]:
    """Pack `value`, or the error that it cannot travel; the flag says which."""
    try:
        return True, pack(value)
    except SpliceError as error:
        return False, pack_error(error)
