"""Outgoing: one message on its way to another node, and how much it weighs."""

from __future__ import annotations

from typing import Any, Final

from splice.message import Entry
from splice.net.wire import Buffer

ENTRY_BYTES: Final = 64
"""What an entry takes besides its contents; so a flood of empty messages has a limit too."""


class Outgoing:
    """One message on its way to another node; thousands a turn, hence nothing but slots.

    Attributes:
        entry: the message as it stands in a frame's batch.
        buffers: parts that travel beside the batch.
        delivery: what `Receiver.on_delivered` needs, or None when nobody asks for that.
        prompt: it goes ahead of mail and needs no credit.
        size: bytes that it takes, roughly; what the backlog and the credit are counted in.
            Who knows it need not have it counted.
        since: when it was first found waiting for a connection, -1.0 before.
    """

    __slots__ = ("buffers", "delivery", "entry", "prompt", "since", "size")

    def __init__(
        self,
        entry: Entry,
        buffers: tuple[Buffer, ...] = (),
        delivery: Any = None,
        prompt: bool = False,
        size: int | None = None,
    ) -> None:
        self.entry = entry
        self.buffers = buffers
        self.delivery = delivery
        self.prompt = prompt
        self.size = size_of(entry, buffers) if size is None else size
        self.since = -1.0


def size_of(entry: Entry, buffers: tuple[Buffer, ...] = ()) -> int:
    """Return roughly how many bytes an entry takes, in a batch and in memory."""
    size = ENTRY_BYTES
    for part in entry:
        kind = type(part)
        if kind is str or kind is bytes:
            size += len(part)
        elif kind is tuple or kind is list:
            size += size_of(tuple(part)) if part else 0
        elif kind is dict:
            size += size_of(tuple(part.values()))
    for buffer in buffers:
        size += memoryview(buffer).nbytes
    return size
