"""Worker: runs a session's functions on the main thread of its OS process.

::

    hub ── prepare(map, function) ─┐      node's thread        main thread
        ── order([...]) ───────────┼─► Worker ─► Bench ──────► Bench.serve: run, pack
        ── outcomes() ─────────────┘      ▲                        │
        ◄─ [...] ───────────────── Deferred.set ◄──────────────────┘

The node lives beside it on a thread of its own, so that beats and other processes go on while the
user's code computes, and libraries that insist on the main thread are content.

A worker that somebody else has started for the session runs ``init`` when the session's client has
called `Worker.begin`: that connection may be the only way from here to the client, where what
``init`` imports is fetched.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from splice.actor.deferred import Deferred
from splice.actor.process import Process
from splice.cluster.bench import Bench
from splice.cluster.orders import Columns, unfold_orders
from splice.cluster.packed import Packed
from splice.config import GC_THRESHOLDS
from splice.log import logger
from splice.node.boot import report, run_init, start_node
from splice.node.current import default
from splice.node.loop import run_loop
from splice.node.watchdog import watchdog

if TYPE_CHECKING:
    from splice.node.lifeline import Ready

NAME = "worker"
"""The name of the worker process on its node."""

_log = logger("cluster")

SWITCH_SECONDS: Final = 0.001
"""How long the user's code may hold the interpreter while the node beside it has mail: a fifth of
Python's own interval, so that the next orders are here when the stock is used up."""


class Start:
    """The moment from which a worker may run ``init``: its client is connected."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._is_over = False
        # kept here: a worker whose init failed reports that and ends, and answers nothing before
        self._answer: Deferred | None = None

    def ask(self) -> Deferred | None:
        """Call for it; returns what is answered when it has ended, None if it has.

        On the node's thread.
        """
        if not self._is_over and self._answer is None:
            self._answer = Deferred()
            self._asked.put(True)
        return None if self._is_over else self._answer

    def wait(self) -> bool:
        """Wait for that call; False if it never comes.  On the main thread."""
        return self._asked.get()

    def has_ended(self) -> None:
        """Answer it; on the main thread."""
        self._is_over = True
        if self._answer is not None:
            self._answer.set()

    def close(self) -> None:
        """Let nobody wait for it any more."""
        self._asked.put(False)


class Worker(Process):
    """The worker's process: takes orders from the hub and hands them to the bench."""

    def __init__(self, bench: Bench, start: Start) -> None:
        self._bench = bench
        self._start = start

    def begin(self) -> Deferred | None:
        """Have ``init`` run, if it has not; answered when it has ended: the worker is ready."""
        return self._start.ask()

    def prepare(self, number: int, function: Packed) -> None:
        """Keep the function of map `number` for the orders to come."""
        self._bench.prepare(number, function)

    def forget(self, number: int) -> None:
        """Let go of the function of map `number`."""
        self._bench.forget(number)

    def order(self, orders: Columns) -> None:
        """Have `orders` done; see `unfold_orders`."""
        self._bench.order(unfold_orders(orders))

    def withdraw(self, tickets: list[int]) -> None:
        """Return what is not begun of these orders."""
        self._bench.withdraw(tickets)

    def stop(self, tickets: list[int]) -> None:
        """Return what is not begun of these orders, and interrupt what is."""
        self._bench.stop(tickets)

    def outcomes(self) -> Deferred:
        """Answer the outcomes that are there, as soon as there is one; see `unfold_outcomes`."""
        listener = Deferred()
        self._bench.listen(listener)
        return listener


def run_worker(boot: bytes, ready: Ready) -> None:
    """Live as a worker until its node is shut down; what the launcher starts for a client.

    ``init`` of the session runs here on the main thread, before the worker counts as ready; what it
    raises is reported to the session.
    """
    settings, bench, start, facts = _start_node(boot)
    run_init(settings)
    start.has_ended()
    ready(facts)
    _serve(bench)


def run_granted_worker(boot: bytes, ready: Ready) -> None:
    """Do as `run_worker`; what an instance starts for a client that may be out of reach.

    The worker is up first, then the client connects and has it `Worker.begin`.
    """
    settings, bench, start, facts = _start_node(boot)
    ready(facts, is_last=False)
    if not start.wait():
        return
    run_init(settings)
    start.has_ended()
    _serve(bench)


def _start_node(boot: bytes) -> tuple[dict[str, Any], Bench, Start, dict[str, Any]]:
    """Have the node run on its thread; what it was told, works with, waits for, and its facts."""
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = pickle.loads(boot)
    bench, start = Bench(), Start()
    started: SimpleQueue[dict[str, Any] | BaseException] = SimpleQueue()
    threading.Thread(
        target=_live_as_node,
        args=(settings, bench, start, started),
        name="splice-node",
        daemon=True,
    ).start()
    facts = started.get()
    if isinstance(facts, BaseException):
        raise facts
    return settings, bench, start, facts


def _serve(bench: Bench) -> None:
    bench.serve()
    sys.stdout.flush()
    sys.stderr.flush()


def work_in(folder: str, init: Callable[[], None] | None) -> None:
    """Make `folder` this OS process's own, then call `init`; what a worker runs first.

    What could be imported before still can: a relative path, as that of a REPL, stays where it was.
    """
    sys.path[:] = [str(Path(entry).absolute()) for entry in sys.path]
    os.chdir(folder)
    if init is not None:
        init()


def _live_as_node(
    settings: dict[str, Any],
    bench: Bench,
    start: Start,
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
        await node.spawn(Worker, (bench, start), {}, NAME)
        started.put(report(node))
        is_up = True
        await gone.wait()

    try:
        run_loop(live())
    except BaseException as error:
        if is_up:
            _log.error("the node of this worker failed", exc_info=error)
        started.put(error)
    finally:
        start.close()
        bench.close()
