"""Orders: what a hub has a worker do, and what the worker answers.

Many travel at a time, as columns: a record each would be most of what a quick item costs. ::

    Orders of one turn ─► fold_orders ─► … wire … ─► unfold_orders ─► Bench
    the hub ◄─ unfold_outcomes ◄─ … wire … ◄─ fold_outcomes ◄─ Outcomes since the last time
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from splice.cluster.packed import Packed, bare, clothed

DONE: Final = 0
RETURNED: Final = 1
STOPPED: Final = 2

CALL: Final = 0
"""Stands in `Order.number` where the function travels with its arguments."""


class Order(NamedTuple):
    """What a worker is to do; a tuple, since there are many, and those are made fast.

    Attributes:
        ticket: its number; no two of a session are alike.
        number: which function is to be called on the items, see `Bench.prepare`; or `CALL`.
        items: packed; those of this batch are a part of them.  Or a call: function, arguments
            and keyword arguments.
        offset: where in `items` this batch begins.
        item_count: items of the batch.
        tries: how often each may be tried, where it fails with an error that is retried.
    """

    ticket: int
    number: int
    items: Packed
    offset: int = 0
    item_count: int = 1
    tries: int = 1


class Outcome(NamedTuple):
    """What became of an order.

    Attributes:
        ticket: of the order.
        kind: `DONE`, `RETURNED` or `STOPPED`; the rest is of what is done.
        seconds: how long it took.
        values: packed sequence in the order of the items, None for each that failed; or None if
            all failed alike.
        failures: ``(offset, packed error)``; offset -1 is for all.
    """

    ticket: int
    kind: int
    seconds: float = 0.0
    values: Packed | None = None
    failures: Sequence[tuple[int, Packed]] = ()


Columns = tuple[Sequence[Any], ...]
"""The fields of many records: all first ones, all second ones, and so on."""


def fold_orders(orders: Sequence[Order]) -> Columns:
    """Return `orders`, at least one, as they travel."""
    tickets, numbers, items, offsets, counts, tries = zip(*orders, strict=True)
    return tickets, numbers, [bare(one) for one in items], offsets, counts, tries


def unfold_orders(columns: Columns) -> Iterator[Order]:
    """Yield the orders that have travelled."""
    tickets, numbers, items, *rest = columns
    return map(Order, tickets, numbers, map(clothed, items), *rest)


def fold_outcomes(outcomes: Sequence[Outcome]) -> Columns:
    """Return `outcomes`, at least one, as they travel."""
    tickets, kinds, seconds, values, failures = zip(*outcomes, strict=True)
    return tickets, kinds, seconds, [v and bare(v) for v in values], failures


def unfold_outcomes(columns: Columns) -> Iterator[Outcome]:
    """Yield the outcomes that have travelled."""
    tickets, kinds, seconds, values, failures = columns
    packed = (None if value is None else clothed(value) for value in values)
    return map(Outcome, tickets, kinds, seconds, packed, failures)
