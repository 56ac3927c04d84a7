"""Exchange: sends requests to other nodes and matches their answers to promises.

::

    Remote.ask ─► send_request ─► Peer.send ─► … wire … ─► on_batch ─► Cell on the other node
       promise ◄─ asked[id] ◄─ on_batch ◄─ … wire … ◄─ send_response ◄─ its promise settled

It is what `splice.net.peers` calls its Receiver: a batch is in the mailboxes when `on_batch`
returns, and only then it is acknowledged.  Node's thread only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from splice.actor.cell import Cell
from splice.actor.handlers import NamedHandler, handlers_of
from splice.actor.limited import LimitedCell
from splice.actor.promise import PENDING, Promise, Tell
from splice.errors import DeliveryError, NodeLost, SpliceError
from splice.log import logger
from splice.message import (
    CANCEL,
    HELD,
    REFUSED,
    REQUEST,
    RESPONSE,
    ROOM,
    SIGNAL,
    TELL,
    Entry,
)
from splice.net.codec import (
    buffer_count,
    decode,
    decode_arguments,
    decode_error,
    encode_error,
)
from splice.net.frames import MALFORMED, FrameError
from splice.net.outgoing import Outgoing
from splice.node.crowds import Crowds
from splice.node.current import decoding
from splice.node.drawers import Drawers
from splice.node.early import EarlyNames
from splice.node.prober import PROBES, Prober
from splice.node.remote import Dialogue, Remote
from splice.node.replies import (
    Receipts,
    Reply,
    Verdict,
    again,
    answer,
    size_of_request,
    size_with,
    skip,
)
from splice.node.signals import Signals
from splice.uri import Resource

if TYPE_CHECKING:
    from splice.net.peers import Peer
    from splice.node.held import Held
    from splice.node.node import Node

FLUSH_MESSAGES: Final = 200
"""Requests to one node that wait for the end of a turn at most: a handler that sends thousands must
not keep that node idle meanwhile.  A fifth of a frame: measured, 200 to 1,000 are alike.  Counted
for all nodes together, there would be fewer in a frame the more nodes there are."""

_REQUESTS: Final = frozenset({REQUEST, TELL})
_WORDS: Final = frozenset({HELD, ROOM})
_OWED: Final = frozenset({REQUEST, TELL, CANCEL})

_log = logger("node")


class Exchange:
    """The far mail of one node.

    Attributes:
        owing: what other nodes have asked and not been answered yet, by message id.
        prober: looks for rings of waits among those.
        early: what has come for names that are not known yet.
        held: keeps what cannot be decoded yet; only workers whose modules are shipped have it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._scheduler = node.scheduler
        self._loop = node.loop
        self._dialogues: dict[Peer, Dialogue] = {}
        self._message_ids = count(1)
        # by order of time, as a set would not be: a simulation is the same each time
        self.drawers = Drawers(node)
        self.owing: dict[Peer, dict[int, Promise]] = {}
        self.prober = Prober(node, self)
        self.signals = Signals(node)
        self.held: Held | None = None
        self.crowds = Crowds(self)
        self.receipts = Receipts(node.scheduler)
        self.early = EarlyNames(node.loop)

    # ---- sending

    def send_request(
        self,
        message: Promise,
        target: Remote,
        packed: tuple[Any, Any],
        buffers: list[Any],
        waits: bool = False,
    ) -> None:
        """Send an encoded request; its promise waits in the dialogue with that node.

        Args:
            waits: hold on first while too much is under way there.

        Raises:
            Overloaded: that took too long, or nothing can wait here.
        """
        if self._scheduler.is_closed:  # and this perhaps another thread, in its place
            message.reject(
                NodeLost(f"{self._node} {self._node.end}", verdict="not delivered")
            )
            return
        if message.state != PENDING:
            return  # cancelled on its way to this thread
        dialogue = target.dialogue
        if dialogue is None or dialogue.is_over:
            try:
                dialogue = self._dialogue(target)
            except (OSError, ValueError, SpliceError) as error:  # the sockets, the key
                message.reject(error)
                return
        outbound = dialogue.peer.outbound
        if waits and (outbound.waiting_bytes > outbound.room or dialogue.crowds):
            self._node.room.wait(target, message)
            self.send_request(message, target, packed, buffers)
            return
        ident = next(self._message_ids)
        dialogue.asked[ident] = message
        message.next = ident  # it stands in no mailbox here
        args, kwargs = packed
        name = message.handler.name  # type: ignore[union-attr]
        size = size_of_request(args, kwargs, name, buffers)
        resource = target.addressee
        is_prompt = target.hurries and outbound.is_stuck
        if type(message) is Tell:
            entry = (TELL, ident, resource, name, args, kwargs)
            out = Outgoing(entry, tuple(buffers), message, is_prompt, size)
        else:
            entry = (REQUEST, ident, resource, name, args, kwargs)
            out = Outgoing(entry, tuple(buffers), None, is_prompt, size)
        dialogue.peer.send(out)
        if not len(outbound.mail) % FLUSH_MESSAGES:
            self.flush()  # the other node works on these while we write more
        elif not self._scheduler.scheduled:
            self._scheduler.schedule()

    def flush(self) -> None:
        """Have everything sent that was given to peers; at the end of each turn, or earlier."""
        peers = self._node.open()
        self.receipts.settle(peers)
        peers.flush()

    def send_response(self, peer: Peer, ident: int, promise: Promise) -> None:
        """Send what a request of `peer` was answered with."""
        if self._scheduler.is_closed:  # as in `send_request`
            return
        buffers: list[Any] = []
        entry = answer(ident, promise, self._node, buffers)
        size = size_with(entry[3], buffers)
        peer.send(Outgoing(entry, tuple(buffers), None, True, size))
        if not self._scheduler.scheduled:
            self._scheduler.schedule()

    def cancel(
        self, message: Promise, target: Remote, is_begun_too: bool
    ) -> bool | Promise:
        """Give a request up; a promise where it was sent, and only the other node can tell."""
        asked: int | None = message.next
        if asked is None:
            return True  # on its way to this thread
        for dialogue in self._dialogues.values():
            if dialogue.asked.get(asked) is not message:
                continue
            if dialogue.peer.withdraw(asked):
                del dialogue.asked[asked]
                return True
            verdict, word = Promise(self._scheduler), Promise(self._scheduler)
            word.add_waiter(Verdict(verdict, message))
            ident = next(self._message_ids)
            dialogue.asked[ident] = word
            # prompt, and yet behind the request, which stands in a frame already
            entry = (CANCEL, ident, asked, is_begun_too)
            self.send_word(dialogue.peer, entry)
            return verdict
        return False

    def dialogue_with(self, target: Remote) -> Dialogue | None:
        """Return the dialogue that `target` belongs to now, if there is one.  Thread-safe."""
        dialogue = target.dialogue
        if dialogue is None and self._node.peers is not None:
            peer = self._node.peers.find(target.url.address)
            dialogue = None if peer is None else self._dialogues.get(peer)
        return dialogue

    def _dialogue(self, target: Remote) -> Dialogue:
        where = target.url
        peer = self._node.open().reach(where.address, where.incarnation)
        dialogue = self._dialogues.get(peer)
        if dialogue is None:
            dialogue = self._dialogues[peer] = Dialogue(peer)
        if where.incarnation is not None:
            # an unbound url means whoever answers there when the next message is sent
            target.dialogue = dialogue
        return dialogue

    # ---- receiving: splice.net.peers.Receiver

    def on_batch(self, peer: Peer, entries: list[Entry], buffers: list[Any]) -> None:
        """Put requests into mailboxes and settle promises; called before it is acknowledged."""
        token = decoding.set(self._node)
        try:
            (self.held or self).take(peer, entries, iter(buffers))
        except MALFORMED as error:
            raise FrameError(f"a message that cannot be read: {error!r}") from error
        finally:
            decoding.reset(token)

    def take(self, peer: Peer, entries: Iterable[Entry], supply: Iterator[Any]) -> None:
        """Take messages in; `supply` yields the buffers of one after the other."""
        for entry in entries:
            kind = entry[0]
            if kind in _REQUESTS:
                if self.take_request(peer, entry, supply) and kind == TELL:
                    # goes out before the acknowledgement: it is not delivered yet
                    self.send_word(peer, (HELD, entry[1]))
            elif kind == RESPONSE:
                self._take_response(peer, entry, supply)
            elif kind == REFUSED:
                as_answer = (RESPONSE, entry[1], False, entry[2])
                self._take_response(peer, as_answer, supply)
            elif kind == CANCEL:
                self._take_cancel(peer, entry)
            elif kind in _WORDS:
                self._take_word(self._dialogues.get(peer), entry)
            elif kind == SIGNAL and entry[1] in PROBES:
                self.prober.take(peer, entry)
            elif kind == SIGNAL:
                self.signals.take(peer, entry, supply)
            else:
                _log.warning("message of unknown kind %r from %s", kind, peer)

    def take_request(self, peer: Peer, entry: Entry, supply: Iterator[Any]) -> bool:
        """Put a request or tell into its mailbox; True when it waits for a name instead."""
        kind, ident, resource, name, args, kwargs = entry
        is_plain = type(args) is tuple
        taken = [] if is_plain else [next(supply) for _ in range(buffer_count(args))]
        size = size_of_request(args, kwargs, name, taken)
        receipt = self.receipts.make(peer, size)
        if not is_plain:
            try:
                args, kwargs = decode_arguments(args, kwargs, taken)
            except SpliceError as error:
                self._refuse(peer, entry, error)
                receipt.give_back()
                return False
        message = Promise(None, None, args, kwargs or None)
        if kind == REQUEST:
            owing = self.owing.get(peer)
            if owing is None:
                owing = self.owing[peer] = {}
            owing[ident] = message
            message.waiter = Reply(self, receipt, ident, owing)
            if not self.prober.is_awake:
                self.prober.wake()
        else:
            message.waiter = receipt
        return self._deliver(peer, message, resource, name, entry)

    def _deliver(
        self, peer: Peer, message: Promise, resource: Resource, name: str, entry: Entry
    ) -> bool:
        """Put a message into its mailbox; True when it is kept for a name instead."""
        directory = self._scheduler.directory
        cell = directory.get(resource) or directory.bound.get(resource)
        if cell is None:
            return self._keep_or_refuse(peer, message, resource, name, entry)
        owner = cell.object
        handler = None if owner is None else handlers_of(type(owner)).get(name)
        message.target = cell
        message.handler = handler or NamedHandler(name)
        cell.put(message)
        if (
            type(cell) is not Cell
            and isinstance(cell, LimitedCell)
            and not cell.take_place()
        ):
            self.crowds.note(peer, cell)
        return False

    def _keep_or_refuse(
        self, peer: Peer, message: Promise, resource: Resource, name: str, entry: Entry
    ) -> bool:
        again = partial(self._deliver_kept, peer, message, resource, name, entry)
        message.target = self._scheduler  # nobody else can be asked about it
        if self.early.keep(resource, again):
            return True
        self._refuse(peer, entry, self._node.dead_letters.refused(peer, resource, name))
        message.waiter.give_back()
        return False

    def _deliver_kept(
        self, peer: Peer, message: Promise, resource: Resource, name: str, entry: Entry
    ) -> None:
        if message.state != PENDING:
            return  # cancelled meanwhile
        self._deliver(peer, message, resource, name, entry)
        if entry[0] == TELL and message.handler is not None:  # in a mailbox at last
            self.send_word(peer, (RESPONSE, entry[1], True, None))

    def _refuse(self, peer: Peer, entry: Entry, error: BaseException) -> None:
        self.owing.get(peer, {}).pop(entry[1], None)
        buffers: list[Any] = []
        refusal = (REFUSED, entry[1], encode_error(error, buffers))
        peer.send(Outgoing(refusal, tuple(buffers), None, True))
        self._scheduler.schedule()

    def _take_cancel(self, peer: Peer, entry: Entry) -> None:
        _, ident, asked, is_begun_too = entry
        verdict = Promise(self._scheduler)
        # a node may have two handles, of which the request has come by the other
        for other, owing in list(self.owing.items()):
            message = owing.get(asked)
            if message is not None and other.incarnation == peer.incarnation:
                # what it settles the request with is sent first
                message.call_off(verdict, is_begun_too=is_begun_too)
        self.send_word(peer, (RESPONSE, ident, True, verdict.value is True))

    def send_word(self, peer: Peer, entry: Entry) -> None:
        """Send a plain message that needs no credit and goes ahead of mail."""
        peer.send(Outgoing(entry, (), None, True))
        self._scheduler.schedule()

    def _take_response(self, peer: Peer, entry: Entry, supply: Iterator[Any]) -> None:
        _, ident, succeeded, payload = entry
        promise = self.owed(peer, ident)
        if promise is None:
            skip(payload, supply)
            self._node.dead_letters.late(peer, ident)
        elif not succeeded:
            promise.reject(decode_error(payload, supply))
        else:
            try:
                value = decode(payload, supply)
            except SpliceError as error:
                promise.reject(error)
            else:
                promise.resolve(value)

    def owed(self, peer: Peer, ident: int) -> Promise | None:
        """Return the promise of a message that gets its answer now; None: it was given up."""
        dialogue = self._dialogues.get(peer)
        promise = dialogue.asked.pop(ident, None) if dialogue else None
        return promise if promise is not None and promise.state == PENDING else None

    def _take_word(self, dialogue: Dialogue | None, entry: Entry) -> None:
        if dialogue is not None and entry[0] == ROOM:  # None: given up since
            self.crowds.take(dialogue, entry)
        elif dialogue is not None and entry[1] in dialogue.asked:
            dialogue.held.add(entry[1])

    def on_delivered(self, peer: Peer, messages: list[Outgoing]) -> None:
        """Settle the promises of delivery of tells that were acknowledged."""
        dialogue = self._dialogues.get(peer)
        if dialogue is None:
            return
        asked, held = dialogue.asked, dialogue.held
        for message in messages:
            ident = message.entry[1]
            if held and ident in held:  # its word comes later
                held.remove(ident)
                continue
            promise = asked.pop(ident, None)
            if promise is not None and promise.state == PENDING:
                promise.resolve(None)

    def on_failed(
        self, peer: Peer, messages: list[Outgoing], error: DeliveryError
    ) -> None:
        """Fail what was never sent, or sent and never acknowledged."""
        for message in messages:
            if message.entry[0] in _OWED:
                promise = self.owed(peer, message.entry[1])
                if promise is not None:
                    promise.reject(again(error))
            elif message.entry[0] == SIGNAL:
                self.signals.failed(peer, message.entry, error)

    def on_lost(self, peer: Peer, error: DeliveryError) -> None:
        """Fail what the lost node owed; end what was linked over it, or drawn from there."""
        self.drawers.lost(peer.incarnation, error)
        self.owing.pop(peer, None)
        self.prober.forget(peer)
        self.crowds.lost(peer)
        if self.held is not None:
            self.held.lost(peer)
        self.signals.lost(peer, error)
        dialogue = self._dialogues.pop(peer, None)
        if dialogue is None:
            return
        dialogue.is_over = True
        dialogue.open_all()
        for promise in dialogue.asked.values():
            if promise.state == PENDING:
                promise.reject(again(error))

    def on_merged(self, peer: Peer, into: Peer) -> None:
        """Two ways to one node became one: what was asked over the one is owed by the other."""
        self.signals.merged(peer, into)
        dialogue = self._dialogues.pop(peer, None)
        if dialogue is not None:
            dialogue.is_over = True
            other = self._dialogues.setdefault(into, Dialogue(into))
            other.asked.update(dialogue.asked)
            other.held |= dialogue.held
            dialogue.open_all()

    def asked(self, ident: int) -> tuple[Peer, Promise] | None:
        """Return the promise of our request `ident` and who owes it, if it is pending."""
        for peer, dialogue in self._dialogues.items():
            promise = dialogue.asked.get(ident)
            if promise is not None and promise.state == PENDING:
                return peer, promise
        return None

    def fail_all(self) -> None:
        """Fail everything that other nodes still owe; this node is shut down."""
        lost = NodeLost(f"{self._node} {self._node.end}: no answer comes any more")
        for peer in dict.fromkeys([*self._dialogues, *self.signals.peers]):
            self.on_lost(peer, lost)
