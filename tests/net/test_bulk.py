"""Large messages travel in pieces, and small ones between them."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.config import Config
from splice.errors import NodeLost
from splice.message import REQUEST, RESPONSE
from splice.net.actions import Action, Cause, Deliver, Delivered, Failed, Transmit
from splice.net.bulk import NOTHING, Assembly, cut
from splice.net.channel import Channel
from splice.net.frames import FrameError, Kind, decode_batch, decode_header, join, split
from splice.net.outbound import PIECES
from splice.net.outgoing import Outgoing
from splice.net.window import FIRST_CREDIT, SPARED, Window

PIECE = 100
CONFIG = Config(piece_bytes=PIECE)
LARGE = 30 * PIECE
SHIP, SHOP = "ship", "shop"
DEAD = Cause(NodeLost, "is dead")


def small(number: int, target: str = SHOP, *, prompt: bool = False) -> Outgoing:
    kind = RESPONSE if prompt else REQUEST
    return Outgoing((kind, number, target), (), number, prompt, 10)


def large(number: int, target: str = SHIP, *, prompt: bool = False) -> Outgoing:
    kind = RESPONSE if prompt else REQUEST
    return Outgoing((kind, number, target), (bytes(LARGE),), number, prompt)


class Pair:
    """Two channels, and what passes between them, frame by frame."""

    def __init__(self) -> None:
        self.ends = [
            Channel(me, CONFIG, peer=3 - me, window=Window(2**20)) for me in (1, 2)
        ]
        self.kinds: list[Kind] = []
        self.handled: list[int] = []
        self.told: list[tuple[int, str]] = []
        self.now = 0.0
        for end in self.ends:
            end.attach(7, 1, 0, self.now)

    def send(self, *messages: Outgoing) -> list[Transmit]:
        for message in messages:
            self.ends[0].outbound.put(message)
        return self.do(0, self.ends[0].flush(self.now))

    def do(self, place: int, actions: Iterable[Action]) -> list[Transmit]:
        """Carry out what one end wants; return what it sends."""
        sent: list[Transmit] = []
        for action in actions:
            if isinstance(action, Transmit):
                sent.append(action)
            elif isinstance(action, Deliver):
                self.handled += [entry[1] for entry in decode_batch(action.batch)]
                sent += self.do(place, self.ends[place].on_delivered(self.now))
            elif isinstance(action, Delivered):
                self.told += [(m.delivery, "delivered") for m in action.messages]
            elif isinstance(action, Failed):
                self.told += [(m.delivery, action.verdict) for m in action.messages]
        return sent

    def take_in(self, place: int, sent: list[Transmit]) -> list[Transmit]:
        """Let frames arrive at one end; return what it sends thereupon."""
        answers: list[Transmit] = []
        for action in sent:
            parts = split(join(list(action.parts)))
            header = decode_header(parts)
            if place:
                self.kinds.append(header.kind)
            actions = self.ends[place].on_frame(7, header, parts[1:], self.now)
            answers += self.do(place, actions)
        return answers

    def arrive(self, sent: list[Transmit], place: int = 1) -> None:
        """Let frames arrive, by default those of the first end, and all that follows."""
        while sent:
            sent = self.take_in(place, sent)
            place = 1 - place

    def settle(self) -> None:
        for _ in range(50):
            self.now += 0.1
            for place in (0, 1):
                due = self.ends[place].on_time(self.now)
                self.arrive(self.do(place, due), 1 - place)


@given(
    lengths=st.lists(st.integers(0, 300), max_size=5), size=st.sampled_from([1, 7, 100])
)
def test_any_message_is_put_together_as_it_was(lengths: list[int], size: int) -> None:
    buffers = tuple(
        bytes([place % 256]) * length for place, length in enumerate(lengths)
    )
    plan, pieces = cut(Outgoing((REQUEST, 1, SHOP), buffers), size)
    assembly = Assembly()
    assembly.begin(plan, 1)
    *some, last = [assembly.add(piece) for piece in pieces]
    assert some == [None] * len(some)
    assert last is not None
    assert decode_batch(last[0]) == [(REQUEST, 1, SHOP)]
    assert [bytes(part) for part in last[1:]] == list(buffers)


def test_a_large_message_arrives_whole() -> None:
    pair = Pair()
    pair.arrive(pair.send(large(1)))
    pair.settle()
    assert pair.handled == [1]
    assert pair.told == [(1, "delivered")]
    assert pair.kinds.count(Kind.PIECE) == 31
    assert pair.ends[0].outbound.is_empty


def test_no_more_than_some_pieces_are_on_the_way_at_once() -> None:
    pair = Pair()
    sent = pair.send(large(1))
    kinds = [decode_header([*action.parts[:1], b""]).kind for action in sent]
    assert kinds == [Kind.PLAN] + [Kind.PIECE] * PIECES


def test_a_small_message_for_another_process_passes_a_large_one() -> None:
    pair = Pair()
    first = pair.send(large(1))
    pair.arrive(first + pair.send(small(2)))
    pair.settle()
    assert pair.handled == [2, 1]
    assert pair.kinds.index(Kind.MAIL) <= PIECES + 1


def huge(number: int, target: str = SHIP) -> Outgoing:
    """Make one that is larger than all the credit there is."""
    return Outgoing((REQUEST, number, target), (bytes(2 * FIRST_CREDIT),), number)


def test_one_larger_than_all_credit_keeps_no_other_waiting_until_it_is_handled() -> (
    None
):
    pair = Pair()
    pair.arrive(pair.send(huge(1)))
    pair.settle()
    assert pair.handled == [1]  # it stands in its mailbox: no credit came back

    pair.arrive(pair.send(*[small(number) for number in range(2, 100)]))
    pair.settle()

    assert pair.handled == list(range(1, 100))


def test_beside_one_that_is_not_handled_others_have_so_much_room_and_no_more() -> None:
    pair = Pair()
    pair.arrive(pair.send(huge(1)))
    pair.settle()
    count = SPARED // PIECE + 1  # the last one may go beyond it
    others = [
        Outgoing((REQUEST, number, SHOP), (), number, False, PIECE)
        for number in range(2, count + 102)
    ]
    pair.arrive(pair.send(*others))
    pair.settle()
    assert pair.handled == list(range(1, count + 2))

    pair.ends[1].inbound.credit.drop(50, 50 * PIECE)  # so many of them were handled
    pair.arrive(pair.do(1, pair.ends[1].flush(pair.now)), 0)
    pair.settle()
    assert pair.handled == list(range(1, count + 52))


def test_a_second_one_waits_until_the_first_was_handled() -> None:
    pair = Pair()
    pair.arrive(pair.send(huge(1), huge(2, SHOP)))
    pair.settle()
    assert pair.handled == [1]
    pair.arrive(pair.send(small(3, "other")))
    pair.settle()
    assert pair.handled == [1, 3]

    pair.ends[1].inbound.credit.drop(1, huge(1).size)
    pair.arrive(pair.do(1, pair.ends[1].flush(pair.now)), 0)
    pair.settle()

    assert pair.handled == [1, 3, 2]


def test_what_is_being_cut_leaves_senders_their_backlog() -> None:
    pair = Pair()
    outbound = pair.ends[0].outbound
    message = Outgoing((REQUEST, 1, SHIP), (bytes(CONFIG.backlog_bytes + 1),), 1)
    outbound.put(message)
    assert outbound.is_full
    pair.do(0, pair.ends[0].flush(pair.now))
    assert not outbound.is_full

    assert outbound.withdraw(1)
    pair.settle()

    assert outbound.backlog_bytes == 0
    assert outbound.room == CONFIG.backlog_bytes


def test_a_small_message_for_the_same_process_keeps_its_place() -> None:
    pair = Pair()
    pair.arrive(pair.send(large(1), small(2, SHIP), small(3), large(4), small(5, SHIP)))
    pair.settle()
    assert pair.handled == [3, 1, 2, 4, 5]


def test_order_holds_among_the_ways_to_call_one_process() -> None:
    pair = Pair()
    pair.arrive(pair.send(large(1, f"{SHIP}#7"), small(2, SHIP), small(3, "ship-2#7")))
    pair.settle()
    assert pair.handled == [3, 1, 2]


def test_a_large_answer_overtakes_large_mail_that_has_no_credit() -> None:
    pair = Pair()
    pair.ends[0].outbound.spent = pair.ends[0].outbound.credit
    pair.arrive(pair.send(large(1), large(2, prompt=True)))
    pair.settle()
    assert pair.handled[0] == 2


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_large_message_that_is_withdrawn_never_arrives(has_begun: bool) -> None:
    pair = Pair()
    sent = pair.send(large(1)) if has_begun else []
    if not has_begun:
        pair.ends[0].outbound.put(large(1))
    assert pair.ends[0].outbound.withdraw(1)
    pair.arrive(sent + pair.send(small(2, SHIP), large(3)))
    pair.settle()
    assert pair.handled == [2, 3]
    assert pair.ends[0].outbound.backlog_bytes == 0


def test_a_large_message_is_undelivered_until_its_last_piece_was_sent() -> None:
    pair = Pair()
    pair.take_in(1, pair.send(large(1)))
    pair.do(0, pair.ends[0].lose(DEAD))
    assert pair.told == [(1, "not delivered")]


def test_credit_comes_back_for_a_large_message_that_never_became_whole() -> None:
    pair = Pair()
    window = pair.ends[1]._window
    pair.take_in(1, pair.send(large(1)))
    assert window.lent > 0
    pair.do(1, pair.ends[1].lose(DEAD))
    assert window.lent == 0


@pytest.mark.parametrize(
    ("plan", "piece", "complaint"),
    [
        (b"1234567", b"", "a plan of 7 bytes"),
        (NOTHING, b"piece", "a piece of 5 bytes at 0 of a part of 0"),
        (b"\4" + bytes(7), b"piece", "a piece of 5 bytes at 0 of a part of 4"),
        (b"\4" + bytes(7), b"", "a piece of 0 bytes"),
        (b"\xff" * 8, b"piece", "no memory"),
    ],
)
def test_a_piece_that_fits_no_plan_is_a_named_error(
    plan: bytes, piece: bytes, complaint: str
) -> None:
    assembly = Assembly()
    with pytest.raises(FrameError, match=complaint):  # noqa: PT012 - either may raise
        assembly.begin(plan, 0)
        assembly.add(piece)


def test_a_message_slightly_larger_than_a_piece_goes_whole() -> None:
    for extra, kinds in ((PIECE // 8, {Kind.MAIL}), (PIECE // 8 + 1, {Kind.PLAN})):
        pair = Pair()
        pair.send(Outgoing((REQUEST, 1, SHIP), (bytes(PIECE),), 1, size=PIECE + extra))
        sent = pair.ends[0].outbound.flights
        assert {sent[0].kind} == kinds


def test_what_is_handled_beside_a_large_one_is_told_at_once() -> None:
    pair = Pair()
    pair.arrive(pair.send(huge(1)))
    pair.settle()
    others = [
        Outgoing((REQUEST, number, SHOP), (), number, False, PIECE)
        for number in range(2, 2 * SPARED // PIECE)
    ]
    pair.arrive(pair.send(*others))
    pair.settle()
    come = len(pair.handled)
    assert come < len(others)

    # no time passes: neither a beat is due nor an acknowledgement
    pair.ends[1].inbound.credit.drop(1000, 1000 * PIECE)
    pair.arrive(pair.do(1, pair.ends[1].flush(pair.now)), 0)
    assert len(pair.handled) == come + 1000


def test_those_that_need_no_credit_are_told_when_a_second_large_one_waits_for_it() -> (
    None
):
    pair = Pair()
    pair.arrive(pair.send(huge(1), huge(2, SHOP)))
    assert pair.ends[0].outbound.is_stuck
