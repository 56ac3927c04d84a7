"""Senders wait while a channel or a mailbox is full, and get `Overloaded` where they may not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from splice import Deferred, Overloaded, Process, Promise, ready, runtime, tell
from splice.config import Config
from splice.net.window import FIRST_CREDIT
from splice.node.node import Node
from splice.testing.actors import Actor
from splice.testing.simulation import Simulation

PART = b"x" * (FIRST_CREDIT // 20)
CONFIG = Config(
    window_bytes=4 * FIRST_CREDIT,
    backlog_bytes=FIRST_CREDIT,
    out_of_band_bytes=FIRST_CREDIT,
)
MANY = 200
"""Messages: ten times what a window takes, and five times that and a backlog."""


class Sleeper(Process):
    """Handles nothing until it is woken: its first handler waits."""

    def __init__(self) -> None:
        self.awake = Deferred()
        self.numbers: list[Any] = []

    def sleep(self) -> None:
        self.awake.get()

    def take(self, number: int, part: bytes = b"") -> int:
        self.numbers.append(number)
        return number

    def seen(self) -> list[Any]:
        return self.numbers


class Narrow(Sleeper):
    """Takes ten messages."""

    sp_mailbox_limit = 10

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[int] = []

    def take(self, number: Any, part: bytes = b"") -> Any:
        self.mails.append(self._sp_cell.mail())
        return super().take(number, part)

    def take_again(self) -> str:
        for number in range(100):
            tell(self.sp_proxy.take, number)
        return "never"


class Flooder(Process):
    """Sends as much as it may, and notes how far it came."""

    def __init__(self) -> None:
        self.sent = 0
        self.error: Overloaded | None = None

    def flood(self, to: Any, count: int, part: bytes = PART) -> int:
        for number in range(count):
            try:
                tell(to.take, number, part)
            except Overloaded as error:
                self.error = error
                raise
            self.sent += 1
        return self.sent

    async def flood_async(self, to: Any, count: int, part: bytes = PART) -> int:
        return Flooder.flood(self, to, count, part)

    async def flood_ready(self, to: Any, count: int, part: bytes = PART) -> int:
        for number in range(count):
            await ready(to)
            tell(to.take, number, part)
            self.sent += 1
        return self.sent

    def take(self, number: int, part: bytes) -> None:
        pass


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, config=CONFIG, delay=0.01)
    yield simulation
    simulation.close()


def asleep(sim: Simulation, here: Node, there: Node, cls: type = Sleeper) -> Any:
    """Make a process on `there` that sleeps; return the proxy that `here` has of it."""

    def act() -> Any:
        sleeper = runtime.spawn(cls, sp_id="sleeper", sp_dest=there.address)
        tell(sleeper.sleep)
        return sleeper

    return sim.run(here, act)


def record(node: Node, name: str = "sleeper") -> Any:
    return node.scheduler.directory.get(name)


def begin(sim: Simulation, node: Node, how: str, *args: Any) -> Promise:
    """Have a flooder of `node` do something; a promise of what comes of it."""

    def act() -> Promise:
        flooder = runtime.spawn(Flooder, sp_id="flooder")
        promise: Promise = getattr(flooder, how)(*args)
        promise.add_done_callback(lambda done: done.exception())
        return Deferred() if promise is None else promise

    holder: list[Promise] = []
    sim.run(node, lambda: holder.append(act()))
    return holder[0]


def error_of(promise: Promise) -> Overloaded:
    assert promise.done()
    error = promise.exception()
    assert isinstance(error, Overloaded), error
    assert error.verdict == "not delivered"
    return error


# ---- channels


def test_a_flooding_handler_parks_and_goes_on_when_the_far_process_wakes(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    flood = begin(sim, one, "flood", sleeper, MANY)
    sim.advance(5)
    assert 35 <= record(one, "flooder").object.sent <= 45
    record(two).object.awake.set(None)
    sim.advance(20)
    assert flood.get() == MANY
    sim.advance(5)
    assert record(two).object.numbers == list(range(MANY))


def test_it_gets_overloaded_after_the_timeout_and_what_it_has_sent_arrives(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    flood = begin(sim, one, "flood", sleeper, MANY)
    sim.advance(29)
    assert not flood.done()
    sim.advance(3)
    pattern = (
        rf"more than {FIRST_CREDIT} bytes are under way to {two.address} \(backlog_bytes\): "
        r".*sleeper.*\.take was not sent, and there was no room within 30 s "
        r"\(overload_timeout\); send less, or have it handled faster"
    )
    assert re.fullmatch(pattern, str(error_of(flood)))
    sent = record(one, "flooder").object.sent
    record(two).object.awake.set(None)
    sim.advance(20)
    assert record(two).object.numbers == list(range(sent))


def test_two_processes_that_flood_each_other_do_not_hang(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    ends = []
    for node in (one, two):
        sim.run(node, lambda: runtime.spawn(Flooder, sp_id="flooder"))
    proxies = [node.proxy_of(record(node, "flooder")) for node in (one, two)]
    for node, to in ((one, two), (two, one)):
        other = proxies[node is one]
        where = other.sp_url
        assert where.address == to.address
        mine = proxies[node is two]
        far = node.connect(where)
        ends.append(mine.flood(far, 10 * MANY))
    sim.advance(40)
    assert any(isinstance(end.exception(0), Overloaded) for end in ends)
    sim.advance(60)
    assert all(end.done() for end in ends)
    for end in ends:
        end.exception()
    assert all(node.peers is not None and node.peers.is_idle for node in (one, two))


def test_an_async_handler_gets_overloaded_at_once(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    flood = begin(sim, one, "flood_async", sleeper, MANY)
    sim.advance(1)
    assert "nothing can wait here: await splice.ready(proc) before the call" in str(
        error_of(flood)
    )


def test_an_async_handler_that_awaits_ready_comes_through(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    flood = begin(sim, one, "flood_ready", sleeper, MANY)
    sim.advance(5)
    assert not flood.done()
    record(two).object.awake.set(None)
    sim.advance(20)
    assert flood.get() == MANY
    assert record(two).object.numbers == list(range(MANY))


def test_answers_and_questions_the_other_way_pass_a_full_channel(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    begin(sim, one, "flood", sleeper, MANY)
    sim.advance(5)

    def act() -> Any:
        awake = runtime.spawn(Sleeper, sp_dest=one.address)
        return awake.take(7).get(timeout=5)

    assert sim.run(two, act) == 7


def test_a_process_behind_a_full_channel_can_be_killed(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    flood = begin(sim, one, "flood", sleeper, MANY)
    sim.advance(5)
    sim.run(one, lambda: runtime.kill(sleeper))
    assert record(two) is None
    sim.advance(5)
    assert flood.get() == MANY


def test_waiting_senders_learn_that_the_node_is_lost(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    flood = begin(sim, one, "flood", sleeper, MANY)
    sim.advance(5)
    sim.kill(two)
    sim.advance(20)
    assert flood.get() == MANY  # its tells fail, each by itself


def test_a_message_that_a_timer_sends_into_a_full_channel_fails(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    sleeper = asleep(sim, one, two)
    begin(sim, one, "flood", sleeper, MANY)
    sim.advance(5)
    sent = sim.run(one, lambda: runtime.send_after(1, sleeper.take, 7))
    sim.advance(3)
    assert sent is not None
    record(two).object.awake.set(None)
    sim.advance(20)
    assert record(two).object.numbers == list(range(MANY))


# ---- mailboxes


def test_near_senders_of_a_full_mailbox_wait_in_order(sim: Simulation) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)
    flood = begin(sim, one, "flood", narrow, 100, b"")
    sim.advance(1)
    cell = record(one)
    assert (cell.mail(), record(one, "flooder").object.sent) == (10, 10)
    cell.object.awake.set(None)
    sim.advance(1)
    assert flood.get() == 100
    assert cell.object.numbers == list(range(100))


def test_a_mailbox_never_holds_more_than_its_limit_of_near_messages(
    sim: Simulation,
) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)

    def flood(name: str) -> None:
        for number in range(50):
            tell(narrow.take, (name, number))

    async def all_floods() -> None:
        actors = [await one.spawn(Actor, (), {}, None) for _ in range(4)]
        floods = [a.run(flood, n) for n, a in zip("abcd", actors, strict=True)]
        await asyncio.sleep(1)
        assert record(one).mail() == 10
        record(one).object.awake.set(None)
        for each in floods:
            await each

    sim.loop.run_until_complete(all_floods())
    sim.advance(1)
    clerk = record(one).object
    assert max(clerk.mails) <= 9
    for name in "abcd":
        assert [n for which, n in clerk.numbers if which == name] == list(range(50))


@pytest.mark.parametrize("is_far", [False, True])
def test_a_cancelled_message_leaves_its_place_in_a_full_mailbox(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()
    place = two if is_far else one
    narrow = asleep(sim, one, place, Narrow)

    def scenario() -> Any:
        full = [narrow.take(number) for number in range(10)]
        runtime.sleep(1)
        assert [promise.cancel() for promise in full[:3]] == [True] * 3
        before = runtime.node.loop.time()
        for number in range(10, 13):
            narrow.take(number)
        took = runtime.node.loop.time() - before
        runtime.sleep(1)
        return took, runtime.info(narrow).mailbox

    took, mailbox = sim.run(one, scenario)
    assert (took < 1, mailbox, record(place).mail()) == (True, 10, 10)
    begin(sim, one, "flood", narrow, 5, b"")
    sim.advance(1)
    # one of another node sends what it can until it is told
    assert record(place).mail() == (15 if is_far else 10)
    record(place).object.awake.set(None)
    sim.advance(5)
    assert record(place).object.numbers == [*range(3, 13), *range(5)]


@pytest.mark.parametrize("is_far", [False, True])
def test_a_sender_that_waits_for_room_goes_on_when_a_message_is_cancelled(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()
    place = two if is_far else one
    narrow = asleep(sim, one, place, Narrow)
    full = sim.run(one, lambda: [[narrow.take(number) for number in range(10)]])[0]
    sim.advance(1)
    begin(sim, one, "flood", narrow, 5, b"")
    sim.advance(1)
    sim.run(one, lambda: [promise.cancel() for promise in full[:2]])
    sim.advance(1)
    assert record(one, "flooder").object.sent == (5 if is_far else 2)
    record(place).object.awake.set(None)
    sim.advance(5)
    assert record(place).object.numbers == [*range(2, 10), *range(5)]


def test_a_mailbox_that_was_full_of_cancelled_messages_gets_a_gate_nevertheless(
    sim: Simulation,
) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)

    def fill() -> None:
        for _ in range(3):
            for promise in [narrow.take(-1) for _ in range(9)]:
                promise.cancel()
        for number in range(10):
            tell(narrow.take, number)

    sim.run(one, fill)
    flood = begin(sim, one, "flood", narrow, 20, b"")
    sim.advance(1)
    assert (record(one).mail(), record(one, "flooder").object.sent) == (10, 0)
    record(one).object.awake.set(None)
    sim.advance(1)
    assert flood.get() == 20
    assert record(one).object.numbers == [*range(10), *range(20)]


def test_a_timer_does_not_wait_for_room_and_its_message_fails(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)
    begin(sim, one, "flood", narrow, 10, b"")
    sim.run(one, lambda: runtime.send_after(1, narrow.take, "late") and None)
    sim.advance(2)
    assert "the mailbox of Narrow sleeper is full (10 messages)" in caplog.text
    record(one).object.awake.set(None)
    sim.advance(1)
    assert record(one).object.numbers == list(range(10))


def test_near_senders_get_overloaded_after_the_timeout(sim: Simulation) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)
    flood = begin(sim, one, "flood", narrow, 100, b"")
    sim.advance(29)
    assert not flood.done()
    sim.advance(2)
    assert str(error_of(flood)) == (
        "the mailbox of Narrow sleeper is full (10 messages): take was not sent, and there "
        "was no room within 30 s (overload_timeout); send less, or have it handled faster"
    )


def test_an_async_sender_of_a_full_mailbox_gets_overloaded_at_once(
    sim: Simulation,
) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)
    flood = begin(sim, one, "flood_async", narrow, 100, b"")
    sim.advance(0.1)
    error_of(flood)
    assert record(one).mail() == 10


def test_an_async_sender_of_a_full_mailbox_can_await_ready(sim: Simulation) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)
    flood = begin(sim, one, "flood_ready", narrow, 100, b"")
    sim.advance(1)
    assert record(one).mail() == 10
    record(one).object.awake.set(None)
    sim.advance(1)
    assert flood.get() == 100


def test_a_handler_that_fills_its_own_mailbox_is_told_at_once(sim: Simulation) -> None:
    one = sim.node()

    def act() -> Any:
        narrow = runtime.spawn(Narrow)
        return narrow.take_again().get()

    with pytest.raises(Overloaded, match="its own handler cannot wait for that"):
        sim.run(one, act)


def test_senders_go_on_when_the_process_ends(sim: Simulation) -> None:
    one = sim.node()
    narrow = asleep(sim, one, one, Narrow)
    flood = begin(sim, one, "flood", narrow, 100, b"")
    sim.advance(1)
    sim.run(one, lambda: runtime.kill(narrow))
    sim.advance(1)
    assert flood.get() == 100


def test_far_senders_of_a_full_mailbox_wait_too_and_others_do_not(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    narrow = asleep(sim, one, two, Narrow)

    def first() -> None:
        for number in range(15):  # in one turn: the other node cannot have said so yet
            tell(narrow.take, number)

    sim.run(one, first)
    sim.advance(1)
    assert record(two).mail() == 15
    flood = begin(sim, one, "flood", narrow, 100, b"")
    sim.advance(1)
    assert record(one, "flooder").object.sent == 0

    def other() -> Any:
        return runtime.spawn(Sleeper, sp_dest=two.address).take(7).get(timeout=1)

    assert sim.run(one, other) == 7
    record(two).object.awake.set(None)
    sim.advance(5)
    assert flood.get() == 100
    assert record(two).object.numbers == [*range(15), *range(100)]


def test_far_senders_of_a_full_mailbox_get_overloaded(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    narrow = asleep(sim, one, two, Narrow)
    sim.run(one, lambda: [tell(narrow.take, number) for number in range(15)])
    sim.advance(1)
    flood = begin(sim, one, "flood", narrow, 100, b"")
    sim.advance(31)
    assert str(error_of(flood)).startswith(f"the mailbox of {narrow.sp_url} is full: ")


def test_far_senders_go_on_when_the_node_of_a_full_mailbox_is_lost(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    narrow = asleep(sim, one, two, Narrow)
    sim.run(one, lambda: [tell(narrow.take, number) for number in range(15)])
    sim.advance(1)
    flood = begin(sim, one, "flood", narrow, 100, b"")
    sim.kill(two)
    sim.advance(20)
    assert flood.get() == 100


@pytest.mark.parametrize("wrong", [0, -1, "many", 2.5])
def test_a_mailbox_limit_is_a_number_of_messages(sim: Simulation, wrong: Any) -> None:
    one = sim.node()
    kind = type("Wrong", (Process,), {"sp_mailbox_limit": wrong})
    with pytest.raises(ValueError, match="sp_mailbox_limit is a number of messages"):
        sim.run(one, lambda: runtime.spawn(kind))
