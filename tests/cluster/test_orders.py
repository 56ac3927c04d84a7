"""Orders and outcomes travel as columns, and come back as they were."""

import pickle
from threading import Lock
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from splice.cluster.bench import _pack_singly
from splice.cluster.orders import (
    Order,
    Outcome,
    fold_orders,
    fold_outcomes,
    unfold_orders,
    unfold_outcomes,
)
from splice.cluster.packed import Packed, pack, pack_error, pack_items

values = st.one_of(
    st.none(), st.integers(), st.text(), st.binary(), st.lists(st.integers())
)
items = st.lists(values, min_size=1, max_size=3)


def travelled(columns: Any) -> Any:
    return pickle.loads(pickle.dumps(columns, 5))


@given(st.lists(items, min_size=1, max_size=5))
def test_orders_come_back_as_they_were(batches):
    orders = [
        Order(ticket, 7, pack_items(batch), 0, len(batch), 3)
        for ticket, batch in enumerate(batches, 1)
    ]

    found = list(unfold_orders(travelled(fold_orders(orders))))

    assert [list(order.items.unpack()) for order in found] == batches
    assert [order[:2] + order[3:] for order in found] == [
        order[:2] + order[3:] for order in orders
    ]


@given(st.lists(st.one_of(st.none(), items), min_size=1, max_size=5))
def test_outcomes_come_back_as_they_were(answers):
    outcomes = [
        Outcome(ticket, 0, 0.5, None, [(-1, pack_error(ValueError(ticket)))])
        if answer is None
        else Outcome(ticket, 0, 0.5, pack_items(answer))
        for ticket, answer in enumerate(answers, 1)
    ]

    found = list(unfold_outcomes(travelled(fold_outcomes(outcomes))))

    assert [o.values and list(o.values.unpack()) for o in found] == answers
    errors = [o.failures[0][1].unpack_error() for o in found if o.failures]
    assert [e.args[0] for e in errors] == [
        n for n, answer in enumerate(answers, 1) if answer is None
    ]


def test_one_plain_item_costs_no_stream_of_its_own():
    [order] = unfold_orders(fold_orders([Order(1, 7, pack_items([5]))]))
    assert order.items.unpack() == (5,)
    assert order.items.size_bytes < 20


def test_a_call_with_buffers_keeps_them():
    large = bytes(200_000)
    [order] = unfold_orders(travelled(fold_orders([Order(1, 0, pack((len, large)))])))
    assert order.items.unpack() == (len, large)


def test_a_promise_of_memory_travels_as_itself():
    class Lent(Packed):
        """Finds its value elsewhere."""

    lent = Lent(None, ())
    [order] = unfold_orders(fold_orders([Order(1, 0, lent)]))
    assert order.items is lent


def test_an_answer_that_cannot_travel_is_named_as_it_is_and_not_as_one_of_a_batch():
    _, failures = _pack_singly([1, Lock()], [])
    [(offset, packed)] = failures
    assert offset == 1
    assert str(packed.unpack_error()).startswith("value cannot travel")
