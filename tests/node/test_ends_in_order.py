"""A node that ends in order: what hooks send, who asks for the end, and children on it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import splice
from splice import Process, runtime
from splice.actor.childspec import child
from splice.testing.simulation import Simulation


class Clerk(Process):
    """Ends as it is told, and notes where it was made."""

    made: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.made.append(runtime.address)

    def fail(self) -> None:
        raise ValueError("clerk")

    def finish(self) -> None:
        raise splice.Exit("normal", answer="done")


class Waiting(Process):
    """Takes its time to clean up."""

    done: ClassVar[list[float]] = []

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(self.seconds)
        self.done.append(self.seconds)


class Shutter(Process):
    """Shuts another node down."""

    def shut(self, address: str) -> None:
        runtime.shutdown(address)


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    Clerk.made.clear()
    Waiting.done.clear()
    yield simulation
    simulation.close()


def test_a_failure_while_a_node_is_closed_keeps_nobody_waiting_for_its_end(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sim.node()
    told: list[str] = []

    def fail() -> None:
        raise RuntimeError("a defect")

    one.on_closed = lambda: told.append("closed")
    with monkeypatch.context() as patch:
        patch.setattr(one, "close", fail)
        with pytest.raises(RuntimeError, match="a defect"):
            one.leave()
    assert told == ["closed"]


def test_a_node_that_nobody_will_kill_gives_its_children_all_the_time_there_is(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def fork() -> None:
        (address,) = runtime.fork(1)
        runtime.spawn(Waiting, 2.0, sp_dest=address)

    sim.run(two, fork)
    sim.run(one, lambda: runtime.shutdown(two.address))
    assert Waiting.done == [2.0]


def test_a_far_child_that_is_done_while_its_node_is_shut_down_is_not_run_again(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> str:
        sup = runtime.spawn(splice.Supervisor)
        spec = child(Clerk, id="clerk", restart="transient", sp_dest=[two.address])
        clerk = sup.start_child(spec).get()
        runtime.spawn(Waiting, 1.0, sp_dest=two.address)
        gone = runtime.spawn(Shutter).shut(two.address)
        runtime.sleep(0.5)
        assert clerk.finish().get() == "done"
        gone.get()
        runtime.sleep(2)
        return str(sup.which_children().get()[0].state)

    assert sim.run(one, scenario) == "stopped"
    assert Clerk.made == [two.address]


def test_a_far_child_is_not_restarted_on_a_node_that_is_shut_down_but_elsewhere(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> list[str]:
        sup = runtime.spawn(splice.Supervisor, strategy="one_for_all")
        near = sup.start_child(child(Clerk, id="near")).get()
        sup.start_child(child(Clerk, id="far", sp_dest=[two.address])).get()
        runtime.spawn(Waiting, 1.0, sp_dest=two.address)
        gone = runtime.spawn(Shutter).shut(two.address)
        runtime.sleep(0.5)
        near.fail().exception()
        gone.get()
        runtime.sleep(2)
        return [info.state for info in sup.which_children().get()]

    assert sim.run(one, scenario) == ["running"] * 2
    here = one.address
    assert Clerk.made == [here, two.address, here, here]
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


class Talker(Process):
    """Tells one that has ended, when it cleans up."""

    def __init__(self, whom: Any) -> None:
        self.whom = whom

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(1)
        splice.tell(self.whom.add, 1)


class Sink(Process):
    """Counts bytes; has cleaned up at once."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, data: Any) -> None:
        self.count += len(data)

    def total(self) -> int:
        return self.count

    def sp_terminate(self, reason: Any) -> None:
        """Nothing to do."""


def test_what_is_told_to_one_that_has_retired_is_no_news(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one = sim.node()
    sim.run(one, lambda: runtime.spawn(Talker, runtime.spawn(Sink)))
    sim.loop.run_until_complete(one.shut_down())
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_who_asks_later_with_less_time_is_not_bound_by_the_time_of_the_first(
    sim: Simulation,
) -> None:
    one = sim.node()
    sim.run(one, lambda: runtime.spawn(Waiting, 60.0))
    begun = sim.loop.time()
    one.begin_shut_down()
    sim.loop.run_until_complete(one.ending.on_request(1.0))
    assert sim.loop.time() - begun < 0.7


class Stranger(Process):
    """Tells one on a node that its own was not connected to before, when it cleans up."""

    def __init__(self, where: str) -> None:
        self.where = where

    async def sp_terminate(self, reason: Any) -> None:
        sink = runtime.connect(self.where)
        for _ in range(20):
            splice.tell(sink.add, b"x" * 1_000_000)


def test_what_hooks_send_arrives_also_where_their_node_was_asked_to_end(
    sim: Simulation,
) -> None:
    one, two, three = (sim.node() for _ in range(3))

    def scenario() -> int:
        sink = runtime.spawn(Sink, sp_dest=three.address)
        runtime.spawn(Stranger, str(sink.sp_url), sp_dest=two.address)
        runtime.shutdown(two.address)
        runtime.sleep(5)
        return int(sink.total().get())

    assert sim.run(one, scenario) == 20_000_000


INTERRUPTED = """
import os, signal, threading
from splice import Process, runtime

begun = threading.Event()

class Slow(Process):
    def sp_terminate(self, reason):
        begun.set()
        runtime.sleep(0.5)
        print("cleaned up", flush=True)

def interrupt():
    {before}
    os.kill(os.getpid(), signal.SIGINT)

runtime.spawn(Slow)
threading.Thread(target=interrupt, daemon=True).start()
try:
    runtime.{call}()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.system
@pytest.mark.parametrize(
    ("call", "before", "printed"),
    [
        ("start", "import time; time.sleep(0.3)", "cleaned up\n"),
        ("shutdown", "begun.wait()", "interrupted\ncleaned up\n"),
    ],
)
def test_hooks_come_to_their_end_when_ctrl_c_breaks_the_wait_for_the_node(
    call: str, before: str, printed: str
) -> None:
    script = INTERRUPTED.format(call=call, before=before)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ,
        check=False,
    )
    assert (done.stdout, done.stderr) == (printed, "")
