"""Endpoint: the ZeroMQ sockets of a node, on its own loop; a `Wire`.

It moves parts and tells what becomes of connections; what they mean is decided above::

     tcp://host:port   ROUTER, CURVE, ZAP --.                       .-- on_parts
     ipc://folder/...  ROUTER --------------+-- numbers <-> Listener+-- on_up
     a DEALER for each dial, watched -------'                       '-- on_down

An address of this machine is dialled over ipc where the far node has it.  A dialled
connection that fails is told and closed, never tried again here.  One that somebody else
dialled gets its number with its first message.  Whoever hangs up says so with a message of
one empty part, for a ROUTER is not told when a DEALER goes, and hears the other side out
(`splice.net.dialled`).

Everything happens on the node's loop.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from splice.config import Config
from splice.log import logger
from splice.net import descriptors, places
from splice.net.dialled import GOODBYE, Dialled, Setting
from splice.net.keys import Keys
from splice.net.sockets import Around, Socket, make_monitor, make_socket
from splice.net.visitors import WATCHED, Visitors
from splice.net.wire import Buffer, Down, Listener

REMEMBERED: Final = 1024
"""Callers that were hung up on and are remembered: what they had under way is dropped.
Forgetting one only means to hang up again."""

MAX_SOCKETS: Final = 65535
"""ZeroMQ's limit; its default of 1023 would be reached at five hundred dialled nodes."""

CALLERS_WAITING: Final = 1024
"""Connections not yet accepted: many nodes of a cluster may start at once."""

_log = logger("net")


class _Server:
    """A listening ROUTER, who stands at it, and the numbers of those who have spoken."""

    __slots__ = ("gone", "monitor", "numbers", "socket", "visitors")

    def __init__(self, visitors: Visitors) -> None:
        self.socket: Socket
        self.monitor: Socket
        self.visitors = visitors
        self.numbers: dict[bytes, int] = {}
        self.gone: set[bytes] = set()


class Endpoint:
    """The sockets of one node.

    Args:
        loop: the node's.
        config: where to listen, and the times.
        keys: who is a member.
        listener: is told what happens; never out of a call of this object but `pump`.
        around: see `splice.net.sockets.Socket`; of those that carry frames.

    Raises:
        OSError: it cannot listen at the configured address; the text says why.
    """

    addresses: tuple[str, ...]
    """Where others reach us: tcp, then ipc where there is a safe folder for it."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        keys: Keys,
        listener: Listener,
        around: Around | None = None,
    ) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        folder = places.ipc_folder(os.environ)
        self._setting = Setting(loop, config, keys, listener, around, context, folder)
        self._numbers = itertools.count(1)
        self._dialled: dict[int, Dialled] = {}
        self._callers: dict[int, tuple[_Server, bytes]] = {}
        self._servers: list[_Server] = []
        self._others: list[Socket] = []
        self._is_closing = False
        self._socket_file: Path | None = None
        self._looking: asyncio.TimerHandle | None = None
        try:
            self._open()
        except BaseException:
            self.close(0)
            raise

    # ---------------------------------------------------------------- Wire

    def dial(self, address: str) -> int:
        """Begin a connection; `on_up` or `on_down` with its number follows later.

        Args:
            address: ``tcp://host:port``, or ``ipc://path`` on this machine.

        Raises:
            ValueError: the address is malformed.
        """
        number = next(self._numbers)
        self._dialled[number] = Dialled(
            self._setting, number, address, self._forget_dialled
        )
        return number

    def send(self, connection: int, parts: Sequence[Buffer]) -> bool:
        """Send one message; False: full or gone, nothing was sent.

        Parts of 64 KiB and more are not copied: they must not change until they are sent.
        """
        dialled = self._dialled.get(connection)
        if dialled is not None:
            return dialled.send(parts)
        if connection not in self._callers:
            return False
        server, routing_id = self._callers[connection]
        try:
            server.socket.send([routing_id, *parts])
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._setting.loop.call_soon(self._on_caller_gone, connection)
            return False
        return True

    def hang_up(self, connection: int) -> None:
        """End a connection; the far side is told, `on_down` does not follow here."""
        dialled = self._dialled.get(connection)
        if dialled is not None:
            dialled.hang_up()
        elif connection in self._callers:
            self.send(connection, [GOODBYE])
            self._forget_caller(connection)

    def pump(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for something to read, and hand it on.

        For the loop's own thread while the loop stands still; what the loop would do
        besides (timers, name look-ups) stands still too.
        """
        sockets = {one.zmq: one for one in self._all_sockets()}
        poller = zmq.Poller()
        for each in sockets:
            poller.register(each, zmq.POLLIN)
        for ready, _ in poller.poll(round(timeout * 1000)):
            sockets[ready].serve()

    def close(self, linger: float) -> None:
        """Say goodbye everywhere, give it `linger` seconds to be heard, close everything.

        Blocks as long as nodes that are connected go on without hearing it.
        """
        if self._setting.context.closed:
            return
        self._is_closing = True
        # now, while the port is ours: a successor on it has a file of the same name
        self._hide_ipc()
        self._part(linger)
        for dialled in list(self._dialled.values()):
            dialled.close()
        for each in self._servers:
            each.socket.close()
        for other in self._others:
            other.close()
        self._setting.context.term()

    def _part(self, linger: float) -> None:
        """Hang up everywhere and wait until all others have done so too."""
        for number in [*self._dialled, *self._callers]:
            self.hang_up(number)
        clock = self._setting.loop.time
        deadline = clock() + linger
        while (left := deadline - clock()) > 0 and (
            self._dialled or any(each.visitors.present for each in self._servers)
        ):
            self.pump(left)

    # ---------------------------------------------------------------- to listen

    def _open(self) -> None:
        # before any bind: ZeroMQ would let everybody in who comes earlier
        zap = self._setting.context.socket(zmq.REP)
        zap.linger = 0
        self._others.append(Socket(self._setting.loop, zap, partial(self._admit, zap)))
        zap.bind("inproc://zeromq.zap.01")
        host, port = self._listen_tcp()
        self.addresses = (places.join_address(self._advertised(host), port),)
        folder = self._setting.folder
        if folder is not None:
            path = self._socket_file = places.ipc_path(folder, host, port)
            with places.swept(folder):
                self._listen(self._router(), f"ipc://{path}")
            self.addresses += (f"ipc://{path}",)
            self._look_at_descriptors()

    def _look_at_descriptors(self) -> None:
        loop = self._setting.loop
        self._looking = loop.call_later(
            descriptors.LOOK_SECONDS, self._look_at_descriptors
        )
        self._on_descriptor(descriptors.next_one())

    def _on_descriptor(self, number: int) -> None:
        """Let nobody come over ipc any more when descriptors are short; those here stay."""
        if self._socket_file is not None and descriptors.are_short(number):
            self._hide_ipc()
            _log.warning(
                "%s has opened %d files, and may not open many more: nodes of this machine "
                "connect over tcp from now on; raise the limit (ulimit -n)",
                self.addresses[0],
                number,
            )

    def _hide_ipc(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._socket_file is not None:
            self._socket_file.unlink(missing_ok=True)
            self._socket_file = None

    def _listen_tcp(self) -> tuple[str, int]:
        config = self._setting.config
        host = config.address.strip("[]")
        if not places.is_numeric(host):
            host = places.look_up(host)
        router = self._router()
        router.ipv6 = ":" in host
        self._setting.keys.guard(router)
        self._listen(router, places.join_address(host, config.port or "*"))
        return places.split_address(router.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))

    def _advertised(self, host: str) -> str:
        if self._setting.config.advertise:
            return self._setting.config.advertise.strip("[]")
        return places.primary_host() if host in places.WILDCARDS else host

    def _router(self) -> zmq.Socket[bytes]:
        router = make_socket(self._setting.context, zmq.ROUTER, self._setting.config)
        router.router_mandatory = True  # or it drops what it cannot send
        router.backlog = CALLERS_WAITING
        return router

    def _listen(self, router: zmq.Socket[bytes], where: str) -> None:
        loop = self._setting.loop
        server = _Server(
            Visitors(where, self._setting.keys, loop.time, self._on_descriptor)
        )
        monitor = make_monitor(router, WATCHED, self._setting.monitors)
        server.monitor = Socket(loop, monitor, server.visitors.on_event)
        self._others.append(server.monitor)
        on_called = partial(self._on_called, server)
        server.socket = Socket(loop, router, on_called, self._setting.around)
        self._servers.append(server)
        try:
            router.bind(where)
        except zmq.ZMQError as error:
            raise OSError(
                error.errno,
                f"cannot listen on {where}: {error.strerror}; choose another address or "
                "port (port 0 takes a free one)",
            ) from error

    def _admit(self, zap: zmq.Socket[bytes], request: list[Buffer]) -> None:
        """Answer ZeroMQ's question who may connect (RFC 27): the cluster's members."""
        version, request_id = request[:2]
        is_member = (
            request[5] == b"CURVE"
            and z85.encode(bytes(request[6])) == self._setting.keys.member.public
        )
        verdict = [b"200", b"member"] if is_member else [b"400", b"no member"]
        zap.send_multipart([version, request_id, *verdict, b"", b""])

    # ---------------------------------------------------------------- callers

    def _on_called(self, server: _Server, parts: list[Buffer]) -> None:
        routing_id = bytes(parts.pop(0))
        if routing_id in server.gone:
            return
        number = server.numbers.get(routing_id)
        if parts == [GOODBYE] or self._is_closing:
            self._answer_goodbye(server, routing_id, number)
            return
        if number is None:
            number = self._number(server, routing_id)
        self._setting.listener.on_parts(number, parts)

    def _number(self, server: _Server, routing_id: bytes) -> int:
        """Note who has spoken for the first time."""
        while server.monitor.read_one():  # libzmq told there of who came, before this
            pass
        server.visitors.has_spoken(server.socket.frame)
        number = server.numbers[routing_id] = next(self._numbers)
        self._callers[number] = server, routing_id
        return number

    def _answer_goodbye(
        self, server: _Server, routing_id: bytes, number: int | None
    ) -> None:
        """Say goodbye too: whoever said it waits for that."""
        if number is None:
            self.hang_up(self._number(server, routing_id))
            return
        self.send(number, [GOODBYE])
        self._on_caller_gone(number)

    def _on_caller_gone(self, connection: int) -> None:
        if connection in self._callers:
            self._forget_caller(connection)
            self._setting.listener.on_down(connection, Down.DROPPED)

    def _forget_caller(self, connection: int) -> None:
        server, routing_id = self._callers.pop(connection)
        del server.numbers[routing_id]
        if len(server.gone) >= REMEMBERED:
            server.gone.clear()
        server.gone.add(routing_id)

    def _forget_dialled(self, number: int) -> None:
        self._dialled.pop(number, None)

    def _all_sockets(self) -> list[Socket]:
        sockets = self._others + [server.socket for server in self._servers]
        for dialled in self._dialled.values():
            sockets += dialled.sockets()
        return [one for one in sockets if not one.zmq.closed]
