from collections.abc import Iterator
from random import Random

import pytest

from splice.net.wire import Buffer, Down
from splice.testing.clock import VirtualLoop
from splice.testing.wire import MemoryNetwork

A, B = "tcp://a:1", "tcp://b:1"


class Ear:
    """Notes what a wire tells."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_up(self, connection: int) -> None:
        self.heard.append(("up", connection))

    def on_parts(self, connection: int, parts: list[Buffer]) -> None:
        self.heard.append((connection, parts))

    def on_down(self, connection: int, cause: Down) -> None:
        self.heard.append(cause)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    it = VirtualLoop()
    yield it
    it.close()


class Pair:
    """Two wires, the first of which has dialled the second."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.network = MemoryNetwork(loop, Random(1))
        self.ears = Ear(), Ear()
        self.one = self.network.open(A, self.ears[0])
        self.other = self.network.open(B, self.ears[1])
        self.connection = self.one.dial(B)
        loop.advance(1)
        for ear in self.ears:
            ear.heard.clear()


@pytest.fixture
def pair(loop: VirtualLoop) -> Pair:
    return Pair(loop)


def test_a_dialled_connection_comes_up(loop: VirtualLoop) -> None:
    network, ear = MemoryNetwork(loop, Random(1)), Ear()
    network.open(B, Ear())
    number = network.open(A, ear).dial(B)
    assert ear.heard == []
    loop.advance(1)
    assert ear.heard == [("up", number)]


@pytest.mark.parametrize(
    ("target", "secret", "cause"),
    [("tcp://nobody:1", "", Down.REFUSED), (B, "other", Down.DENIED)],
)
def test_a_dial_that_fails_says_why(
    loop: VirtualLoop, target: str, secret: str, cause: Down
) -> None:
    network, ear = MemoryNetwork(loop, Random(1)), Ear()
    network.open(B, Ear(), secret=secret)
    network.open(A, ear).dial(target)
    loop.advance(1)
    assert ear.heard == [cause]


def test_parts_arrive_in_order(pair: Pair) -> None:
    pair.network.jitter = 0.5
    for number in range(20):
        pair.one.send(pair.connection, [b"%d" % number])
    pair.loop.advance(20)
    assert pair.ears[1].heard == [(1, [b"%d" % number]) for number in range(20)]


def test_what_is_sent_is_a_copy(pair: Pair) -> None:
    part = bytearray(b"old")
    pair.one.send(pair.connection, [part])
    part[:] = b"new"
    pair.loop.advance(1)
    assert pair.ears[1].heard == [(1, [b"old"])]


def test_a_short_cut_delays_and_loses_nothing(pair: Pair) -> None:
    pair.network.cut(A, B)
    pair.one.send(pair.connection, [b"1"])
    pair.loop.advance(1)
    assert pair.ears[1].heard == []
    pair.network.heal(A, B)
    pair.loop.advance(1)
    assert pair.ears[1].heard == [(1, [b"1"])]


@pytest.mark.parametrize("both", [True, False])
def test_a_long_cut_drops_connections_at_both_ends(pair: Pair, both: bool) -> None:
    pair.network.cut(A, B, both=both)
    pair.loop.advance(pair.network.heartbeat + 0.1)
    assert [ear.heard for ear in pair.ears] == [[Down.DROPPED], [Down.DROPPED]]


def test_a_cut_of_one_direction_lets_the_other_pass(pair: Pair) -> None:
    pair.network.cut(A, B, both=False)
    pair.one.send(pair.connection, [b"1"])
    pair.other.send(1, [b"2"])
    pair.loop.advance(1)
    assert [ear.heard for ear in pair.ears] == [[(1, [b"2"])], []]


def test_an_isolated_address_is_cut_off_from_all_until_it_rejoins(pair: Pair) -> None:
    pair.network.isolate(B)
    pair.one.send(pair.connection, [b"1"])
    pair.other.send(1, [b"2"])
    pair.loop.advance(1)
    assert [ear.heard for ear in pair.ears] == [[], []]
    pair.network.rejoin(B)
    pair.loop.advance(1)
    assert [ear.heard for ear in pair.ears] == [[(1, [b"2"])], [(1, [b"1"])]]


def test_frames_may_come_twice_and_handshakes_do_not(pair: Pair) -> None:
    pair.network.repeats = 1.0
    for part in (b"F...", b"H..."):
        pair.one.send(pair.connection, [part])
    pair.loop.advance(5)
    heard = pair.ears[1].heard
    assert heard == [(1, [b"F..."]), (1, [b"H..."]), (1, [b"F..."])]


def test_a_killed_wire_is_noticed_and_hears_nothing_more(pair: Pair) -> None:
    pair.one.send(pair.connection, [b"1"])
    pair.network.kill(B)
    pair.loop.advance(1)
    assert [ear.heard for ear in pair.ears] == [[Down.DROPPED], []]


def test_whoever_is_hung_up_on_hears_what_was_said_before(pair: Pair) -> None:
    pair.one.send(pair.connection, [b"1"])
    pair.one.hang_up(pair.connection)
    pair.loop.advance(1)
    assert pair.ears[1].heard == [(1, [b"1"]), Down.DROPPED]
    assert pair.ears[0].heard == []


def test_a_busy_node_hears_everything_later(pair: Pair) -> None:
    pair.network.pause(B)
    pair.one.send(pair.connection, [b"1"])
    pair.loop.advance(100)
    assert pair.ears[1].heard == []
    pair.network.resume(B)
    assert pair.ears[1].heard == [(1, [b"1"])]


def test_an_address_is_free_again_after_a_kill(pair: Pair) -> None:
    with pytest.raises(OSError, match="it is in use"):
        pair.network.open(B, Ear())
    pair.network.kill(B)
    assert pair.network.open(B, Ear()).addresses == (B,)


def test_pump_moves_the_clock_of_a_standing_loop(pair: Pair) -> None:
    pair.one.send(pair.connection, [b"1"])
    pair.other.pump(5)
    assert pair.ears[1].heard == [(1, [b"1"])]
