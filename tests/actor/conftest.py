"""A world of processes for each test, which must leave nothing behind."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from splice.actor.scheduler import RECURSION_LIMIT
from splice.testing.actors import World

# A scheduler raises it; hypothesis wants it unchanged within an example.
sys.setrecursionlimit(RECURSION_LIMIT)


@pytest.fixture
def world() -> Iterator[World]:
    """A scheduler on a virtual loop, driven by the test."""
    world = World()
    yield world
    world.close()
    assert not world.scheduler.parked, "a handler is still parked after the end"
    assert not world.scheduler.directory.cells(), "a process outlived its node"


@pytest.fixture
def house() -> Iterator["House"]:
    """A scheduler whose loop runs on a thread of its own, as in a script."""
    with House() as house:
        yield house


class House:
    """A world on a background thread; the test is one of the other threads."""

    def __init__(self, blocking_threads: int = 4) -> None:
        self._threads = blocking_threads
        self._ready = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> "House":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self.world.loop.call_soon_threadsafe(self.world.loop.stop)
            self._thread.join(30)

    def spawn(self, cls: type, *args: Any, **options: Any) -> Any:
        made = self.world.scheduler.call(
            lambda: self.world.spawn_nowait(cls, *args, **options)
        )
        return made.get(30)

    def do(self, function: Any, *args: Any) -> Any:
        """Call a function on the loop's thread."""
        return self.world.scheduler.call(function, *args)

    def _live(self) -> None:
        import asyncio

        self.world = World(asyncio.new_event_loop(), blocking_threads=self._threads)
        self.world.loop.call_soon(self._ready.set)
        self.world.loop.run_forever()
        self.world.close()
