"""Dead, frozen and busy OS processes are told apart, by real ones."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from splice import Process, runtime

pytestmark = [pytest.mark.system, pytest.mark.slow]

PROGRAM = """
import ctypes, os, queue, signal, time
from splice import NodeLost, Process, runtime

class Worker(Process):
    def number(self): return os.getpid()
    def hold(self, seconds): ctypes.PyDLL(None).sleep(seconds)  # and the interpreter's lock

def until(*kinds):
    seen = []
    while not seen or seen[-1].kind not in kinds:
        seen.append(heard.get(timeout=30))
    return seen[-1]

runtime.config(beat_interval=0.3, loss_timeout=4.0, handshake_timeout=1.5)
heard = queue.Queue()
stop = runtime.on_node(heard.put)
(address,) = runtime.fork(1)
worker = runtime.spawn(Worker, sp_dest=address)
number = worker.number().get()
assert until("up").address == address
"""

BUSY = """
held = worker.hold(6)  # longer than the loss timeout
assert until("busy", "lost").kind == "busy"
assert until("again", "lost").kind == "again"
held.get()
print("told")
"""

FROZEN = """
os.kill(number, signal.SIGSTOP)
try:
    worker.number().get(30)
except NodeLost as error:
    assert "is it stopped, swapping" in str(error), error
event = until("lost")
assert (event.fate, event.address) == ("frozen", address), event
os.kill(number, signal.SIGCONT)
print("told")
"""

KILLED = """
os.kill(number, signal.SIGKILL)
event = until("lost")
assert event.fate == "ended", event
print("told", event.reason)
"""


@pytest.mark.parametrize(
    "story", [BUSY, FROZEN, KILLED], ids=["busy", "frozen", "killed"]
)
def test_a_program_hears_what_has_become_of_an_os_process(
    story: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM + story))
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("told"), done.stderr
    assert done.returncode == 0, done.stderr


class Guest(Process):
    """Somebody to talk with."""


def test_the_log_tells_what_has_happened_to_a_node_and_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "splice.net")
    (guest,) = runtime.fork(1)
    heard: SimpleQueue[Any] = SimpleQueue()
    stop = runtime.on_node(heard.put)
    runtime.spawn(Guest, sp_dest=guest)
    runtime.shutdown(remote_node=guest)
    while heard.get(timeout=20).kind != "lost":
        pass
    stop()
    assert f"node {guest}: up" in caplog.messages
    assert f"node {guest}: lost, ended, was shut down" in caplog.messages
