"""Durations that callers give: a wrong one is refused by name, and no timer suffers from it."""

from __future__ import annotations

from _thread import TIMEOUT_MAX
from collections.abc import Iterator
from fractions import Fraction
from math import inf, nan
from threading import Event
from typing import Any

import pytest

import splice
from splice import Process, as_completed, blocking, child, runtime, sync, syncmany
from splice.seconds import seconds_of, timeout_of
from splice.testing.simulation import Simulation

NONE_AT_ALL: list[Any] = ["1", [], True, 1j]
WRONG = [*NONE_AT_ALL, nan]


class Clerk(Process):
    def nap(self, seconds: Any) -> str:
        runtime.sleep(seconds)
        return "rested"


class Doorman(Process):
    def __init__(self, gate: Event) -> None:
        self.gate = gate

    @blocking
    def wait(self) -> str:
        self.gate.wait(10)
        return "open"


class Asker(Process):
    def __init__(self, clerk: Any) -> None:
        self.clerk = clerk

    def ask(self, timeout: Any) -> Any:
        return self.clerk.nap(1).get(timeout)


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    yield simulation
    simulation.close()


def error_of(value: Any) -> type[Exception]:
    return ValueError if type(value) is float else TypeError


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_number_of_seconds_is_refused(value: Any) -> None:
    with pytest.raises(error_of(value), match="a timeout is seconds, or None for ever"):
        timeout_of(value)
    with pytest.raises(error_of(value), match="a pause is seconds, not"):
        seconds_of(value, "a pause")


@pytest.mark.parametrize("value", [inf, 1e300, TIMEOUT_MAX, 10**30])
def test_more_than_a_thread_can_wait_is_for_ever(value: Any) -> None:
    assert timeout_of(value) is None
    assert seconds_of(value, "a pause") == TIMEOUT_MAX


@pytest.mark.parametrize("value", [0, 1, 2.5, -1, Fraction(1, 2)])
def test_a_number_of_seconds_stays_what_it_is(value: Any) -> None:
    assert timeout_of(value) == seconds_of(value, "a pause") == value


def test_no_timeout_is_for_ever() -> None:
    assert timeout_of(None) is None


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_timeout_in_a_handler_is_its_error_and_upsets_no_timer(
    sim: Simulation, value: Any
) -> None:
    def scenario() -> Any:
        clerk = runtime.spawn(Clerk)
        asker = runtime.spawn(Asker, clerk)
        others = [runtime.spawn(Clerk).nap(seconds) for seconds in (3, 1, 2)]
        with pytest.raises(error_of(value), match="a timeout is seconds"):
            sync(asker.ask(value))
        assert syncmany(others, 5) == ["rested"] * 3
        return sync(asker.ask(10))

    assert sim.run(sim.node(), scenario) == "rested"


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_pause_is_the_error_of_its_handler_and_upsets_no_timer(
    sim: Simulation, value: Any
) -> None:
    def scenario() -> Any:
        clerk = runtime.spawn(Clerk)
        others = [runtime.spawn(Clerk).nap(seconds) for seconds in (3, 1, 2)]
        with pytest.raises(error_of(value), match="what sleep waits is seconds"):
            sync(clerk.nap(value))
        assert syncmany(others, 5) == ["rested"] * 3
        return sync(clerk.nap(-1))

    assert sim.run(sim.node(), scenario) == "rested"


@pytest.mark.parametrize("value", WRONG)
def test_a_thread_is_told_of_a_wrong_timeout_and_its_promise_stays_good(
    value: Any,
) -> None:
    gate = Event()
    promise = runtime.spawn(Doorman, gate).wait()
    for wait in (
        promise.get,
        promise.exception,
        lambda timeout: sync(promise, timeout),
        lambda timeout: syncmany([promise], timeout),
        lambda timeout: as_completed([promise], timeout),
        lambda timeout: runtime.stop(runtime.spawn(Clerk), timeout=timeout),
        runtime.sleep,
    ):
        with pytest.raises(error_of(value), match="is seconds"):
            wait(value)
    gate.set()
    assert promise.get(inf) == "open"


def test_a_process_is_not_stopped_by_a_stop_that_is_refused() -> None:
    clerk = runtime.spawn(Clerk)
    with pytest.raises(TypeError, match="a timeout is seconds"):
        runtime.stop(clerk, timeout="soon")
    assert sync(clerk.nap(0)) == "rested"


@pytest.mark.parametrize("value", [*WRONG, -1, "soon"])
def test_a_child_is_given_seconds_to_end_or_kill(value: Any) -> None:
    with pytest.raises(ValueError, match="shutdown is seconds, 'kill' or None"):
        child(Clerk, shutdown=value)


def test_what_is_no_function_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"splice\.run wants a function, not 3"):
        splice.run(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="blocking marks a method of a process, not 3"):
        splice.blocking(3)  # type: ignore[type-var]
