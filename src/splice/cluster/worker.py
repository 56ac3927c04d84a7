"""Worker: runs a session's functions on the main thread of its OS process.

::

    hub ── prepare(map, function) ─┐            node's thread          main thread
        ── work(map, 0, items) ────┼─► Worker ─► orders ─────────────► Bench: run, pack
        ── work(map, 1, items) ────┘      ▲                               │
        ◄─ answers ─────────────── Deferred.set ◄─────────────────────────┘

The node lives beside it on a thread of its own, so that beats and other processes go on while the
user's code computes, and libraries that insist on the main thread are content.
"""

from __future__ import annotations

import contextlib
import gc
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.cluster.packed import Packed, pack_error, pack_or_error
from splice.config import GC_THRESHOLDS
from splice.errors import Cancelled
from splice.log import logger
from splice.node.boot import report, run_init, start_node
from splice.node.current import default
from splice.node.watchdog import watchdog

if TYPE_CHECKING:
    from splice.node.lifeline import Ready

NAME = "worker"
"""The name of the worker process on its node."""

_log = logger("cluster")

Order = Callable[[], None]


class Interrupted(BaseException):
    """Raised in user code that is to be stopped; not for its ``except Exception``."""


class Bench:
    """Where the work is done: the main thread takes orders here until it is closed.

    Thread-safe, but for `serve` and what it calls.
    """

    def __init__(self) -> None:
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._functions: dict[int, Packed] = {}
        self._current: tuple[int, Callable[..., Any]] | None = None
        self._cancelled: set[int] = set()
        self._at_work: int | None = None
        self._is_closed = False
        self._main = threading.main_thread().ident

    def order(self, work: Order) -> None:
        """Have `work` done on the main thread, after what was ordered before."""
        self._orders.put(work)

    def close(self) -> None:
        """Stop the work at hand, and let `serve` return."""
        self._is_closed = True
        self._interrupt()
        self._orders.put(None)

    def serve(self) -> None:
        """Do what is ordered, until closed; the life of the main thread."""
        signal.signal(signal.SIGUSR1, self._interrupted)
        while (work := self._orders.get()) is not None:
            # an interruption that comes between two pieces of work has nothing to stop
            with contextlib.suppress(Interrupted):
                work()

    def prepare(self, number: int, function: Packed) -> None:
        """Keep the function of map `number`."""
        self._functions[number] = function

    def forget(self, number: int) -> None:
        """Stop map or call `number`, and let go of its function."""
        self._functions.pop(number, None)
        self._cancelled.add(number)
        if self._at_work == number:
            self._interrupt()
        self.order(lambda: self._let_go(number))

    def _let_go(self, number: int) -> None:
        self._cancelled.discard(number)
        if self._current is not None and self._current[0] == number:
            self._current = None

    def _interrupt(self) -> None:
        if self._at_work is not None and self._main is not None:
            signal.pthread_kill(self._main, signal.SIGUSR1)

    def _interrupted(self, *_: object) -> None:
        if self._is_cancelled(self._at_work):
            raise Interrupted

    def _is_cancelled(self, number: int | None) -> bool:
        return number is not None and (self._is_closed or number in self._cancelled)

    def run_batch(self, answer: Deferred, number: int, items: Packed) -> None:
        """Run the function of map `number` on each of `items`; main thread only.

        Answers ``(seconds, packed values, failures)``: the values in order with None for those
        that failed, and the failures as ``(offset, packed error)``.
        """
        self._do(answer, number, partial(self._batch, number, items))

    def call(self, answer: Deferred, number: int, work: Packed) -> None:
        """Run one packed ``(function, args, kwargs)``; main thread only.

        Answers ``(succeeded, packed value or error)``.
        """
        self._do(answer, number, partial(self._call, work))

    def _do(self, answer: Deferred, number: int, work: Callable[[], Any]) -> None:
        try:
            # first this, then the look: who cancels does it the other way round, and so
            # one of the two sees the other
            self._at_work = number
            if self._is_cancelled(number):
                raise Interrupted
            outcome = work()
        except Interrupted:
            answer.fail(Cancelled("the work was stopped"))
            return
        finally:
            self._at_work = None
        answer.set(outcome)

    def _call(self, work: Packed) -> Any:
        try:
            function, args, kwargs = work.unpack()
            return pack_or_error(function(*args, **kwargs))
        except Interrupted:
            raise
        except BaseException as error:
            return False, pack_error(error)

    def _batch(self, number: int, items: Packed) -> Any:
        began = time.perf_counter()
        try:
            values, failures = self._run(number, items.unpack())
            succeeded, packed = pack_or_error(values)
            if not succeeded:
                packed, failures = self._pack_singly(values, failures)
        except Interrupted:
            raise
        except BaseException as error:
            return time.perf_counter() - began, None, [(-1, pack_error(error))]
        return time.perf_counter() - began, packed, failures

    def _run(
        self, number: int, items: Any
    ) -> tuple[list[Any], list[tuple[int, Packed]]]:
        function, extra, options = self._function(number)
        failures: list[tuple[int, Packed]] = []
        values: list[Any] = []
        for item in items:
            try:
                values.append(function(item, *extra, **options))
            except Interrupted:
                raise
            except BaseException as error:  # SystemExit too: it is this item's
                values.append(None)
                failures.append((len(values) - 1, pack_error(error)))
        return values, failures

    def _function(self, number: int) -> Any:
        if self._current is None or self._current[0] != number:
            self._current = number, self._functions[number].unpack()
        return self._current[1]

    def _pack_singly(
        self, values: list[Any], failures: list[tuple[int, Packed]]
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


class Worker(Process):
    """The worker's process: takes orders from the hub and hands them to the bench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def prepare(self, number: int, function: Packed) -> None:
        """Keep the function of map `number` for the batches to come."""
        self._bench.prepare(number, function)

    def work(self, number: int, items: Packed) -> Deferred:
        """Run one batch of map `number`; see `Bench.run_batch` for the answer."""
        answer = Deferred()
        self._bench.order(lambda: self._bench.run_batch(answer, number, items))
        return answer

    def call(self, number: int, work: Packed) -> Deferred:
        """Run one function; see `Bench.call` for the answer."""
        answer = Deferred()
        self._bench.order(lambda: self._bench.call(answer, number, work))
        return answer

    def forget(self, number: int) -> None:
        """Map or call `number` is over: drop what is left of it, stop what is at hand."""
        self._bench.forget(number)


def run_worker(boot: bytes, ready: Ready) -> None:
    """Live as a worker until its node is shut down; what the launcher starts.

    ``init`` of the session runs here on the main thread, before the worker counts as ready; what it
    raises is reported to the session.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    settings = pickle.loads(boot)
    bench = Bench()
    started: SimpleQueue[dict[str, Any] | BaseException] = SimpleQueue()
    threading.Thread(
        target=_live_as_node,
        args=(settings, bench, started),
        name="splice-node",
        daemon=True,
    ).start()
    facts = started.get()
    if isinstance(facts, BaseException):
        raise facts
    run_init(settings)
    ready(facts)
    bench.serve()
    sys.stdout.flush()
    sys.stderr.flush()


def _live_as_node(
    settings: dict[str, Any],
    bench: Bench,
    started: SimpleQueue[dict[str, Any] | BaseException],
) -> None:
    """Run the worker's node; the life of the thread beside the main thread."""
    import asyncio  # loaded with the node

    is_up = False

    async def live() -> None:
        nonlocal is_up
        node = await start_node(settings)
        watchdog.watch(node)
        gone = asyncio.Event()
        node.on_closed = gone.set
        default.adopt(node)
        await node.spawn(Worker, (bench,), {}, NAME)
        started.put(report(node))
        is_up = True
        await gone.wait()

    try:
        asyncio.run(live())
    except BaseException as error:
        if is_up:
            _log.error("the node of this worker failed", exc_info=error)
        started.put(error)
    finally:
        bench.close()
