"""Any program over several nodes: each ring ends in an error, and each error was a ring.

Players act out random scripts of asks that wait, wait with a timeout, are cancelled, wait for
several at once.  A notebook beside them keeps who waited for whom from when to when; it is the
judge of what the nodes have found.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from splice import DeadlockError, Process, gather, runtime
from splice.errors import Cancelled, TimeoutError
from splice.testing.simulation import Simulation

SEEDS = int(os.environ.get("SPLICE_SEEDS", "60"))
BOUND = 200.0
"""Virtual seconds after which a program has ended: its own pauses and timeouts are a few
dozen, and the last look at a request comes twice as late as the ring that it finds."""

PLAIN = ["sync", "sync", "sync", "sync", "timeout", "cancel", "late", "gather", "sleep"]
ASYNC = ["await", "await", "await", "in_time", "cancel", "late", "sleep"]


class Wait:
    """Player `source` waits for player `target`, from one moment to another."""

    def __init__(self, source: int, target: int, begin: int) -> None:
        self.edge = (source, target)
        self.begin = begin
        self.end: float = float("inf")


class Notebook:
    """Who waits for whom, since when and until when; and the errors that came of it."""

    def __init__(self) -> None:
        self.moment = 0
        self.waits: list[Wait] = []
        self.open = 0
        self.errors: set[str] = set()

    @contextmanager
    def waiting(self, source: int, *targets: int) -> Iterator[None]:
        self.moment += 1
        made = [Wait(source, target, self.moment) for target in targets]
        self.waits += made
        self.open += 1
        try:
            yield
        except DeadlockError as error:
            self.errors.add(str(error).split("\nraised by")[0])
        except (TimeoutError, Cancelled):
            pass
        finally:
            self.open -= 1
            self.moment += 1
            for wait in made:
                wait.end = self.moment

    def was_a_ring(self, players: list[int]) -> bool:
        """Whether each of `players` waited for the next at one and the same moment."""
        edges = list(zip(players, [*players[1:], players[0]], strict=True))
        found = [[w for w in self.waits if w.edge == edge] for edge in edges]
        moments = [wait.begin for waits in found for wait in waits]
        return any(
            all(any(w.begin <= m <= w.end for w in waits) for waits in found)
            for m in moments
        )


class Player(Process):
    """Acts out scripts."""

    def __init__(self, stage: Stage, me: int) -> None:
        self.stage = stage
        self.me = me

    def play(self, script: Any) -> None:
        notes = self.stage.notes
        for to, action, is_async, inner in script:
            promise = self.stage.ask(to, is_async, inner)
            if action == "sync":
                with notes.waiting(self.me, to):
                    promise.get()
            elif action == "timeout":
                with notes.waiting(self.me):
                    promise.get(timeout=1)
            elif action == "gather":
                other = (to + 1) % len(self.stage.urls)
                both = gather([promise, self.stage.ask(other, is_async, inner)])
                with notes.waiting(self.me, to, other):
                    both.get()
            elif action == "late":
                self.stage.sim.loop.call_later(0.5, promise.cancel_nowait)
                with notes.waiting(self.me, to):
                    promise.get()
            elif action == "cancel":
                promise.cancel()
            else:
                runtime.sleep(0.5)

    async def play_async(self, script: Any) -> None:
        notes = self.stage.notes
        for to, action, is_async, inner in script:
            promise = self.stage.ask(to, is_async, inner)
            if action == "await":
                with notes.waiting(self.me, to):
                    await promise
            elif action == "in_time":
                try:
                    async with asyncio.timeout(0.45):
                        with notes.waiting(self.me):
                            await promise
                except builtin_timeout:
                    pass
            elif action == "late":
                self.stage.sim.loop.call_later(0.5, promise.cancel_nowait)
                with notes.waiting(self.me, to):
                    await promise
            elif action == "cancel":
                await promise.cancel_nowait()
            else:
                await asyncio.sleep(0.5)


builtin_timeout = asyncio.TimeoutError


class Stage:
    """A few nodes with a few players."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.sim = Simulation(seed, jitter=self.random.choice([0.0, 0.01, 0.2]))
        self.notes = Notebook()
        self.urls: list[Any] = []
        self.nodes = [self.sim.node() for _ in range(self.random.randint(2, 4))]
        self.names: dict[tuple[str, str], int] = {}
        for number in range(self.random.randint(2, 6)):
            node = self.random.choice(self.nodes)
            made = node.spawn(Player, (self, number), {}, f"p{number}")
            self.sim.loop.settle()
            self.urls.append(made.get().sp_url)

    def ask(self, to: int, is_async: bool, script: Any) -> Any:
        player: Any = runtime.connect(self.urls[to])
        return (player.play_async if is_async else player.play)(script)

    def script(self, is_async: bool, depth: int) -> list[Any]:
        chance = self.random
        steps = []
        for _ in range(chance.randint(0 if depth < 3 else 1, 2) if depth else 0):
            inner = chance.random() < 0.4
            to = chance.randrange(len(self.urls))
            action = chance.choice(ASYNC if is_async else PLAIN)
            steps.append((to, action, inner, self.script(inner, depth - 1)))
        return steps

    def perform(self) -> list[Any]:
        """Run a program; the promises of its first calls."""

        def opening() -> list[Any]:
            calls = []
            for to in range(len(self.urls)):
                is_async = self.random.random() < 0.4
                calls.append(self.ask(to, is_async, self.script(is_async, 4)))
            return calls

        calls: list[Any] = self.sim.run(self.nodes[0], opening)
        self.sim.advance(BOUND)
        return calls

    def rings_found(self) -> list[list[int]]:
        """The players of each ring that was found."""
        rings = []
        for text in self.notes.errors:
            head = text.split(": each would")[0]
            rings.append([int(n) for n in re.findall(r"Player p(\d+)\.", head)][:-1])
        return rings

    def close(self) -> None:
        self.sim.close()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()  # failures that nobody saw shall be reported here, not in another test


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_wait_ends_and_each_error_was_a_ring(seed: int) -> None:
    stage = Stage(seed)
    calls = stage.perform()
    unended = stage.notes.open
    is_done = [call.done() for call in calls]
    phantoms = [r for r in stage.rings_found() if not stage.notes.was_a_ring(r)]
    stage.close()
    assert phantoms == []
    assert unended == 0
    assert all(is_done)


def test_the_programs_do_run_into_rings_over_nodes() -> None:
    found = 0
    for seed in range(20):
        stage = Stage(seed)
        stage.perform()
        heads = [text.split(": each would")[0] for text in stage.notes.errors]
        found += sum(len(set(re.findall(r" on (tcp\S+)", head))) > 1 for head in heads)
        stage.close()
    assert found > 5
