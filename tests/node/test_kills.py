"""Kills: what they cut off is no failure that anybody has missed, near and far."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from splice import Process, runtime
from splice.node.node import Node
from splice.testing.simulation import Simulation


class Slow(Process):
    """Takes longer to end than anybody waits."""

    def sp_terminate(self, reason: Any) -> None:
        runtime.sleep(60)


class SlowAsync(Process):
    """Likewise, and awaits."""

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(60)


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    yield simulation
    simulation.close()


@pytest.fixture
def one(sim: Simulation) -> Node:
    return sim.node()


@pytest.fixture(params=["near", "far"])
def other(sim: Simulation, one: Node, request: pytest.FixtureRequest) -> Node:
    """The node of those that are killed."""
    return one if request.param == "near" else sim.node()


def missed(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of failures that nobody has looked at."""
    gc.collect()
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "nobody looked" in text]


@pytest.mark.parametrize("kind", [Slow, SlowAsync])
def test_a_stop_that_takes_too_long_is_no_failure_that_anybody_has_missed(
    sim: Simulation,
    one: Node,
    other: Node,
    kind: type,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def scenario() -> None:
        runtime.stop(runtime.spawn(kind, sp_dest=other.address), timeout=1)
        runtime.sleep(1)

    sim.run(one, scenario)
    assert missed(caplog) == []


@pytest.mark.parametrize("kind", [Slow, SlowAsync])
def test_a_stop_is_done_when_somebody_else_kills_the_process(
    sim: Simulation, one: Node, other: Node, kind: type
) -> None:
    def scenario() -> Any:
        slow = runtime.spawn(kind, sp_dest=other.address)
        killer = runtime.spawn(Killer)
        killer.kill_later(slow)
        runtime.stop(slow)
        return runtime.monitor(slow).get(1).reason

    assert sim.run(one, scenario) == "noproc"


class Killer(Process):
    """Kills."""

    def kill_later(self, proc: Any) -> None:
        runtime.sleep(1)
        runtime.kill(proc)
