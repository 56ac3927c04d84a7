from hypothesis import given
from hypothesis import strategies as st

from splice.net.window import Credit, Window


def credit(window: Window) -> Credit:
    made = Credit(window)
    made.begin()
    return made


def test_a_credit_begins_with_a_share() -> None:
    assert credit(Window(400, least=0)).granted == 100


def test_handled_mail_may_be_sent_again() -> None:
    it = credit(Window(400, least=0))
    it.take_in(60, 2)
    assert it.granted == 100
    it.drop(1, 50)
    assert it.granted == 150


def test_what_signals_cost_comes_back_with_the_last_request() -> None:
    it = credit(Window(400, least=0))
    it.take_in(60, 1)  # 20 of them signals
    it.drop(1, 40)
    assert it.granted == 160


def test_a_newcomer_gets_what_is_left_and_more_when_others_have_given_back() -> None:
    window = Window(100, shares=1, least=10)
    first = credit(window)
    first.take_in(100, 10)
    second = credit(window)
    assert (first.granted, second.granted) == (100, 10)
    first.drop(6, 60)
    second.take_in(1, 1)
    assert (first.granted, second.granted) == (110, 50)


def test_the_dead_have_no_share() -> None:
    window = Window(100, shares=1, least=0)
    for _ in range(1000):
        credit(window).end()
    assert credit(window).granted == 100


def test_mail_of_the_dead_counts_until_it_is_handled() -> None:
    window = Window(100, shares=1, least=0)
    first = credit(window)
    first.take_in(70, 7)
    first.end()
    assert credit(window).granted == 30
    first.drop(7, 70)
    assert window.lent == 30


def test_a_grant_that_has_grown_by_a_quarter_is_worth_telling() -> None:
    it = credit(Window(400, least=0))
    it.advertised = it.granted
    it.take_in(100, 100)
    it.drop(24, 24)
    assert not it.is_worth_telling
    it.drop(1, 1)
    assert it.is_worth_telling


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "send", "handle", "end"]),
        st.integers(0, 5),
        st.integers(1, 60),
    ),
    max_size=80,
)


@given(events=EVENTS, shares=st.integers(1, 4))
def test_what_is_unhandled_never_exceeds_the_window_but_for_the_least(
    events: list[tuple[str, int, int]], shares: int
) -> None:
    """Whoever keeps to his grant; each node may have `least` more than its part."""
    total, least = 200, 10
    window = Window(total, shares=shares, least=least)
    living: list[Credit] = []
    sent: dict[Credit, int] = {}
    unhandled: list[tuple[Credit, int]] = []
    for what, which, size in events:
        if what == "begin":
            living.append(credit(window))
            sent[living[-1]] = 0
        elif what == "handle" and unhandled:
            it, amount = unhandled.pop(which % len(unhandled))
            it.drop(1, amount)
        elif what == "end" and living:
            living.pop(which % len(living)).end()
        elif what == "send" and living:
            it = living[which % len(living)]
            amount = min(size, it.granted - sent[it])
            if amount:
                sent[it] += amount
                it.take_in(amount, 1)
                unhandled.append((it, amount))
        assert sum(amount for _, amount in unhandled) <= total + least * len(sent)
        assert window.borrowers == len(living)
    for it, amount in unhandled:
        it.drop(1, amount)
    for it in living:
        it.end()
    assert window.lent == 0
