"""Endpoints on real sockets: loopback and ipc, friends and strangers."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zmq

from splice.config import Config
from splice.net import places, sockets
from splice.net.endpoint import Endpoint
from splice.net.keys import Keys
from splice.net.sockets import Around, milliseconds
from splice.net.wire import Buffer, Down

KEYS = Keys(bytes(32))
OTHER_KEYS = Keys(bytes([1] * 32))


class Ear:
    """A listener that keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.up: list[int] = []
        self.down: list[tuple[int, Down]] = []
        self.parts: list[tuple[int, list[Buffer]]] = []
        self.answer: Callable[[int, list[Buffer]], None] | None = None
        self._changed = asyncio.Event()

    def on_up(self, connection: int) -> None:
        self.up.append(connection)
        self._changed.set()

    def on_parts(self, connection: int, parts: list[Buffer]) -> None:
        self.parts.append((connection, parts))
        if self.answer is not None:
            self.answer(connection, parts)
        self._changed.set()

    def on_down(self, connection: int, cause: Down) -> None:
        self.down.append((connection, cause))
        self._changed.set()

    async def until(self, condition: Callable[[], Any], seconds: float = 10) -> Any:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
        return condition()

    async def first_parts(self) -> tuple[int, list[Buffer]]:
        await self.until(lambda: self.parts)
        return self.parts.pop(0)

    async def first_down(self, seconds: float = 10) -> tuple[int, Down]:
        await self.until(lambda: self.down, seconds)
        return self.down.pop(0)


class End:
    """An endpoint and its ear."""

    def __init__(
        self, keys: Keys = KEYS, around: Around | None = None, **settings: Any
    ) -> None:
        self.ear = Ear()
        self.wire = Endpoint(
            loop=asyncio.get_running_loop(),
            config=Config(**settings),
            keys=keys,
            listener=self.ear,
            around=around,
        )
        self.tcp = self.wire.addresses[0]
        self.port = places.split_address(self.tcp)[1]

    @property
    def ipc(self) -> Path:
        return Path(self.wire.addresses[1].removeprefix("ipc://"))

    async def reach(self, other: "End", address: str | None = None) -> tuple[int, int]:
        """Connect to another; returns the connection's number here and there."""
        here = self.wire.dial(address or other.tcp)
        await self.ear.until(lambda: here in self.ear.up)
        assert self.wire.send(here, [b"hello"])
        there, parts = await other.ear.first_parts()
        assert parts == [b"hello"]
        return here, there


@contextlib.asynccontextmanager
async def ends(*settings: dict[str, Any]) -> AsyncIterator[list[End]]:
    made = [End(**each) for each in settings]
    try:
        yield made
    finally:
        for end in made:
            end.wire.close(0)


@pytest.fixture(autouse=True)
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # not pytest's tmp_path: the path of a socket has room for some 100 characters
    with TemporaryDirectory(prefix="splice-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)
        gc.collect()  # what was left open warns here, in the test that left it


@pytest.fixture
def no_ipc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make nodes of this machine talk over tcp, as if they were on two."""
    monkeypatch.setattr(places, "ipc_folder", lambda _environ: None)


Story = Callable[[], Awaitable[None]]


def run(story: Story) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(limited())


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    if request.param == "tcp":
        request.getfixturevalue("no_ipc")
    return str(request.param)


both = pytest.mark.parametrize("transport", ["tcp", "ipc"], indirect=True)


# ------------------------------------------------------------------- exchange


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, 1), (0.0004, 1), (1.5, 1500), (1e9, 2**31 - 1)]
)
def test_a_time_for_zeromq_is_within_its_bounds_and_never_no_limit(seconds, expected):
    assert milliseconds(seconds) == expected


@both
def test_two_nodes_talk_both_ways_over_one_connection(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            assert other.wire.send(there, [b"header", b"batch"])
            assert await one.ear.first_parts() == (here, [b"header", b"batch"])

    run(story)


@both
def test_messages_arrive_in_the_order_sent(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            for number in range(500):
                assert one.wire.send(here, [b"%d" % number])
            await other.ear.until(lambda: len(other.ear.parts) == 500)
            assert other.ear.parts == [(there, [b"%d" % n]) for n in range(500)]

    run(story)


@both
def test_a_large_buffer_arrives_whole_and_writable(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            here, _ = await one.reach(other)
            array = np.arange(1_000_000, dtype=np.int32)
            assert one.wire.send(here, [b"header", b"batch", array.data.cast("B")])
            _, parts = await other.ear.first_parts()
            assert parts[:2] == [b"header", b"batch"]
            copy = np.frombuffer(parts[2], np.int32)
            assert np.array_equal(copy, array)
            assert copy.flags.writeable

    run(story)


def test_a_large_buffer_is_sent_and_received_without_a_copy(no_ipc, monkeypatch):
    lent = []

    def send(self, data, flags=0, copy=True, **options):
        lent.append((getattr(data, "obj", data), copy))
        return send_really(self, data, flags, copy=copy, **options)

    send_really = zmq.Socket.send
    monkeypatch.setattr(zmq.Socket, "send", send)

    async def story():
        async with ends({}, {}) as (one, other):
            here, _ = await one.reach(other)
            shared = bytearray(1_000_000)
            assert one.wire.send(here, [b"header", shared])
            assert lent[-1][0] is shared
            assert lent[-1][1] is False
            _, parts = await other.ear.first_parts()
            assert isinstance(parts[1], memoryview)

    run(story)


@both
def test_a_flood_both_ways_does_not_stall(transport):
    count = 3000

    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            both_ways = ((one, here, other), (other, there, one))
            sent = {one: 0, other: 0}
            while not all(len(end.ear.parts) == count for end in (one, other)):
                for end, connection, _ in both_ways:
                    while sent[end] < count and end.wire.send(
                        connection, [b"header", bytes(500)]
                    ):
                        sent[end] += 1
                await asyncio.sleep(0)

    run(story)


@both
@pytest.mark.parametrize("answers", [0, 1], ids=["silent", "answered"])
def test_what_waits_behind_a_message_is_read_whether_its_turn_sends_or_not(
    transport, answers
):
    count = 200  # more than are read in a turn of the loop

    async def story():
        talk: list[int] = []

        def turn(bring: Callable[[], None]) -> None:
            bring()
            for there in talk:
                other.wire.send(there, [b"answer"])

        async with ends({}, {"around": turn}) as (one, other):
            here, there = await one.reach(other)
            talk += [there] * answers
            for _ in range(count):
                one.wire.send(here, [b"question"])
            await other.ear.until(lambda: len(other.ear.parts) == count)

    run(story)


def test_a_full_connection_takes_nothing_and_says_so(no_ipc):
    async def story():
        async with ends({}, {}) as (one, other):
            here, _ = await one.reach(other)
            sent = 0
            # nobody reads: the loop stands still
            while one.wire.send(here, [bytes(10_000)]):
                sent += 1
            await other.ear.until(lambda: len(other.ear.parts) == sent)
            assert one.wire.send(here, [b"more"])

    run(story)


def test_a_node_pumps_by_hand_while_its_loop_stands_still():
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            other.wire.send(there, [b"news"])
            for _ in range(100):
                if one.ear.parts:
                    break
                one.wire.pump(0.1)
            assert one.ear.parts == [(here, [b"news"])]
            # and the loop goes on afterwards
            one.wire.send(here, [b"thanks"])
            assert await other.ear.first_parts() == (there, [b"thanks"])

    run(story)


def test_an_error_in_the_listener_does_not_stop_the_reading():
    async def story():
        loop = asyncio.get_running_loop()
        errors: list[Any] = []
        loop.set_exception_handler(lambda _, context: errors.append(context))
        async with ends({}, {}) as (one, other):
            here, _ = await one.reach(other)

            def fail(connection, parts):
                if parts == [b"0"]:
                    raise RuntimeError("listener")

            other.ear.answer = fail
            for number in range(100):
                one.wire.send(here, [b"%d" % number])
            await other.ear.until(lambda: len(other.ear.parts) == 100)
            assert [str(each["exception"]) for each in errors] == ["listener"]

    run(story)


# ------------------------------------------------------------------- where it listens


def test_a_node_listens_on_loopback_and_ipc():
    async def story():
        async with ends({}) as (one,):
            assert one.tcp.startswith("tcp://127.0.0.1:")
            assert one.ipc.is_socket()
            assert stat.S_IMODE(one.ipc.parent.stat().st_mode) == 0o700

    run(story)


def test_a_caller_whose_words_are_read_before_its_coming_is_no_stranger(caplog):
    caplog.set_level(logging.INFO, "splice.net")

    async def story():
        async with ends({}) as (end,):
            server = end.wire._servers[1]
            dealer = zmq.Context.instance().socket(zmq.DEALER)
            dealer.connect(f"ipc://{end.ipc}")
            dealer.send(b"hello")
            # the loop stands still, and then sees the message first
            assert server.socket.zmq.poll(10_000)
            server.socket.serve()
            assert [parts for _, parts in end.ear.parts] == [[b"hello"]]
            end.wire.pump(0)  # of its coming, if that was not read before
            assert server.visitors.present
            dealer.close(0)
            for _ in range(100):  # of its going, in one event or two
                if server.visitors.present:
                    end.wire.pump(0.1)
            assert not server.visitors.present

    run(story)
    assert caplog.text == ""


def test_a_node_of_this_machine_is_reached_over_ipc():
    async def story():
        async with ends({}, {}) as (one, other):
            # only tcp asks for the key: over ipc another one comes as far as the handshake
            async with ends({"keys": OTHER_KEYS}) as (stranger,):
                await stranger.reach(other)
            await one.reach(other)

    run(story)


def test_a_node_is_reached_by_its_ipc_address():
    async def story():
        async with ends({}, {}) as (one, other):
            await one.reach(other, other.wire.addresses[1])

    run(story)


def test_a_node_is_reached_by_the_name_of_its_host():
    async def story():
        async with ends({}, {}) as (one, other):
            await one.reach(other, f"tcp://localhost:{other.port}")

    run(story)


@both
def test_a_node_that_listens_everywhere_tells_the_machines_address(transport):
    async def story():
        async with ends({"address": "0.0.0.0"}, {}) as (one, other):
            assert one.tcp == f"tcp://{places.primary_host()}:{one.port}"
            await other.reach(one)
            await other.reach(one, f"tcp://127.0.0.1:{one.port}")

    run(story)


def test_a_node_tells_the_address_it_is_told_to_tell():
    async def story():
        async with ends({"advertise": "gate.example"}) as (one,):
            assert one.tcp == f"tcp://gate.example:{one.port}"

    run(story)


def _has_ipv6() -> bool:
    return places.is_own_host("::1")


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
@both
def test_a_node_listens_on_ipv6(transport):
    async def story():
        async with ends({"address": "[::1]"}, {"address": "::1"}) as (one, other):
            assert one.tcp == f"tcp://[::1]:{one.port}"
            await one.reach(other)

    run(story)


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do():
    async def story():
        async with ends({}) as (one,):
            with pytest.raises(OSError, match=f"{one.port}.*choose another") as caught:
                End(port=one.port)
            assert caught.value.errno == zmq.EADDRINUSE

    run(story)


def test_a_node_takes_the_port_of_one_that_has_ended():
    async def story():
        async with ends({}) as (one,):
            port = one.port
        async with ends({"port": port}, {}) as (successor, other):
            await other.reach(successor)

    run(story)


# ------------------------------------------------------------------- refused


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stale(folder: Path, port: int) -> Path:
    path = places.ipc_path(folder, "127.0.0.1", port)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    return path


@both
def test_an_address_where_nobody_listens_refuses(transport):
    async def story():
        async with ends({}) as (one,):
            number = one.wire.dial(f"tcp://127.0.0.1:{_free_port()}")
            assert await one.ear.first_down() == (number, Down.REFUSED)

    run(story)


def test_the_socket_file_of_a_dead_node_refuses():
    async def story():
        async with ends({}) as (one,):
            path = _stale(one.ipc.parent, _free_port())
            number = one.wire.dial(f"ipc://{path}")
            assert await one.ear.first_down() == (number, Down.REFUSED)

    run(story)


def test_a_socket_file_that_is_not_there_refuses():
    async def story():
        async with ends({}) as (one,):
            number = one.wire.dial(f"ipc://{one.ipc}-gone")
            assert await one.ear.first_down() == (number, Down.REFUSED)

    run(story)


def test_a_stale_socket_file_does_not_hide_a_living_node(monkeypatch):
    async def story():
        with monkeypatch.context() as patch:
            patch.setattr(places, "ipc_folder", lambda _environ: None)
            other = End()
        async with ends({}) as (one,):
            _stale(one.ipc.parent, other.port)
            await one.reach(other)
            other.wire.close(0)

    run(story)


def test_stale_socket_files_are_swept_by_the_next_node(runtime_folder):
    async def story():
        async with ends({}) as (one,):
            path = _stale(one.ipc.parent, _free_port())
            async with ends({}):
                assert not path.exists()
                assert one.ipc.exists()

    run(story)


def test_a_network_that_is_down_is_no_refusal(monkeypatch, no_ipc):
    def unreachable(host, port):
        return socket.socket(), zmq.ENETUNREACH

    monkeypatch.setattr(places, "begin_probe", unreachable)

    async def story():
        async with ends({}) as (one,):
            number = one.wire.dial(f"tcp://127.0.0.1:{_free_port()}")
            assert await one.ear.first_down() == (number, Down.DROPPED)

    run(story)


def test_a_refusal_from_afar_is_waited_for(monkeypatch, no_ipc):
    begin = places.begin_probe

    def pending(host, port):
        probe, _ = begin(host, port)
        return probe, zmq.EINPROGRESS

    monkeypatch.setattr(places, "begin_probe", pending)

    async def story():
        async with ends({}) as (one,):
            number = one.wire.dial(f"tcp://127.0.0.1:{_free_port()}")
            assert (await one.ear.first_down())[0] == number

    run(story)


def test_a_node_can_pump_while_it_finds_out_why_nobody_is_reached(monkeypatch, no_ipc):
    begin = places.begin_probe
    pumped = []

    async def story():
        async with ends({}) as (one,):

            def pump():
                one.wire.pump(0)
                pumped.append(True)

            def pending(host, port):
                asyncio.get_running_loop().call_soon(pump)
                return begin(host, port)[0], zmq.EINPROGRESS

            monkeypatch.setattr(places, "begin_probe", pending)
            one.wire.dial(f"tcp://127.0.0.1:{_free_port()}")
            await one.ear.first_down()
            assert pumped == [True]

    run(story)


def test_a_host_that_nobody_knows_is_no_refusal(monkeypatch):
    def unknown(host):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(places, "look_up", unknown)

    async def story():
        async with ends({}) as (one,):
            number = one.wire.dial("tcp://nobody.example:5000")
            assert await one.ear.first_down() == (number, Down.DROPPED)

    run(story)


def test_a_malformed_address_is_an_error_at_once():
    async def story():
        async with ends({}) as (one,):
            with pytest.raises(ValueError, match="nonsense"):
                one.wire.dial("nonsense")

    run(story)


# ------------------------------------------------------------------- denied


def test_a_wrong_key_is_denied_within_a_second(no_ipc, caplog):
    async def story():
        async with ends({}, {"keys": OTHER_KEYS}) as (one, stranger):
            number = stranger.wire.dial(one.tcp)
            assert await stranger.ear.first_down(1.0) == (number, Down.DENIED)
            assert one.ear.parts == []
        assert caplog.text.count("somebody without the key") <= 1
        assert KEYS.reveal() not in caplog.text

    run(story)


def test_who_knows_the_servers_key_only_is_denied(no_ipc):
    class Halfway(Keys):
        @property
        def server(self):
            return KEYS.server

    async def story():
        half = Halfway(bytes([2] * 32))
        async with ends({}, {"keys": half}) as (one, stranger):
            number = stranger.wire.dial(one.tcp)
            assert await stranger.ear.first_down(1.0) == (number, Down.DENIED)
            assert one.ear.parts == []

    run(story)


async def _plain_dealer(address: str) -> None:
    """A stranger without any key, as far as the end of its handshake."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(address)
        dealer.send(b"let me in")
        events = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, events.poll, 5000)
        dealer.disable_monitor()
        events.close(0)


async def _says(address: str, what: bytes) -> None:
    """A stranger who says something and hears it out."""
    host, port = places.split_address(address)
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.suppress(OSError):  # it may be thrown out at any word
        writer.write(what)
        writer.write_eof()
        await reader.read()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 32)


@pytest.mark.parametrize(
    "stranger",
    [
        _plain_dealer,
        lambda address: _says(address, os.urandom(1000)),
        lambda address: _says(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        lambda address: _says(address, GREETING + b"\x04\x26\x05READY" + bytes(40)),
        lambda address: _says(address, b""),
    ],
    ids=["plain dealer", "random bytes", "http", "null greeting", "nothing"],
)
def test_a_stranger_delivers_nothing_and_the_member_goes_on(stranger, no_ipc):
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await other.reach(one)
            await stranger(one.tcp)
            assert other.wire.send(here, [b"still here"])
            assert await one.ear.first_parts() == (there, [b"still here"])
            assert one.ear.parts == []

    run(story)


# ------------------------------------------------------------------- dropped


@both
def test_the_dialler_is_told_when_the_other_node_closes(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            here, _ = await one.reach(other)
            other.wire.close(0.1)
            assert await one.ear.first_down() == (here, Down.DROPPED)
            assert not one.wire.send(here, [b"too late"])

    run(story)


@both
def test_the_dialled_one_is_told_when_the_dialler_closes(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            _, there = await one.reach(other)
            one.wire.close(0.1)
            assert await other.ear.first_down() == (there, Down.DROPPED)
            assert not other.wire.send(there, [b"too late"])

    run(story)


@both
def test_hanging_up_is_told_to_the_other_side_only(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            one.wire.hang_up(here)
            assert await other.ear.first_down() == (there, Down.DROPPED)
            here, there = await one.reach(other)
            other.wire.hang_up(there)
            assert await one.ear.first_down() == (here, Down.DROPPED)
            assert one.ear.down == other.ear.down == []

    run(story)


@both
def test_what_was_sent_before_a_hang_up_arrives(transport):
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            other.wire.send(there, [b"because"])
            other.wire.hang_up(there)
            assert await one.ear.first_parts() == (here, [b"because"])
            assert await one.ear.first_down() == (here, Down.DROPPED)

    run(story)


def test_who_was_hung_up_on_cannot_speak_again(no_ipc):
    async def story():
        async with ends({}, {}) as (one, other):
            here, there = await one.reach(other)
            one.wire.send(here, [b"under way"])
            other.wire.hang_up(there)
            await one.ear.first_down()
            _, there = await one.reach(other)  # reads what was before it
            assert other.ear.parts == []

    run(story)


def test_a_caller_that_is_cut_off_is_noticed_at_the_next_send(no_ipc):
    async def story():
        async with ends({}, {}) as (one, other):
            _, there = await one.reach(other)
            one.wire.close(0)  # no time for a goodbye

            def ask() -> bool:
                other.wire.send(there, [b"are you there"])
                return bool(other.ear.down)

            while not ask():  # noqa: ASYNC110 - nothing is told until it is asked
                await asyncio.sleep(0)
            assert other.ear.down == [(there, Down.DROPPED)]

    run(story)


def test_a_silent_listener_is_given_up_and_not_called_dead(no_ipc):
    async def story():
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            async with ends({"handshake_timeout": 0.2}) as (one,):
                number = one.wire.dial(f"tcp://127.0.0.1:{silent.getsockname()[1]}")
                assert await one.ear.first_down() == (number, Down.SILENT)

    run(story)


def test_an_unknown_number_takes_nothing():
    async def story():
        async with ends({}) as (one,):
            assert not one.wire.send(4711, [b"hello"])
            one.wire.hang_up(4711)

    run(story)


def test_a_connection_that_does_not_stand_yet_takes_nothing():
    async def story():
        async with ends({}, {}) as (one, other):
            assert not one.wire.send(one.wire.dial(other.tcp), [b"too early"])

    run(story)


# ------------------------------------------------------------------- options


def test_every_socket_has_the_options_that_protect_it(monkeypatch):
    made: list[zmq.Socket[bytes]] = []
    make = zmq.Context.socket

    def note(context, kind):
        made.append(make(context, kind))
        return made[-1]

    monkeypatch.setattr(zmq.Context, "socket", note)

    async def story():
        async with ends({}, {}) as (one, other):
            await one.reach(other)
            await one.reach(other, other.wire.addresses[1])
            assert {each.type for each in made} == {
                zmq.ROUTER, zmq.DEALER, zmq.REP, zmq.PAIR,
            }  # fmt: skip
            assert {each.linger for each in made} == {0}
            monitors = [each for each in made if each.type == zmq.PAIR]
            assert {each.rcvhwm for each in monitors} == {0}
            for each in made:
                if each.type in {zmq.ROUTER, zmq.DEALER}:
                    assert each.maxmsgsize == sockets.MAX_PART_BYTES + 1024
                    share = 1 if each.type == zmq.ROUTER else 2 / 3
                    assert each.handshake_ivl == 3000 * share
                    assert (each.sndhwm, each.rcvhwm) == (1000, 0)
                    assert (each.heartbeat_ivl, each.heartbeat_timeout) == (1000, 3000)

    run(story)


# ------------------------------------------------------------------- to close


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_closing_frees_every_descriptor_and_file(runtime_folder):
    async def story():
        # the first uncopied buffer starts a thread of pyzmq's that stays
        async with ends({}, {}) as (one, other):
            here, _ = await one.reach(other)
            one.wire.send(here, [b"", bytes(100_000)])
            await other.ear.first_parts()
        before = _descriptors()
        async with ends({}, {}, {"keys": OTHER_KEYS}) as (one, other, third):
            await one.reach(other)
            await other.reach(one)
            hung_up, _ = await third.reach(one)
            third.wire.hang_up(hung_up)
            one.wire.dial(f"tcp://127.0.0.1:{_free_port()}")
            one.wire.dial("tcp://localhost:1")
        assert _descriptors() == before
        assert list((runtime_folder / "splice").iterdir()) == []

    run(story)


def test_closing_twice_is_the_same_as_once():
    async def story():
        async with ends({}) as (one,):
            one.wire.close(0)
            one.wire.close(0)

    run(story)


def test_what_was_sent_before_closing_gets_its_time(no_ipc):
    def say_and_close(address: str) -> None:
        async def story():
            one = End()
            here = one.wire.dial(address)
            await one.ear.until(lambda: here in one.ear.up)
            one.wire.send(here, [b"last words", bytes(5_000_000)])
            one.wire.close(5)

        run(story)

    async def story():
        async with ends({}) as (other,):
            saying = asyncio.create_task(asyncio.to_thread(say_and_close, other.tcp))
            number, parts = await other.ear.first_parts()
            assert parts[0] == b"last words"
            assert await other.ear.first_down() == (number, Down.DROPPED)
            await saying

    run(story)


def test_two_nodes_that_close_at_once_wait_for_nothing(no_ipc):
    async def story():
        async with ends({}, {}, {}) as (one, other, third):
            await one.reach(other)
            await other.reach(third)
            await third.reach(one)
            closing = threading.Barrier(2)

            def close(end: End) -> float:
                closing.wait()
                began = time.monotonic()
                end.wire.close(20)
                return time.monotonic() - began

            # each on a thread of its own, as nodes are; the loop stands still meanwhile
            with ThreadPoolExecutor() as threads:
                third.wire.close(0)
                durations = list(threads.map(close, (one, other)))
            assert max(durations) < 10

    run(story)


# ------------------------------------------------------------------- the folder


def test_a_folder_that_others_can_enter_is_not_used(runtime_folder, caplog):
    (runtime_folder / "splice").mkdir(mode=0o755)
    (runtime_folder / "splice").chmod(0o755)
    found = places.ipc_folder({"XDG_RUNTIME_DIR": str(runtime_folder)})
    assert found != runtime_folder / "splice"
    assert "others can enter it (mode 0755)" in caplog.text


def test_a_link_is_not_used_as_the_folder(runtime_folder, tmp_path):
    (runtime_folder / "splice").symlink_to(tmp_path)
    found = places.ipc_folder({"XDG_RUNTIME_DIR": str(runtime_folder)})
    assert found != runtime_folder / "splice"


def test_a_folder_whose_paths_would_be_too_long_is_not_used(tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    found = places.ipc_folder({"XDG_RUNTIME_DIR": str(long)})
    assert found is None or found.parent != long


@pytest.mark.parametrize(
    ("host", "own"), [("127.0.0.1", True), ("127.8.8.8", True), ("192.0.2.1", False)]
)
def test_a_machine_knows_its_own_addresses(host, own):
    assert places.is_own_host(host) is own


@pytest.mark.parametrize("host", ["10.1.1.15", "node-1.example", "::1"])
def test_an_address_is_split_and_joined_again(host):
    assert places.split_address(places.join_address(host, 5000)) == (host, 5000)
