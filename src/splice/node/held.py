"""Held: messages whose decoding must wait, because a module has to be fetched first.

Messages are decoded on the loop as they are taken in, where nothing can be waited for.  What needs
a module that the client has raises `Postponed` there; it is decoded again on a thread, where the
import may wait, and then delivered.  Mail and signals of the same node stay in line behind it::

    on_batch ─► decode ─► Postponed ─► thread: decode ─► loop: deliver ─► the rest of the line

Answers wait for nobody: the one that brings the module may be among them.

Only workers whose modules are shipped have this; node's thread only, but for `_decode`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from splice.errors import RemoteError, SpliceError
from splice.log import logger
from splice.message import CANCEL, HELD, REFUSED, REQUEST, RESPONSE, SIGNAL, TELL, Entry
from splice.net.codec import buffer_count, decode, decode_arguments, decode_error
from splice.net.frames import MALFORMED
from splice.net.passing import Decoded, Postponed
from splice.node.current import decoding
from splice.node.prober import PROBES
from splice.node.replies import size_with

if TYPE_CHECKING:
    from splice.net.peers import Peer
    from splice.node.exchange import Exchange
    from splice.node.node import Node

_PAYLOADS: Final = {REQUEST: 4, TELL: 4, RESPONSE: 3, REFUSED: 2, SIGNAL: 4}
"""Where in a message its payload stands; others have none."""

_ORDERED: Final = frozenset({REQUEST, TELL, CANCEL, SIGNAL})
_REQUESTS: Final = frozenset({REQUEST, TELL})
_ANSWERS: Final = frozenset({RESPONSE, REFUSED})

_log = logger("node")


class _Line:
    """What came from one node behind a message that is being decoded on a thread.

    Attributes:
        is_waiting: whether one is being decoded.
        mail: the messages behind it, with their buffers.
    """

    __slots__ = ("is_waiting", "mail")

    def __init__(self) -> None:
        self.is_waiting = True
        self.mail: deque[tuple[Entry, list[Any]]] = deque()


class Held:
    """The messages of one node that wait for modules.

    Attributes:
        is_decoding: whether a message is being decoded that can be decoded later.
    """

    def __init__(self, exchange: Exchange, node: Node) -> None:
        self._exchange = exchange
        self._node = node
        self._lines: dict[Peer, _Line] = {}
        self.is_decoding = False

    def take(self, peer: Peer, entries: Iterable[Entry], supply: Iterator[Any]) -> None:
        """Take messages in, or hold them; see `Exchange.take`."""
        for entry in entries:
            own = [next(supply) for _ in range(_count(entry))]
            line = self._lines.get(peer)
            if line is not None and _is_in_order(entry):
                line.mail.append((entry, own))
                self._tell_held(peer, entry)
            elif self._take_one(peer, entry, own):
                self._tell_held(peer, entry)

    def lost(self, peer: Peer) -> None:
        """Let go of what a lost node has sent: to it, none of that was delivered or answered."""
        self._lines.pop(peer, None)

    def _tell_held(self, peer: Peer, entry: Entry) -> None:
        # goes out before the acknowledgement: it is not delivered yet
        if entry[0] == TELL:
            self._exchange.send_word(peer, (HELD, entry[1]))

    def _tell_taken(self, peer: Peer, entry: Entry) -> None:
        if entry[0] == TELL:  # a refusal is there before, and holds
            self._exchange.send_word(peer, (RESPONSE, entry[1], True, None))

    def _take_one(self, peer: Peer, entry: Entry, own: list[Any]) -> bool:
        """Take a message in; True when it waits, for a module or for a name."""
        if not _is_encoded(entry):
            if entry[0] in _REQUESTS:
                return self._exchange.take_request(peer, entry, iter(own))
            self._exchange.take(peer, [entry], iter(own))
            return False
        self.is_decoding = True
        try:
            outcome = _decoded(entry, own)
        except Postponed:
            self._decode_on_thread(peer, entry, own)
            return True
        finally:
            self.is_decoding = False
        return self._deliver(peer, entry, own, outcome)

    def _decode_on_thread(self, peer: Peer, entry: Entry, own: list[Any]) -> None:
        line = None
        if _is_in_order(entry):
            line = self._lines.setdefault(peer, _Line())
            line.is_waiting = True
        thread = threading.Thread(
            target=self._decode,
            args=(peer, line, entry, own),
            name="splice-decoding",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # too many, or the interpreter ends
            text = f"cannot be decoded: no thread could be started to fetch for it ({error})"
            outcome = False, SpliceError(text)
            self._node.scheduler.post(self._go_on, peer, line, entry, own, outcome)

    def _decode(
        self, peer: Peer, line: _Line | None, entry: Entry, own: list[Any]
    ) -> None:
        """Decode one message; the life of a thread of its own."""
        decoding.set(self._node)
        try:
            outcome = _decoded(entry, own)
        except (
            KeyboardInterrupt
        ) as error:  # of the object itself: no thread gets Ctrl-C
            outcome = False, RemoteError(f"cannot be rebuilt: it raised {error!r}")
        self._node.scheduler.post(self._go_on, peer, line, entry, own, outcome)

    def _go_on(
        self,
        peer: Peer,
        line: _Line | None,
        entry: Entry,
        own: list[Any],
        outcome: tuple[bool, Any],
    ) -> None:
        """Deliver what a thread has decoded, and what stands in line behind it."""
        if line is None:
            self._deliver(peer, entry, own, outcome)
            return
        if self._lines.get(peer) is not line:
            return  # its node was lost
        line.is_waiting = False
        if not self._deliver(peer, entry, own, outcome):
            self._tell_taken(peer, entry)
        while line.mail and not line.is_waiting:
            entry, own = line.mail.popleft()
            try:
                is_taken = not self._take_one(peer, entry, own)
            except MALFORMED as error:  # nobody of ours sends it; its frame is gone
                _log.error("drop mail of %s, which cannot be read: %r", peer, error)
                continue
            if is_taken:
                self._tell_taken(peer, entry)
        if not line.is_waiting:
            del self._lines[peer]

    def _deliver(
        self, peer: Peer, entry: Entry, own: list[Any], outcome: tuple[bool, Any]
    ) -> bool:
        """Hand on what was decoded; True when it waits for a name."""
        succeeded, value = outcome
        if entry[0] == SIGNAL:
            self._exchange.signals.receive(peer, entry, value)
        elif entry[0] not in _ANSWERS:
            request = (*entry[:4], Decoded(value, size_with(entry[4], own)), None)
            return self._exchange.take_request(peer, request, iter(()))
        elif (promise := self._exchange.owed(peer, entry[1])) is not None:
            (promise.resolve if succeeded else promise.reject)(value)
        return False


def _decoded(entry: Entry, own: list[Any]) -> tuple[bool, Any]:
    """Return whether a message holds a value, and that value or the error."""
    try:
        if entry[0] in _ANSWERS:
            if entry[0] == RESPONSE and entry[2]:
                return True, decode(entry[3], own)
            return False, decode_error(entry[-1], own)
        if entry[0] == SIGNAL:
            return True, decode(entry[4], own)
        return True, decode_arguments(entry[4], entry[5], own)
    except SpliceError as error:
        return False, error


def _is_in_order(entry: Entry) -> bool:
    """Tell whether a message waits behind others of its node; answers and words do not."""
    return entry[0] in _ORDERED and not _is_probe(entry)


def _is_probe(entry: Entry) -> bool:
    return bool(entry[0] == SIGNAL and entry[1] in PROBES)


def _payload(entry: Entry) -> Any:
    place = _PAYLOADS.get(entry[0])
    return None if place is None or _is_probe(entry) else entry[place]


def _is_encoded(entry: Entry) -> bool:
    return type(_payload(entry)) is list


def _count(entry: Entry) -> int:
    """Return how many buffers belong to a message."""
    return buffer_count(_payload(entry))
