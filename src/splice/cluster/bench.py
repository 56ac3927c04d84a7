"""Bench: where a worker does its work: the main thread of its OS process.

::

    node's thread                                 main thread
    order ──► orders, by ticket ──► tickets ────► serve: whoever takes an order out owns it
    stop ───► takes it out, or interrupts ──────► Interrupted, in the user's code
    outcomes ◄── answered all at once ◄────────── one for each ticket

Each ticket has exactly one outcome: done, returned (not begun) or stopped.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any

from splice.actor.deferred import Deferred
from splice.cluster.orders import (
    CALL,
    DONE,
    RETURNED,
    STOPPED,
    Order,
    Outcome,
    fold_outcomes,
)
from splice.cluster.packed import Packed, pack_error, pack_items, pack_or_error
from splice.net.passing import Interrupted
from splice.shipping.installed import look_again


class Starred:
    """Calls a function with the parts of an item."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"a map wants a function, not {function!r}")
        self._function = function

    def __call__(self, item: Iterable[Any], *extra: Any) -> Any:
        """Call it."""
        return self._function(*item, *extra)


class Bench:
    """Does what is ordered, one order after another, until it is closed.

    `serve` and what it calls run on the main thread, the rest on the node's.
    """

    def __init__(self) -> None:
        self._orders: dict[int, Order] = {}
        self._tickets: SimpleQueue[int | None] = SimpleQueue()
        self._functions: dict[int, Packed] = {}
        self._current: tuple[int, Any] | None = None
        self._stopped: set[int] = set()
        self._at_work: int | None = None
        self._is_closed = False
        self._main = threading.main_thread().ident
        self._outcomes: deque[Outcome] = deque()
        self._listener: Deferred | None = None
        self._is_telling = False

    # ---- the node's thread

    def prepare(self, number: int, function: Packed) -> None:
        """Keep a packed ``(function, extra arguments, retry_on)`` for the orders to come."""
        self._functions[number] = function

    def forget(self, number: int) -> None:
        """Let go of a function."""
        self._functions.pop(number, None)
        self._tickets.put(-number)  # and of what the main thread has made of it

    def order(self, orders: Iterable[Order]) -> None:
        """Have `orders` done, after what was ordered before."""
        for order in orders:
            self._orders[order.ticket] = order
            self._tickets.put(order.ticket)

    def withdraw(self, tickets: Iterable[int]) -> None:
        """Return those orders that are not begun."""
        for ticket in tickets:
            if self._orders.pop(ticket, None) is not None:
                self._report(Outcome(ticket, RETURNED))

    def stop(self, tickets: Iterable[int]) -> None:
        """Return those orders that are not begun, and interrupt the one that is."""
        for ticket in tickets:
            if self._orders.pop(ticket, None) is not None:
                self._report(Outcome(ticket, RETURNED))
                continue
            self._stopped.add(ticket)
            if self._at_work == ticket:
                self._interrupt()
            else:
                self._stopped.discard(ticket)  # done already

    def close(self) -> None:
        """Stop the work at hand, and let `serve` return."""
        self._is_closed = True
        if self._at_work is not None:
            self._interrupt()
        self._tickets.put(None)

    def listen(self, listener: Deferred) -> None:
        """Give the outcomes there are to `listener`, or the next ones when they come."""
        self._listener = listener
        if self._outcomes:
            self._tell()

    def _tell(self) -> None:
        self._is_telling = False
        listener = self._listener
        if listener is not None and self._outcomes:
            self._listener = None
            listener.set(fold_outcomes(list(_drained(self._outcomes))))

    def _interrupt(self) -> None:
        if self._main is not None:
            signal.pthread_kill(self._main, signal.SIGUSR1)

    # ---- the main thread

    def serve(self) -> None:
        """Do what is ordered, until closed; the life of the main thread."""
        signal.signal(signal.SIGUSR1, self._interrupted)
        while not self._has_served():
            # interrupted when the order was done, and before that was noted
            ticket, self._at_work = self._at_work, None
            if ticket is not None:
                self._stopped.discard(ticket)
                self._report(Outcome(ticket, STOPPED))

    def _has_served(self) -> bool:
        """Do what is ordered until closed; False: interrupted, with nothing left to stop."""
        next_ticket = self._tickets.get
        try:
            while (ticket := next_ticket()) is not None:
                if ticket < 0:
                    self._let_go(-ticket)
                elif (outcome := self._take(ticket)) is not None:
                    self._report(outcome)
        except Interrupted:
            return False
        return True

    def _take(self, ticket: int) -> Outcome | None:
        """Do an order; None: it was withdrawn."""
        outcome = None
        # before it is taken out: who finds it gone must find it here, or done
        self._at_work = ticket
        try:
            if (order := self._orders.pop(ticket, None)) is not None:
                outcome = self._do(order)
        except Interrupted:
            outcome = Outcome(ticket, STOPPED)
        finally:
            self._at_work = None
            self._stopped.discard(ticket)
        return outcome

    def _report(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        # behind the append: `listen` looks the other way round
        listener = self._listener
        if listener is not None and not self._is_telling:
            self._is_telling = True
            listener.scheduler.post(self._tell)

    def _let_go(self, number: int) -> None:
        if self._current is not None and self._current[0] == number:
            self._current = None

    def _interrupted(self, *_: object) -> None:
        ticket = self._at_work
        if ticket is not None and (self._is_closed or ticket in self._stopped):
            self._stopped.discard(ticket)  # once: `serve` could not stand a second one
            raise Interrupted

    def _do(self, order: Order) -> Outcome:
        if self._is_closed:
            raise Interrupted
        return self._call(order) if order.number == CALL else self._batch(order)

    def _call(self, order: Order) -> Outcome:
        began = time.perf_counter()
        try:
            look_again()
            function, args, kwargs = order.items.unpack()
            succeeded, packed = pack_or_error([function(*args, **kwargs)], pack_items)
        except Interrupted:
            raise
        except BaseException as error:
            succeeded, packed = False, pack_error(error)
        seconds = time.perf_counter() - began
        if succeeded:
            return Outcome(order.ticket, DONE, seconds, packed)
        return Outcome(order.ticket, DONE, seconds, None, [(-1, packed)])

    def _batch(self, order: Order) -> Outcome:
        began = time.perf_counter()
        packed: Packed | None
        try:
            values, failures = self._run(order)
            succeeded, packed = pack_or_error(values, pack_items)
            if not succeeded:
                packed, failures = _pack_singly(values, failures)
        except Interrupted:
            raise
        except BaseException as error:
            packed, failures = None, [(-1, pack_error(error))]
        seconds = time.perf_counter() - began
        return Outcome(order.ticket, DONE, seconds, packed, failures)

    def _run(self, order: Order) -> tuple[list[Any], list[tuple[int, Packed]]]:
        function, extra, retry_on = self._function(order.number)
        failures: list[tuple[int, Packed]] = []
        values: list[Any] = []
        items = order.items.unpack()
        if order.item_count != len(items):
            items = items[order.offset : order.offset + order.item_count]
        for item in items:
            try:
                values.append(function(item, *extra))
            except Interrupted:
                raise
            except BaseException as error:  # SystemExit too: it is this item's
                args = (item, *extra)
                value, failure = _again(error, function, args, retry_on, order.tries)
                values.append(value)
                if failure is not None:
                    failures.append((len(values) - 1, failure))
        return values, failures

    def _function(self, number: int) -> Any:
        if self._current is None or self._current[0] != number:
            look_again()
            self._current = number, self._functions[number].unpack()
        return self._current[1]


def _again(
    error: BaseException,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    retry_on: tuple[type[BaseException], ...],
    tries: int,
) -> tuple[Any, Packed | None]:
    """Try an item that failed with `error` again, as often as it may; its value, its error."""
    while tries > 1 and isinstance(error, retry_on):
        tries -= 1
        try:
            return function(*args), None
        except Interrupted:
            raise
        except BaseException as another:
            error = another
    return None, pack_error(error)


def _pack_singly(
    values: list[Any], failures: list[tuple[int, Packed]]
) -> tuple[Packed, list[tuple[int, Packed]]]:
    """Find the answers that cannot travel; they become failures of their items."""
    good = list(values)
    failed = {offset for offset, _ in failures}
    for offset, value in enumerate(values):
        succeeded, packed = pack_or_error(value)
        if not succeeded and offset not in failed:
            good[offset] = None
            failures = [*failures, (offset, packed)]
    return pack_or_error(good)[1], failures


def _drained(outcomes: deque[Outcome]) -> Iterator[Outcome]:
    while outcomes:
        yield outcomes.popleft()
