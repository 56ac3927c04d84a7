"""A world of processes without a node: a scheduler on a virtual loop, driven by the test.

::

    world = World()
    counter = world.spawn(Counter, 10)            # runs the loop until the constructor has run
    world.run(lambda: counter.add(1).get())       # in a handler, where `get` parks
    world.wait(counter.add(1))                    # from outside
    world.close()                                 # ends what is left

No sockets, no thread of its own, and time passes only when nothing else is to be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from splice.actor.cell import Cell
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy
from splice.actor.scheduler import Scheduler
from splice.actor.spawning import spawn, stop
from splice.testing.clock import VirtualLoop
from splice.uri import bound_url, url

ADDRESS: Final = "tcp://127.0.0.1:1"
"""What stands in urls; nobody listens there."""


class Actor(Process):
    """A process that runs functions of the test, so that a test can act as a process."""

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Answer ``function(*args)``."""
        return function(*args)

    async def run_async(self, function: Callable[..., Any], *args: Any) -> Any:
        """Answer ``await function(*args)``."""
        return await function(*args)


class World:
    """One scheduler, and what its processes need of a node.

    Args:
        loop: the loop it lives on; a virtual one of its own unless given.
        blocking_threads: how many ``@blocking`` handlers may run at once.
    """

    rebuild: ClassVar[Any] = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        blocking_threads: int = 4,
    ) -> None:
        self.loop: Any = loop or VirtualLoop()
        self.scheduler = Scheduler(self.loop, blocking_threads=blocking_threads)
        self.scheduler.home = self

    # ---- splice.actor.cell.Home

    def url_of(self, cell: Cell) -> url:
        """Return the url of a process."""
        return bound_url(cell.ident, ADDRESS, 1)

    def stop(
        self, proc: Cell | Proxy, reason: Any = "normal", *, drain: bool = False
    ) -> Promise:
        """Stop a process; a promise of its end."""
        return stop(self.scheduler, self.cell(proc), reason, drain=drain)

    # ---- what tests call

    def cell(self, proc: Cell | Proxy | Process) -> Cell:
        """Return the record of a process."""
        if isinstance(proc, Process):
            return proc._sp_cell
        target: Any = proc._sp_target if isinstance(proc, Proxy) else proc
        assert isinstance(target, Cell)
        return target

    def spawn_nowait(
        self, cls: type, *args: Any, name: str | None = None, **kwargs: Any
    ) -> Promise:
        """Make a process; a promise of its proxy."""
        return spawn(self.scheduler, cls, args, kwargs, name)

    def spawn(
        self, cls: type, *args: Any, name: str | None = None, **kwargs: Any
    ) -> Any:
        """Make a process and return its proxy; also in a handler, which then waits."""
        made = self.spawn_nowait(cls, *args, name=name, **kwargs)
        return made.get() if self.loop.is_running() else self.wait(made)

    def kill(self, proc: Cell | Proxy) -> None:
        """End a process at once."""
        self.scheduler.kill(self.cell(proc))

    def wait(self, promise: Promise) -> Any:
        """Run the loop until `promise` is settled, and return its answer."""

        async def waiting() -> Any:
            return await promise

        return self.loop.run_until_complete(waiting())

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run ``function(*args)`` in a plain handler of a process of its own."""
        return self.wait(self.spawn(Actor).run(function, *args))

    def run_async(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run ``await function(*args)`` in an async handler of a process of its own."""
        return self.wait(self.spawn(Actor).run_async(function, *args))

    def settle(self) -> None:
        """Run everything that can be done without time passing; virtual loops only."""
        self.loop.settle()

    def close(self) -> None:
        """Close the scheduler and the loop; cancelled async handlers are seen out."""
        self.scheduler.close()
        left = asyncio.all_tasks(self.loop)
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
