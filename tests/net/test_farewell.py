"""A node that ends waits for what it has sent, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from splice.config import Config
from splice.message import REQUEST, RESPONSE, TELL
from splice.net.farewell import CONNECT_SECONDS, Farewell
from splice.net.outbound import Outbound
from splice.net.outgoing import Outgoing

PATIENCE = 2.5


class Far:
    """A node that messages are sent to."""

    def __init__(self, *, is_connected: bool = True) -> None:
        self.outbound = Outbound(Config())
        self.is_connected = is_connected

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
