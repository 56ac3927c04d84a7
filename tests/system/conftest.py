"""A cluster of real OS processes: masters, instances and clients, and nothing left of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PATIENCE = 30.0
"""Seconds for what takes a fraction of one on a quiet machine."""


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until `condition` gives something true, and return it."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """A port that was free a moment ago; a master that restarts needs one of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """An OS process of a test, with what it writes."""

    def __init__(self, folder: Path, name: str, command: list[str]) -> None:
        self.name = name
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "XDG_CONFIG_HOME": str(folder / "config")},
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def says(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until it has written something."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.output)
            assert match or self.popen.poll() is None, f"{self.name}: {self.output}"
            return match

        match = until(found, f"{pattern!r} from {self.name}", patience)
        assert isinstance(match, re.Match)
        return match

    def below(self) -> list[psutil.Process]:
        """All that it has started, and they."""
        return psutil.Process(self.popen.pid).children(recursive=True)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def ends(self, patience: float = PATIENCE) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} goes on: {self.output}") from None

    def clean_up(self) -> None:
        left = [] if self.popen.poll() is not None else self.below()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.kill()
        self.popen.wait()


class Cluster:
    """Daemons and clients that find each other on loopback, unless a prefix puts them elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"

    def run(self, name: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Program:
        command = [*prefix, sys.executable, *arguments]
        program = Program(self.folder, name, command)
        self.programs.append(program)
        return program

    def master(self, *options: str, prefix: tuple[str, ...] = ()) -> Program:
        arguments = ("-m", "splice", "master", "-p", str(self.port), *options)
        return self.run("master", *arguments, prefix=prefix)

    def instance(
        self, name: str, *options: str, slots: int = 2, prefix: tuple[str, ...] = ()
    ) -> Program:
        arguments = ("-m", "splice", "instance", "-m", self.address, "--name", name)
        return self.run(
            name, *arguments, "--slots", str(slots), *options, prefix=prefix
        )

    def client(self, script: str, prefix: tuple[str, ...] = ()) -> Program:
        """Run a program in which ADDRESS is the master's."""
        source = f"ADDRESS = {self.address!r}\n{script}"
        return self.run("client", "-u", "-c", source, prefix=prefix)

    until = staticmethod(until)

    def all_live(self, processes: list[psutil.Process]) -> bool:
        """Whether OS processes go on, all of them."""
        return all(map(lives, processes))

    def wait_until_gone(self, processes: list[psutil.Process]) -> None:
        """Wait until OS processes have ended; a zombie has."""
        until(gone(processes), f"the end of {processes}")

    def close(self) -> None:
        for program in self.programs:
            program.clean_up()


def lives(process: psutil.Process) -> bool:
    """Whether an OS process goes on; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return False


def gone(processes: list[psutil.Process]) -> Callable[[], bool]:
    """A condition: all of them have ended."""

    def have_ended() -> bool:
        return not any(map(lives, processes))

    return have_ended


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster on loopback; nothing of it is left after the test."""
    made = Cluster(tmp_path)
    yield made
    made.close()
