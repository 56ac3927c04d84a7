"""The watchdog: when it warns and when not, and what it says."""

import subprocess
import sys
from types import FrameType

import pytest

from splice import Process, runtime, sync
from splice.config import Config
from splice.node.node import Node
from splice.node.watchdog import Watch, Watchdog, explain, is_asleep
from splice.testing.simulation import Simulation


@pytest.fixture
def node(sim: Simulation) -> Node:
    node = sim.node()
    sim.loop.settle()
    return node


class Looks:
    """A watch with a period of one second, looked through twice in each."""

    def __init__(self, node: Node) -> None:
        self.frame: FrameType | None = sys._getframe()
        self.warnings: list[tuple[str, str]] = []
        self.now = 100.0
        self.watch = Watch(
            node,
            1.0,
            sample=lambda: self.frame,
            warn=lambda name, stack: self.warnings.append((name, stack)),
        )

    def look(self, times: int, step: float = 0.5) -> int:
        """Look so many times; the number of warnings so far."""
        for _ in range(times):
            self.now += step
            self.watch.look(self.now)
        return len(self.warnings)


def test_a_loop_that_does_not_come_round_is_warned_of_once(node):
    looks = Looks(node)
    assert looks.look(10) == 1


def test_it_is_not_warned_of_before_the_period_is_over(node):
    looks = Looks(node)
    assert looks.look(3) == 0


def test_a_loop_that_takes_turns_is_not_warned_of(sim, node):
    looks = Looks(node)
    for _ in range(10):
        sim.run(node, lambda: None)
        looks.look(1)
    assert looks.warnings == []


def test_a_loop_that_only_runs_callbacks_answers_and_is_not_warned_of(sim, node):
    looks = Looks(node)
    for _ in range(10):
        looks.look(1)
        sim.loop.settle()
    assert looks.warnings == []


def test_a_sleeping_loop_is_not_warned_of_nor_woken(sim, node):
    looks = Looks(node)
    looks.frame = None
    sim.loop.woken.clear()
    assert looks.look(10) == 0
    assert not sim.loop.woken.is_set()


def test_the_next_occurrence_is_warned_of_again(sim, node):
    looks = Looks(node)
    looks.look(10)
    sim.run(node, lambda: None)
    assert looks.look(10) == 2


def test_an_os_process_that_was_stopped_for_a_while_is_not_warned_of(node):
    looks = Looks(node)
    looks.look(2)
    assert looks.look(1, step=3600.0) == 0


def test_a_loop_that_was_closed_meanwhile_is_not_warned_of(node):
    looks = Looks(node)
    node.loop.close()
    assert looks.look(10) == 0


class Thinker(Process):
    """Is looked at while it thinks."""

    def think(self):
        return deep_in_thought()

    def ask(self, other):
        return sync(other.think())

    async def think_async(self):
        return deep_in_thought()


def deep_in_thought():
    return explain(sys._getframe())


@pytest.mark.parametrize("handler", ["think", "think_async"])
def test_a_warning_names_process_and_handler_and_shows_the_users_stack(
    sim, node, handler
):
    def scenario():
        thinker = runtime.spawn(Thinker, sp_id="socrates")
        return sync(getattr(thinker, handler)())

    name, stack = sim.run(node, scenario)
    assert name == f"Thinker socrates.{handler}"
    assert [line.split()[-1] for line in stack.splitlines() if "File" in line] == [
        handler,
        "deep_in_thought",
    ]


def test_under_direct_calls_it_is_the_innermost_handler_that_holds_the_loop(sim, node):
    def scenario():
        first, second = (runtime.spawn(Thinker, sp_id=name) for name in "ab")
        return sync(first.ask(second))

    assert sim.run(node, scenario)[0] == "Thinker b.think"


def test_code_that_is_no_handler_is_a_callback(sim, node):
    found = []
    node.loop.call_soon(lambda: found.append(deep_in_thought()))
    sim.loop.settle()
    ((name, stack),) = found
    assert name == "a callback of the loop"
    assert stack.splitlines()[-2].endswith("in deep_in_thought")


def test_only_the_select_of_a_loop_is_sleep():
    def select():
        return sys._getframe()

    def _run_once():
        return select()

    assert not is_asleep(select())
    assert is_asleep(_run_once())


def test_no_thread_is_started_for_a_node_that_wants_no_warnings(sim):
    node = Node(sim.loop, Config(handler_warning=0))
    watchdog = Watchdog()
    watchdog.watch(node)
    assert watchdog._thread is None
    node.close()


@pytest.mark.system
def test_a_real_handler_that_keeps_its_node_busy_is_shown():
    source = """
import logging, sys, time
from splice import Process, runtime, sync

logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
runtime.config(handler_warning=0.1)

class Thinker(Process):
    def think(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

thinker = runtime.spawn(Thinker, sp_id="socrates")
sync(thinker.think(0.6))
"""
    ended = subprocess.run(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        text=True,
        timeout=50,
        check=True,
    )
    printed = ended.stdout
    assert printed.count("splice.node WARNING Thinker socrates.think has held") == 1
    assert ", in think" in printed  # and behind it, from 3.13 on, the line itself
