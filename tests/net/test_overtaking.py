"""Signals keep their place in the mail, and never wait behind mail without credit."""

from __future__ import annotations

from splice.config import Config
from splice.message import REQUEST, RESPONSE, SIGNAL
from splice.net.outbound import Outbound
from splice.net.outgoing import Outgoing
from splice.net.overtaking import place
from splice.net.window import FIRST_CREDIT

CONFIG = Config(piece_bytes=FIRST_CREDIT // 4)


def mail(ident: int, size: int = 100) -> Outgoing:
    return Outgoing((REQUEST, ident, "it", "take", (), None), size=size)


def answer(ident: int, size: int = 100) -> Outgoing:
    return Outgoing((RESPONSE, ident, True, None), prompt=True, size=size)


def signal(ident: int) -> Outgoing:
    return Outgoing((SIGNAL, ident, "it", "other", None), size=100)


def put(outbound: Outbound, *messages: Outgoing) -> None:
    for message in messages:
        if message.entry[0] == SIGNAL:
            place(outbound, message)
        outbound.put(message)


def sent(outbound: Outbound) -> list[int]:
    """Return the numbers of what goes without a word of the other side."""
    found: list[int] = []
    while (flight := outbound.next_flight(0)) is not None:
        found += [message.entry[1] for message in flight.messages]
        outbound.acknowledge(flight.sequence)
    return found


def test_a_signal_stays_behind_mail_that_has_its_credit() -> None:
    it = Outbound(CONFIG)
    put(it, mail(1), signal(2), mail(3), signal(4))
    assert sent(it) == [1, 2, 3, 4]


def test_answers_that_need_no_credit_are_not_counted() -> None:
    it = Outbound(CONFIG)
    put(it, answer(1, FIRST_CREDIT), mail(2), signal(3))
    assert [number for number in sent(it) if number != 1] == [2, 3]


def test_an_answer_half_of_which_is_sent_is_not_counted_either() -> None:
    it = Outbound(CONFIG)
    put(it, answer(1, FIRST_CREDIT))
    it.next_flight(0)  # its plan
    it.next_flight(0)  # and a piece
    put(it, mail(2), signal(3))
    assert sent(it)[:2] == [2, 3]


def test_a_signal_goes_ahead_of_mail_that_waits_for_credit() -> None:
    it = Outbound(CONFIG)
    put(it, *[mail(n, FIRST_CREDIT // 4) for n in range(10)], signal(99))
    assert sent(it) == [99, 0, 1, 2, 3]
    it.grant(3 * FIRST_CREDIT)
    assert sent(it) == [4, 5, 6, 7, 8, 9]


def test_signals_never_overtake_each_other() -> None:
    it = Outbound(CONFIG)
    put(it, mail(1), signal(90), mail(2, FIRST_CREDIT // 5), signal(91))
    put(it, *[mail(n, FIRST_CREDIT // 5) for n in range(3, 10)], signal(92))
    assert sent(it)[:4] == [90, 91, 92, 1]


def test_neither_do_those_behind_a_large_message() -> None:
    it = Outbound(CONFIG)
    put(it, mail(1, FIRST_CREDIT // 2), signal(90))
    assert it.next_flight(0) is not None  # the plan: the signal stands behind it now
    put(it, mail(2, FIRST_CREDIT), signal(91))
    assert sent(it)[:2] == [90, 91]


def test_what_is_sent_later_has_its_old_order_again() -> None:
    it = Outbound(CONFIG)
    put(it, mail(1, FIRST_CREDIT // 5), mail(2, FIRST_CREDIT), signal(90))
    it.grant(10 * FIRST_CREDIT)
    assert sent(it) == [90, 1, 2]
    put(it, mail(3), signal(91), mail(4))
    assert sent(it) == [3, 91, 4]


def test_signals_that_came_over_from_another_handle_are_not_overtaken_either() -> None:
    it, other = Outbound(CONFIG), Outbound(CONFIG)
    put(other, mail(1), signal(90))
    it.absorb(other)
    put(it, mail(2, FIRST_CREDIT), signal(91))
    assert sent(it)[:2] == [90, 91]
