"""Visitors: strangers are told from members by what libzmq tells, and named."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator

import pytest
import zmq

from splice.log import WARN_SECONDS
from splice.net.keys import Keys
from splice.net.visitors import Visitors

KEYS = Keys(bytes(32))


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Frame:
    """The first frame of a message, of which only the descriptor counts."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def get(self, option: int) -> int:
        assert option == zmq.SRCFD
        return self.descriptor


class Door:
    """Visitors, and who comes and goes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.it = Visitors("tcp://10.0.0.1:5", KEYS, self.clock, lambda _: None)
        self.far, self.near = socket.socketpair()
        self.descriptor = self.near.fileno()

    def tell(self, event: int, value: int) -> None:
        self.it.on_event([struct.pack("=hi", event, value), b""])

    def come(self) -> None:
        self.tell(zmq.EVENT_ACCEPTED, self.descriptor)

    def leave(self) -> None:
        self.tell(zmq.EVENT_DISCONNECTED, self.descriptor)

    def fail(self, event: int) -> None:
        self.come()
        self.tell(event, 0)
        self.leave()


@pytest.fixture
def door() -> Iterator[Door]:
    it = Door()
    yield it
    it.far.close()
    it.near.close()


def test_a_member_comes_and_goes_without_a_line(door, caplog):
    caplog.set_level(logging.INFO, "splice.net")
    door.come()
    assert list(door.it.present) == [door.descriptor]
    door.it.has_spoken(Frame(door.descriptor))
    door.leave()
    assert door.it.present == {}
    assert caplog.text == ""


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="no Linux")
def test_a_stranger_on_ipc_is_named_by_its_os_process(door, caplog):
    door.fail(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    assert f"from OS process {os.getpid()} of user" in caplog.text


def test_a_stranger_without_the_key_is_told_from_one_that_speaks_otherwise(
    door, caplog
):
    door.fail(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    assert f"who has not the key of this cluster (fingerprint {KEYS.fingerprint}" in (
        caplog.text
    )
    caplog.clear()
    door.come()
    door.leave()
    assert "who does not speak splice's protocol" in caplog.text


def test_a_thousand_strangers_are_two_lines_and_a_number(door, caplog):
    for _ in range(1000):
        door.fail(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    door.clock.now += WARN_SECONDS
    door.fail(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    assert len(caplog.records) == 2
    assert "and 999 others" in caplog.text


def test_one_that_only_looks_in_is_no_warning(door, caplog):
    caplog.set_level(logging.INFO, "splice.net")
    door.fail(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
    assert [each.levelno for each in caplog.records] == [logging.INFO]
    assert "said nothing" in caplog.text


def test_a_member_that_hangs_up_before_it_speaks_is_no_warning(door, caplog):
    caplog.set_level(logging.INFO, "splice.net")
    door.come()
    door.tell(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
    door.leave()
    assert [each.levelno for each in caplog.records] == [logging.INFO]


def test_a_handshake_that_is_told_of_late_excuses_nobody_else(door, caplog):
    door.come()
    door.it.has_spoken(Frame(door.descriptor))
    door.tell(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
    door.leave()
    assert caplog.text == ""
    door.come()
    door.leave()
    assert "who does not speak splice's protocol" in caplog.text


def test_one_whose_connection_is_gone_already_is_somebody(door, caplog):
    door.near.close()
    door.fail(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    assert "from somebody" in caplog.text
