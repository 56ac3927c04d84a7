"""Peers: one channel for each node we talk with; carries out what channels decide.

::

    Node --reach, send, flush, pump--> Peers --dial, send, hang_up--> Wire
         <---- Receiver -------------        <----- Listener --------
                                   Channel, Connector, Acceptor: decide

A node is known by its incarnation; an address is only a place where to look for one.  A peer
made for an address is *unbound*: whoever answers its first dial is bound to it for good,
and when that node is known already the two peers become one (`Receiver.on_merged`).

A node is dialled when something waits for it, or when a conversation was cut; both sides may
do so.  A refused dial is a verdict only where it means something: at an address where this
very incarnation was found before, on its own machine, or where a child of ours has been.
Elsewhere the address may be one that means another node here (behind NAT, in a container), and
the node, which has dialled us before, will do so again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from splice.config import Config
from splice.errors import DeliveryError, InternalError, NodeLost
from splice.log import logger
from splice.net.actions import (
    Action,
    Cause,
    Deliver,
    Delivered,
    Failed,
    HangUp,
    Transmit,
)
from splice.net.channel import Channel
from splice.net.connections import Connections
from splice.net.ended import Ended
from splice.net.frames import (
    FrameError,
    decode_batch,
    decode_header,
    is_frame,
    join,
    split,
)
from splice.net.handshake import Identity
from splice.net.lives import Lives
from splice.net.machine import this_machine
from splice.net.peer import Peer as Peer
from splice.net.receiver import Receiver
from splice.net.spare import spares
from splice.net.timers import Timers
from splice.net.window import Credit, Window
from splice.net.wire import Buffer, Down, Wire

BAD_FRAMES: Final = 3
"""Frames that cannot be read until their sender is given up: one may be an accident, and what
it held is sent again on the next connection; a defect would send it for ever."""

_log = logger("net")


class Peers:
    """The nodes that this one talks with; implements `splice.net.wire.Listener`.

    Args:
        incarnation: this life of this node.
        version: of splice, for the other side to see.
        key: of the handshake (`Keys.handshake`).
        config: limits and times.
        loop: the node's; all calls come from it.
        random: spreads redials.
        receiver: gets what arrives.
        machine: see `splice.net.machine.this_machine`, the default.
    """

    def __init__(
        self,
        *,
        incarnation: int,
        version: str,
        key: bytes,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        receiver: Receiver,
        machine: str | None = None,
    ) -> None:
        self.incarnation = incarnation
        self._version = version
        self._key = key
        self._config = config
        self._loop = loop
        self._random = random
        self._receiver = receiver
        self._machine = this_machine() if machine is None else machine
        self._timers = Timers(loop)
        self._wire: Wire
        self._by_address: dict[str, Peer] = {}
        self._by_incarnation: dict[int, Peer] = {}
        self._ended: Ended[int] = Ended()
        self._window = Window(config.window_bytes)
        self._connections: Connections
        self._dirty: list[Peer] = []
        self.lives = Lives(loop)
        self._acting = 0
        self._closed: Cause | None = None

    def start(self, wire: Wire) -> None:
        """Begin to use a wire whose listener this is."""
        self._wire = wire
        identity = Identity(
            self.incarnation, wire.addresses, self._machine, self._version
        )
        self._connections = Connections(
            wire,
            identity=identity,
            key=self._key,
            config=self._config,
            timers=self._timers,
            known=self._by_incarnation,
            owner=self,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where other nodes reach this one; tcp first."""
        return self._wire.addresses

    # ---- for the node

    def reach(self, address: str, incarnation: int | None = None) -> Peer:
        """Return the peer at an address, bound to one incarnation of it or not.

        It is dialled when something is sent.  An unbound peer is bound when its first dial
        is answered, so ask anew for each message that is for whoever answers there.
        """
        if incarnation is None:
            peer = self._by_address.get(address)
            if peer is None:
                peer = self._by_address[address] = self._make_peer(address)
            return peer
        peer = self._by_incarnation.get(incarnation)
        if peer is None:
            peer = self._make_peer(address, incarnation)
            peer.ended = self._ended.get(incarnation)
            if peer.ended is None:
                self._by_incarnation[incarnation] = peer
        elif not peer.is_connected and not peer.may_be_dialled(self._machine):
            peer.address = address  # what we knew leads nowhere
        return peer

    def find(self, address: str) -> Peer | None:
        """Return the peer that an address means now, if there is one.  Thread-safe."""
        return self._by_address.get(address)

    def flush(self) -> None:
        """Send what was given to peers since the last time; at the end of every turn."""
        if not self._dirty or self._acting:  # `_act` flushes when it has done
            return
        now = self._loop.time()
        dirty = self._dirty.copy()
        self._dirty.clear()
        for peer in dirty:
            peer.is_dirty = False
            end = self._closed or peer.ended
            channel = peer.channel
            self._act(peer, channel.lose(end) if end else channel.flush(now), now)
            if peer.ended:  # what was noted of it meanwhile goes, too
                self._receiver.on_lost(peer, peer.error_of(peer.ended, "unknown"))

    def lost(self, incarnation: int, why: str, deserted: str = "") -> None:
        """Give a node up whose OS process is known to have ended.

        Args:
            why: the rest of a sentence that begins with its address.
            deserted: an address of this machine that was only its own: nobody is waited for
                where nobody listens any more.
        """
        cause = Cause(NodeLost, why, is_final=True, fate="ended")
        self._ended[incarnation] = cause
        if deserted:
            self._connections.deserted[deserted] = cause
        peer = self._by_incarnation.get(incarnation)
        if peer is not None:
            self._lose(peer, cause, self._loop.time())
            self.flush()

    def consumed(self, peer: Peer, credit: Credit) -> None:
        """Give credit back for requests and tells of `peer` that were handled; before a flush.

        Args:
            credit: what `Peer.credit` was when they came, and where they were counted since.
        """
        credit.give_back()
        line = peer._line
        if credit.is_worth_telling and not line.is_dirty:
            line.is_dirty = True
            self._dirty.append(line)

    @property
    def is_idle(self) -> bool:
        """Everything that was sent has been acknowledged."""
        return all(peer.outbound.is_empty for peer in self.known())

    def pump(self, until: Callable[[], bool], deadline: float) -> bool:
        """Read and write frames, and run nothing else, while the loop stands still.

        Args:
            until: what is waited for.
            deadline: when to give up, by the loop's clock.

        Returns:
            Whether it came.

        Raises:
            InternalError: called by the receiver, while a batch is being delivered.
        """
        if self._acting:
            raise InternalError("a receiver may not wait for messages")
        while not until():
            self.flush()
            now = self._loop.time()
            if now >= deadline:
                return False
            self._wire.pump(max(0.0, min(deadline, self._timers.next) - now))
            self._timers.run()
        return True

    def close(self, linger: float) -> None:
        """Say goodbye, fail what is still held, and close the wire."""
        if self._closed is not None:
            return
        self.flush()
        now = self._loop.time()
        self._closed = Cause(DeliveryError, "was not heard: this node was shut down")
        for peer in self.known():
            self._act(peer, peer.channel.bye(now), now)
        for peer in self.known():
            self._act(peer, peer.channel.lose(self._closed), now)
        self._connections.close()
        self._timers.close()
        self._wire.close(linger)
        spares.clear()

    # ---- for the wire

    def on_up(self, connection: int) -> None:
        """Begin the handshake of a connection that we dialled."""
        self._connections.on_up(connection, self._loop.time())

    def on_parts(self, connection: int, parts: list[Buffer]) -> None:
        """Take in a frame or a message of the handshake."""
        now = self._loop.time()
        it = self._connections.get(connection)
        if it is not None and it.side is None:
            assert it.peer is not None, "a handshake ends with a peer"
            self._on_frame(it.peer, connection, parts, now)
        elif it is None and is_frame(parts):  # of a connection that we have given up
            self._wire.hang_up(connection)
        else:
            it = it or self._connections.accept(connection, now)
            self._connections.on_parts(it, parts, now)

    def on_down(self, connection: int, cause: Down) -> None:
        """Note the end of a connection, or that there is none."""
        now = self._loop.time()
        it = self._connections.on_down(connection, cause, now)
        if it is not None and it.peer is not None:
            self._on_cut(it.peer, connection, now)

    # ---- for Connections

    def meet(self, peer: Peer | None, identity: Identity) -> Peer:
        """Return the peer of a node that has proved who it is; see `connections.Owner`."""
        known = self._by_incarnation.get(identity.incarnation)
        if known is None:
            known = peer or self._make_peer(identity.addresses[0])
            known.channel.peer = identity.incarnation
            self._by_incarnation[identity.incarnation] = known
        known.identity = identity
        known.ended = None
        if peer is not None and peer is not known:
            peer.become(known)
            if self._by_address.get(peer.address) is peer:
                self._by_address[peer.address] = known
            self._receiver.on_merged(peer, known)
        return known

    def attach(
        self, peer: Peer, connection: int, epoch: int, received: int, now: float
    ) -> None:
        """Use a connection whose handshake is done."""
        peer.attempts = 0
        peer.seems_frozen = False
        self._act(peer, peer.channel.attach(connection, epoch, received, now), now)
        self.lives.met(peer)

    def no_dial(self, peer: Peer, cause: Cause | None, now: float) -> None:
        """Note that a dial has failed; a cause is a verdict where it can be trusted."""
        peer.dialled = None
        peer.back_off(now, self._config, self._random.random())
        if cause is not None and peer.is_certain(self._machine):
            self._lose(peer, cause, now)
        else:
            self._tend(peer, now)

    # ---- frames

    def _on_frame(
        self, peer: Peer, connection: int, parts: list[Buffer], now: float
    ) -> None:
        try:
            parts = split(parts)
            header = decode_header(parts)
        except FrameError as error:
            cause = self._malformed(peer, error)
            if peer.bad_frames % BAD_FRAMES == 0:  # it comes again and again
                self._lose(peer, cause, now)
            else:
                self._connections.hang_up(connection)
                self._on_cut(peer, connection, now)
            return
        try:
            actions = peer.channel.on_frame(connection, header, parts[1:], now)
        except FrameError as error:  # a piece that fits no plan
            actions = peer.channel.lose(self._malformed(peer, error))
        self._act(peer, actions, now)

    def _on_cut(self, peer: Peer, connection: int, now: float) -> None:
        actions = peer.channel.detach(connection, now)
        self.lives.cut(peer)
        if not peer.is_connected:
            peer.back_off(now, self._config, self._random.random())
        self._act(peer, actions, now)

    # ---- carrying out

    def _act(self, peer: Peer, actions: list[Action], now: float) -> None:
        """Do what a channel wants, and see to its next deadline."""
        self._acting += 1
        try:
            self._do(peer, actions, now)
            if peer.room_calls:
                peer.tell_room()
        finally:
            self._acting -= 1
        self._tend(peer, now)
        if self._dirty:
            self.flush()

    def _do(self, peer: Peer, actions: list[Action], now: float) -> None:
        is_full = False
        for action in actions:
            if isinstance(action, Transmit):
                parts = join(action.parts)
                if is_full or not self._wire.send(action.connection, parts):
                    is_full = True
                    peer.channel.on_full(action.sequence, now)
            elif isinstance(action, Deliver):
                self._deliver(peer, action, now)
            elif isinstance(action, Delivered):
                self._receiver.on_delivered(peer, action.messages)
            elif isinstance(action, HangUp):
                self._connections.hang_up(action.connection)
            elif isinstance(action, Failed):
                error = peer.error_of(action.cause, action.verdict)
                self._receiver.on_failed(peer, action.messages, error)
            else:
                self._forget(peer, action.cause)
                self.lives.lost(peer, action.cause)
                self._receiver.on_lost(peer, peer.error_of(action.cause, "unknown"))

    def _deliver(self, peer: Peer, action: Deliver, now: float) -> None:
        try:
            entries = decode_batch(action.batch)
            self._receiver.on_batch(peer, entries, action.buffers)
        except FrameError as error:
            cause = self._malformed(peer, error)
            self._do(peer, peer.channel.lose(cause), now)
            return
        if actions := peer.channel.on_delivered(now):
            self._do(peer, actions, now)

    def _malformed(self, peer: Peer, error: FrameError) -> Cause:
        """Count a frame that a member should not have sent; returns what to say of it."""
        peer.bad_frames += 1
        _log.error(
            "hang up on %s, which sent %s", peer, error, exc_info=error.__cause__
        )
        return Cause(NodeLost, f"sent {error}; please report it")

    def _tend(self, peer: Peer, now: float) -> None:
        """Dial a node that is needed, and set the timer for its channel."""
        channel = peer.channel
        if (
            not channel.connections
            and channel.needs_connection
            and peer.dialled is None
            and self._closed is None
            and peer.may_be_dialled(self._machine)
        ):
            if now < peer.redial_at:
                self._timers.set(peer, peer.redial_at)
            else:
                self._connections.dial(peer, now)
        when = channel.deadline()
        if when < peer.wake_at:
            self._timers.set(peer, when)

    def _on_wake(self, peer: Peer, now: float) -> None:
        spares.tidy(now)
        self._act(peer, peer.channel.on_time(now), now)
        self.lives.look(peer, now)

    def _lose(self, peer: Peer, cause: Cause, now: float) -> None:
        spares.clear()  # it may have been the last one, and nobody be woken any more
        self._forget(peer, cause)
        self._act(peer, peer.channel.lose(cause), now)

    def _forget(self, peer: Peer, cause: Cause) -> None:
        """Let a lost node's address mean whoever answers there next."""
        if cause.is_final and peer.incarnation is not None:
            peer.ended = self._ended[peer.incarnation] = cause
            self._by_incarnation.pop(peer.incarnation, None)
        if peer.incarnation is not None and (
            self._by_address.get(peer.address) is peer
        ):
            del self._by_address[peer.address]

    # ---- making peers

    def _make_peer(self, address: str, incarnation: int | None = None) -> Peer:
        channel = Channel(
            self.incarnation, self._config, peer=incarnation, window=self._window
        )
        return Peer(address, channel, mark=self._dirty.append, wake=self._on_wake)

    def known(self) -> list[Peer]:
        """Return all nodes that it talks with.  Thread-safe."""
        unbound = [p for p in list(self._by_address.values()) if p.incarnation is None]
        return [*self._by_incarnation.values(), *unbound]
