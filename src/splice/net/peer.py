"""Peer: the handle of another node, with which messages are sent to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

from splice.config import Config
from splice.errors import DeliveryError, Verdict
from splice.net.actions import Cause
from splice.net.channel import Channel
from splice.net.handshake import Identity
from splice.net.machine import is_only_local
from splice.net.outgoing import Outgoing
from splice.net.overtaking import place
from splice.net.timers import Sleeper
from splice.net.window import Credit
from splice.uri import Resource, bound_url, url

FROZEN: Final = (
    "; it takes connections and does not shake hands: is it stopped, swapping, or in a "
    "handler that does not end?"
)


class Peer(Sleeper):
    """Another node, as this one sees it; made by `Peers.reach`, and by nodes that dial us.

    All of it on the node's loop only.

    Attributes:
        address: where it is dialled.
        identity: what it said of itself, None until it was met.
        channel: the conversation with it.
        is_reached: we have dialled that address and found that incarnation.
        ended: why that incarnation can never answer again, or None.
        dialled: number of the connection that is being dialled.
        bad_frames: how many came from it that could not be read.
        attempts: dials since the last one that succeeded.
        redial_at: when it may be dialled again.
        seems_frozen: the last dial was taken, and nobody shook hands.
        life: what was told of it last; see `splice.net.lives`.
        is_dirty: it is in the list of those that have something to send.
    """

    __slots__ = (
        "_line",
        "_mark",
        "_wake",
        "address",
        "attempts",
        "bad_frames",
        "channel",
        "dialled",
        "ended",
        "identity",
        "is_dirty",
        "is_reached",
        "life",
        "outbound",
        "redial_at",
        "room_calls",
        "seems_frozen",
    )

    def __init__(
        self,
        address: str,
        channel: Channel,
        *,
        mark: Callable[[Peer], None],
        wake: Callable[[Peer, float], None],
    ) -> None:
        super().__init__()
        self.address = address
        self.channel = channel
        self.outbound = channel.outbound
        self.identity: Identity | None = None
        self.is_reached = False
        self.ended: Cause | None = None
        self.dialled: int | None = None
        self.attempts = 0
        self.bad_frames = 0
        self.redial_at = -inf
        self.seems_frozen = False
        self.life = ""
        self.is_dirty = False
        self.room_calls: list[Callable[[], None]] = []
        self._line = self
        self._mark = mark
        self._wake = wake

    def __repr__(self) -> str:
        life = self.incarnation
        return f"<Peer {self}{'' if life is None else f' {life:x}'}>"

    def __str__(self) -> str:
        return self._line.address

    @property
    def line(self) -> Peer:
        """The peer that it has become; itself, as a rule."""
        return self._line

    @property
    def incarnation(self) -> int | None:
        """Its incarnation; None until it was met."""
        return self._line.channel.peer

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it says that it can be reached."""
        identity = self._line.identity
        return identity.addresses if identity else (self._line.address,)

    @property
    def python(self) -> str | None:
        """Its version of Python, for example ``3.11.7``; None until it was met."""
        identity = self._line.identity
        return identity.python if identity else None

    @property
    def magic(self) -> int | None:
        """The number of its interpreter's bytecode; None until it was met."""
        identity = self._line.identity
        return identity.magic if identity else None

    @property
    def is_connected(self) -> bool:
        """A connection with it stands."""
        return bool(self._line.channel.connections)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were not sent to it or that it has not acknowledged."""
        return self._line.outbound.backlog_bytes

    @property
    def credit(self) -> Credit:
        """What the mail that comes from it now is counted by; see `Peers.consumed`."""
        return self._line.channel.inbound.credit

    @property
    def is_full(self) -> bool:
        """Senders should wait until `when_roomy` calls."""
        return self._line.outbound.is_full

    @property
    def is_roomy(self) -> bool:
        """Senders may go on."""
        return self._line.outbound.is_roomy

    def url_of(self, ident: Resource) -> url:
        """Return the url of one of its processes."""
        return bound_url(ident, self.address, self.incarnation)

    def send(self, message: Outgoing) -> None:
        """Send a message at the next `Peers.flush`, or when the node can be reached."""
        line = self._line
        outbound = line.outbound
        if message.prompt:
            outbound.prompt.append(message)
        else:
            outbound.mail.append(message)
        outbound.waiting_bytes += message.size
        if not line.is_dirty:
            line.is_dirty = True
            line._mark(line)

    def send_signal(self, message: Outgoing) -> None:
        """Send a signal: in order with mail, but never behind mail that waits for credit."""
        place(self._line.outbound, message)
        self.send(message)

    def withdraw(self, ident: int) -> bool:
        """Take a request or tell back, if it was not put into a frame yet."""
        return self._line.outbound.withdraw(ident)

    def when_roomy(self, call: Callable[[], None]) -> None:
        """Call once when the backlog has sunk to half of what it may be."""
        self._line.room_calls.append(call)

    def tell_room(self) -> None:
        """Call those who wait for room, if there is some."""
        if self.is_roomy:
            calls, self.room_calls = self.room_calls, []
            for call in calls:
                call()

    def back_off(self, now: float, config: Config, chance: float) -> None:
        """Let some time pass before the next dial, and more each time.

        Args:
            chance: from 0 to 1; spreads the redials of many nodes.
        """
        delay = config.reconnect_delay * 2 ** min(self.attempts, 10)
        self.attempts += 1
        self.redial_at = now + min(delay, config.reconnect_delay_max) * (
            0.5 + chance / 2
        )

    def is_certain(self, machine: str) -> bool:
        """Tell whether what answers at its address, or does not, says something of it."""
        is_near = self.identity is not None and self.identity.machine == machine
        return self.incarnation is None or self.is_reached or is_near

    def may_be_dialled(self, machine: str) -> bool:
        """Tell whether its address can mean that node when it is dialled from `machine`."""
        return (
            self.is_reached
            or self.identity is None
            or self.identity.machine == machine
            or not is_only_local(self.address)
        )

    def explained(self, cause: Cause) -> Cause:
        """Return why it was lost, and more of it where its last dial tells more."""
        if cause.fate == "cut off" and self.seems_frozen:
            return replace(cause, text=cause.text + FROZEN, fate="frozen")
        return cause

    def error_of(self, cause: Cause, verdict: Verdict) -> DeliveryError:
        """Return the error of messages to it that failed."""
        return self.explained(cause).as_error(self.address, verdict)

    def become(self, other: Peer) -> None:
        """Be another handle of `other` from now on: both turned out to be one node."""
        line = other._line
        line.outbound.absorb(self.outbound)
        line.room_calls += self.room_calls
        self.room_calls.clear()
        self._line = line

    def wake(self, now: float) -> None:
        """See to its channel; for `Timers`."""
        self._wake(self, now)
