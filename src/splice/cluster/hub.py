"""Hub: gives out work to a session's workers, gathers the outcomes, survives lost workers.

It lives on the client's node: items and answers travel once, straight between client and workers.
Who gets what is decided by `cluster.ledger`; here it is done::

    supply ─► Ledger.give ─► Worker.order ─► … ─► Worker.outcomes ─► Ledger.done ─► give …
                 hired.ended ─► _lost ─► Ledger.lost ─► give, and a new worker

What happens in one turn of the loop is carried out together, at its end: one message for each
worker.  Everything here runs on the node's thread, but for what says otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final, cast

from splice.actor.promise import ERROR, PENDING, Promise
from splice.cluster.batches import Batch
from splice.cluster.crew import Crew, Seat, tell_if_alive
from splice.cluster.ledger import Given, Ledger
from splice.cluster.orders import (
    DONE,
    RETURNED,
    Order,
    Outcome,
    fold_orders,
    unfold_outcomes,
)
from splice.cluster.work import Call, Calls, MapWork, Work
from splice.errors import Cancelled, SpliceError, TimeoutError
from splice.log import logger
from splice.worker_died import WorkerDied

if TYPE_CHECKING:
    from splice.cluster.source import WorkerSource
    from splice.node.node import Node

_log = logger("cluster")

GRACE_SECONDS: Final = 0.5
"""Seconds that user code has to obey when it is stopped, before its worker is killed: Ctrl-C
is to give the prompt back within one second, and `finally` blocks take milliseconds."""


class Hub:
    """The workers of one session and what they work on.

    Args:
        node: the client's.
        source: where workers come from.
        size: how many workers there should be.
        worker_life: batches and calls that a worker does before another one takes its place;
            None: it stays.
    """

    def __init__(
        self,
        node: Node,
        source: WorkerSource,
        size: int,
        worker_life: int | None = None,
    ) -> None:
        self._node = node
        self.crew = Crew(node, source, size, self)
        self._ledger: Ledger[Seat] = Ledger(worker_life)
        self._maps: dict[int, MapWork] = {}
        self._calls: dict[tuple[int, float | None], Calls] = {}
        self._numbers = count(1)
        self._heard: list[Seat] = []
        self._is_stirred = False
        self._is_ending = False
        self._is_closed = False
        self._idle = Promise(node.scheduler)

    def new_number(self) -> int:
        """Return a number for a map.  Thread-safe."""
        return next(self._numbers)

    # ---- work comes in

    def begin(self, work: MapWork) -> None:
        """Begin a map; its caller is asked for its batches."""
        if self._is_ending or self.crew.is_closing:
            work.end(SpliceError("the session was shut down before the map"))
            return
        self._maps[work.number] = work
        self.crew.fill()
        work.want(self._ledger.wanted(work))

    def supply(
        self, work: MapWork, batches: list[Batch], uncut: int | None, *, is_fed: bool
    ) -> None:
        """The caller of a map has cut and packed more of it."""
        if work.is_over:
            return
        work.is_asked = False
        work.uncut = uncut
        work.is_fed = is_fed
        self._ledger.supply(work, batches)
        self._stir()

    def have_read(self, work: MapWork, count: int) -> None:
        """The caller of a map has taken outcomes."""
        work.unread -= count
        self._stir()

    def submit(self, call: Call, options: Calls) -> None:
        """Have one function called, on whichever worker is free first."""
        if self._is_ending or self.crew.is_closing:
            call.fail(SpliceError("the session was shut down before the call"))
            return
        calls = self._calls.setdefault((options.retries, options.timeout), options)
        self.crew.fill()
        self._ledger.supply(calls, [call.batch])
        self._stir()

    def call_everywhere(self, calls: Sequence[Call]) -> None:
        """Have each worker that is ready do one of `calls`, which are as many."""
        if not calls:
            raise SpliceError("the session has no worker just now: all of them died")
        orders = Calls(retries=0)
        for seat, call in zip(self.crew.seats, calls, strict=True):
            given = self._ledger.pin(seat, orders, call.batch)
            self._send(seat, [self._order(given)])

    def cancel(self, work: MapWork) -> None:
        """Stop a map: nothing more is given out, what is in work is interrupted."""
        if not work.is_over:
            self._stop(self._ledger.cancel(work))
            self._finish(work, Cancelled("the map was stopped"))

    def cancel_call(self, call: Call, is_begun_too: bool) -> bool | Promise:
        """Give one call up; a promise of whether that succeeded where it has been given out."""
        if call.verdict is not None:
            return call.verdict
        given = self._ledger.holder(call.batch)
        if given is None:
            call.batch.is_void = True
            self._stir()  # it may have been the last that was waited for
            return True
        call.verdict = Promise(self._node.scheduler)
        if is_begun_too:
            self._ledger.void(given)
            self._stop([given])
        else:
            self._recall([given])
        return call.verdict

    # ---- one turn

    def _stir(self) -> None:
        """Have what there is to do done at the end of this turn of the loop."""
        if not self._is_stirred:
            self._is_stirred = True
            self._node.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_stirred = False
        if self._is_closed:
            return
        orders: dict[Seat, list[Order]] = defaultdict(list)
        for given in self._ledger.give():
            if type(given.share) is not Calls or self._is_wanted(given):
                orders[given.worker].append(self._order(given))
        for seat, its in orders.items():
            self._send(seat, its)
        heard, self._heard = self._heard, []
        for seat in heard:
            self.listen(seat)  # in one frame with its orders
        self._recall(self._ledger.recall())
        for work in list(self._maps.values()):
            work.hand_on()
            if work.is_finished:
                self._finish(work, None)
            else:
                work.want(self._ledger.wanted(work))
        self._look_whether_idle()

    def _is_wanted(self, given: Given[Seat]) -> bool:
        """Tell a call that it is given out, unless it was called off just before."""
        if given.batch.items.begin():
            return True
        self._ledger.void(given)
        self._ledger.returned(given.worker, given.ticket)
        self._stir()  # its worker can have another one
        return False

    def _order(self, given: Given[Seat]) -> Order:
        work: Any = given.share
        batch, seat = given.batch, given.worker
        if work.function is None:
            return Order(given.ticket, work.number, batch.items.packed)
        if work.number not in seat.prepared:
            seat.prepared.add(work.number)
            tell_if_alive(seat.proxy.prepare, work.number, work.function)
        tries = work.retries - batch.losses + 1
        items, offset = batch.items, batch.offset
        return Order(given.ticket, work.number, items, offset, batch.count, tries)

    def _send(self, seat: Seat, orders: list[Order]) -> None:
        tell_if_alive(seat.proxy.order, fold_orders(orders))
        self._watch(seat)

    def _recall(self, recalled: list[Given[Seat]]) -> None:
        for seat, tickets in _by_seat(recalled).items():
            tell_if_alive(seat.proxy.withdraw, tickets)

    # ---- outcomes

    def listen(self, seat: Seat) -> None:
        """Hear of a worker's next outcomes."""
        seat.proxy.outcomes().add_waiter(_Heard(self, seat))

    def heard(self, seat: Seat, answer: Promise) -> None:
        """Take in the outcomes that a worker has sent."""
        if self._is_closed or self.crew.is_closing or seat.is_let_go:
            return
        if answer.state == ERROR:
            # the end of its OS process tells the rest; a node lost alive must not linger
            where, why = seat.hired.address, answer.value
            _log.info("the worker at %s answers no more and is ended: %s", where, why)
            seat.mute = str(why)
            seat.hired.kill()
            return
        self._heard.append(seat)
        for outcome in unfold_outcomes(answer.value):
            self._take(seat, outcome)
        if seat.is_leaving and not self._ledger.held_by(seat):
            self.crew.let_go(seat)
        elif self._ledger.is_used_up(seat):
            self.crew.recall(seat.hired)
        self._watch(seat)
        self._stir()

    def _take(self, seat: Seat, outcome: Outcome) -> None:
        ticket, kind, seconds, values, _ = outcome
        if kind == RETURNED:
            self._take_back(seat, ticket)
            return
        size = values.size_bytes if values is not None else 0
        given = self._ledger.done(seat, ticket, seconds, size)
        if given is None:
            return
        work: Any = given.share
        batch = given.batch
        seat.tally.count(batch.count, batch.size_bytes, size, seconds)
        if kind == DONE:
            if not batch.is_void or work.function is None:
                work.settle(batch, outcome)
        elif batch.is_void:
            self._stopped(given)
        else:
            self._timed_out(given)

    def _take_back(self, seat: Seat, ticket: int) -> None:
        given = self._ledger.returned(seat, ticket)
        if given is None:
            return
        batch = given.batch
        if isinstance(batch.items, Call):
            batch.is_void = batch.is_void or batch.items.verdict is not None
        if batch.is_void:
            self._stopped(given)

    def _stopped(self, given: Given[Seat]) -> None:
        if isinstance(given.share, Calls):
            given.batch.items.judge(was_stopped=True)

    # ---- stopping

    def _stop(self, stopped: Iterable[Given[Seat]]) -> None:
        """Have workers stop what is void; one that does not obey is killed."""
        later = self._node.loop.call_later
        stopped = list(stopped)
        for seat, tickets in _by_seat(stopped).items():
            tell_if_alive(seat.proxy.stop, tickets)
        for given in stopped:
            later(GRACE_SECONDS, self._enforce, given)

    def _enforce(self, given: Given[Seat]) -> None:
        seat = given.worker
        # behind another one it is not in work: it will be given back, whenever that ends
        if self._ledger.first_of(seat) is given:
            seat.is_dismissed = True
            seat.hired.kill()

    def _watch(self, seat: Seat) -> None:
        """See to it that what a worker has at hand does not take too long."""
        first = self._ledger.first_of(seat)
        if first is seat.watched:
            return
        if seat.timer is not None:
            seat.timer.cancel()
            seat.timer = None
        seat.watched = first
        if first is not None:
            timeout = cast("Work", first.share).timeout
            if timeout is not None:
                later = self._node.loop.call_later
                seat.timer = later(timeout, self._overdue, first)

    def _overdue(self, given: Given[Seat]) -> None:
        if self._ledger.first_of(given.worker) is given and not given.batch.is_void:
            self._stop([given])

    def _timed_out(self, given: Given[Seat]) -> None:
        work, batch = cast("Work", given.share), given.batch
        if work.retries_timeouts and self._ledger.again(given):
            return
        what = work.describe(batch)
        work.fail(batch, TimeoutError(f"{what} took longer than {work.timeout} s"))

    # ---- workers come and go

    def welcome(self, seat: Seat) -> None:
        """A worker is ready."""
        self._ledger.add(seat)
        self._share_out()
        self.listen(seat)
        self._stir()

    def lost(self, seat: Seat, error: WorkerDied) -> None:
        """A worker that was ready is gone; `error` says why."""
        self._watch_no_more(seat)
        first = self._ledger.first_of(seat)
        if seat.is_dismissed and first is not None:
            # it was stopped, and did not obey
            self._ledger.done(seat, first.ticket, 0.0)
            if first.batch.is_void:
                self._stopped(first)
            elif first.is_alone or not self._ledger.again(first):
                self._timed_out(first)
            # else it may have been done, and another one been at work: alone it will show
        for given in self._ledger.held_by(seat):
            if isinstance(given.batch.items, Call) and given.batch.items.verdict:
                self._ledger.void(given)  # it does not run, and nobody wants it to
            if given.batch.is_void:
                self._stopped(given)
        for given in self._ledger.lost(seat, is_blameless=seat.is_dismissed):
            what = cast("Work", given.share).describe(given.batch)
            cast("Work", given.share).fail(given.batch, error.with_item(what))
        self._share_out()
        self._stir()

    def retire(self, seat: Seat) -> bool:
        """Give a worker no more, and take back what it has not begun; True when it is idle."""
        is_idle = self._ledger.retire(seat)
        self._recall(self._ledger.held_by(seat)[1:])
        return is_idle

    def give_up(self, error: SpliceError) -> None:
        """No worker can be had: all work fails."""
        for work in list(self._maps.values()):
            self._ledger.cancel(work)
            self._finish(work, error)
        for calls in self._calls.values():
            waiting = list(calls.waiting)
            self._ledger.cancel(calls)
            for batch in waiting:
                calls.fail(batch, error)

    @property
    def is_busy(self) -> bool:
        """Whether there is work."""
        waiting = (batch for calls in self._calls.values() for batch in calls.waiting)
        held = (given.batch for given in self._ledger.held())
        return bool(self._maps) or any(not b.is_void for b in chain(waiting, held))

    def _share_out(self) -> None:
        for work in (*self._maps.values(), *self._calls.values()):
            work.pace.workers = max(1, self._ledger.workers)

    def _watch_no_more(self, seat: Seat) -> None:
        if seat.timer is not None:
            seat.timer.cancel()

    def _finish(self, work: MapWork, error: BaseException | None) -> None:
        self._maps.pop(work.number, None)
        for seat in self.crew.seats:
            if work.number in seat.prepared:
                seat.prepared.discard(work.number)
                tell_if_alive(seat.proxy.forget, work.number)
        work.end(error)

    # ---- the end

    async def close(self, cancel: bool) -> None:
        """End all workers, behind the work that was begun; or stop that at once, by `cancel`."""
        self._is_ending = True
        if cancel:
            self.stop_all()
        else:
            for work in list(self._maps.values()):
                if work.is_stream:  # it may be that nobody reads it any more
                    self._stop(self._ledger.cancel(work))
                    self._finish(
                        work, SpliceError("the session was shut down meanwhile")
                    )
            self._look_whether_idle()
            await self._idle
        self._is_closed = True
        await self.crew.close()

    def stop_all(self, what: str = "session") -> None:
        """Stop all work; `what` was shut down."""
        self._is_ending = True
        ended = SpliceError(f"the {what} was shut down meanwhile")
        held = self._ledger.held()
        self.give_up(ended)
        for given in held:
            self._watch_no_more(given.worker)
            if isinstance(given.share, Calls):
                given.share.fail(given.batch, ended)
                given.batch.is_void = True
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if self._is_ending and self._idle.state == PENDING and not self.is_busy:
            self._idle.resolve(None)


class _Heard:
    """Brings a worker's outcomes back to the hub."""

    __slots__ = ("hub", "seat")

    def __init__(self, hub: Hub, seat: Seat) -> None:
        self.hub = hub
        self.seat = seat

    def settled(self, promise: Promise) -> None:
        self.hub.heard(self.seat, promise)


def _by_seat(given: Iterable[Given[Seat]]) -> dict[Seat, list[int]]:
    tickets: dict[Seat, list[int]] = defaultdict(list)
    for one in given:
        tickets[one.worker].append(one.ticket)
    return tickets
