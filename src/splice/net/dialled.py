"""Dialled: a connection that we dialled, from the dial to its end.

Its DEALER is watched by a monitor, and what libzmq tells there is turned into one of four
ends (`Down`), each of which means something else to `Peers`::

    dial --look up--> connect --shake hands--> up --------> DROPPED  broken, or hung up
             |           |            |'-------------------> DENIED   another key
             |           '-- probe ---|--------------------> REFUSED  nobody listens there
             |           |            '--------------------> SILENT   frozen, or too busy
             '-----------'---------------------------------> DROPPED  cut off

After an end nothing is tried again here.

Whoever hangs up says goodbye, goes on reading until the other side has said it too, and drops
what it reads.  Only then the socket is closed, and never left to linger
(`splice.net.sockets.Socket.close` says why).

Used by `net.endpoint`, on the node's loop only.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import zmq

from splice.config import Config
from splice.log import logger
from splice.net import places
from splice.net.keys import Keys
from splice.net.sockets import Around, Socket, make_monitor, make_socket, milliseconds
from splice.net.wire import Buffer, Down, Listener

GOODBYE: Final = b""
"""The only part of the last message of a connection; frames are never empty."""

GOODBYE_SECONDS: Final = 1.0
"""For the answer to a goodbye, and so for what was sent just before it; more than a machine
next door needs."""

HANDSHAKE_SHARE: Final = 2 / 3
"""Of the handshake's time, for ZeroMQ's own part: what it tells must come before the time of
the whole is over, for only it knows whether the connection was taken."""

RETRY_MS: Final = 100
"""Before ZeroMQ tries a failed handshake again; the second failure tells a wrong key from a
node that ended at that moment, well within a second."""

_EVENT: Final = struct.Struct("=hi")
_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_WATCHED: Final = (
    _FAILED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
)
_log = logger("net")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all connections of an endpoint share."""

    loop: asyncio.AbstractEventLoop
    config: Config
    keys: Keys
    listener: Listener
    around: Around | None
    context: zmq.Context[zmq.Socket[bytes]]
    folder: Path | None
    monitors: Iterator[int] = field(default_factory=count)


class Dialled:
    """A connection that we dialled.

    Args:
        setting: of the endpoint.
        number: the connection's.
        address: ``tcp://host:port`` or ``ipc://path``.
        forget: called at the connection's end, before the listener is told.

    Raises:
        ValueError: the address is malformed.
    """

    __slots__ = (
        "_began", "_dealer", "_failures", "_forget", "_has_ended", "_host", "_ipc",
        "_is_connected", "_is_parting", "_lookup", "_number", "_port",
        "_probe", "_setting", "_timer", "_watch", "is_up",
    )  # fmt: skip

    def __init__(
        self,
        setting: Setting,
        number: int,
        address: str,
        forget: Callable[[int], object],
    ) -> None:
        self.is_up = False
        self._setting = setting
        self._number = number
        self._forget = forget
        self._began = setting.loop.time()
        self._host = ""
        self._port = 0
        self._ipc: Path | None = None
        self._is_connected = False
        self._is_parting = False
        self._has_ended = False
        self._failures = 0
        self._dealer: Socket | None = None
        self._watch: Socket | None = None
        self._lookup: asyncio.Future[str] | None = None
        self._probe: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begin(address)

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Send one message; False: full, or it does not stand."""
        if not self.is_up or self._dealer is None:
            return False
        try:
            self._dealer.send(parts)
        except zmq.Again:
            return False
        return True

    def hang_up(self) -> None:
        """Say goodbye and wait for the answer; the listener hears no more of it."""
        if self._is_parting or self._has_ended:
            return
        if not self.is_up:
            self.close()
            return
        self._is_parting = True
        self.send(
            [GOODBYE]
        )  # when it is full, the far side will see the connection end
        self.is_up = False
        self._timer = self._setting.loop.call_later(GOODBYE_SECONDS, self.close)

    def close(self) -> None:
        """Close it now; the listener is not told."""
        self._release()
        self._forget(self._number)

    def sockets(self) -> list[Socket]:
        """Return its sockets, as far as there are any."""
        return [one for one in (self._dealer, self._watch) if one is not None]

    # ---------------------------------------------------------------- to connect

    def _begin(self, address: str) -> None:
        if address.startswith("ipc://"):
            self._attempt(self._connect_ipc, Path(address.removeprefix("ipc://")))
            return
        self._host, self._port = places.split_address(address)
        if places.is_numeric(self._host):
            self._attempt(self._connect)
            return
        # on a thread: a name server may take seconds
        loop = self._setting.loop
        self._lookup = loop.run_in_executor(None, places.look_up, self._host)
        self._lookup.add_done_callback(self._on_looked_up)

    def _on_looked_up(self, found: asyncio.Future[str]) -> None:
        if self._has_ended or found.cancelled():
            return
        error = found.exception()
        if error is None:
            self._host = found.result()
            self._attempt(self._connect)
            return
        _log.info("no address found for the host %s: %s", self._host, error)
        self._end(Down.DROPPED)

    def _attempt(self, function: Callable[..., None], *args: Path) -> None:
        """Call a function; what the system refuses it is an end like others, a turn later."""
        try:
            function(*args)
        except (OSError, zmq.ZMQError) as error:
            self._close_sockets()
            _log.warning("cannot connect to another node: %s", error)
            self._setting.loop.call_soon(self._end, Down.DROPPED)

    def _connect(self) -> None:
        folder = self._setting.folder
        near = folder and places.find_ipc(folder, self._host, self._port)
        if near:
            self._connect_ipc(near)
            return
        dealer = self._make_dealer()
        dealer.ipv6 = ":" in self._host
        self._setting.keys.unlock(dealer)
        self._watch_over(dealer, places.join_address(self._host, self._port))

    def _connect_ipc(self, path: Path) -> None:
        self._ipc = path
        self._watch_over(self._make_dealer(), f"ipc://{path}")

    def _make_dealer(self) -> zmq.Socket[bytes]:
        config = self._setting.config
        dealer = make_socket(self._setting.context, zmq.DEALER, config)
        dealer.immediate = (
            True  # nothing is queued for a connection that does not stand
        )
        patience = config.handshake_timeout
        dealer.handshake_ivl = milliseconds(patience * HANDSHAKE_SHARE)
        dealer.connect_timeout = milliseconds(patience)
        dealer.reconnect_ivl = RETRY_MS
        return dealer

    def _watch_over(self, dealer: zmq.Socket[bytes], where: str) -> None:
        loop = self._setting.loop
        self._dealer = Socket(loop, dealer, self._on_parts, self._setting.around)
        watch = make_monitor(dealer, _WATCHED, self._setting.monitors)
        self._watch = Socket(loop, watch, self._on_event)
        dealer.connect(where)

    # ---------------------------------------------------------------- what happens to it

    def _on_parts(self, parts: list[Buffer]) -> None:
        if self._has_ended:
            return
        if parts == [GOODBYE]:
            self._end(Down.DROPPED)
        elif not self._is_parting:
            self._setting.listener.on_parts(self._number, parts)

    def _on_event(self, message: list[Buffer]) -> None:
        if self._has_ended:
            return
        event = _EVENT.unpack(message[0])[0]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.is_up = True
            self._setting.listener.on_up(self._number)
        elif event == zmq.EVENT_CONNECTED:
            self._is_connected = True
        elif event & _FAILED:
            self._on_failed_handshake(event)
        elif event == zmq.EVENT_DISCONNECTED and (self.is_up or self._is_parting):
            self._hear_out()
            self._end(Down.DROPPED)
        elif event == zmq.EVENT_CONNECT_RETRIED:
            if not self._is_connected:
                self._find_out()
            self._is_connected = False

    def _on_failed_handshake(self, event: int) -> None:
        """Tell a wrong key from a far node that is busy, or that ended just now.

        A node with another key closes the connection without a word, as a dying one does;
        so the second attempt counts: a dead node refuses that.  A busy one lets it expire.
        """
        self._failures += 1
        if self._waited() > 0.9 * HANDSHAKE_SHARE:
            self._end(Down.SILENT)
        elif event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL or self._failures > 1:
            self._end(Down.DENIED)

    def _hear_out(self) -> None:
        """Read the far side's last words: the connection ended behind them."""
        dealer = self._dealer
        while dealer is not None and dealer.read_one():
            pass

    def _waited(self) -> float:
        """Return how much of its time has gone: from 0 to 1."""
        setting = self._setting
        return (setting.loop.time() - self._began) / setting.config.handshake_timeout

    # ---------------------------------------------------------------- refused, or cut off?

    def _find_out(self) -> None:
        """Find out why nobody can be reached: only a refusal proves that nobody listens.

        ZeroMQ tells the same of a refused connection and of a network that is down, and
        the first one means that a node is dead.  A bare connect tells which it is.
        """
        self._close_sockets()
        if self._waited() > 0.9:
            self._end(Down.DROPPED)
        elif self._ipc is not None:
            self._end(Down.DROPPED if places.is_alive(self._ipc) else Down.REFUSED)
        else:
            self._attempt(self._begin_probe)

    def _begin_probe(self) -> None:
        self._probe, result = places.begin_probe(self._host, self._port)
        if result != errno.EINPROGRESS:
            self._judge(result)
            return
        loop = self._setting.loop
        loop.add_writer(self._probe, self._on_probed, self._probe)
        patience = self._setting.config.handshake_timeout
        self._timer = loop.call_later(patience, self._end, Down.DROPPED)

    def _on_probed(self, probe: socket.socket) -> None:
        self._judge(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _judge(self, result: int) -> None:
        is_refused = result == errno.ECONNREFUSED
        self._end(Down.REFUSED if is_refused else Down.DROPPED)

    # ---------------------------------------------------------------- to end

    def _end(self, cause: Down) -> None:
        if self._has_ended:
            return
        self.close()
        if not self._is_parting:
            self._setting.listener.on_down(self._number, cause)

    def _release(self) -> None:
        self._has_ended = True
        self.is_up = False
        self._close_sockets()
        if self._lookup is not None:
            self._lookup.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None:
            self._setting.loop.remove_writer(self._probe)
            self._probe.close()

    def _close_sockets(self) -> None:
        for each in self.sockets():
            each.close()
