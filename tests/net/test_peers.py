from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER
from random import Random
from typing import Any

import pytest

from splice.config import Config
from splice.errors import (
    AccessDenied,
    ConnectTimeout,
    DeliveryError,
    InternalError,
    NodeLost,
    VersionMismatch,
)
from splice.message import RESPONSE, TELL, Entry
from splice.net import handshake
from splice.net.actions import Cause
from splice.net.frames import FrameError
from splice.net.outgoing import Outgoing, size_of
from splice.net.peer import Peer
from splice.net.peers import Peers
from splice.net.window import FIRST_CREDIT
from splice.net.wire import Buffer, Down
from splice.testing.clock import VirtualLoop
from splice.testing.wire import MemoryNetwork

CONFIG = Config()
KEY = bytes(range(32))


class Node:
    """A node reduced to its peers: it notes what they tell it."""

    def __init__(self, world: World, name: str, **options: Any) -> None:
        self.address = f"tcp://{name}:1"
        self.world = world
        self.incarnation = next(world.incarnations)
        self.got: list[Any] = []
        self.delivered: list[Any] = []
        self.failed: list[tuple[Any, DeliveryError]] = []
        self.lost: list[DeliveryError] = []
        self.merged: list[tuple[Peer, Peer]] = []
        self.echoes = False
        self.keeps_credit = False
        secret = options.pop("secret", "")
        self.peers = Peers(
            incarnation=self.incarnation,
            version="0.1",
            key=options.pop("key", KEY),
            config=options.pop("config", CONFIG),
            loop=world.loop,
            random=Random(self.incarnation),
            receiver=self,
            machine=options.pop("machine", f"machine of {name}"),
        )
        self.wire = world.network.open(self.address, self.peers, secret=secret)
        self.peers.start(self.wire)

    def send(self, peer: Peer, *values: Any, prompt: bool = False) -> None:
        kind = RESPONSE if prompt else TELL
        for value in values:
            peer.send(Outgoing((kind, value), (), value, prompt))
        self.peers.flush()

    def tell(self, other: Node, *values: Any, bound: bool = False) -> Peer:
        life = other.incarnation if bound else None
        peer = self.peers.reach(other.address, life)
        self.send(peer, *values)
        return peer

    def give_back(self, peer: Peer, requests: int, size: int) -> None:
        peer.credit.handled += requests
        peer.credit.handled_bytes += size
        self.peers.consumed(peer, peer.credit)

    def on_batch(self, peer: Peer, entries: list[Entry], buffers: list[Buffer]) -> None:
        for kind, value, *_ in entries:
            self.got.append(value)
            if kind == TELL and self.echoes:
                peer.send(Outgoing((RESPONSE, -value), (), -value, True))
        if not self.keeps_credit:
            tells = [size_of(entry) for entry in entries if entry[0] == TELL]
            self.give_back(peer, len(tells), sum(tells))

    def on_delivered(self, peer: Peer, messages: list[Outgoing]) -> None:
        self.delivered += [message.delivery for message in messages]

    def on_failed(
        self, peer: Peer, messages: list[Outgoing], error: DeliveryError
    ) -> None:
        self.failed += [(message.delivery, error) for message in messages]

    def on_lost(self, peer: Peer, error: DeliveryError) -> None:
        self.lost.append(error)

    def on_merged(self, peer: Peer, into: Peer) -> None:
        self.merged.append((peer, into))

    def one_error(self) -> DeliveryError:
        (error,) = {error for _, error in self.failed}
        return error


class World:
    """Nodes on one network, in virtual time."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.network = MemoryNetwork(self.loop, Random(1))
        self.incarnations = iter(range(100, 1000))

    def node(self, name: str, **options: Any) -> Node:
        return Node(self, name, **options)

    def kill(self, node: Node) -> None:
        self.network.kill(node.address)

    def advance(self, seconds: float) -> None:
        self.loop.advance(seconds)


@pytest.fixture
def world() -> Iterator[World]:
    it = World()
    yield it
    it.loop.close()


@pytest.fixture
def a(world: World) -> Node:
    return world.node("a")


@pytest.fixture
def b(world: World) -> Node:
    return world.node("b")


# ---- exchange


def test_messages_arrive_in_order(world: World, a: Node, b: Node) -> None:
    a.tell(b, *range(2500))
    world.advance(1)
    assert b.got == list(range(2500))


def test_each_message_is_told_as_delivered_once(world: World, a: Node, b: Node) -> None:
    a.tell(b, 1, 2, 3)
    world.advance(1)
    assert a.delivered == [1, 2, 3]
    assert a.peers.is_idle


def test_answers_come_back_over_the_same_connection(
    world: World, a: Node, b: Node
) -> None:
    b.echoes = True
    a.tell(b, 1, 2)
    world.advance(1)
    assert a.got == [-1, -2]
    assert len(b.wire.ends) == 1


def test_three_nodes_do_not_mix_their_mail(world: World, a: Node, b: Node) -> None:
    c = world.node("c")
    for node, values in ((a, (1, 2)), (b, (3, 4))):
        node.tell(c, *values)
    c.tell(a, 5)
    c.tell(b, 6)
    world.advance(1)
    assert sorted(c.got) == [1, 2, 3, 4]
    assert (a.got, b.got) == ([5], [6])


def test_buffers_arrive_beside_the_batch(world: World, a: Node, b: Node) -> None:
    seen: list[bytes] = []
    take = b.on_batch

    def on_batch(peer: Peer, entries: list[Entry], buffers: list[Buffer]) -> None:
        take(peer, entries, buffers)
        seen.extend(map(bytes, buffers))

    b.on_batch = on_batch  # type: ignore[method-assign]
    a.peers.reach(b.address).send(Outgoing((TELL, 1), (b"one", bytearray(b"two"))))
    a.peers.flush()
    world.advance(1)
    assert seen == [b"one", b"two"]


def test_a_quiet_connection_stays(world: World, a: Node, b: Node) -> None:
    a.tell(b, 1)
    world.advance(3600)
    assert a.lost == b.lost == []
    assert len(a.wire.ends) == 1


def test_a_peer_knows_what_the_other_node_runs(world: World, a: Node, b: Node) -> None:
    peer = a.tell(b, 1)
    assert (peer.incarnation, peer.python, peer.magic) == (None, None, None)
    world.advance(1)
    assert peer.incarnation == b.incarnation
    assert peer.python == platform.python_version()
    assert peer.magic == int.from_bytes(MAGIC_NUMBER, "little")
    assert peer.addresses == (b.address,)


def test_the_same_address_is_the_same_peer(a: Node, b: Node) -> None:
    assert a.peers.reach(b.address) is a.peers.reach(b.address)


# ---- late and absent nodes


def test_mail_waits_for_a_node_that_comes_up_late(world: World, a: Node) -> None:
    peer = a.peers.reach("tcp://b:1")
    a.send(peer, 1, 2)
    world.advance(20)
    b = world.node("b")
    world.advance(CONFIG.reconnect_delay_max + 1)
    assert b.got == [1, 2]


def test_mail_to_nobody_fails_by_name_after_the_connect_timeout(
    world: World, a: Node
) -> None:
    a.send(a.peers.reach("tcp://nobody:1"), 1)
    world.advance(CONFIG.connect_timeout - 1)
    assert a.failed == []
    world.advance(2)
    error = a.one_error()
    assert isinstance(error, ConnectTimeout)
    assert error.verdict == "not delivered"
    assert str(error).startswith("tcp://nobody:1 did not answer within 30 s")


def test_nobody_is_dialled_when_nothing_waits(world: World, a: Node) -> None:
    a.send(a.peers.reach("tcp://nobody:1"), 1)
    world.advance(CONFIG.connect_timeout + 1)
    dials: list[str] = []
    a.wire.dial = dials.append  # type: ignore[assignment, method-assign]
    world.advance(60)
    assert a.wire.ends == {}
    assert dials == []


def test_a_message_to_an_incarnation_that_is_not_there_fails_at_once(
    world: World, a: Node, b: Node
) -> None:
    a.send(a.peers.reach(b.address, 77), 1)
    world.advance(CONFIG.loss_timeout + 1)
    assert isinstance(a.one_error(), NodeLost)
    assert b.got == []


# ---- restart


def test_mail_for_a_restarted_node_fails_and_never_reaches_the_new_one(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    world.kill(b)
    b2 = world.node("b")
    a.send(peer, 2)
    world.advance(1)
    error = a.one_error()
    assert isinstance(error, NodeLost)
    assert error.node == b.address
    assert f"was restarted: incarnation {b2.incarnation:x} answers" in str(error)
    assert b2.got == []


def test_an_unbound_peer_asked_for_anew_reaches_the_restarted_node(
    world: World, a: Node, b: Node
) -> None:
    a.tell(b, 1)
    world.advance(1)
    world.kill(b)
    b2 = world.node("b")
    world.advance(1)
    a.tell(b2, 2)
    world.advance(1)
    assert b2.got == [2]


def test_a_dead_incarnation_stays_dead(world: World, a: Node, b: Node) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    world.kill(b)
    world.node("b")
    world.advance(1)
    a.send(peer, 2)
    assert [value for value, _ in a.failed] == [2]


def test_a_killed_node_whose_port_is_closed_is_lost_at_once(
    world: World, a: Node, b: Node
) -> None:
    a.tell(b, 1)
    world.advance(1)
    world.kill(b)
    world.advance(0.5)
    (error,) = a.lost
    assert isinstance(error, NodeLost)
    assert str(error) == (
        "tcp://b:1 refused the reconnect: nothing listens there any more"
    )


def test_a_node_that_dialled_us_and_is_killed_on_this_machine_is_lost_at_once(
    world: World,
) -> None:
    a, b = world.node("a", machine="same"), world.node("b", machine="same")
    b.tell(a, 1)
    world.advance(1)
    world.kill(b)
    world.advance(0.5)
    assert len(a.lost) == 1


def test_a_node_known_to_have_ended_is_lost_at_once(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    a.send(peer, 2)
    a.peers.lost(b.incarnation, "was killed by signal 9")
    assert str(a.one_error()) == "tcp://b:1 was killed by signal 9"
    assert a.one_error().verdict == "unknown"
    assert [str(error) for error in a.lost] == ["tcp://b:1 was killed by signal 9"]


def test_nobody_is_waited_for_where_a_node_is_known_to_have_ended(
    world: World, a: Node, b: Node
) -> None:
    world.kill(b)
    a.peers.lost(b.incarnation, "was killed by signal 9", b.address)
    a.send(a.peers.reach(b.address), 1)
    world.advance(0.1)
    error = a.one_error()
    assert isinstance(error, NodeLost)
    assert str(error) == "tcp://b:1 was killed by signal 9"


def test_a_node_known_to_have_ended_before_it_was_met_is_lost_at_once(
    world: World, a: Node, b: Node
) -> None:
    world.kill(b)
    a.peers.lost(b.incarnation, "was killed by signal 9")
    a.tell(b, 1, bound=True)
    assert str(a.one_error()) == "tcp://b:1 was killed by signal 9"


@pytest.mark.parametrize("who_dials", ["a", "b"])
def test_a_node_that_comes_up_where_one_has_ended_is_met_and_then_waited_for(
    world: World, a: Node, b: Node, who_dials: str
) -> None:
    world.kill(b)
    a.peers.lost(b.incarnation, "was killed by signal 9", b.address)
    b2 = world.node("b")
    if who_dials == "a":
        a.tell(b2, 1)
    else:
        b2.tell(a, 1)
    world.advance(1)
    assert a.got + b2.got == [1]
    world.kill(b2)
    world.advance(1)
    a.send(a.peers.reach(b.address), 2)
    world.advance(1)
    b3 = world.node("b")
    world.advance(CONFIG.connect_timeout)
    assert b3.got == [2]


def test_a_node_that_is_shut_down_says_goodbye(world: World, a: Node, b: Node) -> None:
    a.tell(b, 1)
    world.advance(1)
    b.peers.close(0)
    world.advance(0.1)
    assert [str(error) for error in a.lost] == ["tcp://b:1 was shut down"]


def test_what_a_closed_node_held_fails_there(world: World, a: Node, b: Node) -> None:
    a.tell(b, 1)
    a.peers.close(0)
    assert str(a.one_error()) == "tcp://b:1 was not heard: this node was shut down"


# ---- connections that break


def test_a_dropped_connection_loses_and_repeats_nothing(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 0)
    world.advance(1)
    for value in range(1, 40):
        a.send(peer, value)
        if value % 10 == 0:
            world.network.drop(a.address, b.address)
        world.advance(0.0007)
    world.advance(5)
    assert b.got == list(range(40))
    assert a.delivered == list(range(40))


def test_a_lossy_wire_loses_and_repeats_nothing(world: World, a: Node, b: Node) -> None:
    world.network.loss = 0.3
    peer = a.peers.reach(b.address)
    for value in range(60):
        a.send(peer, value)
        world.advance(0.05)
    world.advance(60)
    assert b.got == list(range(60))


def test_a_full_wire_delays_and_loses_nothing(world: World, a: Node, b: Node) -> None:
    peer = a.tell(b, 0)
    world.advance(1)
    a.wire.is_full = True
    a.send(peer, 1, 2)
    world.advance(5)
    a.wire.is_full = False
    world.advance(1)
    assert b.got == [0, 1, 2]


def test_two_nodes_that_dial_each_other_at_once_understand_each_other(
    world: World, a: Node, b: Node
) -> None:
    to_b, to_a = a.tell(b, 1), b.tell(a, 2)
    world.advance(1)
    a.send(to_b, 3)
    b.send(to_a, 4)
    world.advance(1)
    assert (b.got, a.got) == ([1, 3], [2, 4])
    assert a.lost == b.lost == []


def test_two_ways_to_one_node_become_one(world: World, a: Node, b: Node) -> None:
    b.tell(a, 1)
    world.advance(1)
    peer = a.tell(b, 2)
    world.advance(1)
    ((merged, into),) = a.merged
    assert merged is peer
    assert a.peers.reach(b.address) is into
    a.send(peer, 3)
    world.advance(1)
    assert b.got == [2, 3]


def test_a_node_that_nobody_can_dial_is_answered_and_called(
    world: World, b: Node
) -> None:
    client = world.node("localhost")
    client.tell(b, 1)
    world.advance(1)
    peer = b.peers.reach(client.address, client.incarnation)
    b.send(peer, 2)
    world.advance(1)
    assert client.got == [2]
    assert len(b.wire.ends) == 1


def test_a_node_that_nobody_can_dial_is_not_lost_by_one_dropped_connection(
    world: World, b: Node
) -> None:
    client = world.node("localhost")
    client.tell(b, 1)
    world.advance(1)
    world.network.drop(client.address, b.address)
    peer = b.peers.reach(client.address, client.incarnation)
    b.send(peer, 2)
    world.advance(5)
    assert client.got == [2]
    assert b.lost == []


def test_the_address_of_another_machine_is_no_verdict_about_a_node(
    world: World, b: Node
) -> None:
    client = world.node("client")
    client.tell(b, 1)
    world.advance(1)
    world.kill(client)
    world.node("client")  # somebody else, who has that address here
    world.advance(CONFIG.loss_timeout - 3)
    assert b.lost == []
    world.advance(4)
    assert "no sign of life for 10 s" in str(b.lost[0])


# ---- strangers


def test_a_node_of_another_key_is_a_named_error_within_a_second(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = world.node("a", key=bytes(32)), world.node("b")
    a.tell(b, 1)
    world.advance(1)
    error = a.one_error()
    assert isinstance(error, AccessDenied)
    assert error.verdict == "not delivered"
    assert str(error).startswith("tcp://b:1 has another cluster key; give both nodes")
    assert b.got == []
    assert "the node at tcp://a:1 has hung up; has it another cluster key?" in (
        caplog.text
    )


def test_a_transport_that_denies_is_a_named_error_within_a_second(world: World) -> None:
    a, b = world.node("a", secret="one"), world.node("b", secret="two")
    a.tell(b, 1)
    world.advance(1)
    assert isinstance(a.one_error(), AccessDenied)


@pytest.mark.parametrize(
    ("field", "value"), [("python", "2.7.18"), ("platform", "plan9")]
)
def test_a_node_of_another_version_is_a_named_error(
    world: World, field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = world.node("b")
    init = handshake.Identity.__init__
    monkeypatch.setattr(
        handshake.Identity,
        "__init__",
        lambda self, *args, **more: init(self, *args, **{**more, field: value}),
    )
    a = world.node("a")
    monkeypatch.undo()
    a.tell(b, 1)
    world.advance(1)
    assert isinstance(a.one_error(), VersionMismatch)
    assert value in str(a.one_error())


def test_a_node_that_reaches_itself_is_told_so(world: World, a: Node) -> None:
    world.network.wires["tcp://alias:1"] = a.wire
    a.send(a.peers.reach("tcp://alias:1"), 1)
    world.advance(1)
    assert str(a.one_error()) == (
        "tcp://alias:1 is this node itself; use runtime.address for it"
    )


def test_a_stranger_who_says_nothing_sensible_is_hung_up_on(
    world: World, b: Node
) -> None:
    for parts in ([b"GET / HTTP/1.1"], [b"H{}", b""], [b""], [b"F" * 64], [b"F"]):
        stranger = Stranger(world, b)
        stranger.say(parts)
        world.advance(0.1)
        assert stranger.is_down
    assert b.got == []


def test_a_stranger_who_stops_in_the_middle_is_hung_up_on(
    world: World, b: Node
) -> None:
    stranger = Stranger(world, b)
    identity = handshake.Identity(7, ("tcp://s:1",), "", "")
    stranger.say(handshake.Connector(identity, KEY, bytes(32)).hello())
    world.advance(CONFIG.handshake_timeout - 0.1)
    assert not stranger.is_down
    world.advance(0.2)
    assert stranger.is_down


def test_a_member_that_sends_a_bad_frame_is_hung_up_on_and_nothing_is_lost(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    a.wire.send(peer.channel.connections[0], [b"F" * 64])
    a.send(peer, 2)
    world.advance(1)
    assert b.got == [1, 2]
    assert a.lost == b.lost == []


def test_a_member_that_sends_bad_frames_again_and_again_is_given_up_by_name(
    world: World, a: Node, b: Node
) -> None:
    a.tell(b, 1)
    world.advance(1)
    (seen,) = [each for each in b.peers.known() if each.incarnation == a.incarnation]
    for _ in range(3):
        (connection,) = seen.channel.connections
        a.wire.send(a.peers.reach(b.address).channel.connections[0], [b"F" * 64])
        world.advance(3)
        assert connection not in seen.channel.connections
    assert seen.bad_frames == 3
    assert "sent a frame of protocol 70, not 2; please report it" in str(b.lost[0])
    a.tell(b, 2)
    world.advance(3)
    assert b.got == [1, 2]


def test_a_message_of_another_form_is_a_loss_on_both_sides_and_no_silence(
    world: World, a: Node, b: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise FrameError("a message that cannot be read")

    peer = a.tell(b, 1)
    world.advance(1)
    with monkeypatch.context() as patch:
        patch.setattr(b, "on_batch", fail)
        a.send(peer, 2)
        world.advance(1)
    assert "sent a message that cannot be read" in str(b.lost[0])
    assert [(value, error.verdict) for value, error in a.failed] == [(2, "unknown")]
    a.send(peer, 3)
    world.advance(1)
    assert b.got == [1, 3]


def test_a_batch_that_cannot_be_read_is_a_loss_on_both_sides_and_no_silence(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    a.send(peer, ValueError)
    world.advance(1)
    assert "a batch names no classes" in str(b.lost[0])
    assert [(value, error.verdict) for value, error in a.failed] == [
        (ValueError, "unknown")
    ]
    a.send(peer, 2)
    world.advance(1)
    assert b.got == [1, 2]


def test_a_better_address_replaces_one_that_leads_nowhere(
    world: World, b: Node
) -> None:
    client = world.node("localhost")
    client.tell(b, 1)
    world.advance(1)
    client.wire.close(0)
    world.advance(0.1)
    peer = b.peers.reach("tcp://gateway:1", client.incarnation)
    assert peer.address == "tcp://gateway:1"


def test_closing_twice_is_closing_once(world: World, a: Node) -> None:
    a.peers.close(0)
    a.peers.close(0)
    assert a.wire.is_closed


# ---- what is told of other nodes


def listen(node: Node) -> list[tuple[str, str, int | None]]:
    heard: list[tuple[str, str, int | None]] = []
    node.peers.lives.listen(lambda it: heard.append((it.kind, it.fate, it.incarnation)))
    return heard


def test_a_node_comes_up_and_ends(world: World, a: Node, b: Node) -> None:
    heard = listen(a)
    a.tell(b, 1)
    world.advance(1)
    b.peers.close(0)
    world.advance(1)
    assert heard == [("up", "", b.incarnation), ("lost", "ended", b.incarnation)]


def test_both_sides_hear_whoever_dialled(world: World, a: Node, b: Node) -> None:
    heard = listen(b)
    a.tell(b, 1)
    world.advance(1)
    assert heard == [("up", "", a.incarnation)]


def test_a_short_cut_is_told_and_its_end(world: World, a: Node, b: Node) -> None:
    a.tell(b, 1)
    world.advance(1)
    heard = listen(a)
    world.network.cut(a.address, b.address)
    world.advance(4)
    world.network.heal(a.address, b.address)
    world.advance(4)
    assert [kind for kind, *_ in heard] == ["cut", "again"]


def test_a_long_cut_is_a_loss_and_after_it_the_node_comes_up_again(
    world: World, a: Node, b: Node
) -> None:
    a.tell(b, 1)
    world.advance(1)
    heard = listen(a)
    world.network.cut(a.address, b.address)
    world.advance(30)
    assert [it[:2] for it in heard] == [("cut", ""), ("lost", "cut off")]
    world.network.heal(a.address, b.address)
    a.tell(b, 2)
    world.advance(4)
    assert heard[2:] == [("up", "", b.incarnation)]


def test_another_incarnation_at_an_address_is_a_restart(
    world: World, a: Node, b: Node
) -> None:
    heard = listen(a)
    a.tell(b, 1)
    world.advance(1)
    world.kill(b)
    second = world.node("b")
    world.advance(5)
    a.tell(second, 2)
    world.advance(5)
    assert heard[-1] == ("restarted", "", second.incarnation)
    assert ("lost", "ended", b.incarnation) in heard


def test_a_node_that_says_nothing_on_a_standing_connection_is_busy_until_it_does(
    world: World, a: Node, b: Node
) -> None:
    a.tell(b, 1)
    world.advance(1)
    heard = listen(a)
    b.peers._timers.close()  # its loop stands still
    world.advance(60)
    assert heard == [("busy", "", b.incarnation)]
    b.tell(a, 1)
    world.advance(2)
    assert heard[1:] == [("again", "", b.incarnation)]
    assert a.lost == []


def test_a_node_that_takes_connections_and_shakes_no_hands_is_frozen(
    world: World, a: Node, b: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.tell(b, 1)
    world.advance(1)
    heard = listen(a)
    on_down = a.peers.on_down
    monkeypatch.setattr(  # what a wire of sockets finds out about a stopped OS process
        a.peers, "on_down", lambda number, _: on_down(number, Down.SILENT)
    )
    world.network.cut(a.address, b.address)
    world.advance(30)
    assert heard[-1] == ("lost", "frozen", b.incarnation)
    assert "no sign of life for 10 s" in str(a.lost[0])
    assert "is it stopped, swapping" in str(a.lost[0])


def test_who_stops_listening_hears_no_more(world: World, a: Node, b: Node) -> None:
    heard: list[object] = []
    stop = a.peers.lives.listen(heard.append)
    stop()
    stop()
    a.tell(b, 1)
    world.advance(1)
    assert heard == []


def test_a_listener_that_raises_stops_nothing(world: World, a: Node, b: Node) -> None:
    errors: list[object] = []
    world.loop.set_exception_handler(lambda _, context: errors.append(context))

    def fail(event: object) -> None:
        raise RuntimeError(event)

    a.peers.lives.listen(fail)
    heard = listen(a)
    a.tell(b, 1)
    world.advance(1)
    assert len(errors) == 1
    assert heard == [("up", "", b.incarnation)]


class Stranger:
    """Dials a node and says what the test wants."""

    def __init__(self, world: World, target: Node) -> None:
        name = f"tcp://stranger{next(world.incarnations)}:1"
        self.wire = world.network.open(name, self)
        self.connection = self.wire.dial(target.address)
        self.is_down = False
        world.advance(0.1)

    def say(self, parts: list[bytes]) -> None:
        self.wire.send(self.connection, parts)

    def on_up(self, connection: int) -> None:
        pass

    def on_parts(self, connection: int, parts: list[Buffer]) -> None:
        pass

    def on_down(self, connection: int, cause: Down) -> None:
        self.is_down = True


# ---- partitions


def test_a_short_partition_loses_and_repeats_nothing(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    world.network.cut(a.address, b.address)
    a.send(peer, 2)
    world.advance(CONFIG.loss_timeout - 3)
    world.network.heal(a.address, b.address)
    world.advance(5)
    assert b.got == [1, 2]
    assert a.delivered == [1, 2]
    assert a.lost == b.lost == []


@pytest.mark.parametrize("both", [True, False])
def test_a_long_partition_is_a_loss_within_the_bound_on_both_sides(
    world: World, a: Node, b: Node, both: bool
) -> None:
    peer = a.tell(b, 1)
    world.advance(1.5)
    world.network.cut(a.address, b.address, both=both)
    a.send(peer, 2)
    # what hears the other side goes on hearing it until the transport gives up
    world.advance(CONFIG.loss_timeout + (0 if both else world.network.heartbeat) + 0.5)
    assert "no sign of life for 10 s (loss_timeout)" in str(a.lost[0])
    assert len(b.lost) == 1
    ((value, error),) = a.failed
    assert (value, error.verdict) == (2, "unknown")


def test_a_partition_that_heals_after_the_verdict_lets_mail_pass_again(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    world.network.cut(a.address, b.address)
    a.send(peer, 2)
    world.advance(CONFIG.loss_timeout + 5)
    world.network.heal(a.address, b.address)
    a.send(peer, 3)
    world.advance(3)
    assert b.got == [1, 3]
    assert a.delivered == [1, 3]


def test_a_verdict_of_one_side_ends_the_epoch_of_the_other(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    a.peers._lose(peer, Cause(NodeLost, "is said to be dead"), world.loop.time())
    world.advance(1)
    assert [str(error) for error in b.lost] == ["tcp://a:1 has given this node up"]
    a.send(peer, 2)
    world.advance(1)
    assert b.got == [1, 2]


def test_a_busy_node_is_not_lost(world: World, a: Node, b: Node) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    world.network.pause(b.address)
    a.send(peer, 2)
    world.advance(10 * CONFIG.loss_timeout)
    assert a.lost == []
    assert peer.channel.is_busy(world.loop.time())
    world.network.resume(b.address)
    world.advance(1)
    assert b.got == [1, 2]


def test_a_busy_node_whose_connection_breaks_is_not_lost(
    world: World, a: Node, b: Node
) -> None:
    peer = a.tell(b, 1)
    world.advance(1)
    world.network.pause(b.address)
    world.network.drop(a.address, b.address)
    a.send(peer, 2)
    world.advance(5 * CONFIG.loss_timeout)
    assert a.lost == []
    world.network.resume(b.address)
    world.advance(10)
    assert b.got == [1, 2]


# ---- limits


def test_a_flood_waits_for_credit_and_answers_do_not(world: World) -> None:
    config = CONFIG.with_changes(window_bytes=4 * FIRST_CREDIT)
    a, b = world.node("a", config=config), world.node("b", config=config)
    b.keeps_credit = True
    peer = a.peers.reach(b.address)
    for value in range(50):
        peer.send(Outgoing((TELL, value, 1), (), None, False, FIRST_CREDIT // 10))
    a.peers.flush()
    world.advance(1)
    assert len(b.got) <= 11
    a.send(peer, -1, prompt=True)
    world.advance(1)
    assert b.got[-1] == -1
    while len(b.got) < 51:
        before = len(b.got)
        (back,) = b.peers._by_incarnation.values()
        b.give_back(back, 1, FIRST_CREDIT // 10)
        b.peers.flush()
        world.advance(1)
        assert len(b.got) > before


def test_a_sender_is_called_when_there_is_room_again(world: World, b: Node) -> None:
    config = CONFIG.with_changes(backlog_bytes=1000)
    a = world.node("a", config=config)
    peer = a.peers.reach(b.address)
    for value in range(10):
        peer.send(Outgoing((TELL, value), (), None, False, 200))
    a.peers.flush()
    called: list[int] = []
    peer.when_roomy(lambda: called.append(peer.backlog_bytes))
    assert peer.backlog_bytes == 2000
    assert called == []
    world.advance(1)
    assert called == [0]


def test_a_message_sent_while_a_batch_is_taken_in_leaves_without_a_flush(
    world: World, a: Node, b: Node
) -> None:
    b.echoes = True
    a.tell(b, 5)
    world.advance(0.05)
    assert a.got == [-5]


# ---- waiting on the loop itself


def test_pump_waits_for_an_answer_and_runs_nothing_else(
    world: World, a: Node, b: Node
) -> None:
    b.echoes = True
    others: list[int] = []

    def wait() -> None:
        world.loop.call_soon(others.append, 1)
        a.tell(b, 5)
        deadline = world.loop.time() + 5
        assert a.peers.pump(lambda: a.got == [-5], deadline)
        assert others == []

    world.loop.call_soon(wait)
    world.advance(1)
    assert others == [1]


def test_pump_gives_up_at_the_deadline(world: World, a: Node) -> None:
    deadline = world.loop.time() + 5
    assert not a.peers.pump(lambda: False, deadline)
    assert world.loop.time() == pytest.approx(deadline)


def test_a_receiver_may_not_pump(world: World, a: Node, b: Node) -> None:
    def on_batch(peer: Peer, entries: list[Entry], buffers: list[Buffer]) -> None:
        with pytest.raises(InternalError, match="may not wait"):
            b.peers.pump(lambda: True, 0)
        b.got.append("pumped")

    b.on_batch = on_batch  # type: ignore[method-assign]
    a.tell(b, 1)
    world.advance(1)
    assert b.got == ["pumped"]


# ---- everything at once


def misfortune(world: World, nodes: list[Node], chance: Random) -> None:
    """Let something happen to the network."""
    one, other = chance.sample(nodes, 2)
    what = chance.choice(["drop", "cut", "heal", "pause", "resume", "full", "loss"])
    if what == "drop":
        world.network.drop(one.address, other.address)
    elif what == "cut":
        world.network.cut(one.address, other.address, both=chance.random() < 0.5)
    elif what == "heal":
        world.network.heal(one.address, other.address)
    elif what == "pause":
        world.network.pause(one.address)
    elif what == "resume":
        world.network.resume(one.address)
    elif what == "full":
        one.wire.is_full = not one.wire.is_full
    else:
        world.network.loss = chance.choice([0.0, 0.0, 0.2])


def all_well(world: World, nodes: list[Node]) -> None:
    """Repair everything and let it come to rest."""
    world.network.loss = 0.0
    for one in nodes:
        one.wire.is_full = False
        world.network.resume(one.address)
        for other in nodes:
            world.network.heal(one.address, other.address)
    world.advance(30)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_each_message_gets_one_true_verdict(seed: int) -> None:
    chance = Random(seed)
    world = World()
    world.network.jitter = 0.02
    nodes = [world.node(name) for name in "abc"]
    sent: dict[int, list[int]] = {node.incarnation: [] for node in nodes}
    for value in range(1, 150):
        one, other = chance.sample(nodes, 2)
        one.tell(other, value, bound=chance.random() < 0.5)
        sent[one.incarnation].append(value)
        world.advance(chance.choice([0.0, 0.001, 0.05, 0.5, 2.0]))
        if chance.random() < 0.2:
            misfortune(world, nodes, chance)
    all_well(world, nodes)
    arrived = [value for node in nodes for value in node.got]
    assert len(arrived) == len(set(arrived)), "something came twice"
    for node in nodes:
        failed = [value for value, _ in node.failed]
        assert sorted(node.delivered + failed) == sent[node.incarnation]
        assert set(node.delivered) <= set(arrived)
        unsent = {v for v, error in node.failed if error.verdict == "not delivered"}
        assert not unsent & set(arrived)
        assert node.peers.is_idle
    world.loop.close()
