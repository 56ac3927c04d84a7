"""What a child writes is read by its parent, to the last word; real OS processes."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from splice.node.child import Exit
from splice.node.evidence import OomKills
from splice.node.launch import Child, OsLauncher
from splice.node.outlets import CHUNK_BYTES, END, TAIL_BYTES, TAIL_LINES

pytestmark = pytest.mark.system

PATIENCE = 30.0
"""Seconds after which a test fails instead of waiting; nothing here takes one."""

TARGETS = """
import os, signal, subprocess, sys

def write(boot, ready):
    print("printed")
    print("complained", file=sys.stderr)
    os.system("echo by a child of its own")
    os.write(1, b"without an end")

def write_and_die(boot, ready):
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)

def write_in_c(boot, ready):
    import ctypes
    ctypes.CDLL(None).puts(b"by C code")
    os._exit(3)

def flood(boot, ready):
    ready({})
    while True:
        os.write(1, b"x" * 65536)

def crash(boot, ready):
    import ctypes
    ctypes.string_at(0)

def linger(boot, ready):
    heir = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(heir.pid)

def eat(boot, ready):
    eaten = bytearray(int(boot))
    eaten[::4096] = b"x" * len(eaten[::4096])
"""


class Reader:
    """Starts children and takes what they write."""

    def __init__(self, launcher: OsLauncher) -> None:
        self._launcher = launcher
        self.ended: SimpleQueue[Exit] = SimpleQueue()
        self.got: dict[str, bytes] = {}
        self.chunks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.is_greedy = True
        self.order: list[str] = []

    def take(self, stream: str, chunk: bytes, go_on: Callable[[], None]) -> None:
        self.got[stream] = self.got.get(stream, b"") + chunk
        self.order.append(stream)
        self.chunks.put(go_on)
        if self.is_greedy:
            go_on()

    def run(self, target: str, boot: bytes = b"") -> Child:
        return self._launcher.start(
            boot,
            target=f"outlet_targets:{target}",
            on_ready=lambda info: None,
            on_exit=self.ended.put,
            on_output=self.take,
        )

    def end(self) -> Exit:
        return self.ended.get(timeout=PATIENCE)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    (tmp_path / "outlet_targets.py").write_text(TARGETS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return Reader(OsLauncher())


def test_all_that_it_and_its_own_children_write_is_read(reader: Reader) -> None:
    reader.run("write")
    assert reader.end().code == 0
    assert reader.got["stdout"] == b"printed\nby a child of its own\nwithout an end"
    assert reader.got["stderr"] == b"complained\n"
    assert reader.order[-1] == END


def test_the_last_words_of_a_killed_one_are_there(reader: Reader) -> None:
    reader.run("write_and_die")
    end = reader.end()
    assert end.signal == signal.SIGKILL
    assert reader.got["stdout"] == b"last words\n"
    assert end.evidence.last_lines == ("last words",)
    assert not end.evidence.is_ours


def test_lines_of_c_code_are_there_whatever_ends_it(reader: Reader) -> None:
    reader.run("write_in_c")
    assert reader.end().code == 3
    assert reader.got["stdout"] == b"by C code\n"


def test_a_crash_tells_where(reader: Reader) -> None:
    reader.run("crash")
    end = reader.end()
    assert end.signal == signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in end.evidence.last_lines
    assert any("in crash" in line for line in end.evidence.last_lines)


def test_a_flood_waits_until_somebody_reads(reader: Reader) -> None:
    reader.is_greedy = False
    child = reader.run("flood")
    for turn in range(1, 4):
        go_on = reader.chunks.get(timeout=PATIENCE)
        assert len(reader.got["stdout"]) <= turn * CHUNK_BYTES
        assert reader.chunks.empty()
        go_on()
    child.kill()
    end = reader.end()
    assert end.evidence.is_ours
    assert len("".join(end.evidence.last_lines)) <= TAIL_BYTES
    assert len(end.evidence.last_lines) <= TAIL_LINES


def test_who_keeps_the_pipe_open_delays_no_end(reader: Reader) -> None:
    reader.run("linger")
    assert reader.end().code == 0
    os.kill(int(reader.got["stdout"]), signal.SIGKILL)  # it lives still


def test_the_greatest_memory_it_had_is_known(reader: Reader) -> None:
    reader.run("eat", str(150 << 20).encode())
    end = reader.end()
    assert end.code == 0
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    peak = end.evidence.peak_memory_bytes
    assert 150 << 20 <= peak <= max(600 << 20, ours)  # Linux begins with the parent's
    assert "MiB in memory at most" in end.evidence.text


def test_kills_for_want_of_memory_are_told_of() -> None:
    before = OomKills(1, 5)
    assert OomKills(1, 5).since(before) == ""
    assert OomKills(2, 6).since(before) == (
        "out of memory: the kernel killed 1 OS process in its control group meanwhile"
    )
    assert OomKills(1, 7).since(before) == (
        "perhaps out of memory: the kernel killed 2 OS processes on its machine meanwhile"
    )
    assert OomKills().since(OomKills()) == ""


def test_no_descriptor_is_left(reader: Reader) -> None:
    reader.run("write")
    reader.end()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        reader.run("write")
        reader.end()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
