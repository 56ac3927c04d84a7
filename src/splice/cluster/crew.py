"""Crew: the workers of one session: hired, ready, lost, replaced, let go.

::

    source.start ─► Hired ─ready─► Seat in the hub's ledger ─ended─► hub.lost, and a new one
                                     └─ recalled ─► hub.retire … idle ─► source.release

All of it happens on the thread of the client's node.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from splice.actor.promise import ERROR, Promise
from splice.actor.proxy import proxy_class, tell
from splice.cluster.statistics import (
    Past,
    State,
    Statistics,
    Tally,
    WorkerAddress,
    WorkerStatistics,
)
from splice.cluster.worker import NAME, Worker
from splice.errors import SpliceError
from splice.log import logger
from splice.node.remote import Remote
from splice.uri import url
from splice.worker_died import WorkerDied

if TYPE_CHECKING:
    import asyncio

    from splice.cluster.ledger import Given
    from splice.cluster.source import Hired, WorkerSource
    from splice.node.launch import Exit
    from splice.node.node import Node

USELESS_DEATHS: Final = 3
"""Workers in a row, for each that there should be, that end before they are ready, until the
session gives up: something is wrong with all of them, and more would be started for ever."""

_log = logger("cluster")


class Boss(Protocol):
    """Who is told of workers: the hub."""

    @property
    def is_busy(self) -> bool:
        """Whether there is work."""

    def welcome(self, seat: Seat) -> None:
        """A worker is ready."""

    def lost(self, seat: Seat, error: WorkerDied) -> None:
        """A worker that was ready is gone."""

    def retire(self, seat: Seat) -> bool:
        """Give a worker no more; True when it has nothing left to do."""

    def give_up(self, error: SpliceError) -> None:
        """No worker can be had."""

    def stop_all(self, what: str) -> None:
        """No work is done any more: `what` was shut down."""


@dataclass(eq=False, slots=True)
class Seat:
    """One worker.

    Attributes:
        hired: it, as its source knows it.
        proxy: that of its process; None until it is ready.
        prepared: numbers of the maps whose functions it has.
        is_leaving: it gets no more work, for others need its place.
        is_let_go: it is being ended, in its own time.
        is_surplus: it leaves since the session shrinks, and nobody takes its place.
        mute: why nothing is heard of it any more, if that is so.
        is_dismissed: it is being killed, as it did not stop when it was told to.
        watched: what it has at hand, as far as that may take too long, with its timer.
        tally: what it has done.
        turn: when it last had its turn at a process, counted in such turns; 0: never.
    """

    hired: Hired
    proxy: Any = None
    prepared: set[int] = field(default_factory=set)
    mute: str = ""
    is_leaving: bool = False
    is_let_go: bool = False
    is_surplus: bool = False
    is_dismissed: bool = False
    watched: Given[Seat] | None = None
    timer: asyncio.TimerHandle | None = None
    tally: Tally = field(default_factory=Tally)
    turn: int = 0

    @property
    def is_coming(self) -> bool:
        """Whether it is not ready yet, but will be, as far as is known."""
        return not (self.is_leaving or self.hired.ready.done())


class Crew:
    """Hires the workers of a session, and others for those that are lost.

    Args:
        node: the client's.
        source: where they come from.
        size: how many there should be.
        boss: who is told of them.
    """

    def __init__(self, node: Node, source: WorkerSource, size: int, boss: Boss) -> None:
        self._node = node
        self.size = size
        self._source = source
        source.on_recall = self.recall
        self._boss = boss
        self._seats: dict[Hired, Seat] = {}
        self._useless_deaths = 0
        self._past = Past()
        self._turns = itertools.count(1)
        self._is_closed = False

    @property
    def seats(self) -> list[Seat]:
        """The workers that are ready and stay, in the order they came."""
        seats = self._seats.values()
        return [
            seat for seat in seats if seat.proxy is not None and not seat.is_leaving
        ]

    @property
    def is_closing(self) -> bool:
        """Whether no more workers come."""
        return self._is_closed or self._source.is_closing

    @property
    def is_near(self) -> bool:
        """Whether all workers run on this machine.  Thread-safe."""
        return self._source.is_near

    def addresses(self) -> list[WorkerAddress]:
        """Return the addresses of the workers that are ready."""
        return [self._address(seat) for seat in self.seats]

    def address_in_turn(self) -> str:
        """Return the address of the ready worker whose last turn is longest ago, or never was.

        Raises:
            SpliceError: no worker is ready.
        """
        seat = min(self.seats, key=lambda seat: seat.turn, default=None)
        if seat is None:
            raise no_worker()
        seat.turn = next(self._turns)
        return seat.hired.address

    def _address(self, seat: Seat) -> WorkerAddress:
        hired, place = seat.hired, self._source.place(seat.hired)
        state: State = "idle" if seat.watched is None else "busy"
        where = place.machine, place.instance, hired.pid, state
        return WorkerAddress(hired.address, *where)

    def statistics(self) -> Statistics:
        """Return what the workers have done so far."""
        stay = self.seats
        now = [
            WorkerStatistics(self._address(s), s.hired.pid, replace(s.tally))
            for s in stay
        ]
        others = [seat.tally for seat in self._seats.values() if seat not in stay]
        return self._past.statistics(now, others)

    @property
    def _missing(self) -> int:
        staying = sum(not seat.is_surplus for seat in self._seats.values())
        return self.size - staying

    async def resize(self, size: int) -> None:
        """Have `size` workers; return when all of them are ready, the others gone.

        Who leaves ends its batch before: first who is not there yet, then who has nothing to do.
        """
        self.size = size
        staying = [seat for seat in self._seats.values() if not seat.is_leaving][::-1]
        staying.sort(
            key=lambda seat: (seat.proxy is not None, seat.watched is not None)
        )
        leaving = staying[: max(0, len(staying) - size)]
        for seat in leaving:
            seat.is_surplus = True
            self.recall(seat.hired)
        self.hire()
        await self._all_ready()
        for seat in leaving:
            if not seat.hired.ended.done():
                await seat.hired.ended

    async def _all_ready(self) -> None:
        while coming := [seat for seat in self._seats.values() if seat.is_coming]:
            try:
                await coming[0].hired.ready
            except SpliceError:
                if not coming[0].is_leaving:  # else another resize has let it go
                    raise

    def fill(self) -> None:
        """There is new work: see to it that all workers are there, or on their way."""
        if self._missing > 0:
            self._useless_deaths = 0
            self.hire()

    def hire(self) -> list[Promise]:
        """Start the workers that are missing; promises of their addresses.

        Raises:
            SpliceError: no worker can be had.
        """
        missing = self._missing
        if missing <= 0:
            return []
        hired: Sequence[Hired] = self._source.start(missing)
        for one in hired:
            self._seats[one] = Seat(one)
            one.ready.add_waiter(_Told(self._is_ready, one))
            one.ended.add_waiter(_Told(self._has_ended, one))
        return [one.ready for one in hired]

    def _is_ready(self, hired: Hired, ready: Promise) -> None:
        if ready.state == ERROR or self._is_closed:
            return
        self._useless_deaths = 0
        seat = self._seats[hired]
        if seat.is_leaving:
            return
        where = url(NAME, hired.address, hired.incarnation)
        seat.proxy = proxy_class(Worker)(Remote(self._node, where, waits=False))
        self._boss.welcome(seat)

    def _has_ended(self, hired: Hired, ended: Promise) -> None:
        seat = self._seats.pop(hired, None)
        if seat is None or self._is_closed:
            return
        if self._source.is_closing:
            self._boss.stop_all("node")
            return
        self._past.done.add(seat.tally)
        self._past.deaths += not seat.is_leaving
        error = _death(seat, ended.value)
        _log.log(
            logging.INFO if seat.is_leaving else logging.WARNING, "%s", error.summary
        )
        was_ready = seat.proxy is not None
        if was_ready:
            self._boss.lost(seat, error)
        elif not seat.is_leaving:
            self._useless_deaths += 1
        if self._useless_deaths > USELESS_DEATHS * self.size:
            self._boss.give_up(error)
        elif was_ready or self._boss.is_busy:
            self.hire()  # else it never was ready, and the next work is time enough

    def recall(self, hired: Hired) -> None:
        """Let a worker go when it has done what it has at hand; another one takes its place."""
        seat = self._seats[hired]
        seat.is_leaving = True
        if seat.proxy is None or self._boss.retire(seat):
            self.let_go(seat)

    def let_go(self, seat: Seat) -> None:
        """End a worker that has nothing to do any more."""
        if seat.is_let_go:
            return
        seat.is_let_go = True
        self._node.run_coroutine(partial(self._source.release, [seat.hired]))

    async def close(self) -> None:
        """End all workers."""
        self._is_closed = True
        await self._source.release(list(self._seats))
        await self._source.close()


class _Told:
    """Calls a function of the crew with a worker, when a promise about it is settled."""

    __slots__ = ("function", "hired")

    def __init__(self, function: Any, hired: Hired) -> None:
        self.function = function
        self.hired = hired

    def settled(self, promise: Promise) -> None:
        self.function(self.hired, promise)


def tell_if_alive(handler: Any, *args: Any) -> None:
    """Tell a worker something; that it died before is told by its end."""
    tell(handler, *args).add_done_callback(_noted)


def _noted(_: Promise) -> None:
    """Take note of an outcome, so that a failure is not logged."""


def no_worker() -> SpliceError:
    """Return the error of who needs a worker at once, and finds none."""
    return SpliceError("the session has no worker just now: all of them died")


def _death(seat: Seat, end: Exit) -> WorkerDied:
    if not end.pid:
        return WorkerDied(f"a worker could not be started: {end.failure}")
    evidence = end.evidence
    detail = f":\n{end.failure}" if end.failure else ""
    why = f" by its session: {seat.mute}" if evidence.is_ours and seat.mute else ""
    return WorkerDied(
        f"a worker (OS process {end.pid}) {end.text}{why}{detail}",
        details=evidence.text,
        exit_code=end.code,
        signal=end.signal,
        peak_memory_bytes=evidence.peak_memory_bytes,
        last_lines=evidence.last_lines,
    )
