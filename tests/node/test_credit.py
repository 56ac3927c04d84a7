"""A node's unhandled mail from afar is bounded: credit comes back when a message was handled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from splice import Deferred, Process, ProcessStopped, runtime, tell
from splice.config import Config
from splice.net.window import FIRST_CREDIT
from splice.node.node import Node
from splice.node.replies import size_of_request, size_with
from splice.testing.simulation import Simulation
from splice.uri import url

PART = b"x" * (FIRST_CREDIT // 20)
MANY = 100
CONFIG = Config(window_bytes=4 * FIRST_CREDIT, out_of_band_bytes=FIRST_CREDIT)


class Sleeper(Process):
    """Handles nothing until it is woken: its first handler waits."""

    def __init__(self) -> None:
        self.awake = Deferred()
        self.numbers: list[int] = []

    def sleep(self) -> None:
        self.awake.get()

    def take(self, number: int, part: bytes) -> int:
        self.numbers.append(number)
        return number

    def keep(self, number: int, part: bytes) -> Deferred:
        self.numbers.append(number)
        return Deferred()

    def fail(self, number: int, part: bytes) -> None:
        raise ValueError(number)

    async def take_slowly(self, number: int, part: bytes) -> None:
        self.numbers.append(number)

    def seen(self) -> list[int]:
        return self.numbers


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, config=CONFIG, delay=0.01)
    yield simulation
    simulation.close()


def flood(sleeper: Any, send: Any) -> None:
    tell(sleeper.sleep)
    for number in range(MANY):
        send(sleeper, number)


def sleeping(sim: Simulation, one: Node, two: Node, send: Any) -> tuple[Any, Any]:
    """Let `one` flood a process of `two` that sleeps; return that and its record."""

    def act() -> Any:
        sleeper = runtime.spawn(Sleeper, sp_id="sleeper", sp_dest=two.address)
        flood(sleeper, send)
        return sleeper

    sleeper = sim.run(one, act)
    sim.advance(5)
    return sleeper, two.scheduler.directory.get("sleeper")


SENDS = {
    "tell": lambda to, number: tell(to.take, number, PART),
    "ask": lambda to, number: to.take(number, PART),
    "async": lambda to, number: tell(to.take_slowly, number, PART),
    "promise": lambda to, number: to.keep(number, PART),
    "promise of a tell": lambda to, number: tell(to.keep, number, PART),
    "by name": lambda to, number: tell(to.take, number=number, part=PART),
    "pickled": lambda to, number: tell(to.take, number, part=[PART]),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
def test_a_sleeper_gets_a_windowful_and_the_rest_when_it_wakes(
    sim: Simulation, send: Any
) -> None:
    one, two = sim.node(), sim.node()
    sleeper, cell = sleeping(sim, one, two, send)
    assert 15 <= cell.mail() <= 25
    cell.object.awake.set(None)
    sim.advance(60)
    assert sim.run(one, lambda: sleeper.seen().get()) == list(range(MANY))
    assert two.peers is not None
    assert two.peers._window.lent == FIRST_CREDIT


def test_mail_that_fails_gives_its_credit_back(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    _, cell = sleeping(sim, one, two, lambda to, n: to.fail(n, PART).exception)
    cell.object.awake.set(None)
    sim.advance(60)
    assert one.peers is not None
    assert one.peers.is_idle


def test_mail_of_a_process_that_ends_gives_its_credit_back(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    promises = []

    def send(to: Any, number: int) -> None:
        promises.append(to.take(number, PART))

    _, cell = sleeping(sim, one, two, send)
    two.scheduler.loop.call_soon(two.kill, cell)
    sim.advance(60)
    assert {type(promise.exception()) for promise in promises} == {ProcessStopped}


def test_mail_to_nobody_gives_its_credit_back(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    sim.advance(5)  # names are not waited for any more

    def act() -> list[Any]:
        nobody = runtime.connect(url("nobody", two.address))
        return [nobody.take(number, PART) for number in range(MANY)]

    promises = sim.run(one, act)
    sim.advance(60)
    assert all(promise.exception() is not None for promise in promises)


def test_other_processes_of_the_node_are_answered_meanwhile(sim: Simulation) -> None:
    """What is answered needs no credit, whichever way it goes."""
    one, two = sim.node(), sim.node()
    sleeping(sim, one, two, SENDS["tell"])

    def act() -> int:
        awake = runtime.spawn(Sleeper, sp_dest=one.address)
        answer: int = awake.take(7, PART).get(timeout=5)
        return answer

    assert sim.run(two, act) == 7


@pytest.mark.parametrize(
    ("args", "buffers"),
    [
        ((), []),
        ((1, None, "word", b"bytes"), []),
        (("word",), [b"beside it"]),
        (["encoded", b"stream", 1], [b"beside it"]),
    ],
    ids=["empty", "plain", "buffer", "encoded"],
)
def test_a_request_weighs_its_arguments_and_the_name_of_its_handler(args, buffers):
    assert size_of_request(args, None, "take", buffers) == size_with(args, buffers) + 4


class Helper(Process):
    """Asks somebody on the other node, with a part that needs credit."""

    def __init__(self, echo: Any) -> None:
        self.echo = echo

    def work(self) -> int:
        size: int = self.echo.size(PART).get()
        return size


class Echo(Process):
    def size(self, part: bytes) -> int:
        return len(part)


class Waiter(Process):
    """Waits in its handler for what comes the way by which its own message came."""

    def take(self, part: bytes, helper: Any) -> int:
        size: int = helper.work().get()
        return size

    async def take_async(self, part: bytes, helper: Any) -> int:
        size: int = await helper.work()
        return size

    def take_through(self, part: bytes, helper: Any) -> int:
        size: int = runtime.spawn(Waiter).take(part, helper).get()
        return size


@pytest.mark.parametrize("handler", ["take", "take_async", "take_through"])
@pytest.mark.parametrize("send", ["ask", "tell"])
def test_what_waits_in_its_handler_keeps_no_credit_from_what_it_waits_for(
    sim: Simulation, handler: str, send: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> list[int]:
        helper = runtime.spawn(Helper, runtime.spawn(Echo, sp_dest=two.address))
        waiters = [runtime.spawn(Waiter, sp_dest=two.address) for _ in range(MANY)]
        calls = [getattr(waiter, handler) for waiter in waiters]
        if send == "tell":
            for call in calls[1:]:
                tell(call, PART, helper)
            return [calls[0](PART, helper).get(60)]
        return [p.get(60) for p in [call(PART, helper) for call in calls]]

    sizes = sim.run(one, scenario)
    assert set(sizes) == {len(PART)}
    sim.advance(60)
    assert two.peers is not None
    assert two.peers._window.lent == FIRST_CREDIT  # and none of it is given back twice
