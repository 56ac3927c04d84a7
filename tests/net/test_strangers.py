"""Strangers at a real node: nothing of theirs gets in, and its members notice nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import psutil
import pytest
import zmq

from splice import Process, SpliceError, runtime
from splice.net import places
from splice.net.handshake import NONCE_BYTES, Connector, Identity
from splice.net.keys import find_key

pytestmark = pytest.mark.system

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00"
NULL = GREETING + b"NULL" + bytes(16 + 32)
PLAIN = GREETING + b"PLAIN" + bytes(15 + 32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
READY = READY[:1] + bytes([len(READY) - 2]) + READY[2:]
GIBIBYTE = b"\x02" + (2**30).to_bytes(8, "big")
SAYINGS = {
    "nothing": b"",
    "random bytes": Random(1).randbytes(2000),
    "http": b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    "half a greeting": NULL[:20],
    "null": NULL + READY + b"\x00\x05hello",
    "plain": PLAIN + b"\x04\x0e\x05HELLO\x03abc\x03xyz",
    "a gibibyte": NULL + READY + GIBIBYTE + bytes(100_000),
    "a gibibyte at once": GIBIBYTE + bytes(100_000),
    "half a frame": NULL + READY + b"\x00\xff" + b"H{",
    "a frame": NULL + READY + b"\x00\x44" + b"F\x01\x01\x00" + bytes(64),
    "an old version": b"\x01\x00\x05hello",
}
DESCRIPTORS = 80


class Counter(Process):
    """What the strangers must not reach."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def memory(self) -> int:
        return int(psutil.Process().memory_info().rss)

    def call(self, where: str) -> str:
        try:
            return str(runtime.connect(where).count().get(1))
        except SpliceError as error:
            return type(error).__name__


class Victim:
    """A node of its own OS process, that strangers come to."""

    def __init__(self, folder: Path, init: Callable[[], None]) -> None:
        (self.address,) = runtime.fork(1, init)
        self.counter = runtime.spawn(Counter, sp_dest=self.address, sp_id="counter")
        self.log = folder / "log"
        self.host, self.port = places.split_address(self.address)
        found = places.ipc_folder()
        assert found is not None
        self.ipc = places.ipc_path(found, self.host, self.port)
        self.calls = 0

    def serves(self) -> None:
        """Check that a member is served, and that nobody else was."""
        self.calls += 1
        assert self.counter.count().get(10) == self.calls

    def connection(self, transport: str) -> socket.socket:
        if transport == "tcp":
            return socket.create_connection((self.host, self.port), timeout=10)
        it = socket.socket(socket.AF_UNIX)
        it.settimeout(10)
        it.connect(str(self.ipc))
        return it

    def hears(self, transport: str, what: bytes) -> None:
        """Say something, and listen until the node hangs up, or has said what it will."""
        with self.connection(transport) as it, contextlib.suppress(OSError):
            it.sendall(what)
            it.shutdown(socket.SHUT_WR)
            while it.recv(10_000):
                pass


def _log_to(path: str) -> None:
    logging.basicConfig(filename=path, level=logging.INFO)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("victim")
    path = str(folder / "log")
    yield Victim(folder, lambda: _log_to(path))
    runtime.shutdown()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("what", SAYINGS)
def test_a_stranger_reaches_nobody_and_costs_nothing(
    victim: Victim, what: str, transport: str
) -> None:
    before = victim.counter.memory().get(10)
    victim.hears(transport, SAYINGS[what])
    victim.serves()
    assert victim.counter.memory().get(10) - before < 16 * 2**20


def test_hundreds_that_say_nothing_hold_up_nobody_and_are_hung_up_on(
    victim: Victim,
) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(victim.connection("tcp")) for _ in range(300)]
        victim.serves()
        began = time.monotonic()
        for each in silent:  # until the end of the handshake's time, all at once
            with contextlib.suppress(ConnectionError):
                while each.recv(1000):
                    pass
        assert time.monotonic() - began < 9
    victim.serves()
    assert "and said nothing" in victim.log.read_text()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_handshake_that_was_listened_to_is_worth_nothing(
    victim: Victim, transport: str
) -> None:
    captured: list[bytes] = []
    if transport == "ipc":
        hello, ready = _shaken_hands(victim)
        with _dealer(f"ipc://{victim.ipc}") as dealer:
            dealer.send_multipart(hello)
            dealer.recv_multipart()
            dealer.send_multipart(ready)
            assert b'"refused"' in dealer.recv_multipart()[0]
        return
    with _relay(victim, captured) as address:
        script = (
            "import sys; from splice import runtime\n"
            "runtime.connect(sys.argv[1]).memory().get(10)"
        )
        _run(script, f"{address}/counter")
    assert len(captured[0]) > 500
    victim.hears("tcp", captured[0])
    victim.serves()
    assert "has not the key of this cluster" in victim.log.read_text()


def test_a_member_with_another_key_is_told_so_within_a_second(victim: Victim) -> None:
    for folder in (places.ipc_folder().parent, Path("/nowhere")):  # over ipc, and tcp
        said = _run(
            "import sys, time\n"
            "from splice import AccessDenied, runtime\n"
            "runtime.config(key='ab' * 32)\n"
            "runtime.address\n"
            "began = time.monotonic()\n"
            "error = runtime.connect(sys.argv[1]).count().exception(10)\n"
            "print(type(error).__name__, time.monotonic() - began)",
            f"{victim.address}/counter",
            XDG_RUNTIME_DIR=str(folder),
        )
        name, seconds = said.split()
        assert name == "AccessDenied"
        assert float(seconds) < 1.5
    victim.serves()


def test_a_node_without_descriptors_serves_its_members_and_recovers(
    tmp_path: Path,
) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

    poor = Victim(tmp_path, few)
    poor.serves()
    with contextlib.ExitStack() as stack:
        for _ in range(2 * DESCRIPTORS):
            stack.enter_context(poor.connection("tcp"))
        poor.serves()
        # it cannot even look who is there
        assert poor.counter.call("tcp://127.0.0.1:1/x").get(20) == "TimeoutError"
        poor.serves()
    said = _run(
        "import sys; from splice import runtime\n"
        "print(runtime.connect(sys.argv[1]).memory().get(20) > 0)",
        f"{poor.address}/counter",
    )
    assert said == "True"
    poor.serves()
    runtime.shutdown(remote_node=poor.address)


# ---- how they come


def _run(script: str, *args: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextlib.contextmanager
def _dealer(address: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvtimeo = 10_000
        dealer.connect(address)
        yield dealer


def _shaken_hands(victim: Victim) -> tuple[list[bytes], list[bytes]]:
    """Shake hands as a member does; what it has said."""
    identity = Identity(4711, ("tcp://10.9.9.9:1",), "a machine", "0")
    side = Connector(
        identity, find_key().handshake, os.urandom(NONCE_BYTES), allow_skew=False
    )
    with _dealer(f"ipc://{victim.ipc}") as dealer:
        hello = side.hello()
        dealer.send_multipart(hello)
        side.on_welcome(dealer.recv_multipart())
        ready = side.ready(1, 0)
        dealer.send_multipart(ready)
        assert dealer.recv_multipart()[0][:1] == b"F"  # it was let in
    return hello, ready


@contextlib.contextmanager
def _relay(victim: Victim, captured: list[bytes]) -> Iterator[str]:
    """A port that passes everything on to the node, and keeps what the dialler says."""

    def pass_on(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                kept += piece
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        near, _ = listening.accept()
        with near, victim.connection("tcp") as far:
            said = bytearray()
            back = threading.Thread(target=pass_on, args=(far, near, bytearray()))
            back.start()
            pass_on(near, far, said)
            back.join()
            captured.append(bytes(said))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(20)
