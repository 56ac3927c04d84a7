"""Copying: what passes between processes of one node, copied as if it went to another node.

Used with ``isolate=True`` only; see `splice.actor.isolation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splice.actor.cell import Cell
from splice.actor.handlers import Handler
from splice.actor.isolation import IsolatedCell, isolated_ask
from splice.actor.promise import Promise
from splice.net.codec import (
    decode,
    decode_arguments,
    decode_error,
    encode,
    encode_arguments,
    encode_error,
)
from splice.node.current import decoding
from splice.node.remote import Named

if TYPE_CHECKING:
    from splice.node.node import Node

_OWN = ("splice.node.", "splice.cluster.", "splice.testing.")
"""Modules whose processes are parts of splice: they hand on what cannot travel, on purpose."""


def cell_class(cls: type) -> type[Cell]:
    """Return the class of the records of processes of `cls`, on a node that isolates."""
    return Cell if cls.__module__.startswith(_OWN) else IsolatedCell


class WireCopier:
    """Copies by the codec of the wire, there and back.  Thread-safe."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
        """Copy the arguments of a message."""
        buffers: list[Any] = []
        packed = encode_arguments(args, kwargs, buffers)
        copied = self._decoded(decode_arguments, *packed, buffers)
        return copied[0], copied[1] or None

    def value(self, value: Any) -> Any:
        """Copy an answer."""
        buffers: list[Any] = []
        return self._decoded(decode, encode(value, buffers), buffers)

    def error(self, error: BaseException) -> BaseException:
        """Copy an exception."""
        buffers: list[Any] = []
        payload = encode_error(error, buffers)
        copied: BaseException = self._decoded(decode_error, payload, buffers)
        return copied

    def _decoded(self, function: Any, *args: Any) -> Any:
        token = decoding.set(self._node)
        try:
            return function(*args)
        finally:
            decoding.reset(token)


class IsolatedNamed(Named):
    """A process of this node by its name, to which messages go as copies."""

    __slots__ = ()

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message, as a copy."""
        return self._send(isolated_ask(self, handler, args, kwargs))

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer, as a copy."""
        assert self.node.copier is not None
        return super().tell(handler, *self.node.copier.arguments(args, kwargs))
