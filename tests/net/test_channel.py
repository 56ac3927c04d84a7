from collections.abc import Iterable
from typing import Any

import pytest

from splice.config import Config
from splice.errors import ConnectTimeout, NodeLost
from splice.message import REQUEST, RESPONSE, SIGNAL, Entry
from splice.net.actions import (
    Action,
    Cause,
    Deliver,
    Delivered,
    Failed,
    HangUp,
    Lost,
    Transmit,
)
from splice.net.channel import RETRY_SECONDS, Channel
from splice.net.frames import Header, Kind, decode_batch, decode_header
from splice.net.inbound import ACK_FRAMES
from splice.net.outgoing import ENTRY_BYTES, Outgoing
from splice.net.window import FIRST_CREDIT, Window

CONFIG = Config(frame_messages=3, frame_bytes=100)
MEBIBYTE = 1024 * 1024
DEAD = Cause(NodeLost, "is dead")


def message(
    number: int, size: int = 10, *, prompt: bool = False, kind: int | None = None
) -> Outgoing:
    kind = (RESPONSE if prompt else REQUEST) if kind is None else kind
    return Outgoing((kind, number, 1), (), f"delivery of {number}", prompt, size)


def channel(me: int = 1, peer: int | None = 2, **options: Any) -> Channel:
    window = Window(options.pop("window", 4 * MEBIBYTE), shares=1, least=0)
    return Channel(
        me, options.pop("config", CONFIG), peer=peer, window=window, **options
    )


def connected(me: int = 1, peer: int = 2, **options: Any) -> Channel:
    it = channel(me, peer, **options)
    it.attach(7, 1, 0, 0.0)
    return it


def put(it: Channel, *messages: Outgoing) -> None:
    for each in messages:
        it.outbound.put(each)


def frame_kinds(actions: Iterable[Action]) -> list[Kind]:
    sent = [action for action in actions if isinstance(action, Transmit)]
    return [decode_header(action.parts).kind for action in sent]


def frames(actions: Iterable[Action]) -> list[tuple[Header, list[Entry]]]:
    """Return what is transmitted, read again."""
    return [
        (
            decode_header(action.parts),
            decode_batch(action.parts[1]) if len(action.parts) > 1 else [],
        )
        for action in actions
        if isinstance(action, Transmit)
    ]


def headers(actions: Iterable[Action]) -> list[Header]:
    return [header for header, _ in frames(actions)]


def numbers(actions: Iterable[Action]) -> list[list[int]]:
    """Return the numbers of the messages in each frame of mail."""
    return [[entry[1] for entry in batch] for _, batch in frames(actions) if batch]


def carry(actions: Iterable[Action], to: Channel, now: float = 0.0) -> list[Action]:
    """Bring what is transmitted to the other channel, and return what that wants done."""
    wanted: list[Action] = []
    for action in actions:
        if isinstance(action, Transmit):
            header = decode_header(action.parts)
            for done in to.on_frame(7, header, action.parts[1:], now):
                wanted.append(done)
                if isinstance(done, Deliver):
                    wanted += to.on_delivered(now)
    return wanted


def delivered(actions: Iterable[Action]) -> list[int]:
    return [
        entry[1]
        for action in actions
        if isinstance(action, Deliver)
        for entry in decode_batch(action.batch)
    ]


def kinds(actions: Iterable[Action]) -> list[type[Action]]:
    return [type(action) for action in actions]


# ---- sending


def test_nothing_is_sent_without_a_connection() -> None:
    it = channel()
    put(it, message(1))
    assert it.flush(0.0) == []


def test_what_waits_is_sent_when_a_connection_comes() -> None:
    it = channel()
    put(it, message(1), message(2))
    assert numbers(it.attach(7, 1, 0, 0.0)) == [[1, 2]]


def test_a_frame_has_no_more_messages_than_it_may() -> None:
    it = connected()
    put(it, *map(message, range(7)))
    assert numbers(it.flush(0.0)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_frame_is_closed_when_it_has_enough_bytes() -> None:
    it = connected()
    put(it, message(1, 60), message(2, 60), message(3, 60))
    assert numbers(it.flush(0.0)) == [[1, 2], [3]]


def test_prompt_messages_go_ahead_of_mail() -> None:
    it = connected()
    put(it, message(1), message(2), message(3, prompt=True))
    assert numbers(it.flush(0.0)) == [[3, 1, 2]]


def test_buffers_travel_beside_the_batch_in_order() -> None:
    it = connected()
    for number in (1, 2):
        it.outbound.put(Outgoing((REQUEST, number), (b"a%d" % number, b"b")))
    (sent,) = it.flush(0.0)
    assert isinstance(sent, Transmit)
    assert sent.parts[2:] == [b"a1", b"b", b"a2", b"b"]
    assert decode_header(sent.parts).buffers == 4


def test_an_acknowledged_message_is_delivered() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1), message(2))
    carry(one.flush(0.0), other)
    actions = carry(other.on_time(1.0), one)
    (told,) = [action for action in actions if isinstance(action, Delivered)]
    assert [each.delivery for each in told.messages] == [
        "delivery of 1",
        "delivery of 2",
    ]
    assert one.outbound.is_empty


def test_nobody_is_told_of_a_message_that_nobody_asks_about() -> None:
    one, other = connected(1, 2), connected(2, 1)
    one.outbound.put(Outgoing((REQUEST, 1)))
    carry(one.flush(0.0), other)
    assert kinds(carry(other.on_time(1.0), one)) == []
    assert one.outbound.is_empty


def test_an_acknowledgement_of_what_was_never_sent_is_dropped() -> None:
    one = connected(1, 2)
    put(one, message(1))
    one.flush(0.0)
    bad = Header(Kind.ACK, 1, 2, 1, sequence=0, ack=99, credit=0)
    assert one.on_frame(7, bad, [], 0.0) == []
    assert one.frames_dropped == 1


def test_a_full_connection_is_tried_again_with_the_same_frames() -> None:
    it = connected()
    put(it, *map(message, range(4)))
    first, *_ = it.flush(0.0)
    assert isinstance(first, Transmit)
    it.on_full(first.sequence, 0.0)
    assert it.flush(0.0) == []
    assert it.deadline() == RETRY_SECONDS
    assert numbers(it.on_time(RETRY_SECONDS)) == [[0, 1, 2], [3]]


def test_what_the_wire_never_took_was_not_delivered() -> None:
    it = connected()
    put(it, message(1))
    (sent,) = it.flush(0.0)
    assert isinstance(sent, Transmit)
    it.on_full(sent.sequence, 0.0)
    failed = [a for a in it.lose(DEAD) if isinstance(a, Failed)]
    assert [action.verdict for action in failed] == ["not delivered"]


# ---- receiving


def test_a_frame_that_was_seen_is_not_delivered_again() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    sent = one.flush(0.0)
    assert delivered(carry(sent, other)) == [1]
    assert delivered(carry(sent, other)) == []


def test_a_missing_frame_is_asked_for_and_sent_again() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, *map(message, range(6)))
    sent = one.flush(0.0)
    (ask,) = carry(sent[1:], other)
    assert headers([ask])[0].kind is Kind.RESEND
    assert delivered(carry(carry([ask], one), other)) == [0, 1, 2, 3, 4, 5]


def test_a_missing_last_frame_is_noticed_by_the_next_beat() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    one.flush(0.0)
    asks = carry(one.on_time(1.0), other)
    assert [header.kind for header in headers(asks)] == [Kind.RESEND]


def test_two_sides_that_both_miss_a_frame_help_each_other() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    put(other, message(2))
    one.flush(0.0)
    other.flush(0.0)
    ask = carry(one.on_time(1.0), other, 1.0)
    assert delivered(carry(carry(ask, one, 1.0), other, 1.0)) == [1]


def test_a_missing_frame_is_asked_for_once_and_again_after_the_interval() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, *map(message, range(9)))
    _, *rest = one.flush(0.0)
    assert len(carry(rest, other, now=1.0)) == 1
    assert len(carry(rest, other, now=1.0 + CONFIG.resend_interval)) == 1


def test_a_refusal_is_never_overtaken_by_the_acknowledgement_it_belongs_to() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    other.on_frame(7, *_frame(one), 0.0)
    put(other, *(message(number, prompt=True) for number in range(7)))
    sent = headers(other.on_delivered(0.0))
    assert [header.ack for header in sent] == [0, 0, 1]


def test_the_acknowledgement_of_a_frame_that_is_ahead_is_not_looked_at() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    other.on_frame(7, *_frame(one), 0.0)
    put(other, *(message(number, prompt=True) for number in range(4)))
    _, last = other.on_delivered(0.0)
    assert Delivered not in kinds(carry([last], one))
    assert not one.outbound.is_empty


def _frame(it: Channel) -> tuple[Header, list[Any]]:
    (sent,) = it.flush(0.0)
    assert isinstance(sent, Transmit)
    return decode_header(sent.parts), sent.parts[1:]


def test_a_lonely_acknowledgement_waits_for_company() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    assert frames(carry(one.flush(0.0), other)) == []
    assert other.deadline() == CONFIG.ack_delay
    (ack,) = headers(other.on_time(CONFIG.ack_delay))
    assert (ack.kind, ack.ack) == (Kind.ACK, 1)


def test_an_acknowledgement_rides_on_mail_when_there_is_some() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    carry(one.flush(0.0), other)
    put(other, message(2))
    (mail,) = headers(other.flush(0.001))
    assert (mail.kind, mail.ack) == (Kind.MAIL, 1)
    assert other.deadline() == pytest.approx(0.001 + CONFIG.beat_interval)


def test_many_frames_are_acknowledged_at_once() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, *(message(number, 100) for number in range(ACK_FRAMES)))
    (ack,) = headers(carry(one.flush(0.0), other))
    assert (ack.kind, ack.ack) == (Kind.ACK, ACK_FRAMES)


def test_a_frame_is_acknowledged_only_when_it_is_delivered() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    other.on_frame(7, *_frame(one), 0.0)
    (beat,) = headers(other.on_time(1.0))
    assert beat.ack == 0


@pytest.mark.parametrize(
    "wrong", [{"source": 9}, {"target": 9}, {"epoch": 9}], ids=lambda wrong: str(wrong)
)
def test_a_frame_of_others_is_dropped(wrong: dict[str, int]) -> None:
    values = {"epoch": 1, "source": 1, "target": 2, **wrong}
    other = connected(2, 1)
    header = Header(Kind.MAIL, **values, sequence=1, ack=0, credit=0)
    assert other.on_frame(7, header, [b""], 0.0) == []
    assert other.frames_dropped == 1


def test_a_frame_from_a_connection_that_was_hung_up_is_dropped() -> None:
    other = connected(2, 1)
    header = Header(Kind.MAIL, 1, 1, 2, sequence=1, ack=0, credit=0)
    assert other.on_frame(8, header, [b""], 0.0) == []


# ---- credit


def test_mail_waits_when_its_credit_is_used_up() -> None:
    it = connected()
    put(it, message(1, FIRST_CREDIT), message(2))
    assert numbers(it.flush(0.0)) == [[1]]
    assert it.flush(0.0) == []


def test_a_message_larger_than_all_credit_can_be_sent() -> None:
    it = connected()
    put(it, message(1, 5 * FIRST_CREDIT))
    assert frame_kinds(it.flush(0.0)) == [Kind.PLAN, Kind.PIECE]


def test_an_answer_needs_no_credit() -> None:
    it = connected()
    put(it, message(1, FIRST_CREDIT), message(2), message(3, prompt=True))
    assert numbers(it.flush(0.0)) == [[3, 1]]


def test_a_signal_keeps_its_place_in_the_mail() -> None:
    it = connected()
    put(it, message(1), message(2, kind=SIGNAL), message(3))
    assert numbers(it.flush(0.0)) == [[1, 2, 3]]


def test_a_receiver_grants_what_was_given_back_and_a_window_more() -> None:
    one, other = connected(1, 2), connected(2, 1, window=FIRST_CREDIT)
    put(one, message(1, FIRST_CREDIT), message(2))
    carry(one.flush(0.0), other)
    other.inbound.credit.drop(1, FIRST_CREDIT)
    assert numbers(carry(other.flush(0.0), one)) == [[2]]


def test_messages_that_are_not_given_back_keep_their_credit() -> None:
    one, other = connected(1, 2), connected(2, 1, window=FIRST_CREDIT)
    put(one, message(1, FIRST_CREDIT), message(2))
    carry(one.flush(0.0), other)
    assert numbers(carry(other.on_time(1.0), one)) == []


def test_a_signal_gives_its_credit_back_by_itself() -> None:
    one, other = connected(1, 2), connected(2, 1, window=FIRST_CREDIT)
    put(one, message(1, FIRST_CREDIT, kind=SIGNAL), message(2))
    carry(one.flush(0.0), other)
    assert numbers(carry(other.on_time(1.0), one)) == [[2]]


def test_requests_of_an_earlier_epoch_give_back_no_credit_of_this_one() -> None:
    it = connected(2, 1, window=100)
    mail = Header(Kind.MAIL, 1, 1, 2, 1, 0, 0, cost=100, requests=1)
    it.on_frame(7, mail, [b""], 0.0)
    before = it.inbound.credit
    it.lose(DEAD)
    it.attach(8, 2, 0, 0.0)
    mail = Header(Kind.MAIL, 2, 1, 2, 1, 0, 0, cost=100, requests=1)
    it.on_frame(8, mail, [b""], 0.0)
    assert it.inbound.credit.granted == 0
    before.drop(1, 100)
    it.inbound.credit.drop(1, 100)
    assert it.inbound.credit.granted == 200


# ---- connections


def test_unacknowledged_frames_are_sent_again_on_a_new_connection() -> None:
    it = connected()
    put(it, message(1))
    it.flush(0.0)
    it.detach(7, 1.0)
    assert numbers(it.attach(8, 1, 0, 1.0)) == [[1]]


def test_what_the_other_side_has_is_not_sent_again() -> None:
    it = connected()
    put(it, *map(message, range(6)))
    it.flush(0.0)
    it.detach(7, 1.0)
    assert numbers(it.attach(8, 1, 1, 1.0)) == [[3, 4, 5]]


def test_the_newest_connection_is_used() -> None:
    it = connected()
    it.attach(8, 1, 0, 0.0)
    put(it, message(1))
    assert [a.connection for a in it.flush(0.0) if isinstance(a, Transmit)] == [8]


def test_an_older_connection_serves_again_when_the_newest_breaks() -> None:
    it = connected()
    it.attach(8, 1, 0, 0.0)
    put(it, message(1))
    it.flush(0.0)
    again = it.detach(8, 0.0)
    assert [a.connection for a in again if isinstance(a, Transmit)] == [7]
    assert numbers(again) == [[1]]


def test_a_connection_is_needed_while_something_waits_or_is_on_its_way() -> None:
    it = channel()
    assert not it.needs_connection
    put(it, message(1))
    assert it.needs_connection


def test_a_conversation_that_was_cut_needs_a_connection() -> None:
    it = connected()
    it.detach(7, 0.0)
    assert it.needs_connection
    it.lose(DEAD)
    assert not it.needs_connection


# ---- loss


def test_a_quiet_channel_beats() -> None:
    it = connected()
    assert it.deadline() == CONFIG.beat_interval
    assert [h.kind for h in headers(it.on_time(CONFIG.beat_interval))] == [Kind.BEAT]


def test_a_silent_node_is_busy_and_not_lost_while_it_is_connected() -> None:
    it = connected()
    assert Lost not in kinds(it.on_time(1000.0))
    assert it.is_busy(1000.0)


def test_a_node_that_is_cut_off_for_the_loss_timeout_is_lost() -> None:
    it = connected()
    it.detach(7, 1.0)
    assert it.deadline() == CONFIG.loss_timeout
    assert it.on_time(CONFIG.loss_timeout - 0.1) == []
    (lost,) = it.on_time(CONFIG.loss_timeout)
    assert isinstance(lost, Lost)
    assert lost.cause.text == "has given no sign of life for 10 s (loss_timeout)"


def test_a_node_that_was_busy_when_its_connection_broke_gets_time_to_return() -> None:
    it = connected()
    it.detach(7, 100.0)
    assert it.deadline() == 100.0 + CONFIG.loss_timeout / 2


def test_a_sign_of_life_delays_the_loss() -> None:
    it = connected()
    it.detach(7, 1.0)
    it.on_sign(8.0)
    assert it.deadline() == 8.0 + CONFIG.loss_timeout


def test_a_verdict_says_which_messages_may_have_arrived() -> None:
    it = connected()
    put(it, message(1))
    it.flush(0.0)
    it.detach(7, 0.0)
    put(it, message(2))
    unknown, unsent, lost = it.lose(DEAD)
    assert isinstance(unknown, Failed)
    assert isinstance(unsent, Failed)
    assert isinstance(lost, Lost)
    assert [each.entry[1] for each in unknown.messages] == [1]
    assert unknown.verdict == "unknown"
    assert [each.entry[1] for each in unsent.messages] == [2]
    assert unsent.verdict == "not delivered"


def test_a_verdict_hangs_up_all_connections() -> None:
    it = connected()
    it.attach(8, 1, 0, 0.0)
    hung_up = [a.connection for a in it.lose(DEAD) if isinstance(a, HangUp)]
    assert hung_up == [7, 8]


def test_the_second_verdict_has_nothing_to_say() -> None:
    it = connected()
    it.lose(DEAD)
    assert it.lose(DEAD) == []


def test_both_sides_agree_on_the_greater_epoch() -> None:
    it = connected()
    it.lose(DEAD)
    assert it.agree(1) == 2
    assert it.agree(5) == 5


def test_a_side_that_is_behind_fails_what_it_held_before_it_goes_on() -> None:
    it = connected()
    put(it, message(1))
    it.flush(0.0)
    actions = it.attach(8, 2, 0, 0.0)
    assert kinds(actions) == [HangUp, Failed, Lost, Transmit]
    assert it.epoch == 2


def test_what_was_never_sent_survives_the_other_sides_verdict() -> None:
    it = channel()
    put(it, message(1))
    assert numbers(it.attach(8, 5, 0, 0.0)) == [[1]]


def test_a_connection_agreed_on_before_a_verdict_is_hung_up() -> None:
    it = connected()
    it.lose(DEAD)
    assert it.attach(8, 1, 0, 0.0) == [HangUp(8)]


def test_a_node_that_says_goodbye_is_lost_for_good() -> None:
    one, other = connected(1, 2), connected(2, 1)
    (lost,) = [a for a in carry(one.bye(0.0), other) if isinstance(a, Lost)]
    assert lost.cause == Cause(NodeLost, "was shut down", is_final=True, fate="ended")


def test_mail_sent_before_goodbye_arrives_before_it() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1))
    actions = carry(one.bye(0.0), other)
    assert kinds(actions).index(Deliver) < kinds(actions).index(Lost)


def test_mail_to_a_node_that_never_came_up_expires_by_name() -> None:
    it = channel(peer=None)
    put(it, message(1))
    it.flush(5.0)
    assert it.deadline() == 5.0 + CONFIG.connect_timeout
    (failed,) = it.on_time(it.deadline())
    assert isinstance(failed, Failed)
    assert failed.cause.error is ConnectTimeout
    assert failed.verdict == "not delivered"
    assert "did not answer within 30 s (connect_timeout)" in failed.cause.text


def test_mail_expires_by_its_own_age() -> None:
    it = channel(peer=None)
    put(it, message(1))
    it.flush(0.0)
    put(it, message(2))
    it.flush(20.0)
    (failed,) = it.on_time(CONFIG.connect_timeout)
    assert isinstance(failed, Failed)
    assert [each.entry[1] for each in failed.messages] == [1]
    assert it.deadline() == 20.0 + CONFIG.connect_timeout


def test_mail_to_an_incarnation_that_is_not_reached_waits_for_the_loss_timeout() -> (
    None
):
    it = channel()
    put(it, message(1))
    it.flush(5.0)
    (failed,) = it.on_time(5.0 + CONFIG.loss_timeout)
    assert isinstance(failed, Failed)
    assert failed.cause.error is NodeLost
    assert failed.verdict == "not delivered"


@pytest.mark.parametrize(
    ("entry", "contents"),
    [
        ((REQUEST, 1), 0),
        ((REQUEST, 1, "name", b"bytes"), 9),
        ((REQUEST, 1, [0, b"x" * 1000, 0]), 1000 + ENTRY_BYTES),
        ((REQUEST, 1, ("x" * 1000,), {}), 1000 + ENTRY_BYTES),
        ((REQUEST, 1, (), {"name": "x" * 1000}), 1000 + ENTRY_BYTES),
    ],
)
def test_the_size_of_a_message_grows_with_what_is_in_it(
    entry: Entry, contents: int
) -> None:
    size = Outgoing(entry).size
    assert ENTRY_BYTES + contents <= size <= 2 * ENTRY_BYTES + contents


def test_the_size_of_a_message_counts_its_buffers() -> None:
    plain, heavy = Outgoing((REQUEST, 1)), Outgoing((REQUEST, 1), (bytes(500),))
    assert heavy.size == plain.size + 500


def test_an_answer_on_a_connection_that_broke_is_not_on_its_way() -> None:
    it = connected()
    answer = Outgoing((RESPONSE, 1, True, None), prompt=True)
    put(it, answer)
    it.flush(0.0)
    assert it.outbound.is_heard
    it.detach(7, 1.0)
    assert not it.outbound.is_heard
    it.attach(8, 1, 0, 2.0)
    assert it.outbound.is_heard


def test_the_end_of_a_connection_that_is_not_used_changes_nothing() -> None:
    it = connected()
    assert it.detach(99, 1.0) == []
    assert it.connections == [7]


def test_the_backlog_counts_what_waits_and_what_is_on_its_way() -> None:
    one, other = connected(1, 2), connected(2, 1)
    put(one, message(1), message(2))
    assert one.outbound.backlog_bytes == 20
    sent = one.flush(0.0)
    assert one.outbound.backlog_bytes == 20
    carry(sent, other)
    carry(other.on_time(1.0), one)
    assert one.outbound.backlog_bytes == 0
