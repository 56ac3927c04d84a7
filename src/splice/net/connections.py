"""Connections: from the first dial or knock to the end of the handshake.

::

    dial ----> on_up --HELLO--> WELCOME --READY--.
                                                 |--> Owner.meet, Owner.attach
    knock ---> HELLO --WELCOME--> READY ---------'
       '--------- refused, denied, too slow ---------> Owner.no_dial, for what we dialled

What is said in a handshake is decided in `splice.net.handshake`; `Peers` owns the nodes that
are met here, and gets the frames of a connection when its handshake is done.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from splice.config import Config
from splice.errors import AccessDenied, DeliveryError, NodeLost, VersionMismatch
from splice.log import WARN_SECONDS, Seldom, logger
from splice.net.actions import Cause, Fate
from splice.net.ended import Ended
from splice.net.handshake import (
    NONCE_BYTES,
    TEXTS,
    Acceptor,
    Connector,
    Hello,
    Identity,
    Reason,
    Refusal,
)
from splice.net.peer import Peer
from splice.net.timers import Sleeper, Timers
from splice.net.wire import Buffer, Down, Wire

_ERRORS: Final = {
    Reason.ACCESS: AccessDenied,
    Reason.VERSION: VersionMismatch,
    Reason.MALFORMED: VersionMismatch,
    Reason.SELF: DeliveryError,
    Reason.GONE: NodeLost,
}
_log = logger("net")


class Owner(Protocol):
    """What becomes of connections; implemented by `Peers`."""

    def meet(self, peer: Peer | None, identity: Identity) -> Peer:
        """Return the peer of a node that has proved who it is.

        Args:
            peer: through which it was reached, or None if it has reached us.
        """
        ...

    def attach(
        self, peer: Peer, connection: int, epoch: int, received: int, now: float
    ) -> None:
        """Use a connection whose handshake is done."""
        ...

    def no_dial(self, peer: Peer, cause: Cause | None, now: float) -> None:
        """Note that a dial has failed, and perhaps what that says about the node."""
        ...


class Connection(Sleeper):
    """A connection, and how far its handshake has come.

    Attributes:
        side: our part of the handshake; None when it is done.
        peer: whom we have dialled, or met.
        hello: what an acceptor has been told, not proved yet.
    """

    __slots__ = ("_expire", "hello", "number", "peer", "side")

    def __init__(
        self,
        number: int,
        side: Connector | Acceptor,
        peer: Peer | None,
        expire: Callable[[Connection, float], None],
    ) -> None:
        super().__init__()
        self.number = number
        self.side: Connector | Acceptor | None = side
        self.peer = peer
        self.hello: Hello | None = None
        self._expire = expire

    def wake(self, now: float) -> None:
        """Give the connection up if its handshake is not done; for `Timers`."""
        if self.side is not None:
            self._expire(self, now)


class Connections:
    """All connections of one node.

    Args:
        wire: carries them.
        identity: who this node is.
        key: of the handshake.
        config: times, and whom to admit.
        timers: the node's.
        known: the nodes that were met, by incarnation; not changed here.
        owner: is told.

    Attributes:
        deserted: addresses of nodes that are known to have ended, and how: nobody is waited for
            where nobody listens any more.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        identity: Identity,
        key: bytes,
        config: Config,
        timers: Timers,
        known: Mapping[int, Peer],
        owner: Owner,
    ) -> None:
        self._wire = wire
        self._identity = identity
        self._key = key
        self._config = config
        self._timers = timers
        self._known = known
        self._owner = owner
        self.deserted: Ended[str] = Ended()
        self._connections: dict[int, Connection] = {}
        self.get = self._connections.get  # a call less for every frame
        self._refusals = Seldom(WARN_SECONDS)

    def dial(self, peer: Peer, now: float) -> None:
        """Begin to connect to a peer."""
        side = Connector(
            self._identity,
            self._key,
            secrets.token_bytes(NONCE_BYTES),
            wanted=peer.incarnation,
            allow_skew=self._config.allow_version_skew,
        )
        peer.dialled = self._wire.dial(peer.address)
        self._add(peer.dialled, side, peer, now)

    def accept(self, number: int, now: float) -> Connection:
        """Begin with a connection that somebody else has dialled."""
        side = Acceptor(
            self._identity,
            self._key,
            secrets.token_bytes(NONCE_BYTES),
            allow_skew=self._config.allow_version_skew,
        )
        return self._add(number, side, None, now)

    def on_up(self, number: int, now: float) -> None:
        """Begin the handshake of a connection that we dialled."""
        it = self._connections.get(number)
        if it is None or it.peer is None or not isinstance(it.side, Connector):
            return
        if it.peer.is_reached:
            # a busy node cannot shake hands, but its transport answers: it is not lost
            it.peer.channel.on_sign(now)
        if not self._wire.send(number, it.side.hello()):
            self._expire(it, now)

    def on_parts(self, it: Connection, parts: list[Buffer], now: float) -> None:
        """Take in a message of a handshake that is not done."""
        try:
            if isinstance(it.side, Connector):
                self._on_welcome(it, it.side, parts, now)
            elif isinstance(it.side, Acceptor):
                self._on_knock(it, it.side, parts, now)
        except Refusal as refusal:
            self._on_refusal(it, refusal, now)

    def on_down(self, number: int, down: Down, now: float) -> Connection | None:
        """Forget a connection; return it if it was used until now."""
        it = self._connections.pop(number, None)
        if it is None:
            return None
        if it.peer is None:
            if it.hello is not None:  # it did not like our proof, as a rule
                self._warn(it, "has hung up; has it another cluster key?", now)
            return None
        if it.side is None:
            return it
        cause = None
        it.peer.seems_frozen = down is Down.SILENT
        if down is Down.DENIED:
            cause = Cause(AccessDenied, TEXTS[Reason.ACCESS])
        elif down is Down.REFUSED and it.peer.incarnation is None:
            cause = self.deserted.get(it.peer.address)
        elif down is Down.REFUSED:
            text = "refused the reconnect: nothing listens there any more"
            cause = Cause(NodeLost, text, fate="ended")
        self._owner.no_dial(it.peer, cause, now)
        return None

    def hang_up(self, number: int) -> None:
        """Do without a connection."""
        self._connections.pop(number, None)
        self._wire.hang_up(number)

    def close(self) -> None:
        """Hang up everywhere."""
        for number in list(self._connections):
            self.hang_up(number)

    def _add(
        self, number: int, side: Connector | Acceptor, peer: Peer | None, now: float
    ) -> Connection:
        it = self._connections[number] = Connection(number, side, peer, self._expire)
        self._timers.set(it, now + self._config.handshake_timeout)
        return it

    def _on_knock(
        self, it: Connection, side: Acceptor, parts: list[Buffer], now: float
    ) -> None:
        if it.hello is not None:
            ready = side.on_ready(parts)
            it.side = None
            it.peer = self._meet(None, it.hello.identity)
            self._owner.attach(it.peer, it.number, ready.epoch, ready.received, now)
            return
        it.hello = side.on_hello(parts)
        known = self._known.get(it.hello.identity.incarnation)
        epoch = known.channel.epoch if known else 0
        received = known.channel.received_in(epoch) if known else 0
        self._wire.send(it.number, side.welcome(epoch, received))

    def _on_welcome(
        self, it: Connection, side: Connector, parts: list[Buffer], now: float
    ) -> None:
        welcome = side.on_welcome(parts)
        assert it.peer is not None, "whoever is dialled is a peer"
        it.peer.dialled = None
        peer = self._meet(it.peer, welcome.identity)
        peer.is_reached = True
        peer.address = it.peer.address
        epoch = peer.channel.agree(welcome.epoch)
        received = welcome.received if epoch == welcome.epoch else 0
        last = side.ready(epoch, peer.channel.received_in(epoch))
        it.peer = peer
        if not self._wire.send(it.number, last):
            self._expire(it, now)
            return
        it.side = None
        self._owner.attach(peer, it.number, epoch, received, now)

    def _meet(self, dialled: Peer | None, identity: Identity) -> Peer:
        for address in identity.addresses:
            self.deserted.pop(address, None)
        return self._owner.meet(dialled, identity)

    def _on_refusal(self, it: Connection, refusal: Refusal, now: float) -> None:
        if it.peer is None:
            self._warn(it, refusal.text, now)
            self._wire.send(it.number, refusal.encode(self._identity))
            self.hang_up(it.number)
            return
        self.hang_up(it.number)
        is_final = refusal.reason is Reason.GONE
        fate: Fate = "ended" if is_final else "cut off"
        cause = Cause(_ERRORS[refusal.reason], refusal.text, is_final, fate)
        self._owner.no_dial(it.peer, cause, now)

    def _warn(self, it: Connection, text: str, now: float) -> None:
        """Tell of a node that has dialled us, and did not come in; what it says is unproved."""
        if self._refusals.passes(now):
            hello = it.hello
            _log.warning(
                "no handshake: the node %s %s (and %d others since the last such line)",
                f"at {hello.identity.addresses[0]}" if hello else "that dialled",
                text,
                self._refusals.missed,
            )

    def _expire(self, it: Connection, now: float) -> None:
        """Give up a connection whose handshake does not come to its end."""
        if self._connections.get(it.number) is not it:
            return  # it has ended otherwise, and its peer may have been dialled again
        self.hang_up(it.number)
        if it.peer is not None:
            self._owner.no_dial(it.peer, None, now)
