"""libzmq aborts the OS process when an assertion fails: what must never make it do so.

Its heartbeats write to a connection without asking whether it has ended while its input was
stopped (libzmq issues 4364 and 4767).  So the input of our sockets must never be stopped.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio, sys, time
from splice.config import Config
from splice.net.endpoint import Endpoint
from splice.net.keys import Keys

class Ear:
    def __init__(self): self.up = asyncio.Event(); self.parts = []
    def on_up(self, connection): self.up.set()
    def on_parts(self, connection, parts): self.parts.append(parts); self.up.set()
    def on_down(self, connection, cause): pass

def say(*words): print(*words, flush=True)

async def main(address):
    ear = Ear()
    end = Endpoint(
        loop=asyncio.get_running_loop(),
        config=Config(beat_interval=0.1),
        keys=Keys(bytes(32)),
        listener=ear,
    )
    await STORY(end, ear, address)
    end.close(1)
    say("alive")
"""

BUSY = """
async def busy(end, ear, address):
    say(end.addresses[1])
    await ear.up.wait()
    say("busy")
    sys.stdin.readline()  # the flood is over, and who sent it has gone
    time.sleep(0.5)  # five heartbeats of libzmq's thread
    while len(ear.parts) < 5000:
        await asyncio.sleep(0.01)
"""

LEAVES = """
async def leaves(end, ear, address):
    connection = end.dial(address)
    await ear.up.wait()
    for _ in range(5000):
        end.send(connection, [bytes(1000)])
    end.hang_up(connection)
    say("leaving")
    await asyncio.sleep(0.5)  # five heartbeats of libzmq's thread
"""


@contextlib.contextmanager
def program(
    story: str, folder: Path, address: str = ""
) -> Iterator[subprocess.Popen[str]]:
    name = story.split("(", maxsplit=1)[0].rsplit(maxsplit=1)[-1]
    script = f"{PROGRAM.replace('STORY', name)}{story}\nasyncio.run(main({address!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": ":".join(sys.path)},
        text=True,
    ) as child:
        yield child


def next_line(child: subprocess.Popen[str]) -> str:
    return str(child.stdout.readline()).strip()


def test_a_busy_node_outlives_the_one_that_has_flooded_it(tmp_path):
    with program(BUSY, tmp_path) as child, zmq.Context() as context:
        with context.socket(zmq.DEALER) as stranger:
            stranger.sndhwm = 0
            stranger.linger = 2000
            stranger.connect(next_line(child))
            stranger.send(b"hello")
            assert next_line(child) == "busy"
            for _ in range(5000):
                stranger.send(b"more")
        context.term()  # all is sent, or two seconds have gone
        child.stdin.write("\n")
        child.stdin.flush()
        assert next_line(child) == "alive"


def test_a_node_that_hangs_up_outlives_a_last_word_from_afar(tmp_path):
    address = f"ipc://{tmp_path}/far"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as far:
        far.linger = 1000
        far.rcvhwm = 1  # it does not read on, so what was sent to it stays unsent
        far.bind(address)
        with program(LEAVES, tmp_path, address) as child:
            caller = far.recv_multipart()[0]
            assert next_line(child) == "leaving"
            far.send_multipart([caller, b"late"])
            far.close()
            assert next_line(child) == "alive"
