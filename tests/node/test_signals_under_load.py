"""Ends are told across nodes although mail waits for credit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from splice import Down, Process, runtime, tell
from splice.config import Config
from splice.net.window import FIRST_CREDIT
from splice.testing.simulation import Simulation

PART = b"x" * (FIRST_CREDIT // 20)
CONFIG = Config(window_bytes=4 * FIRST_CREDIT, backlog_bytes=FIRST_CREDIT)


class Flooder(Process):
    """Sends far more than is taken."""

    def flood(self, to: Any) -> None:
        for _ in range(1000):
            tell(to.take, PART)


class Watcher(Process):
    """Waits for the end of who floods it, and handles nothing meanwhile."""

    def __init__(self) -> None:
        self.taken = 0

    def outlive(self, flooder: Any) -> Down:
        watch = runtime.monitor(flooder)
        tell(flooder.flood, self.sp_proxy)
        down: Down = watch.get()
        return down

    def take(self, part: bytes) -> None:
        self.taken += 1

    def count(self) -> int:
        return self.taken


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, config=CONFIG, delay=0.01)
    yield simulation
    simulation.close()


def test_a_process_that_waits_for_the_end_of_its_flooder_hears_of_it(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> tuple[Any, int]:
        flooder = runtime.spawn(Flooder)
        watcher = runtime.spawn(Watcher, sp_dest=two.address)
        down = watcher.outlive(flooder)
        runtime.sleep(5)  # it is stuck
        assert not down.done()
        runtime.kill(flooder)
        reason = down.get(timeout=5).reason
        return reason, watcher.count().get()

    reason, taken = sim.run(one, scenario)
    assert reason == "killed"
    assert 20 < taken < 1000  # what was sent is handled all the same
