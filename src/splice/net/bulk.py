"""Bulk: large messages in pieces, so that small ones are not kept waiting behind them; pure.

::

    Queue --cut--> plan, piece, piece ... one frame each, others between ---> Assembly --> parts

The sender cuts one message at a time.  A message for the process that a large one goes to, or for
the one of another that waits here, waits as well: order holds for each receiver.  All others pass.
The receiver knows from the plan how long each part is, and fills it piece by piece.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from splice.message import REQUEST, SIGNAL, TELL
from splice.net.frames import FrameError, encode_batch
from splice.net.spare import spares
from splice.net.wire import Buffer

if TYPE_CHECKING:
    from splice.net.outgoing import Outgoing

_LENGTH: Final = struct.Struct("<Q")

WHOLE: Final = 8
"""A message of a piece and this part of one goes whole: an array of 1 MiB, and what stands around
it, would take three frames."""

NOTHING: Final = _LENGTH.pack(0)
"""The plan of no message: what has come of the last one is not wanted any more."""


def cut(message: Outgoing, piece_bytes: int) -> tuple[bytes, Iterator[Buffer]]:
    """Return the plan of a message, and its pieces; none holds bytes of two parts."""
    parts = [encode_batch([message.entry]), *message.buffers]
    views = [memoryview(part).cast("B") for part in parts]
    plan = b"".join([_LENGTH.pack(view.nbytes) for view in views])
    pieces = (
        view[start : start + piece_bytes]
        for view in views
        for start in range(0, view.nbytes, piece_bytes)
    )
    return plan, pieces


class Queue:
    """The large messages of one channel, and those that must not overtake them.

    Args:
        piece_bytes: what a piece has at most; a message is large that has an eighth more.

    Attributes:
        waiting: in the order in which they came; the first one that was begun is being cut.
        has_begun: one is being cut.
    """

    def __init__(self, piece_bytes: int) -> None:
        self.waiting: deque[Outgoing] = deque()
        self.has_begun = False
        self._piece_bytes = piece_bytes
        self._whole_bytes = piece_bytes + piece_bytes // WHOLE
        self._targets: Counter[Any] = Counter()
        self._pieces: Iterator[Buffer] = iter(())
        self._next: Buffer | None = None

    def wants(self, message: Outgoing) -> bool:
        """Tell whether a message is large, or must wait for one that is."""
        if message.size > self._whole_bytes:
            return True
        if message.prompt or not self.waiting:
            return False
        target = _target(message)
        return target is None or target in self._targets or None in self._targets

    def put(self, message: Outgoing) -> None:
        """Take a message that is wanted."""
        self.waiting.append(message)
        if not message.prompt:
            self._targets[_target(message)] += 1

    @property
    def has_small(self) -> bool:
        """One that need not wait any more stands in front: before all mail that comes later."""
        return bool(self.waiting) and self.waiting[0].size <= self._whole_bytes

    def next_small(self) -> Outgoing:
        """Take that one."""
        return self._pop(self.waiting[0])

    def may_begin(self, has_credit: bool) -> bool:
        """Tell whether there is one that may be cut; answers need no credit.

        The first such stands in front afterwards.
        """
        if not self.waiting:
            return False
        if has_credit or self.waiting[0].prompt:
            return True
        answer = next((m for m in self.waiting if m.prompt), None)
        if answer is None:
            return False
        self.waiting.remove(answer)
        self.waiting.appendleft(answer)
        return True

    def begin(self) -> tuple[Outgoing, bytes]:
        """Begin to cut the first message; return it and its plan."""
        message = self.waiting[0]
        plan, self._pieces = cut(message, self._piece_bytes)
        self._next = next(self._pieces)
        self.has_begun = True
        return message, plan

    def next_piece(self) -> tuple[Buffer, Outgoing | None]:
        """Return the next piece of the message that was begun, with the last one itself."""
        piece, self._next = self._next, next(self._pieces, None)
        assert piece is not None, "it ends with the last piece"
        if self._next is not None:
            return piece, None
        self.has_begun = False
        return piece, self._pop(self.waiting[0])

    def take_signals(self) -> list[Outgoing]:
        """Take the signals out that wait behind a large message."""
        found = [m for m in self.waiting if m.entry[0] == SIGNAL and not m.prompt]
        if self.has_begun and found and found[0] is self.waiting[0]:
            del found[0]  # a large one, half of it under way
        return [self._pop(message) for message in found]

    def withdraw(self, ident: int) -> tuple[Outgoing | None, bool]:
        """Take a request or tell back; return it, and whether it had been begun."""
        for message in self.waiting:
            if message.entry[1] == ident and not message.prompt:
                was_begun = self.has_begun and message is self.waiting[0]
                self.has_begun = self.has_begun and not was_begun
                return self._pop(message), was_begun
        return None, False

    def _pop(self, message: Outgoing) -> Outgoing:
        self.waiting.remove(message)
        if not message.prompt:
            target = _target(message)
            self._targets[target] -= 1
            if not self._targets[target]:
                del self._targets[target]
        return message


def _target(message: Outgoing) -> Any:
    """Return the process that a message is for, None where it is for the whole node."""
    entry = message.entry
    # two proxies may call it by its name in two ways, and order holds all the same
    return str(entry[2]).partition("#")[0] if entry[0] in (REQUEST, TELL) else None


class Assembly:
    """A large message that is on its way in.

    Attributes:
        size: bytes of it that have come.
        requests: what is given back as credit when it is given up.
    """

    def __init__(self) -> None:
        self.size = 0
        self.requests = 0
        self._lengths: deque[int] = deque()
        self._parts: list[Buffer] = []
        self._part: bytearray | memoryview = bytearray()
        self._view = memoryview(self._part)
        self._filled = 0

    def begin(self, plan: Buffer, requests: int) -> None:
        """Expect the parts of a plan; what has come of another message is dropped.

        Raises:
            FrameError: this is no plan.
        """
        if len(plan) % _LENGTH.size:
            raise FrameError(f"a plan of {len(plan)} bytes, no multiple of 8")
        self._lengths = deque(length for (length,) in _LENGTH.iter_unpack(plan))
        self._parts = []
        self._hold(bytearray())
        self._filled = self.size = 0
        self.requests = requests

    def add(self, piece: Buffer) -> list[Buffer] | None:
        """Take in the next piece; return all parts when they are complete.

        Raises:
            FrameError: it does not fit the plan, or there is no memory for its part.
        """
        view = memoryview(piece)
        length = self._lengths[0] if self._lengths else 0
        if not 0 < view.nbytes <= length - self._filled:
            raise FrameError(
                f"a piece of {view.nbytes} bytes at {self._filled} of a part of {length}"
            )
        self.size += view.nbytes
        if view.nbytes == length:
            self._parts.append(piece)
            self._lengths.popleft()
        else:
            self._fill(view, length)
        while self._lengths and not self._lengths[0]:
            self._lengths.popleft()
            self._parts.append(b"")
        return None if self._lengths else self._parts

    def _fill(self, view: memoryview, length: int) -> None:
        if not self._filled:
            try:
                self._hold(spares.take(length))
            except (MemoryError, OverflowError):
                raise FrameError(f"a part of {length} bytes: no memory") from None
        end = self._filled + view.nbytes
        self._view[self._filled : end] = view
        self._filled = end
        if end == length:
            self._parts.append(self._part)
            self._lengths.popleft()
            self._filled = 0
            self._hold(bytearray())

    def _hold(self, part: bytearray | memoryview) -> None:
        self._part = part
        # assigning to a slice of the part itself would make a copy more
        self._view = memoryview(part)
