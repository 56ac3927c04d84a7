"""A mailbox that only grows is warned of, once, from outside."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from splice import Deferred, Process, runtime, tell
from splice.node.mailboxes import Mailboxes
from splice.node.node import Node
from splice.testing.simulation import Simulation


class Clerk(Process):
    """Sleeps until it is woken."""

    def __init__(self) -> None:
        self.awake = Deferred()

    def sleep(self) -> None:
        self.awake.get()

    def take(self, what: int) -> None:
        pass


@pytest.fixture
def node(sim: Simulation) -> Node:
    return sim.node()


def fill(sim: Simulation, node: Node, count: int, name: str = "clerk") -> None:
    """Let a process sleep over `count` messages."""

    def act() -> None:
        clerk = runtime.spawn(Clerk, sp_id=name)
        tell(clerk.sleep)
        runtime.sleep(1)
        for number in range(count):
            tell(clerk.take, number)

    sim.run(node, act)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_large_mailbox_is_warned_of_once(
    sim: Simulation, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    fill(sim, node, 100)
    mailboxes = Mailboxes(node, limit=100)
    with caplog.at_level(logging.WARNING, "splice.node"):
        for _ in range(3):
            mailboxes.look()
    (line,) = lines(caplog)
    assert line == (
        "the mailbox of Clerk clerk on tcp://10.0.0.1:1 holds 100 messages: it is sent more "
        "than it handles; with sp_mailbox_limit its class makes senders wait"
    )


def test_a_smaller_one_is_not_warned_of(
    sim: Simulation, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    fill(sim, node, 99)
    Mailboxes(node, limit=100).look()
    assert lines(caplog) == []


def test_each_process_has_its_turn_within_some_looks(
    sim: Simulation, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    sim.run(node, lambda: runtime.spawn_many(50, Clerk))
    fill(sim, node, 100)
    mailboxes = Mailboxes(node, limit=100, portion=10)
    with caplog.at_level(logging.WARNING, "splice.node"):
        mailboxes.look()
        assert lines(caplog) == []  # the oldest come first
        for _ in range(5):
            mailboxes.look()
    assert len(lines(caplog)) == 1


def test_a_process_that_has_ended_meanwhile_is_passed_over(
    sim: Simulation, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    sim.run(node, lambda: runtime.spawn_many(10, Clerk))
    fill(sim, node, 100)
    mailboxes = Mailboxes(node, limit=100, portion=5)
    mailboxes.look()
    sim.run(node, lambda: runtime.kill(runtime.whereis("clerk")))
    for _ in range(5):
        mailboxes.look()
    assert not any("mailbox" in line for line in lines(caplog))


PROGRAM = """
import logging, queue
from splice import Deferred, Process, runtime, tell

class Clerk(Process):
    def __init__(self): self.awake = Deferred()
    def sleep(self): self.awake.get()
    def take(self, number): pass

heard = queue.Queue()
handler = logging.Handler()
handler.emit = lambda record: heard.put(record.getMessage())
logging.getLogger("splice").addHandler(handler)
clerk = runtime.spawn(Clerk)
tell(clerk.sleep)
for number in range(100_000):
    tell(clerk.take, number)
print(heard.get(timeout=30))
runtime.kill(clerk)
"""


@pytest.mark.system
@pytest.mark.slow
def test_the_watchdog_of_a_program_finds_a_hundred_thousand(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "the mailbox of Clerk " in done.stdout, done.stderr
    assert "sp_mailbox_limit" in done.stdout
