"""Node: the processes of one OS process and their way to other nodes, joined.

::

    proxy ─► Cell ─► Scheduler                      near
    proxy ─► Remote ─► Exchange ─► Peers ─► Wire    far

A node opens its sockets when something asks for its address or sends far, and not before: a
program of one node only never loads ZeroMQ.  Everything here runs on the node's thread unless it
says otherwise.
"""

from __future__ import annotations

import gc
from _thread import get_ident
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Final

from splice.actor.cell import Cell
from splice.actor.context import current_message
from splice.actor.handlers import NamedHandler
from splice.actor.info import ProcessInfo, info_of
from splice.actor.promise import PENDING, Promise
from splice.actor.proxy import Proxy, proxy_class, proxy_class_named
from splice.actor.scheduler import Scheduler
from splice.actor.spawning import Made, spawn, stop
from splice.config import GC_THRESHOLDS, MANY_PROCESSES, Config
from splice.errors import Cancelled, ProcessKilled, SpliceError
from splice.log import logger
from splice.node.children import Children
from splice.node.copying import IsolatedNamed, WireCopier, cell_class
from splice.node.current import rebuild_proxy
from splice.node.dead_letters import DeadLetters
from splice.node.ending import Ending
from splice.node.exchange import Exchange
from splice.node.fates import watch
from splice.node.many import make_many
from splice.node.remote import Named, Remote, agent_at, info_of_past, not_there
from splice.node.room import Room
from splice.uri import Resource, bound_url, url

if TYPE_CHECKING:
    import asyncio

    from splice.actor.childspec import ChildSpec
    from splice.net.peers import Peers
    from splice.net.wire import Listener, Wire
    from splice.node.launch import Launcher

_log = logger("node")

WireMaker = Callable[["Node", "Listener"], "Wire"]
"""Makes the wire of a node: ZeroMQ sockets, or memory in the simulator."""


class Node:
    """One node: its scheduler, its channels, its children.

    Args:
        loop: the asyncio loop it lives on; it is made on that loop's thread.
        config: its settings.
        make_wire: makes its sockets; ZeroMQ's unless the simulator says otherwise.
        random: source of ids and of the jitter of reconnects.
        launcher: starts the OS processes of child nodes; the system's unless given.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        *,
        make_wire: WireMaker | None = None,
        random: Random | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        self.loop = loop
        self.config = config
        self.random = random or SystemRandom()
        self.incarnation = self.random.getrandbits(63) | 1
        self.scheduler = Scheduler(loop, blocking_threads=config.blocking_threads)
        self.scheduler.overload_timeout = config.overload_timeout
        self.scheduler.home = self
        self.scheduler.on_abandon = self._fail_all
        self.copier: WireCopier | None = None
        if config.isolate:
            self.copier = WireCopier(self)
            self.scheduler.cell_class = cell_class
        self.peers: Peers | None = None
        self.key: bytes | None = config.key
        self.children = Children(self, launcher)
        self.on_closed: Callable[[], None] | None = None
        self.is_closed = False
        self.end = "was shut down"
        self._gc_thresholds = gc.get_threshold()
        self._has_many = False
        self._make_wire = make_wire
        self._address: str | None = None
        self.exchange = Exchange(self)
        self.scheduler.directory.on_name = self.exchange.early.made
        self.room = Room(self)
        self.dead_letters = DeadLetters(self)
        self._tasks: dict[asyncio.Task[Any], Promise] = {}
        self.ending = Ending(self)

    # ---- addresses and proxies

    @property
    def address(self) -> str:
        """Where other nodes reach this one; opens its sockets at first use.  Thread-safe."""
        if self._address is None:
            self.on_thread(self.open)
        assert self._address is not None
        return self._address

    @property
    def known_address(self) -> str | None:
        """Its address, or None while its sockets are not open.  Thread-safe."""
        return self._address

    def open(self) -> Peers:
        """Open the node's sockets unless they are; return its channels."""
        if self.peers is None:
            if self.is_closed:
                raise SpliceError(f"{self} is shut down")
            from splice.node.opening import open_peers  # loads ZeroMQ: 50 ms

            self.peers, self.key = open_peers(self, self._make_wire)
            self._address = self.peers.addresses[0]
            self.scheduler.flush = self.exchange.flush
        return self.peers

    def url_of(self, cell: Cell) -> url:
        """Return the url of a process of this node."""
        return bound_url(cell.ident, self.address, self.incarnation)

    def proxy_of(self, cell: Cell) -> Proxy:
        """Return a proxy of a process of this node."""
        return proxy_class(type(cell.object))(cell)

    @property
    def rebuild(self) -> Callable[[url, str], Proxy]:
        """The function that other nodes unpickle this node's proxies with."""
        return rebuild_proxy

    def connect(self, where: url, class_name: str = "") -> Proxy:
        """Return the proxy of the process at `where`, near or far.  Thread-safe."""
        target: Any
        if self._is_here(where):
            cell = self.scheduler.directory.find(where.addressee)
            if (
                cell is not None
                and where.incarnation is not None
                and cell.object is not None
            ):
                return self.proxy_of(cell)
            kind = Named if self.copier is None else IsolatedNamed
            target = kind(self, where.addressee)
        else:
            target = Remote(self, where)
        return proxy_class_named(class_name)(target)

    def _is_here(self, where: url) -> bool:
        if where.incarnation is not None:
            return where.incarnation == self.incarnation
        return where.address == self._address

    # ---- processes

    def copied(
        self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a constructor, as copies if the class is isolated."""
        if self.copier is None or cell_class(cls) is Cell:
            return args, kwargs
        args, given = self.copier.arguments(args, kwargs)
        return args, given or {}

    def spawn(
        self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
    ) -> Promise:
        """Make a process here; a promise of its proxy.  Thread-safe."""
        if get_ident() != self.scheduler.thread:
            made = Made(self.scheduler)
            self.scheduler.post(_settle_by, made, self.spawn, (cls, args, kwargs, name))
            return made
        if not self._has_many and len(self.scheduler.directory) >= MANY_PROCESSES:
            self._has_many = True
            gc.set_threshold(*GC_THRESHOLDS)
        return spawn(self.scheduler, cls, args, kwargs, name)

    def spawn_many(
        self, count: int, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Promise:
        """Make `count` processes here; a promise of the list of proxies.  Thread-safe."""
        parts: list[Promise] = []
        make = partial(self.spawn, cls, args, kwargs, None)
        making = partial(make_many, self.scheduler, count, make, parts)
        return self.run_coroutine(making, parts)

    def cell_of(self, target: Any) -> Any:
        """Return who bears the name that `target` means on this node; another target as it is."""
        if isinstance(target, Named):
            return self.scheduler.directory.find(target.resource)
        return target

    def kill(self, target: Any) -> None:
        """End a process of this node at once.  Thread-safe."""
        target = self.cell_of(target)
        message = current_message()
        if message is not None and message.target is target:
            raise ProcessKilled(f"{target} killed itself")
        if target is not None:
            self.on_thread(self.scheduler.kill, target)

    def stop(
        self, target: Any, reason: Any = "normal", *, drain: bool = False
    ) -> Promise:
        """Stop a process near or far; a promise of its end.  Thread-safe."""
        if isinstance(target, Remote):
            # behind the mail that shall be handled first
            agent = agent_at(self, target.url, hurries=not drain)
            return agent.ask(_STOP_FAR, (target.addressee, reason, drain), None)
        return self.promise_of(self._stop, target, reason, drain)

    def _stop(self, target: Any, reason: Any, drain: bool) -> Promise | None:
        cell = self.cell_of(target)
        if cell is not None:
            return stop(self.scheduler, cell, reason, drain=drain)
        if not self.scheduler.directory.was_used(target.resource):
            raise not_there(self, target.resource)
        return None  # it has ended: what was wanted

    # ---- supervised on other nodes: splice.actor.seat.Abroad

    @property
    def is_leaving(self) -> bool:
        """Whether it is being shut down, so what ends on its children shall not come back."""
        return self.is_closed or self.children.is_closing

    def outpost(self, address: str, supervisor: Cell, spec: ChildSpec) -> Promise:
        """Start an outpost for a child on another node; a promise of its proxy."""
        from splice.node.outpost import establish  # 8 ms, for those who supervise

        return establish(self, address, supervisor, spec)

    def watch(self, proc: Proxy) -> Promise:
        """Have the end of a process told; a promise of its `Down`."""
        return watch(self, proc._sp_target)

    def sign_of(self, target: Any) -> Promise:
        """Ask the node of a far process for a sign; a promise that fails when it is lost."""
        sign: Promise = agent_at(self, target.url).ask(_INFO, (), None)
        return sign

    # ---- what they do

    def info_of(self, cell: Cell) -> ProcessInfo:
        """Tell what a process of this node is doing.  Thread-safe."""
        address = self._address
        where = address and bound_url(cell.ident, address, self.incarnation)
        return info_of(cell, where or None)

    def find_info(self, addressee: Resource) -> ProcessInfo:
        """Tell what the process is doing that messages call so.

        Raises:
            ProcessNotFound: there never was one.
        """
        cell = self.scheduler.directory.find(addressee)
        if cell is not None:
            return self.info_of(cell)
        return info_of_past(self, addressee)

    def infos(self) -> list[ProcessInfo]:
        """Tell what each process is doing, in the order they were made.  Thread-safe."""
        return [self.info_of(cell) for cell in self.scheduler.directory.cells()]

    # ---- threads and the end

    def on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function(*args)`` on the node's thread and return its result.  Thread-safe."""
        if get_ident() == self.scheduler.thread:
            return function(*args)
        return self.scheduler.call(function, *args)

    def run_coroutine(
        self,
        function: Callable[[], Coroutine[Any, Any, Any]],
        parts: list[Promise] | None = None,
    ) -> Promise:
        """Run the coroutine ``function()`` on the node's loop; its outcome.  Thread-safe.

        It is `Cancelled` when the node is shut down before, or meanwhile.

        Args:
            parts: where it notes the promises that it waits for, so that rings are found.
        """
        return self.promise_of(self._run_coroutine, function, parts)

    def _run_coroutine(
        self,
        function: Callable[[], Coroutine[Any, Any, Any]],
        parts: list[Promise] | None,
    ) -> Promise:
        if self.is_closed or self.scheduler.is_closed:
            raise Cancelled(f"{self} was shut down before")
        outcome = Promise(self.scheduler)
        outcome.value = parts
        task = self.loop.create_task(function())
        self._tasks[task] = outcome  # the loop itself keeps no hold of its tasks
        task.add_done_callback(self._tasks.pop)
        task.add_done_callback(lambda done: _settle_from(outcome, done))
        return outcome

    def promise_of(self, function: Callable[..., Any], *args: Any) -> Promise:
        """Call ``function(*args)`` on the node's thread; a promise of what comes of it."""
        outcome = Promise(self.scheduler)
        if get_ident() == self.scheduler.thread:
            _settle_by(outcome, function, args)
        else:
            self.scheduler.post(_settle_by, outcome, function, args)
        return outcome

    def soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function(*args)`` on the node's thread: at once there, else soon.  Thread-safe."""
        if get_ident() == self.scheduler.thread:
            function(*args)
        else:
            self.scheduler.post(function, *args)

    def begin_shut_down(self) -> None:
        """Have the node shut down; nothing happens if it is.  Thread-safe."""
        self.run_coroutine(self.shut_down).add_done_callback(_note_shut_down)

    async def shut_down(self) -> None:
        """End the children, then this node, when what it has sent has arrived."""
        await self.ending.of_its_own()

    def leave(self) -> None:
        """Close the node and let go of its loop; what comes last in a node's life."""
        try:
            self.close()
        finally:  # whatever fails there, who waits for the end must not wait for ever
            if self.on_closed is not None:
                self.on_closed()

    def close(self, linger: float = 1.0) -> None:
        """End every process, fail what is still owed, close the sockets."""
        if self.is_closed:
            return
        self.is_closed = True
        self.scheduler.close()
        if self._has_many:
            gc.set_threshold(*self._gc_thresholds)
        if self.peers is not None:
            self.peers.flush()
            self.peers.close(linger)
        self.exchange.fail_all()

    def abandon(self) -> None:
        """Fail what is owed here: the loop has ended, and the node was not closed before."""
        if not self.is_closed:
            self.is_closed = True
            self.children.kill_all()
            self.scheduler.abandon()

    def _fail_all(self) -> None:
        self.exchange.fail_all()
        for outcome in list(self._tasks.values()):
            if outcome.state == PENDING:
                outcome.reject(Cancelled(f"{self} {self.end}"))

    def disown(self) -> None:
        """Take note that this is a copy, made by `os.fork`: the loop and all else is the parent's.

        Whoever uses it here finds it closed; nothing is done before, in case nobody does.
        """
        import asyncio  # loaded with the node

        self.is_closed = True
        self.end = "is the node of the OS process that this one is a copy of"
        self.children.is_closing = True
        self.loop = asyncio.new_event_loop()
        self.loop.close()
        self.scheduler.disown(self.loop)

    def __str__(self) -> str:
        return self._address or "this node"


def _settle_by(
    outcome: Promise, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    if outcome.state != PENDING:  # cancelled since
        return
    try:
        value = function(*args)
    except BaseException as error:
        outcome.reject(error)
    else:
        outcome.settle(value)


def _note_shut_down(done: Promise) -> None:
    error = done.exception()
    if error is not None and not isinstance(error, Cancelled):  # somebody was faster
        _log.error("a node did not shut down in order", exc_info=error)


def _settle_from(outcome: Promise, task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if outcome.state != PENDING:  # it was given up since
        return
    if task.cancelled():
        outcome.reject(Cancelled("the node was shut down meanwhile"))
    elif error is not None:
        outcome.reject(error)
    else:
        outcome.resolve(task.result())


_STOP_FAR: Final = NamedHandler("stop")
_INFO: Final = NamedHandler("info")
