"""Outbound: what waits to go to one node, and what is on its way to it; pure.

A message goes through three states, and each has its own verdict when the channel ends::

    put --> waiting --build--> flight, not tried --> flight, tried --acknowledge--> delivered
            '------ "not delivered" -----------'     '- "unknown" -'

A message larger than ``piece_bytes`` goes in pieces (see `splice.net.bulk`), one frame each, with
other frames between them; its verdict is that of the last piece.

There are two queues: *prompt* for what answers or jumps the mail (answers, refusals, stop,
kill), and *mail*, in order, which needs credit of the receiver.  A frame takes prompt messages
first.  A large message may take more credit than there is; it begins only while there is some, and
then others may go on in the room that is spared for them.  Frames are numbered when they are built
and kept until they are acknowledged; the *cursor* separates those that were sent on the present
connection from those that were not, so a new connection, a lost frame and a full socket are all a
matter of moving it back.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import Final

from splice.config import Config
from splice.message import REQUEST, TELL
from splice.net.bulk import NOTHING, Queue
from splice.net.flight import Flight
from splice.net.frames import Kind, encode_batch
from splice.net.outgoing import Outgoing
from splice.net.window import FIRST_CREDIT, SPARED

PIECES: Final = 8
"""Pieces of large messages on the way at once: enough to keep a fast line busy, and all that a
small message has to wait for."""

_COUNTED: Final = (REQUEST, TELL)
"""What is given back as credit when it was handled."""


class Outbound:
    """One direction of a channel, from the sender's point of view.

    Attributes:
        waiting_bytes: of what is in no frame yet.
        heard_bytes: of what was acknowledged, from the very beginning.
        has_signals: signals may stand in the mail; see `splice.net.overtaking`.
        room: how many may wait; over it `is_full`, and senders should hold on.  What is left of a
            large message that is being cut does not count.
        spent: bytes of mail that were sent in this epoch.
        credit: how many the receiver takes; a large message may go beyond it.
        allowed: how many others may send: more than the credit only where a large one has used it.
    """

    first_credit = FIRST_CREDIT
    spared = SPARED

    def __init__(self, config: Config) -> None:
        self._config = config
        self.bulk = Queue(config.piece_bytes)
        self.mail: deque[Outgoing] = deque()
        self.prompt: deque[Outgoing] = deque()
        self.waiting_bytes = 0
        self.heard_bytes = 0
        self.has_signals = False
        self.restart()

    def withdraw(self, ident: int) -> bool:
        """Take a request or tell back, if it was not put into a frame yet."""
        for message in self.mail:
            if message.entry[1] == ident:
                self.mail.remove(message)
                self.waiting_bytes -= message.size
                return True
        found, was_begun = self.bulk.withdraw(ident)
        if found is None:
            return False
        if was_begun:
            self.waiting_bytes -= self._left
            self.room -= self._left
        else:
            self.waiting_bytes -= found.size
        self._is_given_up = was_begun
        return True

    def restart(self) -> None:
        """Begin a new epoch: numbers and credit start again; what waits goes on waiting."""
        self.flights: deque[Flight] = deque()
        self.flying_bytes = 0
        self.room = self._config.backlog_bytes
        self.sequence = 0
        self.spent = 0
        self.credit = self.allowed = self.first_credit
        self._cursor = 0
        self._left = 0
        self._is_free = False
        self._is_given_up = False

    def put(self, message: Outgoing) -> None:
        """Take a message; `Peer.send` has the same lines of its own."""
        (self.prompt if message.prompt else self.mail).append(message)
        self.waiting_bytes += message.size

    def absorb(self, other: Outbound) -> None:
        """Take over what waits in another one that was never connected."""
        self.prompt += other.prompt
        self.mail += other.mail
        self.waiting_bytes += other.waiting_bytes
        self.has_signals |= other.has_signals
        other.prompt.clear()
        other.mail.clear()
        other.waiting_bytes = 0

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were not sent or are not acknowledged."""
        return self.waiting_bytes + self.flying_bytes

    @property
    def is_full(self) -> bool:
        """The backlog is over its limit; nothing is refused here."""
        return self.waiting_bytes > self.room

    @property
    def is_roomy(self) -> bool:
        """Half of the backlog is free again."""
        return self.room - self.waiting_bytes >= self._config.backlog_bytes / 2

    @property
    def is_stuck(self) -> bool:
        """The receiver has credit for no more mail; what is spared does not help large one."""
        return self.spent >= self.credit

    @property
    def will_go(self) -> bool:
        """All mail that waits has its credit already, so what comes next will go, too."""
        free = sum([m.size for m in (*self.prompt, *self.bulk.waiting) if m.prompt])
        room = self.allowed - self.spent
        if self.bulk.has_begun and self._is_free:
            free -= self.bulk.waiting[0].size - self._left
        elif (
            self.bulk.has_begun
        ):  # the rest of it goes anyhow, and leaves others their room
            free += self._left
            room = min(room, max(self.spared, room - self._left))
        return self.waiting_bytes - free < room

    @property
    def is_empty(self) -> bool:
        """Nothing waits and nothing is on its way."""
        return not (
            self.mail
            or self.prompt
            or self.flights
            or self.bulk.waiting
            or self._is_given_up
        )

    @property
    def is_heard(self) -> bool:
        """All was given to the connection, and acknowledged where somebody asks for that."""
        return self.is_told and not (
            self.mail
            or self.bulk.waiting
            or any(m.delivery is not None for f in self.flights for m in f.messages)
        )

    @property
    def is_told(self) -> bool:
        """Everything prompt is in a frame that was given to the present connection."""
        return not self.prompt and self._cursor == len(self.flights)

    @property
    def sent(self) -> int:
        """Number of the last frame that was given to the present connection."""
        return self.sequence - (len(self.flights) - self._cursor)

    def next_flight(self, delivered: int) -> Flight | None:
        """Return the next frame to send, or None when there is nothing that may go.

        Args:
            delivered: last frame of the other direction that was delivered here; it is not
                acknowledged yet while a prompt message, perhaps a refusal of something in
                it, has to wait for a later frame.
        """
        if self._cursor == len(self.flights):
            if not (self.mail or self.prompt or self.bulk.waiting or self._is_given_up):
                return None  # as nearly always the second time
            flight = self._build()
            if flight is None:
                return None
            flight.ack = 0 if self.prompt else delivered
            self.flights.append(flight)
        flight = self.flights[self._cursor]
        self._cursor += 1
        flight.tries += 1
        return flight

    def refused(self, sequence: int) -> None:
        """Take back frame `sequence` and those after it, which the wire did not take."""
        while self._cursor and self.flights[self._cursor - 1].sequence >= sequence:
            self._cursor -= 1
            self.flights[self._cursor].tries -= 1

    def rewind(self, received: int) -> None:
        """Send again what is kept, but for what the other side has up to `received`."""
        self._cursor = sum(flight.sequence <= received for flight in self.flights)

    def grant(self, credit: int) -> None:
        """Note how much mail the receiver takes in all; an old word changes nothing."""
        grown = max(0, credit - self.credit)
        self.credit += grown
        # what a large message owes is paid first: beyond that others have no more than is spared
        most = min(self.allowed + grown, self.spent + self.spared)
        self.allowed = max(self.credit, most)

    def acknowledge(self, ack: int) -> list[Outgoing]:
        """Drop what was delivered and return the messages of it that somebody asks about."""
        told: list[Outgoing] = []
        flights = self.flights
        while flights and flights[0].sequence <= ack:
            flight = flights.popleft()
            self._fly(-flight.size)
            self.heard_bytes += flight.size
            if self._cursor:
                self._cursor -= 1
            told += [m for m in flight.messages if m.delivery is not None]
        return told

    def fail(self) -> tuple[list[Outgoing], list[Outgoing]]:
        """Drop everything; return what was not delivered, and what may have been."""
        unsent = [
            m for flight in self.flights if not flight.tries for m in flight.messages
        ]
        unsent += [*self.prompt, *self.bulk.waiting, *self.mail]
        unknown = [
            m for flight in self.flights if flight.tries for m in flight.messages
        ]
        self.prompt.clear()
        self.mail.clear()
        self.bulk = Queue(self._config.piece_bytes)
        self.waiting_bytes = 0
        self.restart()
        return unsent, unknown

    def stamp(self, now: float) -> None:
        """Note since when the messages that came last have been waiting."""
        for queue in (self.prompt, self.mail):
            for message in reversed(queue):
                if message.since >= 0:
                    break
                message.since = now

    def oldest(self) -> float | None:
        """Return since when the message that waits longest has been waiting."""
        heads = [queue[0].since for queue in (self.prompt, self.mail) if queue]
        return min(heads, default=None)

    def expire(self, now: float, patience: float) -> list[Outgoing]:
        """Drop and return what has been waiting for `patience` seconds or longer.

        Summed as the deadline is: rounded otherwise, a timer might fire too early for ever.
        """
        late: list[Outgoing] = []
        for queue in (self.prompt, self.mail):
            while queue and queue[0].since + patience <= now:
                late.append(queue.popleft())
        self.waiting_bytes -= sum(message.size for message in late)
        return late

    def _number(self) -> int:
        self.sequence += 1
        return self.sequence

    def _build(self) -> Flight | None:
        """Build the next frame: small messages first, then a piece of a large one."""
        if self._is_given_up:
            self._is_given_up = False
            return Flight(self._number(), Kind.PLAN, [NOTHING], [])
        has_credit = self.spent < self.allowed
        if self.prompt or (has_credit and (self.mail or self.bulk.has_small)):
            messages, cost = self._take()
            if len(messages) == 1:
                return self._build_one(messages, cost)
            if messages:
                return self._build_mail(messages, cost)
        if not self.bulk.waiting:
            return None
        if sum([flight.kind is Kind.PIECE for flight in self.flights]) >= PIECES:
            return None
        return self._build_piece() if self.bulk.has_begun else self._build_plan()

    def _build_mail(self, messages: list[Outgoing], cost: int) -> Flight:
        entries = [message.entry for message in messages]
        kinds = [entry[0] for entry in entries]
        size = sum([message.size for message in messages])
        self.spent += cost
        self.waiting_bytes -= size
        self._fly(size)
        return Flight(
            self._number(),
            Kind.MAIL,
            [
                encode_batch(entries),
                *chain.from_iterable([message.buffers for message in messages]),
            ],
            messages,
            size=size,
            cost=cost,
            requests=kinds.count(REQUEST) + kinds.count(TELL),
        )

    def _build_one(self, messages: list[Outgoing], cost: int) -> Flight:
        """Build the frame of a single message, which somebody may be waiting for."""
        message = messages[0]
        entry = message.entry
        self.spent += cost
        self.waiting_bytes -= message.size
        self._fly(message.size)
        return Flight(
            self._number(),
            Kind.MAIL,
            [encode_batch([entry]), *message.buffers],
            messages,
            size=message.size,
            cost=cost,
            requests=1 if entry[0] in _COUNTED else 0,
        )

    def _build_plan(self) -> Flight | None:
        if not self.bulk.may_begin(self.spent < self.credit):
            return None
        message, plan = self.bulk.begin()
        self._left, self._is_free = message.size, message.prompt
        self.room += message.size
        requests = int(message.entry[0] in _COUNTED)
        return Flight(self._number(), Kind.PLAN, [plan], [], requests=requests)

    def _build_piece(self) -> Flight:
        piece, ended = self.bulk.next_piece()
        size = min(len(piece), self._left) if ended is None else self._left
        cost = 0 if self._is_free else size
        self._left -= size
        self.room -= size
        self.waiting_bytes -= size
        if cost:
            self.spent += cost
            self.allowed = max(self.allowed, self.spent + self.spared)
        self._fly(size)
        messages = [] if ended is None else [ended]
        return Flight(
            self._number(), Kind.PIECE, [piece], messages, size=size, cost=cost
        )

    def _fly(self, size: int) -> None:
        self.flying_bytes += size
        self.room -= size

    def _take(self) -> tuple[list[Outgoing], int]:
        """Return the messages of the next frame and the credit they cost.

        Large ones, and those that must not overtake them, are left to the bulk.
        """
        limit, bytes_left = self._config.frame_messages, self._config.frame_bytes
        room = self.allowed - self.spent
        queue = self.prompt or self.mail
        if (
            not (self.bulk.waiting or (self.prompt and self.mail))
            and len(queue) <= limit
            and self.waiting_bytes <= min(bytes_left, self._config.piece_bytes)
            and (queue is self.prompt or self.waiting_bytes <= room)
        ):  # nearly always: all of it, without looking at each
            messages = list(queue)
            queue.clear()
            return messages, 0 if queue is self.prompt else self.waiting_bytes
        messages = []
        while len(messages) < limit and bytes_left > 0:
            message = self._next_of(self.prompt)
            if message is None:
                break
            messages.append(message)
            bytes_left -= message.size
        cost = 0
        # the last one may be larger than the credit: else it could never be sent
        while len(messages) < limit and bytes_left > 0 and cost < room:
            message = self._next_of(self.mail)
            if message is None:
                break
            messages.append(message)
            bytes_left -= message.size
            cost += message.size
        return messages, cost

    def _next_of(self, queue: deque[Outgoing]) -> Outgoing | None:
        """Take the first small message of a queue; large ones before it go to the bulk."""
        if queue is self.mail and self.bulk.has_small:
            return self.bulk.next_small()
        while queue:
            message = queue.popleft()
            if not self.bulk.wants(message):
                return message
            self.bulk.put(message)
        return None
