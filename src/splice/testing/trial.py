"""Trial: one simulated cluster, its workload and its troubles, all from one seed.

::

    Trial(seed).run() ─► Outcome: the history, and the promises that were not kept

Parties on two to eight nodes ask, tell, stream, spawn, stop, kill, link and monitor each other
while faults happen; then everything works again, and in a bounded (virtual) time all must have
come to rest.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from splice.config import Config
from splice.node.node import Node
from splice.testing.facts import Facts
from splice.testing.faults import Storm, plan
from splice.testing.history import History, What
from splice.testing.invariants import Violation, check
from splice.testing.planted import planted
from splice.testing.recorder import Recorder
from splice.testing.script import Script
from splice.testing.simulation import Simulation
from splice.testing.stage import act, populate
from splice.testing.tidiness import leftovers
from splice.uri import url

CONFIG: Final = Config(loss_timeout=4.0, connect_timeout=6.0, handshake_timeout=1.5)
"""Shorter than in life, so that a trial has fewer beats; the proportions are kept."""

WORK_SECONDS: Final = 10.0
"""Of work and trouble: more than two losses."""

REST_SECONDS: Final = 120.0
"""In which all must come to rest: many times what a chain of waits takes, each of which ends by
`loss_timeout`."""

SLICE_SECONDS: Final = 2.0
"""Between two looks whether all has come to rest: every acknowledgement and beat fits in."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        seed: replays it.
        history: what has happened.
        violations: the promises that were not kept.
        planted: the defect that was put in to see whether it is found, or an empty text.
    """

    seed: int
    history: History
    violations: list[Violation]
    planted: str = ""

    @property
    def command(self) -> str:
        """What replays it."""
        plant = f" --plant {self.planted}" if self.planted else ""
        return f"scripts/simulate --seed {self.seed}{plant}"

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {v}" for v in self.violations]
        lines.append(f"replay it: {self.command}")
        return "\n".join(lines)

    def story(self) -> str:
        """Return the part of the history that matters."""
        messages = {n for v in self.violations for n in v.messages}
        places = {p for v in self.violations if not v.messages for p in v.places}
        return self.history.around(messages, places)


class Trial:
    """One run; use it once.

    Args:
        seed: of everything random in it.
        plant: name of a defect to put in; see `splice.testing.planted`.
    """

    def __init__(self, seed: int, plant: str = "") -> None:
        self.seed = seed
        self._plant = plant
        self._random = Random(f"trial {seed}")
        self._is_lossy = self._random.random() < 0.25
        self._simulation = Simulation(seed, config=CONFIG, **self._network())
        self._recorder = Recorder(self._simulation)
        self._simulation.loop.set_exception_handler(self._note_crash)
        self._nodes: list[Node] = []
        self._script = Script(self._random)

    def run(self) -> Outcome:
        """Run it to its end."""
        with _quiet(), planted(self._plant):
            try:
                self._work()
            finally:
                self._recorder.close()
                self._simulation.close()
        history = self._recorder.history
        facts = Facts(
            history, loss_timeout=CONFIG.loss_timeout, is_lossy=self._is_lossy
        )
        return Outcome(self.seed, history, check(facts), self._plant)

    def _network(self) -> dict[str, float]:
        random = self._random
        return {
            "jitter": random.choice([0.0, 0.002, 0.05]),
            "loss": random.uniform(0.0, 0.05) if self._is_lossy else 0.0,
            "repeats": random.choice([0.0, 0.0, 0.1]),
        }

    def _work(self) -> None:
        random, loop = self._random, self._simulation.loop
        # mostly few: what goes wrong between two nodes needs no third
        count = random.choice([2, 2, 2, 3, 3, 4, 5, 8])
        for place in range(count):
            self._nodes.append(self._simulation.node())
            self._populate(place)
        storm = Storm(self._simulation, self._nodes, self._recorder, self._populate)
        faults = plan(
            random,
            count,
            seconds=WORK_SECONDS,
            count=random.choice([0, 1, 2, 3, 5, 8]),
            loss_timeout=CONFIG.loss_timeout,
        )
        storm.schedule(faults)
        for _ in range(random.randint(10, 60)):
            loop.call_later(random.uniform(0.0, WORK_SECONDS), self._step)
        loop.advance(WORK_SECONDS)
        storm.end()
        self._rest()

    def _populate(self, place: int) -> None:
        """Give a node that has just started its parties."""
        node = self._nodes[place]
        name = self._recorder.up(node)
        self._script.settle(name, url("node", node.address, node.incarnation))
        populate(node, self._recorder)

    def _step(self) -> None:
        """Have some party do something."""
        node = self._random.choice(self._nodes)
        if not self._recorder.is_alive(node) or node.is_closed:
            return
        act(node, self._recorder, self._script, self._random)

    def _rest(self) -> None:
        """Wait until nothing is owed any more, and note what is left."""
        loop, recorder = self._simulation.loop, self._recorder
        deadline = loop.time() + REST_SECONDS
        loop.advance(2 * CONFIG.loss_timeout)  # the last death is known to all
        while (left := self._left()) or recorder.is_owed:
            if loop.time() >= deadline:
                break
            loop.advance(SLICE_SECONDS)
        for place, text in left:
            recorder.note(What.LEFT, place=place, text=text)

    def _left(self) -> list[tuple[str, str]]:
        """Return what nodes have not done with, each with the name of the node."""
        return [
            (self._recorder.name(node), text)
            for node in self._nodes
            if self._recorder.is_alive(node)
            for text in leftovers(node, nodes=len(self._simulation.nodes))
        ]

    def _note_crash(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = f"{context.get('message')}: {error!r}"
        self._recorder.note(What.CRASH, text=text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log silent, for what fails here fails on purpose, and collect no garbage.

    When it is collected depends on what was run before, and histories must not.
    """
    log = logging.getLogger("splice")
    level, was_enabled = log.level, gc.isenabled()
    log.setLevel(logging.CRITICAL + 1)
    gc.disable()
    try:
        yield
    finally:
        gc.collect()  # while the log is silent: failures that nobody looked at are told then
        log.setLevel(level)
        if was_enabled:
            gc.enable()
