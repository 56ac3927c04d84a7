"""The wire format: what the parts of a frame mean, and what is wrong with bad ones.

A *frame* is what travels at once on a connection, as parts::

    mail      header | batch | buffer ...    numbered, kept until acknowledged
    ack       header                         nothing but its acknowledgement and credit
    beat      header                         a sign of life on a quiet channel
    resend    header                         "a frame is missing: send again from there"
    bye       header                         "this node ends"
    plan      header | lengths               a large message follows, in pieces; numbered
    piece     header | bytes                 the next piece of it; numbered

On the wire header and batch are one part (`join`, `split`): a part more costs as much as a small
frame.  The header has a fixed length (`_HEADER`).  The batch is a list of plain tuples (see
`splice.message`), pickled in one go; buffers are what the codec lets travel beside it.

Handshake messages (`splice.net.handshake`) are recognised by their first byte, for they
must be read before anybody has proved who he is; they never come near the unpickler.

Thread-safe: values and functions without state.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple

from splice.config import PROTOCOL_VERSION
from splice.message import Entry
from splice.net.wire import Buffer

FRAME: Final = b"F"
"""First byte of a frame."""

HANDSHAKE: Final = b"H"
"""First byte of a handshake message."""

_HEADER: Final = struct.Struct("<cBBxIQQQQQQII")
"""First byte, protocol, kind, a spare byte, epoch, source, target, sequence, acknowledgement,
credit, cost, requests, buffers."""


JOINED_BYTES: Final = 512 * 1024
"""A second part up to this size is copied behind the header: nearly every batch, and no piece of
a large message as long as pieces are not made smaller."""


class FrameError(ValueError):
    """The parts are no frame of this protocol; the text says why."""


class Kind(IntEnum):
    """What a frame is for; control frames are a header and nothing else."""

    MAIL = 1
    ACK = 2
    BEAT = 3
    RESEND = 4
    BYE = 5
    PLAN = 6
    PIECE = 7

    @property
    def is_numbered(self) -> bool:
        """It is part of the mail: numbered, and kept until it is acknowledged."""
        return self in NUMBERED


NUMBERED: Final = (Kind.MAIL, Kind.PIECE, Kind.PLAN)
"""Kinds that are mail; looked through without a call for every frame."""

_KINDS: Final = {int(kind): kind for kind in Kind}

pack_header: Final = partial(_HEADER.pack, FRAME, PROTOCOL_VERSION)
"""Return a header as it stands on the wire, given the fields of a `Header` in their order."""


class Header(NamedTuple):
    """The first part of every frame; a tuple, for one is made and read for every frame.

    Attributes:
        kind: what the frame is for.
        epoch: how often the two have given each other up, and begun anew.
        source: incarnation of the sending node.
        target: incarnation of the node that is meant.
        sequence: number of this mail frame, from 1; for control frames, the last number that
            was sent before.
        ack: all frames of the other direction up to this number have been delivered.
        credit: bytes of mail that the other side may send, counted from the epoch's beginning.
        cost: bytes of credit that this frame uses.
        requests: messages of this frame that will be given back as credit.
        buffers: parts behind the batch.
    """

    kind: Kind
    epoch: int
    source: int
    target: int
    sequence: int
    ack: int
    credit: int
    cost: int = 0
    requests: int = 0
    buffers: int = 0

    def encode(self) -> bytes:
        """Return the header as it stands on the wire."""
        return pack_header(*self)


def join(parts: list[Buffer]) -> list[Buffer]:
    """Return the parts of a frame as they go over a wire: header and batch in one."""
    if len(parts) == 1 or len(parts[1]) > JOINED_BYTES:
        return parts
    header, batch, *buffers = parts
    return [b"".join((header, batch)), *buffers]


def split(parts: list[Buffer]) -> list[Buffer]:
    """Return the parts of a frame that came over a wire; the reverse of `join`."""
    if not parts or len(parts[0]) <= _HEADER.size:
        return parts
    first, *buffers = parts
    view = memoryview(first)
    return [view[: _HEADER.size], view[_HEADER.size :], *buffers]


def is_frame(parts: Sequence[Buffer]) -> bool:
    """Tell a frame from a handshake message, and from what is neither, by its first byte."""
    return bool(parts) and parts[0][:1] == FRAME


def decode_header(parts: Sequence[Buffer]) -> Header:
    """Read the header of a frame and check that the parts behind it are as it says.

    Raises:
        FrameError: truncated, of another protocol, of an unknown kind, or of other parts.
    """
    if not parts or len(parts[0]) != _HEADER.size:
        length = len(parts[0]) if parts else 0
        raise FrameError(f"a header has {_HEADER.size} bytes, this one {length}")
    first, protocol, kind, *numbers = _HEADER.unpack(parts[0])
    if first != FRAME:
        raise FrameError(f"a frame begins with {FRAME!r}, this one with {first!r}")
    if protocol != PROTOCOL_VERSION:
        raise FrameError(f"a frame of protocol {protocol}, not {PROTOCOL_VERSION}")
    if kind not in _KINDS:
        raise FrameError(f"a frame of the unknown kind {kind}")
    header = Header(_KINDS[kind], *numbers)
    expected = 2 + header.buffers if header.kind in NUMBERED else 1
    if len(parts) != expected:
        raise FrameError(
            f"a {header.kind.name.lower()} frame with {header.buffers} buffers has "
            f"{expected} parts, this one {len(parts)}"
        )
    return header


def encode_batch(entries: list[Entry]) -> bytes:
    """Pickle the entries of a frame; they must be plain (see `splice.message`)."""
    return pickle.dumps(entries, 5)


def decode_batch(batch: Buffer) -> list[Entry]:
    """Read the entries of a frame.

    Raises:
        FrameError: it cannot be read, or names anything but plain values.
    """
    try:
        entries = _PlainUnpickler(io.BytesIO(batch)).load()
    except _UNREADABLE as error:
        raise FrameError(f"a batch that cannot be read: {error!r}") from error
    if type(entries) is not list:
        raise FrameError(f"a batch is a list, this one is a {type(entries).__name__}")
    return entries


MALFORMED: Final = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    StopIteration,
    TypeError,
    ValueError,
)
"""What is raised by taking apart what has not the form that it should have."""

_UNREADABLE: Final = (
    *MALFORMED,
    pickle.UnpicklingError,
    EOFError,
    MemoryError,
    RecursionError,
)
"""What the unpickler raises about bytes that are no pickle."""


class _PlainUnpickler(pickle.Unpickler):
    """Reads plain values only: a defect or an old node must not run code from a batch."""

    def find_class(self, module: str, name: str) -> type[complex]:
        if (module, name) == ("builtins", "complex"):
            return complex  # the one plain scalar that pickle has no opcode for
        raise pickle.UnpicklingError(f"a batch names no classes, but {module}.{name}")
