"""Channel: the conversation of two incarnations; pure.

It is told what happens and when, and answers with what is to be done, in order (`Action`);
`Peers` does it.  It has no clock, no socket and no opinion about addresses::

                 attach, detach, on_frame, on_delivered, flush, on_time, lose
        Peers  ------------------------------------------------------------->  Channel
               <--- Transmit, HangUp, Deliver, Delivered, Failed, Lost ------    |   |
                                                                         Outbound Inbound

A channel outlives its connections.  Mail is numbered, kept until it is acknowledged, and sent
again on the next connection; the receiver drops what it has seen.  Of several connections the
newest is used for sending, and all may bring frames: two nodes that dial each other at the
same moment need not agree on anything.

*Loss.*  While a connection stands, a silent node is busy, however long.  Without one, a node
that gave no sign of life for ``loss_timeout`` is lost, and it can be declared lost from outside
(`lose`).  A verdict is final: it ends the *epoch*.  Everything held fails, all connections are
hung up, and numbers start again in the next epoch.  The next handshake agrees on the greater
epoch of both sides, and the side that was behind fails what it held before it goes on, so
no message of one epoch is ever handled in another, and none has two verdicts.

A channel is *fresh* while it was not connected in its epoch: nothing of what it holds was
ever sent.
"""

from __future__ import annotations

from math import inf
from typing import Final

from splice.config import Config
from splice.errors import ConnectTimeout, NodeLost
from splice.net.actions import (
    Action,
    Cause,
    Deliver,
    Delivered,
    Failed,
    HangUp,
    Lost,
    Transmit,
)
from splice.net.flight import Flight
from splice.net.frames import NUMBERED, Header, Kind, pack_header
from splice.net.inbound import Inbound, Standing
from splice.net.outbound import Outbound
from splice.net.outgoing import Outgoing as Outgoing
from splice.net.window import Window
from splice.net.wire import Buffer

RETRY_SECONDS: Final = 0.02
"""Until a full connection is tried again: a socket's buffer is read in far less."""


_SHUT_DOWN: Final = Cause(NodeLost, "was shut down", is_final=True, fate="ended")


class Channel:
    """All that is said between this node and another incarnation.

    Args:
        me: incarnation of this node.
        config: limits and times.
        peer: incarnation of the other node, None until it is known.
        window: how much mail this node takes in, from it and all others.
    """

    outbound_class = Outbound
    inbound_class = Inbound

    def __init__(
        self, me: int, config: Config, *, peer: int | None = None, window: Window
    ) -> None:
        self.me = me
        self.peer = peer
        self.epoch = 0
        self.is_fresh = True
        self.connections: list[int] = []
        self.outbound = self.outbound_class(config)
        self._window = window
        self.inbound = self.inbound_class(window)
        self.frames_dropped = 0
        self._config = config
        self._heard = -inf
        self._detached = -inf
        self._last_sent = -inf
        self._retry_at: float | None = None

    # ---- connections

    def agree(self, theirs: int) -> int:
        """Return the epoch that begins or goes on when the other side is in `theirs`."""
        return max(1, self.epoch, theirs)

    def received_in(self, epoch: int) -> int:
        """Return the last frame that has come in that epoch: none in a coming one."""
        return self.inbound.received if epoch == self.epoch else 0

    def attach(
        self, connection: int, epoch: int, received: int, now: float
    ) -> list[Action]:
        """Use a connection whose handshake agreed on `epoch`.

        Args:
            received: the last of our frames that the other side has in that epoch.
        """
        if epoch < self.epoch:  # a verdict was given during the handshake
            return [HangUp(connection)]
        actions: list[Action] = []
        if epoch > self.epoch:
            if not self.is_fresh:
                actions += self._end(Cause(NodeLost, "has given this node up"))
            self.epoch = epoch
        if self.is_fresh:
            self.is_fresh = False
            self.inbound.credit.begin()
        self.connections.append(connection)
        self.outbound.rewind(received)
        self._retry_at = None
        self._heard = now
        actions.append(self._control(Kind.ACK, now))  # tells our credit
        self._transmit(now, actions)
        return actions

    def detach(self, connection: int, now: float) -> list[Action]:
        """Do without a connection that is gone."""
        if connection not in self.connections:
            return []
        was_used = self.connections[-1] == connection
        self.connections.remove(connection)
        if not self.connections:
            self._detached = now
        if was_used:
            self.outbound.rewind(0)
            self._retry_at = None
        return self.flush(now)

    @property
    def needs_connection(self) -> bool:
        """There is something to say or to wait for, and no connection."""
        return not self.connections and not (self.is_fresh and self.outbound.is_empty)

    def is_busy(self, now: float) -> bool:
        """Tell whether the node is there and has said nothing for two beats."""
        return bool(self.connections) and (
            now > self._heard + 2 * self._config.beat_interval
        )

    # ---- sending

    def flush(self, now: float) -> list[Action]:
        """Send what may be sent."""
        if not self.connections:
            self.outbound.stamp(now)
            return []
        actions: list[Action] = []
        if self._retry_at is None:
            self._transmit(now, actions)
            if self.inbound.credit.is_worth_telling:
                actions.append(self._control(Kind.ACK, now))
        return actions

    def on_full(self, sequence: int, now: float) -> None:
        """Note that the wire did not take frame `sequence` (0: a control frame)."""
        if sequence:
            self.outbound.refused(sequence)
        else:
            self.inbound.remind(now)
        self._retry_at = now + RETRY_SECONDS

    def bye(self, now: float) -> list[Action]:
        """Say that this node ends."""
        if not self.connections:
            return []
        actions = self.flush(now)
        actions.append(self._control(Kind.BYE, now))
        return actions

    # ---- receiving

    def on_frame(
        self, connection: int, header: Header, parts: list[Buffer], now: float
    ) -> list[Action]:
        """Take in a frame: its header and the parts behind it."""
        if (
            connection not in self.connections
            or header.epoch != self.epoch
            or header.source != self.peer
            or header.target != self.me
        ):
            self.frames_dropped += 1
            return []
        self._heard = now
        if header.kind in NUMBERED:
            return self._on_mail(header, parts, now)
        if header.kind is Kind.BYE:
            return self._end(_SHUT_DOWN)
        if header.kind is Kind.RESEND:  # whatever we miss ourselves
            self.outbound.rewind(0)
        if self.inbound.judge(header.sequence) is Standing.SEEN:
            actions = self._on_ack(header)
        else:
            actions = self._ask(now)
        if self._retry_at is None:
            self._transmit(now, actions)
        return actions

    def on_delivered(self, now: float) -> list[Action]:
        """Note that the batch of the last `Deliver` stands in its mailboxes."""
        actions: list[Action] = []
        self.inbound.confirm(now, self._config.ack_delay)
        if self.connections and self._retry_at is None:
            self._transmit(now, actions)
            if self.inbound.ack_due <= now:
                actions.append(self._control(Kind.ACK, now))
        return actions

    def on_sign(self, now: float) -> None:
        """Note a sign of life that is no frame."""
        self._heard = now

    # ---- time and loss

    def deadline(self) -> float:
        """Return when `on_time` has something to do; `inf` for never."""
        if self.connections:
            if self._retry_at is not None:
                return self._retry_at
            beat = self._last_sent + self._config.beat_interval
            ack_due = self.inbound.ack_due
            return min(ack_due, beat)
        if not self.is_fresh:
            return self._lost_at()
        oldest = self.outbound.oldest()
        return inf if oldest is None else self._expires_at(oldest)

    def on_time(self, now: float) -> list[Action]:
        """Do what is due: acknowledge, beat, try again, give up."""
        if not self.connections:
            return self._give_up(now)
        if self._retry_at is not None and now < self._retry_at:
            return []
        self._retry_at = None
        actions: list[Action] = []
        self._transmit(now, actions)
        if self.inbound.ack_due <= now:
            actions.append(self._control(Kind.ACK, now))
        if now >= self._last_sent + self._config.beat_interval:
            actions.append(self._control(Kind.BEAT, now))
        return actions

    def lose(self, cause: Cause) -> list[Action]:
        """Give the other node up: nothing more will come of what was said until now."""
        return self._end(cause)

    # ---- within

    def _on_mail(self, header: Header, parts: list[Buffer], now: float) -> list[Action]:
        standing = self._standing_of(header)
        if standing is Standing.AHEAD:
            return self._ask(now)
        actions: list[Action] = []
        if standing is Standing.NEXT:
            whole = self.inbound.accept(header, parts)
            if whole:
                # first, for it may hold the refusal of what its header acknowledges
                actions.append(Deliver(whole[0], whole[1:]))
            else:
                self.inbound.confirm(now, self._config.ack_delay)
        else:
            self.inbound.remind(now + self._config.ack_delay)
        actions += self._on_ack(header)
        if header.kind is not Kind.MAIL and self._retry_at is None:
            self._transmit(
                now, actions
            )  # an acknowledged piece makes room for the next
            if self.inbound.ack_due <= now:
                actions.append(self._control(Kind.ACK, now))
        return actions

    def _standing_of(self, mail: Header) -> Standing:
        return self.inbound.judge(mail.sequence)

    def _on_ack(self, header: Header) -> list[Action]:
        outbound = self.outbound
        if header.credit > outbound.credit:
            outbound.grant(header.credit)
        if header.ack > outbound.sequence:
            self.frames_dropped += 1
            return []
        messages = outbound.acknowledge(header.ack)
        return [Delivered(messages)] if messages else []

    def _ask(self, now: float) -> list[Action]:
        """Ask for a missing frame.

        The acknowledgement of a frame that is ahead is not looked at: a refusal that
        belongs to it may be in the missing one.
        """
        if not self.inbound.asks_again(now, self._config.resend_interval):
            return []
        return [self._control(Kind.RESEND, now)]

    def _transmit(self, now: float, actions: list[Action]) -> None:
        outbound, inbound = self.outbound, self.inbound
        while flight := outbound.next_flight(inbound.delivered):
            header = self._header(flight.kind, flight.sequence, flight.ack, flight)
            parts = [header, *flight.parts]
            actions.append(Transmit(self.connections[-1], parts, flight.sequence))
            inbound.told(flight.ack)
            self._last_sent = now

    def _control(self, kind: Kind, now: float) -> Transmit:
        ack = self.inbound.delivered if self.outbound.is_told else 0
        header = self._header(kind, self.outbound.sent, ack)
        self.inbound.told(ack)
        self._last_sent = now
        return Transmit(self.connections[-1], [header])

    def _header(
        self, kind: Kind, sequence: int, ack: int, flight: Flight | None = None
    ) -> bytes:
        assert self.peer is not None, "an attached channel is bound"
        return pack_header(
            kind,
            self.epoch,
            self.me,
            self.peer,
            sequence,
            ack,
            self.inbound.credit.granted,
            flight.cost if flight else 0,
            flight.requests if flight else 0,
            len(flight.parts) - 1 if flight else 0,
        )

    def _lost_at(self) -> float:
        # a busy node may have been silent for long when its connection breaks: it gets
        # half the time again for its reconnect
        loss = self._config.loss_timeout
        return max(self._heard + loss, self._detached + loss / 2)

    def _expires_at(self, since: float) -> float:
        if self.peer is None:
            return since + self._config.connect_timeout
        return max(since, self._heard) + self._config.loss_timeout

    def _give_up(self, now: float) -> list[Action]:
        self.outbound.stamp(now)
        silent = Cause(
            NodeLost,
            f"has given no sign of life for {self._config.loss_timeout:g} s (loss_timeout)",
        )
        if not self.is_fresh:
            return self._end(silent) if now >= self._lost_at() else []
        patience = self._config.connect_timeout
        cause = Cause(
            ConnectTimeout,
            f"did not answer within {patience:g} s (connect_timeout); is the node running "
            "there, and can this machine reach it?",
        )
        if self.peer is not None:
            patience, cause = self._config.loss_timeout, silent
            if now < self._heard + patience:
                return []
        late = self.outbound.expire(now, patience)
        return [Failed(late, "not delivered", cause)] if late else []

    def _end(self, cause: Cause) -> list[Action]:
        actions: list[Action] = [HangUp(number) for number in self.connections]
        self.connections.clear()
        unsent, unknown = self.outbound.fail()
        if unknown:
            actions.append(Failed(unknown, "unknown", cause))
        if unsent:
            actions.append(Failed(unsent, "not delivered", cause))
        if not self.is_fresh:
            self.epoch += 1
            self.is_fresh = True
            self.inbound.end()
            self.inbound = self.inbound_class(self._window)
            actions.append(Lost(cause))
        return actions
