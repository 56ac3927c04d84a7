"""A cancel travels: far messages are given up like near ones, and the word on it is honest."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from splice import (
    Cancelled,
    CannotWait,
    Process,
    blocking,
    runtime,
    sync,
    syncmany,
)
from splice.config import Config
from splice.errors import NodeLost, ProcessStopped
from splice.testing.simulation import Simulation
from splice.uri import url


class Clerk(Process):
    """Works on one thing at a time, and notes what."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def note(self, what: Any) -> Any:
        self.notes.append(what)
        return what

    def work(self, seconds: float) -> str:
        self.notes.append("begun")
        runtime.sleep(seconds)
        self.notes.append("done")
        return "done"

    async def nap(self, seconds: float) -> str:
        self.notes.append("asleep")
        try:
            await asyncio.sleep(seconds)
        finally:
            self.notes.append("awake")
        return "rested"

    async def spill(self, how: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError(how)

    async def linger(self, seconds: float) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(seconds)

    @blocking
    def read(self, gate: str) -> str:
        self.notes.append(gate)
        gates[gate].wait(10)
        return gate

    def seen(self) -> list[Any]:
        return self.notes


gates: dict[str, Event] = {}


class Asker(Process):
    async def cancel(self, clerk: Any) -> Any:
        promise = clerk.nap(100)
        await asyncio.sleep(1)
        try:
            promise.cancel()
        except CannotWait as error:
            return str(error), await promise.cancel_nowait()


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, delay=0.01)
    yield simulation
    simulation.close()


def test_a_far_message_in_the_mailbox_is_never_handled(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        clerk.work(5)
        kept, dropped, last = clerk.note(1), clerk.note(2), clerk.note(3)
        runtime.sleep(1)
        verdict = dropped.cancel()
        return verdict, type(dropped.exception()), sync(clerk.seen()), kept, last

    verdict, error, seen, kept, last = sim.run(one, scenario)
    assert (verdict, error, seen) == (True, Cancelled, ["begun", "done", 1, 3])
    assert (kept.get(), last.get()) == (1, 3)


def test_a_message_that_has_not_left_yet_is_taken_back(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promise = clerk.note(1)
        before = runtime.node.loop.time()
        assert promise.cancel()
        took = runtime.node.loop.time() - before
        return took, type(promise.exception()), sync(clerk.seen())

    assert sim.run(one, scenario) == (0, Cancelled, [])


def test_a_message_to_a_node_that_is_not_up_is_taken_back(sim: Simulation) -> None:
    one = sim.node()

    def scenario() -> Any:
        late = runtime.connect(url("clerk", "tcp://10.0.0.99:1"))
        promise = late.note(1)
        runtime.sleep(1)
        return promise.cancel(), type(promise.exception())

    assert sim.run(one, scenario) == (True, Cancelled)


def test_a_far_async_handler_at_work_is_cancelled(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promise = clerk.nap(1000)
        runtime.sleep(1)
        started = runtime.node.loop.time()
        return promise.cancel(), sync(clerk.seen()), runtime.node.loop.time() - started

    cancelled, seen, took = sim.run(one, scenario)
    assert (cancelled, seen) == (True, ["asleep", "awake"])
    assert took < 1


def test_it_says_at_once_when_a_far_plain_handler_is_at_work(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promise = clerk.work(100)
        runtime.sleep(1)
        return promise.cancel(), promise.done(), promise.get()

    assert sim.run(one, scenario) == (False, False, "done")


def test_it_says_when_the_answer_was_on_its_way(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promise = clerk.note(1)
        runtime.sleep(0.015)  # there, and not back yet
        return promise.done(), promise.cancel(), promise.get()

    assert sim.run(one, scenario) == (False, False, 1)


def test_cancelling_a_message_to_a_lost_node_comes_too_late(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promise = clerk.nap(1000)
        runtime.sleep(1)
        sim.kill(two)
        return promise.cancel(), type(promise.exception())

    assert sim.run(one, scenario) == (False, NodeLost)


def test_an_async_handler_awaits_the_word_instead(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        return sync(runtime.spawn(Asker).cancel(clerk))

    why, verdict = sim.run(one, scenario)
    assert "await cancel_nowait() instead" in why
    assert verdict is True


def test_a_spawn_that_has_not_left_yet_can_be_cancelled(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        made = runtime.spawn_nowait(Clerk, sp_dest=two.address)
        return made.cancel(), type(made.exception())

    assert sim.run(one, scenario) == (True, Cancelled)


def test_a_cancelled_far_message_is_no_failure_to_report(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promise = clerk.nap(1000)
        runtime.sleep(1)
        return promise.cancel()

    assert sim.run(one, scenario)
    gc.collect()
    assert [r.getMessage() for r in caplog.records] == []


@pytest.mark.parametrize("is_far", [False, True])
@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_what_the_clean_up_of_a_handler_that_was_given_up_raises_is_logged(
    sim: Simulation, caplog: pytest.LogCaptureFixture, how: str, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=(two if is_far else one).address)
        promise = clerk.spill(how)
        runtime.sleep(1)
        if how == "cancelled":
            assert promise.cancel()
        else:
            runtime.kill(clerk)
        error = promise.exception()
        runtime.sleep(1)
        return error

    error = sim.run(one, scenario)
    assert type(error) is (Cancelled if how == "cancelled" else ProcessStopped)
    (record,) = caplog.records
    assert record.getMessage().endswith(
        ".spill failed when its outcome was settled already"
    )
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == f"ValueError('{how}')"


@pytest.mark.parametrize("is_far", [False, True])
def test_a_cancelled_handler_that_is_still_at_work_is_known_by_its_name(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=(two if is_far else one).address)
        promise = clerk.linger(5)
        runtime.sleep(1)
        verdict = promise.cancel()
        during = runtime.info(clerk).handler
        runtime.sleep(6)
        return verdict, during, runtime.info(clerk).handler

    assert sim.run(one, scenario) == (True, "linger", None)


def test_a_message_kept_for_a_name_of_a_young_node_is_taken_back(
    sim: Simulation,
) -> None:
    one = sim.node()
    sim.advance(10)
    two = sim.node()

    def scenario() -> Any:
        clerk = runtime.connect(url("clerk", two.address))
        dropped, kept = clerk.note(1), clerk.note(2)
        runtime.sleep(0.1)  # there, and nobody has the name yet
        verdict = dropped.cancel()
        runtime.spawn(Clerk, sp_id="clerk", sp_dest=two.address)
        return verdict, type(dropped.exception()), sync(kept), sync(clerk.seen())

    assert sim.run(one, scenario) == (True, Cancelled, 2, [2])


@pytest.mark.parametrize("is_far", [False, True])
def test_a_blocking_handler_that_has_no_thread_yet_never_runs(is_far: bool) -> None:
    sim = Simulation(seed=1, config=Config(blocking_threads=1))
    one, two = sim.node(), sim.node()
    gates["first"], gates["second"] = Event(), Event()

    def scenario() -> Any:
        place = (two if is_far else one).address
        first, second = (runtime.spawn(Clerk, sp_dest=place) for _ in range(2))
        holds, waits, queued = first.read("first"), second.read("second"), second.seen()
        sync(runtime.spawn(Clerk, sp_dest=place).seen())  # they are at it now
        verdict = waits.cancel()
        seen = queued.get()  # the process goes on at once
        gates["first"].set()
        return verdict, type(waits.exception()), seen, sync(holds), sync(second.seen())

    outcome = sim.run(one, scenario)
    sim.close()
    assert outcome == (True, Cancelled, [], "first", [])


def test_a_message_behind_a_blocking_handler_is_taken_back(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    gates["held"] = Event()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        held, dropped = clerk.read("held"), clerk.note(1)
        sync(runtime.spawn(Clerk, sp_dest=two.address).seen())
        verdict = dropped.cancel()
        gates["held"].set()
        return verdict, sync(held), sync(clerk.seen())

    assert sim.run(one, scenario) == (True, "held", ["held"])


def test_a_message_sent_into_a_cut_connection_is_taken_back_when_it_is_mended(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        clerk.work(60)
        sim.network.cut(one.address, two.address)
        sent = clerk.note(1)
        runtime.sleep(1)
        word = sent.cancel_nowait()
        runtime.sleep(1)
        sim.network.heal(one.address, two.address)
        return word.get(), type(sent.exception()), sync(clerk.seen())

    assert sim.run(one, scenario) == (True, Cancelled, ["begun", "done"])


@pytest.mark.parametrize("seed", range(10))
def test_the_word_is_true_whatever_the_wire_and_the_schedule_do(seed: int) -> None:
    sim = Simulation(seed=seed, jitter=0.05, loss=0.05)
    one, two = sim.node(), sim.node()
    random = sim.random

    def scenario() -> Any:
        clerk = runtime.spawn(Clerk, sp_dest=two.address)
        promises = []
        for number in range(40):
            promises.append(clerk.note(number))
            if number % 8 == 0:
                clerk.work(0.1)
        chosen = random.sample(range(40), 20)
        verdicts = {}
        for number in chosen:
            runtime.sleep(random.random() / 50)
            verdicts[number] = promises[number].cancel()
        kept = [n for n in range(40) if not verdicts.get(n)]
        answers = syncmany(promises[n] for n in kept)
        return kept, answers, [n for n in sync(clerk.seen()) if isinstance(n, int)]

    kept, answers, handled = sim.run(one, scenario)
    sim.close()
    assert answers == kept == handled
