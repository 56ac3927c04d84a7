"""A node that ends waits for what it has sent, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from splice.config import Config
from splice.message import REQUEST, RESPONSE, TELL
from splice.net.channel import Channel
from splice.net.farewell import CONNECT_SECONDS, Farewell
from splice.net.outbound import Outbound
from splice.net.outgoing import Outgoing
from splice.net.peer import Peer
from splice.net.window import Window

PATIENCE = 2.5


class Far:
    """A node that messages are sent to."""

    def __init__(self, *, is_connected: bool = True) -> None:
        self.outbound = Outbound(Config())
        self.is_connected = is_connected
        self.line = self

    def send(self, kind: int, delivery: Any = None, size: int = 100) -> None:
        prompt = kind == RESPONSE
        self.outbound.put(Outgoing((kind, 1, "shop"), (), delivery, prompt, size))

    def fly(self) -> None:
        while self.outbound.next_flight(0):
            pass

    def hear(self) -> None:
        self.outbound.acknowledge(self.outbound.sequence)


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def farewell(clock: Clock, *fars: Far) -> Farewell:
    return Farewell(fars, clock, PATIENCE)  # type: ignore[arg-type]


def test_without_messages_there_is_nothing_to_wait_for(clock: Clock) -> None:
    assert farewell(clock).is_over()
    assert farewell(clock, Far(), Far(is_connected=False)).is_over()


@pytest.mark.parametrize("kind", [REQUEST, RESPONSE])
def test_what_nobody_asks_about_needs_only_be_on_its_way(
    clock: Clock, kind: int
) -> None:
    far = Far()
    far.send(kind)
    waiting = farewell(clock, far)
    assert not waiting.is_over()
    far.fly()
    assert waiting.is_over()


def test_a_tell_is_waited_for_until_it_was_acknowledged(clock: Clock) -> None:
    far = Far()
    far.send(TELL, delivery="somebody")
    waiting = farewell(clock, far)
    far.fly()
    assert not waiting.is_over()
    far.hear()
    assert waiting.is_over()


def test_what_is_sent_meanwhile_is_not_waited_for(clock: Clock) -> None:
    far = Far()
    far.send(TELL, delivery="somebody")
    waiting = farewell(clock, far)
    far.fly()
    far.hear()
    far.send(TELL, delivery="somebody")
    assert waiting.is_over()


def test_as_long_as_something_arrives_more_is_expected(clock: Clock) -> None:
    far = Far()
    for _ in range(10):
        far.send(TELL, delivery="somebody", size=500_000)
    waiting = farewell(clock, far)
    for _ in range(8):
        clock.now += 0.9 * PATIENCE
        assert not waiting.is_over()
        far.outbound.next_flight(0)
        far.outbound.grant(far.outbound.spent + 1)
        far.hear()
    clock.now += 0.1
    waiting.is_over()
    clock.now += PATIENCE
    assert waiting.is_over()


def test_a_node_that_was_not_reached_gets_less_time(clock: Clock) -> None:
    far = Far(is_connected=False)
    far.send(TELL, delivery="somebody")
    waiting = farewell(clock, far)
    assert not waiting.is_over()
    clock.now += CONNECT_SECONDS
    assert waiting.is_over()


def test_an_answer_that_the_wire_did_not_take_is_waited_for(clock: Clock) -> None:
    far = Far()
    far.send(RESPONSE)
    waiting = farewell(clock, far)
    far.fly()
    far.outbound.refused(1)
    assert not waiting.is_over()
    far.fly()
    assert waiting.is_over()


def test_talk_with_one_node_keeps_no_other_waiting_that_takes_nothing(
    clock: Clock,
) -> None:
    talker, sleeper = Far(), Far()
    sleeper.send(TELL, delivery="somebody")
    waiting = farewell(clock, talker, sleeper)
    sleeper.fly()
    for _ in range(10):
        assert not waiting.is_over()
        talker.send(TELL, delivery="somebody")
        talker.fly()
        talker.hear()
        clock.now += 0.1 * PATIENCE
    assert waiting.is_over()


@pytest.mark.parametrize("how", ["taken back", "lost"])
def test_nothing_that_is_sent_later_stands_for_what_never_arrives(
    clock: Clock, how: str
) -> None:
    far = Far()
    far.send(REQUEST, size=1000)
    waiting = farewell(clock, far)
    if how == "lost":
        far.outbound.fail()
    else:
        far.outbound.withdraw(1)
    assert waiting.is_over()
    far.send(TELL, delivery="somebody")
    far.fly()
    assert waiting.is_over()


def peer(incarnation: int | None = None) -> Peer:
    config = Config()
    window = Window(config.window_bytes)
    channel = Channel(1, config, peer=incarnation, window=window)
    return Peer("tcp://far:1", channel, mark=lambda _: None, wake=lambda *_: None)


def test_what_waits_for_a_node_that_turns_out_to_be_a_known_one_is_waited_for(
    clock: Clock,
) -> None:
    known, unknown = peer(2), peer()
    known.channel.attach(1, 1, 0, clock.now)
    known.outbound.heard_bytes = 10_000
    unknown.send(Outgoing((TELL, 1, "shop"), (), "somebody"))
    waiting = Farewell([known, unknown], clock, PATIENCE)
    unknown.become(known)
    assert not waiting.is_over()
    known.channel.flush(clock.now)
    assert not waiting.is_over()
    known.outbound.acknowledge(1)
    assert waiting.is_over()
