"""A program of test_million.py: prints figures of very many processes as JSON."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
import time
from typing import Any

import psutil

import splice
from splice import Deferred, Process, runtime, syncmany


class Counter(Process):
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0

    def add(self, k: int) -> int:
        self.n += k
        return self.n

    def wait(self, gate: Deferred) -> Any:
        return gate.get()


def blocks() -> int:
    """Count what Python's allocator has given out, exactly."""
    gc.collect()
    return sys.getallocatedblocks()


def resident() -> float:
    """Return the memory taken, in MiB, without what the C library has free and keeps."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss / 2**20


def come_and_go(count: int) -> dict[str, Any]:
    """Make `count` processes, ask each, stop each."""
    few = blocks()
    empty, started = resident(), time.perf_counter()
    view = runtime.spawn_many(count, Counter)
    full, made = resident(), time.perf_counter()
    many = blocks()
    answers = sum(syncmany(view.add(1)))
    asked = time.perf_counter()
    live = runtime.node.scheduler.directory
    lived = len(live)
    for process in view:
        runtime.stop(process)
    stopped = time.perf_counter()
    del view, process
    return {
        "answers": answers,
        "lived": lived,
        "left": len(live),
        "grown": full - empty,
        "kept": resident() - empty,
        "blocks_grown": many - few,
        "blocks_kept": blocks() - few,
        "seconds": [made - started, asked - made, stopped - asked],
    }


def block(count: int) -> dict[str, Any]:
    """Have `count` handlers wait at once, and let them go on."""
    empty, started = resident(), time.perf_counter()
    gate = Deferred()
    answers = runtime.spawn_many(count, Counter).wait(gate)
    while len(runtime.node.scheduler.parked) < count:
        runtime.sleep(0.01)
    full, parked = resident(), time.perf_counter()
    waiting = len(runtime.node.scheduler.parked)
    gate.set(7)
    total = sum(syncmany(answers))
    return {
        "answers": total,
        "waiting": waiting,
        "grown": full - empty,
        "seconds": [parked - started, time.perf_counter() - parked],
    }


if __name__ == "__main__":
    stories = {"come_and_go": come_and_go, "block": block}
    sys.stdout.write(json.dumps(splice.run(stories[sys.argv[1]], int(sys.argv[2]))))
