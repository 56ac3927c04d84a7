"""Clients and workers that are killed in the middle of a transfer, as real OS processes.

The client's program reaches chunk 20 of a large package and then, there and nowhere else, kills
the worker that fetches it, or waits to be killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.shipping.conftest import SRC
from tests.shipping.trees import write

from splice.shipping.store import Store

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(180)]

PATIENCE = 60.0
"""Seconds for what takes one on a quiet machine."""

CLIENT = """
import json, os, signal, sys, threading
from pathlib import Path
from splice import runtime
from splice.cluster import session
from splice.node.launch import OsLauncher
from splice.shipping import contents

STORE = Path(os.environ["XDG_CACHE_HOME"]) / "splice" / "store"
chunk, is_first = contents.Unit.chunk, True

def at_20(unit, number):
    global is_first
    if number == 20 and is_first:
        is_first = False
        fault()
    return chunk(unit, number)

contents.Unit.chunk = at_20

def kill_fetcher():
    (partial,) = (STORE / "partial").iterdir()
    os.kill(int(partial.name.rpartition(".")[2]), signal.SIGKILL)

def wait_for_ever():
    print("in the middle", flush=True)
    threading.Event().wait()

def fault():
    {fault}

def use(_):
    try:
        import large
    except ImportError as error:
        return repr(error)
    return large.N

runtime.node.children._launcher = OsLauncher(
    command=[sys._base_executable], path=json.loads(os.environ["BARE"]))
with session(worker_count=2) as c:
    print("results", c.map(use, range(2), chunksize=1, retries=2))
    (found,) = c.dependencies()
    print("transfers", found.transfers, "deaths", c.statistics().deaths)
"""


class Client:
    """The program of a client, with what it says."""

    def __init__(self, folder: Path, bare: list[str], fault: str) -> None:
        environment = {
            **os.environ,
            "BARE": json.dumps(bare),
            "PYTHONPATH": f"{SRC}{os.pathsep}{folder / 'code'}",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.log = folder / f"client-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-u", "-c", CLIENT.replace("{fault}", fault)],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.popen.pid).children(recursive=True)

    def has_open(self, part: str) -> bool:
        """Tell whether one of its workers has a file open."""
        files = [file.path for child in self.below() for file in child.open_files()]
        return any(part in path for path in files)

    def ends(self) -> str:
        assert self.popen.wait(PATIENCE) == 0, self.said
        return self.said


def until(condition: Callable[[], Any], client: Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, client.said
        time.sleep(0.02)


Opener = Callable[[str], Client]


@pytest.fixture
def client(tmp_path: Path, bare_path: list[str]) -> Iterator[Opener]:
    """Start programs that ship a package of 64 MiB."""
    write(tmp_path / "code", {"large/__init__.py": "N = 5"})
    with (tmp_path / "code/large/data.bin").open("wb") as file:
        file.truncate(64 * 2**20)
    started: list[Client] = []

    def start(fault: str) -> Client:
        started.append(Client(tmp_path, bare_path, fault))
        return started[-1]

    yield start
    for each in started:
        each.popen.kill()
        each.popen.wait()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache/splice/store")


def check_whole(store: Store) -> None:
    """Check that there is one unit, sound, and nothing by half."""
    (unit,) = store.units()
    assert store.is_sound(unit.ident)
    assert list((store.folder / "partial").iterdir()) == []


def test_a_worker_that_is_killed_leaves_its_transfer_to_the_one_that_waits(
    client: Opener, store: Store
) -> None:
    said = client("kill_fetcher()").ends()
    assert "results [5, 5]" in said
    assert "transfers 1 deaths 1" in said
    check_whole(store)


def test_the_worker_of_another_session_that_waits_fetches_when_a_client_is_killed(
    client: Opener, store: Store
) -> None:
    killed = client("wait_for_ever()")
    until(lambda: "in the middle" in killed.said, killed)
    other = client("pass")
    until(lambda: other.has_open("/store/locks/"), other)
    assert store.units() == []  # not there by half
    killed.popen.kill()
    said = other.ends()
    assert "results [5, 5]" in said
    assert "transfers 1 deaths 0" in said
    check_whole(store)


def test_the_session_after_a_killed_client_fetches_the_whole_unit(
    client: Opener, store: Store
) -> None:
    killed = client("wait_for_ever()")
    until(lambda: "in the middle" in killed.said, killed)
    workers = killed.below()
    killed.popen.kill()
    psutil.wait_procs(workers, PATIENCE)
    assert store.units() == []
    said = client("pass").ends()
    assert "results [5, 5]" in said
    check_whole(store)
