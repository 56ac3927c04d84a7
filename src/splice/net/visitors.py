"""Visitors: who stands at a listening socket, and who of them were strangers.

libzmq tells of each connection when it is accepted and when it ends, by its descriptor, and
of each failure without one; but a failure and the end that it leads to follow each other::

    ACCEPTED fd ---> (HANDSHAKE_FAILED why) ---> DISCONNECTED fd
          '--> HANDSHAKE_SUCCEEDED ------------> DISCONNECTED fd
                      '--> has_spoken(fd), for the first message --> DISCONNECTED fd

Who goes without having said a word is reported once in a while.  One whose handshake succeeded
may be a member all the same: of two nodes that dial each other, one hangs up.  Used by
`net.endpoint`, on the node's loop only.
"""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Callable
from typing import Final

import zmq

from splice.log import WARN_SECONDS, Seldom, logger
from splice.net.keys import Keys
from splice.net.wire import Buffer

WATCHED: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""What `Visitors.on_event` has to be told."""

_NO_KEY: Final = (
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL),
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH),
)
_EVENT: Final = struct.Struct("=hi")
_CREDENTIALS: Final = struct.Struct(
    "3i"
)  # "struct ucred" of Linux: OS process, user, group
_log = logger("net")


class Visitors:
    """The connections of one listening socket.

    Args:
        where: it listens, for the log.
        keys: whose fingerprint and source are shown to whoever has others.
        clock: the loop's.
        on_descriptor: is called with the descriptor of each one who comes.

    Attributes:
        present: names of those who are connected, by descriptor.
    """

    def __init__(
        self,
        where: str,
        keys: Keys,
        clock: Callable[[], float],
        on_descriptor: Callable[[int], None],
    ) -> None:
        self.present: dict[int, str] = {}
        self._where = where
        self._keys = keys
        self._clock = clock
        self._on_descriptor = on_descriptor
        self._unheard: set[int] = set()
        self._failure = 0
        self._silent = 0
        self._without_key = Seldom(WARN_SECONDS)
        self._strangers = Seldom(WARN_SECONDS)
        self._leavers = Seldom(WARN_SECONDS)

    def on_event(self, message: list[Buffer]) -> None:
        """Take in what libzmq tells of the socket."""
        event, value = _EVENT.unpack(message[0])
        if event == zmq.EVENT_ACCEPTED:
            self.present[value] = _name_of(value)
            self._unheard.add(value)
            self._on_descriptor(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._on_left(value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._silent += 1
        else:
            self._failure = event
        self._settle()

    def has_spoken(self, frame: zmq.Frame | None) -> None:
        """Note whose message this is: no stranger's."""
        if frame is None:
            return
        descriptor = int(frame.get(zmq.SRCFD))
        if descriptor in self._unheard:
            self._unheard.discard(descriptor)
            self._silent -= 1  # its handshake may be told of later
            self._settle()

    def _settle(self) -> None:
        # a success bears no descriptor, so they are only counted; nobody is left to be meant
        if not self._unheard:
            self._silent = 0

    def _on_left(self, descriptor: int) -> None:
        name = self.present.pop(descriptor, "somebody")
        failure, self._failure = self._failure, 0
        if descriptor not in self._unheard:
            return
        self._unheard.discard(descriptor)
        was_admitted = not failure and self._silent > 0
        self._silent -= was_admitted
        if was_admitted or failure == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            # silent, or gone again: a member that ended just then looks the same
            if self._leavers.passes(self._clock()):
                _log.info(
                    "%s connected to %s and said nothing (and %d others since the last "
                    "such line)",
                    name,
                    self._where,
                    self._leavers.missed,
                )
        elif failure in _NO_KEY:  # perhaps a member whose key is to be mended
            mine = self._keys
            self._warn(
                self._without_key,
                name,
                "who has not the key of this cluster (fingerprint "
                f"{mine.fingerprint}, from {mine.source})",
            )
        else:
            self._warn(self._strangers, name, "who does not speak splice's protocol")

    def _warn(self, seldom: Seldom, name: str, what: str) -> None:
        if seldom.passes(self._clock()):
            _log.warning(
                "refused a connection to %s from %s, %s (and %d others since the last such "
                "line; the next one comes in %d s at the earliest)",
                self._where,
                name,
                what,
                seldom.missed,
                WARN_SECONDS,
            )


def _name_of(descriptor: int) -> str:
    """Return who is at the other end of a connection of libzmq's, as far as one can tell."""
    try:
        it = socket.socket(fileno=descriptor)
    except OSError:  # it is gone already
        return "somebody"
    try:
        if it.family == socket.AF_UNIX:
            return _process_of(it)
        host, port = it.getpeername()[:2]
        return f"{host}:{port}"
    except OSError:
        return "somebody"
    finally:
        it.detach()  # it stays libzmq's


def _process_of(it: socket.socket) -> str:
    if not hasattr(socket, "SO_PEERCRED"):  # no Linux
        return "an OS process of this machine"
    packed = it.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    number, user, _ = _CREDENTIALS.unpack(packed)
    return f"OS process {number} of user {_user(user)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run under an id that nobody has
        return str(uid)
