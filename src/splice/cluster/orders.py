"""Orders: what a hub has a worker do, and what the worker answers."""

from __future__ import annotations

from typing import Final, NamedTuple

from splice.cluster.packed import Packed

DONE: Final = 0
RETURNED: Final = 1
STOPPED: Final = 2

CALL: Final = 0
"""Stands in `Order.number` where the function travels with its arguments."""


class Order(NamedTuple):
    """What a worker is to do; a tuple, since many travel, and they pickle fast.

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
        values: packed list in the order of the items, None for each that failed; or None if
            all failed alike.
        failures: ``(offset, packed error)``; offset -1 is for all.
    """

    ticket: int
    kind: int
    seconds: float = 0.0
    values: Packed | None = None
    failures: tuple[tuple[int, Packed], ...] | list[tuple[int, Packed]] = ()
