"""Sockets: one ZeroMQ socket on an asyncio loop, and the options that all of ours have.

ZeroMQ's descriptor is edge-triggered: it becomes readable once, and any call of the socket
may use that up.  `Socket` hides it: it looks again after every send and after every bounded
read, and lets the loop go on in between.

Used by `net.endpoint`, on the node's loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import zmq

if TYPE_CHECKING:
    from splice.config import Config
    from splice.net.wire import Buffer

READS: Final = 32
"""Messages read in one turn of the loop: each is a frame of up to a thousand."""

UNCOPIED_BYTES: Final = 64 * 1024
"""Parts from this size on are handed over by reference; below it a copy is cheaper."""

MAX_PART_BYTES: Final = 16 * 2**20
"""A larger part cuts the connection, so that no stranger can make us take memory.  Nobody sends
one: large messages go in pieces of at most half of that (`splice.net.bulk`)."""

MOST_MILLISECONDS: Final = 2**31 - 1
"""An option of a socket is an int of C: 24 days."""

CURVE_BYTES: Final = 1024
"""Room for what CURVE adds to a part (33 bytes in libzmq 4.3), which counts as well."""

QUEUED_MESSAGES: Final = 1000
"""High-water mark of what is to be sent on a connection.  Channels bound the bytes; this keeps
a stalled connection from taking frame after frame without end.

There is none for what has come in: libzmq 4.3 stops reading at that mark, and when the other
side then hangs up, its next heartbeat fails an assertion and aborts the OS process.  What may
come in is bounded by the credit that channels grant, so nothing is lost with the mark."""

_LAST: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_READABLE: Final = int(zmq.POLLIN)
# As whole numbers: an operation on pyzmq's enumerations takes a microsecond.


def make_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, config: Config
) -> zmq.Socket[bytes]:
    """Return a socket with every option that protects it or us."""
    socket = context.socket(kind)
    socket.maxmsgsize = MAX_PART_BYTES + CURVE_BYTES
    socket.sndhwm = QUEUED_MESSAGES
    socket.rcvhwm = 0
    socket.linger = 0  # see `Socket.close`
    socket.handshake_ivl = milliseconds(config.handshake_timeout)
    # ZeroMQ's own thread answers, also while ours is busy; three chances, and a dead
    # connection is told long before its node counts as lost
    socket.heartbeat_ivl = milliseconds(
        min(config.beat_interval, config.loss_timeout / 10)
    )
    socket.heartbeat_timeout = milliseconds(config.loss_timeout * 0.3)
    return socket


Around = Callable[[Callable[[], None]], None]
"""Calls what it is given, exactly once."""


def make_monitor(
    socket: zmq.Socket[bytes], events: int, names: Iterator[int]
) -> zmq.Socket[bytes]:
    """Return a socket on which libzmq tells what becomes of the connections of `socket`.

    Unbounded, as pyzmq's own is not: libzmq's thread, which tells it, would wait for a busy
    node to read on, and leave the heartbeats of all its connections unanswered.

    Args:
        names: tells monitors of one context apart.
    """
    where = f"inproc://monitor-{next(names)}"
    socket.monitor(where, events)
    monitor: zmq.Socket[bytes] = socket.context.socket(zmq.PAIR)
    monitor.rcvhwm = monitor.linger = 0
    monitor.connect(where)
    return monitor


class Socket:
    """One ZeroMQ socket whose messages go to a callback.

    Args:
        loop: where it is read.
        socket: owned, and closed with this one.
        on_parts: gets each message; what it raises goes to the loop's exception handler.
        around: is called by the loop with what reads the messages, to do what they ask for in
            the same turn of the loop: the next one would cost a fifth of a round trip.
    """

    __slots__ = (
        "_around", "_descriptor", "_has_looked", "_is_scheduled", "_is_serving", "_loop",
        "_on_parts", "_serve", "frame", "zmq",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        on_parts: Callable[[list[Buffer]], None],
        around: Around | None = None,
    ) -> None:
        self._loop = loop
        self._around = around
        self._serve = self.serve if around is None else partial(around, self.serve)
        self.zmq = socket
        self.frame: zmq.Frame | None = None  # first of the message at hand
        self._on_parts = on_parts
        self._is_scheduled = False
        self._is_serving = False  # then it looks again by itself
        self._has_looked = False
        self._descriptor = int(socket.fd)
        on_edge = self._serve if around is None else self._on_edge
        loop.add_reader(self._descriptor, on_edge)
        self.look_again()

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send one message.

        Raises:
            zmq.Again: the queue is full; nothing was sent.
            zmq.ZMQError: EHOSTUNREACH, the connection is gone.
        """
        last = len(parts) - 1
        try:
            for place, part in enumerate(parts):
                flags = _MORE if place < last else _LAST
                size = part.nbytes if type(part) is memoryview else len(part)
                if size < UNCOPIED_BYTES:
                    self.zmq.send(part, flags)
                else:
                    # pyzmq keeps the object, but only a view keeps a bytearray from moving
                    self.zmq.send(memoryview(part), flags, copy=False)
        finally:  # what was refused may have used the edge up, too
            if not self._is_serving:
                self.look_again()

    def _on_edge(self) -> None:
        """Hand on the first message, and have it answered, before looking for others.

        There is one, nearly always, and its answer has this socket look again anyway: to ask
        ZeroMQ costs as much as to send.
        """
        assert self._around is not None
        self._has_looked = False
        try:
            self._around(self._serve_first)
        finally:
            if not self._has_looked:
                self.look_again()

    def _serve_first(self) -> None:
        self._is_serving = True
        try:
            self.read_one()
        finally:
            self._is_serving = False

    def serve(self) -> None:
        """Hand on the messages that are there, up to a limit, then let the loop go on."""
        self._is_scheduled = False
        self._is_serving = True
        is_drained = False
        try:
            for _ in range(READS):
                if not self.read_one():
                    is_drained = True
                    return
        finally:
            self._is_serving = False
            if not is_drained:
                self.look_again()

    def read_one(self) -> bool:
        """Hand on one message; returns whether there was one."""
        # asked first: an Again that is raised costs ten times as much
        if self.zmq.closed or not int(self.zmq.get(_EVENTS)) & _READABLE:
            return False
        frame = self.frame = self.zmq.recv(_LAST, copy=False)
        parts: list[Buffer] = [_content(frame)]
        while frame.more:
            frame = self.zmq.recv(_LAST, copy=False)
            parts.append(_content(frame))
        self._on_parts(parts)
        self.frame = None  # it may hold megabytes
        return True

    def look_again(self) -> None:
        """Come back in the loop's next turn if something is there; no edge will tell."""
        self._has_looked = True
        if self._is_scheduled or self.zmq.closed:
            return
        if int(self.zmq.get(_EVENTS)) & _READABLE:
            self._is_scheduled = True
            self._loop.call_soon(self._serve)

    def close(self) -> None:
        """Close the socket; what is unsent is dropped.

        It never lingers: a message that comes meanwhile would stop the input, with the
        consequence told at `QUEUED_MESSAGES`.  Who has something to say waits for an answer.
        """
        if self.zmq.closed:
            return
        self._loop.remove_reader(self._descriptor)
        self.zmq.monitor(None, 0)
        self.zmq.close(0)


def _content(frame: zmq.Frame) -> Buffer:
    """Return a part as it was sent, a large one uncopied."""
    return frame.bytes if len(frame) < UNCOPIED_BYTES else frame.buffer


def milliseconds(seconds: float) -> int:
    """Return what ZeroMQ counts in, within its bounds: it takes 0 for no limit."""
    return max(1, min(round(seconds * 1000), MOST_MILLISECONDS))
