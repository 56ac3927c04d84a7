"""Real OS processes: a flood that is not taken fills no memory, and none of it is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow]

PROGRAM = """
import os, signal, threading, time
import psutil
from splice import Overloaded, Process, ready, runtime, tell

MIB = 2**20
PART = b"x" * 10_000
COUNT = 8_000  # of each of three senders: 240 MB in all, many times what the limits let pass
runtime.config(
    backlog_bytes=4 * MIB, window_bytes=16 * MIB, loss_timeout=60.0, overload_timeout=60.0
)

class Sink(Process):
    def __init__(self):
        self.numbers = {}
    def pid(self):
        return os.getpid()
    def sleep(self, seconds):
        runtime.sleep(seconds)
    def take(self, who, number, part):
        self.numbers.setdefault(who, []).append(number)
    def seen(self):
        return self.numbers

class Sender(Process):
    def flood(self, sink, sent):
        for number in range(COUNT):
            tell(sink.take, "handler", number, PART)
            sent["handler"] = number
    async def flood_async(self, sink, sent):
        for number in range(COUNT):
            while sent.get("async") != number:
                try:
                    tell(sink.take, "async", number, PART)
                    sent["async"] = number
                except Overloaded as error:
                    assert error.verdict == "not delivered"
                    sent["refused"] = sent.get("refused", 0) + 1
                    await ready(sink)

(there,) = runtime.fork(1)
sink = runtime.spawn(Sink, sp_dest=there)
pid = sink.pid().get()
mine, other = psutil.Process(), psutil.Process(pid)
sent = {}

def of_thread():
    for number in range(COUNT):
        tell(sink.take, "thread", number, PART)
        sent["thread"] = number

def sizes():
    return mine.memory_info().rss, other.memory_info().rss

def fill():
    # until nobody gets any further; whoever was first has taken all the room
    before = None
    while not {"handler", "refused"} <= sent.keys() or before != sent:
        before = dict(sent)
        time.sleep(0.5)

begun = sizes()
HOLD
asked = [runtime.spawn(Sender).flood(sink, sent), runtime.spawn(Sender).flood_async(sink, sent)]
thread = threading.Thread(target=of_thread)
thread.start()
fill()
full = sizes()
assert all(sent.get(who, 0) < COUNT - 1 for who in ("handler", "async", "thread")), sent
for _ in range(6):
    time.sleep(0.5)
    for now, then, first in zip(sizes(), full, begun):
        assert now - then < 4 * MIB, (now, then)  # flat
        assert now - first < 64 * MIB, (now, first)
WAKE
for promise in asked:
    promise.get(60)
thread.join(60)
seen = sink.seen().get(60)
assert {who: numbers == list(range(COUNT)) for who, numbers in seen.items()} == {
    "handler": True, "async": True, "thread": True
}
print("kept", sent["refused"], [n // MIB for n in (*begun, *full, *sizes())])
runtime.shutdown()
"""

ASLEEP = ("tell(sink.sleep, 12)", "")
STOPPED = ("os.kill(pid, signal.SIGSTOP)", "os.kill(pid, signal.SIGCONT)")


@pytest.mark.parametrize(("hold", "wake"), [ASLEEP, STOPPED], ids=["asleep", "stopped"])
def test_a_handler_a_thread_and_a_coroutine_flood_a_node_that_takes_nothing(
    hold: str, wake: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("HOLD", hold).replace("WAKE", wake))
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.stdout.startswith("kept"), done.stderr
    assert done.returncode == 0, done.stderr
