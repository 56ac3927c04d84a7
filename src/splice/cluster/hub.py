"""Hub: gives out batches, gathers answers, survives a lost worker.

It lives on the client's node: items and answers travel once, straight between client and workers.
What to give to whom is decided by `cluster.batches`; here it is done::

    Session.map ─► start ─► Ledger.give ─► Worker.work ─► … ─► answered ─► Ledger.done ─► give …
                                child ended ─► _lost ─► Ledger.lost ─► give, and a new worker

Everything here runs on the node's thread, but for what says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from splice.actor.promise import ERROR, PENDING, Promise
from splice.actor.proxy import proxy_class, tell
from splice.cluster.batches import Batch, Cutter, Ledger
from splice.cluster.packed import Packed, pack, pack_error
from splice.cluster.worker import NAME, Worker
from splice.errors import DeliveryError, SpliceError
from splice.log import logger
from splice.node.remote import Remote
from splice.uri import url
from splice.worker_died import WorkerDied

if TYPE_CHECKING:
    from splice.cluster.source import Hired, WorkerSource
    from splice.node.launch import Exit
    from splice.node.node import Node

USELESS_DEATHS: Final = 3
"""Workers in a row that end without one answer before the session gives up: something is wrong with
all of them, and starting more would go on for ever."""

_log = logger("cluster")


@dataclass(eq=False, slots=True)
class Seat:
    """A worker as the hub sees it."""

    child: Hired
    proxy: Any = None
    prepared: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Part:
    """The outcome of one batch, still packed.

    Attributes:
        start: index of its first item.
        count: how many items.
        values: their packed values, None if all failed alike.
        failures: packed errors by offset in the batch; offset -1 is for all.
    """

    start: int
    count: int
    values: Packed | None
    failures: Sequence[tuple[int, Packed]]


class Map:
    """One map under way.

    Attributes:
        finished: a promise of the list of parts, in no order.
        done: items whose outcome is known.
    """

    def __init__(
        self, node: Node, number: int, function: Packed, cutter: Cutter, retries: int
    ) -> None:
        self.number = number
        self.function = function
        self.ledger: Ledger[Seat] = Ledger(cutter, retries=retries)
        self.parts: list[Part] = []
        self.done = 0
        self.finished = Promise(node.scheduler)

    def add(self, part: Part) -> None:
        """Take in the outcome of a batch."""
        self.parts.append(part)
        self.done += part.count


class Hub:
    """The workers of one session and the maps they work on.

    Args:
        node: the client's.
        source: where workers come from.
        size: how many workers there should be.
    """

    def __init__(self, node: Node, source: WorkerSource, size: int) -> None:
        self._node = node
        self._source = source
        self._size = size
        self._seats: dict[Hired, Seat] = {}
        self._maps: dict[int, Map] = {}
        self._numbers = count(1)
        self._useless_deaths = 0
        self._is_closed = False

    @property
    def seats(self) -> list[Seat]:
        """The workers that are ready, in the order they came."""
        return [seat for seat in self._seats.values() if seat.proxy is not None]

    # ---- workers

    def addresses(self) -> list[str]:
        """Return the addresses of the workers that are ready."""
        return [seat.child.address for seat in self.seats]

    def hire(self) -> list[Promise]:
        """Start the workers that are missing; promises of their addresses."""
        missing = self._size - len(self._seats)
        children = self._source.start(missing)
        for child in children:
            self._seats[child] = Seat(child)
            child.ready.add_waiter(_Told(self._is_ready, child))
            child.ended.add_waiter(_Told(self._lost, child))
        return [child.ready for child in children]

    def _is_ready(self, child: Hired, ready: Promise) -> None:
        if ready.state == ERROR or self._is_closed:
            return
        seat = self._seats[child]
        where = url(NAME, child.address, child.incarnation)
        seat.proxy = proxy_class(Worker)(Remote(self._node, where))
        for work in list(self._maps.values()):
            work.ledger.add(seat)
            self._give(work)

    def _lost(self, child: Hired, ended: Promise) -> None:
        seat = self._seats.pop(child, None)
        if seat is None or self._is_closed:
            return
        if self._source.is_closing:
            self._give_up(SpliceError("the node was shut down during the map"))
            return
        error = _death(child, ended.value)
        _log.warning("%s", error)
        for work in list(self._maps.values()):
            self._take_back(work, seat, error)
        self._useless_deaths += 1
        if self._useless_deaths > USELESS_DEATHS * (len(self._seats) + 1):
            self._give_up(error)
        elif self._maps or seat.proxy is not None:
            self.hire()  # else it never was ready, and the next map is time enough
        for work in list(self._maps.values()):
            self._give(work)

    def _take_back(self, work: Map, seat: Seat, error: WorkerDied) -> None:
        for batch in work.ledger.lost(seat):
            work.add(_all_failed(batch, error))

    def _give_up(self, error: SpliceError) -> None:
        for work in list(self._maps.values()):
            self._finish(work, error)

    # ---- maps

    def new_map(self, function: Packed, cutter: Cutter, retries: int) -> Map:
        """Return a map over what `cutter` cuts, not begun yet.  Thread-safe."""
        return Map(self._node, self.new_number(), function, cutter, retries)

    def new_number(self) -> int:
        """Return a number for a map or a call.  Thread-safe."""
        return next(self._numbers)

    def start(self, work: Map) -> None:
        """Begin a map."""
        if self._is_closed or self._source.is_closing:
            self._finish(work, SpliceError("the session was shut down before the map"))
            return
        self._maps[work.number] = work
        if len(self._seats) < self._size:
            self._useless_deaths = 0
            self.hire()
        for seat in self.seats:
            work.ledger.add(seat)
        self._give(work)

    def call(self, number: int, work: Packed) -> list[Promise]:
        """Have every worker run one function; promises of what `Bench.call` answers.

        Raises:
            SpliceError: all workers have died.
        """
        if not self.seats:
            raise SpliceError("the session has no worker just now: all of them died")
        answers = [seat.proxy.call(number, work) for seat in self.seats]
        for answer in answers:
            answer.add_done_callback(_noted)  # who asked may have gone, by Ctrl-C
        return answers

    def forget(self, number: int) -> None:
        """Stop a call, on all workers that are still at it."""
        for seat in self.seats:
            _tell_if_alive(seat.proxy.forget, number)

    def cancel(self, work: Map) -> None:
        """Stop a map: nothing more is given out, what is in work is interrupted."""
        if work.number in self._maps:
            work.ledger.cancel()
            self._finish(work, None)

    def _give(self, work: Map) -> None:
        if work.number not in self._maps:
            return
        while given := work.ledger.give():
            sent = [self._send(work, seat, batch) for seat, batch in given]
            if all(sent):
                break  # one that cannot travel is done at once: its worker gets another
        if work.ledger.is_finished:
            self._finish(work, None)

    def _send(self, work: Map, seat: Seat, batch: Batch) -> bool:
        if work.number not in seat.prepared:
            seat.prepared.add(work.number)
            _tell_if_alive(seat.proxy.prepare, work.number, work.function)
        try:
            items = pack(batch.items)
        except SpliceError as error:
            work.ledger.done(seat, batch.start, 0.0)
            work.add(_all_failed(batch, error))
            return False
        answer = seat.proxy.work(work.number, items)
        answer.add_waiter(_Answer(self, work, seat, batch))
        return True

    def answered(self, work: Map, seat: Seat, batch: Batch, answer: Promise) -> None:
        """Take in the answer of a worker to a batch."""
        if answer.state == ERROR and isinstance(answer.value, DeliveryError):
            # the end of its OS process tells the rest; a node lost alive must not linger
            if not self._is_closed:
                seat.child.kill()
            return
        if work.number not in self._maps:
            return  # cancelled
        if answer.state == ERROR:
            outcome: Any = (0.0, None, [(-1, pack_error(answer.value))])
        else:
            outcome = answer.value
        self._useless_deaths = 0
        seconds, values, failures = outcome
        if work.ledger.done(seat, batch.start, seconds) is not None:
            work.add(Part(batch.start, len(batch.items), values, failures))
        self._give(work)

    def _finish(self, work: Map, error: BaseException | None) -> None:
        self._maps.pop(work.number, None)
        for seat in self.seats:
            if work.number in seat.prepared:
                seat.prepared.discard(work.number)
                _tell_if_alive(seat.proxy.forget, work.number)
        if work.finished.state == PENDING:
            if error is None:
                work.finished.resolve(work.parts)
            else:
                work.finished.reject(error)

    # ---- the end

    async def close(self) -> None:
        """Stop all work and end all workers."""
        self._is_closed = True
        for work in list(self._maps.values()):
            self._finish(work, SpliceError("the session was shut down during the map"))
        await self._source.release(list(self._seats))
        await self._source.close()


class _Told:
    """Calls a function of the hub with a child, when a promise about it is settled."""

    __slots__ = ("child", "function")

    def __init__(self, function: Any, child: Hired) -> None:
        self.function = function
        self.child = child

    def settled(self, promise: Promise) -> None:
        self.function(self.child, promise)


class _Answer:
    """Brings the answer to one batch back to the hub."""

    __slots__ = ("batch", "hub", "seat", "work")

    def __init__(self, hub: Hub, work: Map, seat: Seat, batch: Batch) -> None:
        self.hub = hub
        self.work = work
        self.seat = seat
        self.batch = batch

    def settled(self, promise: Promise) -> None:
        self.hub.answered(self.work, self.seat, self.batch, promise)


def _tell_if_alive(handler: Any, *args: Any) -> None:
    """Tell a worker something; that it died before is told by its end."""
    tell(handler, *args).add_done_callback(_noted)


def _noted(_: Promise) -> None:
    """Take note of an outcome, so that a failure is not logged."""


def _all_failed(batch: Batch, error: BaseException) -> Part:
    return Part(batch.start, len(batch.items), None, [(-1, pack_error(error))])


def _death(child: Hired, end: Exit) -> WorkerDied:
    if not end.pid:
        return WorkerDied(f"a worker could not be started: {end.failure}")
    detail = f":\n{end.failure}" if end.failure else ""
    return WorkerDied(f"a worker (OS process {end.pid}) {end.text}{detail}")
