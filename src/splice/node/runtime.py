"""Runtime: what users call; a facade over the current node, each method a few lines.

The current node is that of the running handler; outside of any it is the default node of the OS
process, which starts on a background thread at first use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from splice.actor.combine import syncmany
from splice.actor.context import current_cell
from splice.actor.handlers import NamedHandler
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy, proxy_class
from splice.actor.spawning import forsake, made_of
from splice.config import Config
from splice.errors import (
    CannotWait,
    ConnectTimeout,
    NodeLost,
    ProcessStopped,
)
from splice.log import logger
from splice.node.current import default, node_here, node_to_wait_for
from splice.node.fates import Fates, linked, spawn_under
from splice.node.given import At, as_class, check_callable, node_url
from splice.node.insight import Insight
from splice.node.leaving import Stage, before_leaving, forget
from splice.node.remote import Remote, agent_at
from splice.node.timing import Timing
from splice.node.view import View
from splice.uri import parse, url

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.node.hosting import NodeThread
    from splice.node.node import Node

_log = logger("node")
_SPAWN = NamedHandler("spawn")
_SPAWN_MANY = NamedHandler("spawn_many")
_SHUTDOWN = NamedHandler("shutdown")


class Runtime(Timing, Insight, Fates):
    """The processes and nodes that a program can reach.  Thread-safe.

    Use the one `splice.runtime`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._config = Config()
        self._default: Node | None = None
        self._thread: NodeThread | None = None
        default.find = self._find_default
        default.adopt = self._adopt

    def __reduce__(self) -> str:
        # code by value brings the globals it uses along: this one travels as its name
        return "runtime"

    # ---- nodes

    def config(self, **settings: Any) -> None:
        """Change settings (see `splice.config.Config`) before the first use of a node.

        Args:
            settings: for example ``address="10.1.1.15", port=5000``; ``key`` is 64 hex digits.

        Raises:
            TypeError: there is no such setting, or it is of another kind.
            ValueError: a value is out of its range.
            RuntimeError: the node of this program runs already.
        """
        with self._lock:
            if self._is_running:
                raise RuntimeError(
                    "the node runs already; call runtime.config(...) before"
                )
            self._config = self._config.with_changes(**settings)

    @property
    def address(self) -> str:
        """The address of the current node."""
        return self.node.address

    @property
    def node(self) -> Node:
        """The current node; the default one is started if need be."""
        return node_here()

    def _find_default(self) -> Node:
        # loaded with the first node: a program that only defines processes needs none of it
        from splice.node.hosting import NodeThread

        with self._lock:
            if self._default is None or self._default.is_closed:
                thread = NodeThread(self._config)
                self._default, self._thread = thread.start(), thread
            return self._default

    @property
    def _is_running(self) -> bool:
        return self._default is not None and not self._default.is_closed

    def start(self) -> None:
        """Serve until the node of this program is shut down, or Ctrl-C.

        Raises:
            CannotWait: the node serves already, on the thread of `splice.run` or of a fork.
        """
        _ = self.node
        thread = self._thread
        if thread is None:
            raise CannotWait(
                "the node serves already: it runs under splice.run, or was forked"
            )
        try:
            thread.join()
        except KeyboardInterrupt:
            self.shutdown()

    def fork(self, count: int, init: Callable[[], Any] | None = None) -> View[str]:
        """Start nodes on this machine, each an OS process of its own.

        They never run the caller's script; they inherit settings, ``sys.path`` and the working
        directory, and end with the node that forked them.

        Args:
            count: how many.
            init: called without arguments in each, before its address is reported.

        Returns:
            A view of their addresses.

        Raises:
            NodeLost: one ended before it was ready; the text says how, and what `init` raised.
                The others are ended.
            CannotWait: called where waiting would stop the loop, like all that waits; nothing is
                done then, and the text says what to write instead.
        """
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"fork wants a number of nodes, not {count!r}")
        if init is not None:
            check_callable("init", init)
        node = node_to_wait_for("fork")
        children = node.children.fork(count, init)
        try:
            return View(syncmany([child.ready for child in children]))
        except BaseException:
            # Ctrl-C too: nobody would ever know of those that came up
            node.run_coroutine(lambda: node.children.shut_down(children))
            raise

    def shutdown(self, remote_node: str | Proxy | None = None) -> None:
        """Shut a node down: its children first, then itself; returns when it is gone.

        Args:
            remote_node: address of the node, or the proxy of any process there; the current
                node when None.

        Raises:
            ConnectTimeout: nobody answers at that address.
            CannotWait: it is another node's, and called where waiting would stop the loop.
        """
        if remote_node is not None:
            self._shut_down_far(remote_node)
            return
        cell = current_cell()
        if cell is not None:
            node = cast("Node", cell.scheduler.home)
            node.begin_shut_down()
            return
        self._shut_down_default(None)

    def _shut_down_default(self, timeout: float | None) -> bool:
        with self._lock:
            default, thread = self._default, self._thread
        if default is not None and not default.is_closed:
            default.begin_shut_down()
        # also when somebody else has begun it: it is gone when this returns
        return thread is None or thread.join(timeout)

    def _at_exit(self) -> None:
        # a handler that goes on must not keep the program
        timeout = self._config.end_seconds
        if not self._shut_down_default(timeout):
            _log.warning(
                "the node did not shut down within %s s; is a handler still computing?",
                timeout,
            )
            forget(self._at_exit)  # a second call would wait in vain again

    def _shut_down_far(self, remote_node: str | Proxy) -> None:
        where = node_url(remote_node)
        node = self.node
        if node.connect(where)._sp_target.__class__ is not Remote:
            self.shutdown()
            return
        node = node_to_wait_for("shutdown")
        gone = node.on_thread(node.children.ended_of, where.address)
        try:
            agent_at(node, where).ask(_SHUTDOWN, (), None).get()
        except ConnectTimeout:
            raise
        except (NodeLost, ProcessStopped):
            pass  # it went before its answer did
        if gone is not None:
            gone.get()

    # ---- processes

    def spawn(
        self,
        what: Callable[..., Any],
        *args: Any,
        sp_id: str | None = None,
        sp_dest: Any = None,
        sp_link: bool = False,
        sp_super: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Make a process of a class, or a coroutine of a generator function.

        Args:
            what: the class or the generator function.
            args, kwargs: for its constructor.
            sp_id: its name, unique on its node.
            sp_dest: address of the node (or a proxy of a process there); here when None.
            sp_link: link it to the process that spawns it; with ``sp_super`` when it is made.
            sp_super: its supervisor, on whose node it is made; ``sp_dest``, ``sp_restart``,
                ``sp_shutdown`` and ``sp_significant`` are then as in `splice.child`.

        Returns:
            Its proxy, when the constructor has run.

        Raises:
            NameTaken: another process there has that name.
            BaseException: what the constructor raised.
            CannotWait: called where waiting would stop the loop; use `spawn_nowait`.
        """
        node = node_to_wait_for("spawn", "runtime.spawn_nowait(...)")
        if sp_super is None and not sp_link:  # nearly always: spare it detours
            if sp_dest is None:
                cls, args, kwargs = as_class(what, args, kwargs)
                return node.spawn(cls, *node.copied(cls, args, kwargs), sp_id).get()
            return self._spawn(what, args, kwargs, sp_id, sp_dest).get()
        options = {"sp_id": sp_id, "sp_dest": sp_dest, "sp_link": sp_link}
        made = self.spawn_nowait(what, *args, sp_super=sp_super, **options, **kwargs)
        return made.get()

    def spawn_nowait(
        self,
        what: Callable[..., Any],
        *args: Any,
        sp_id: str | None = None,
        sp_dest: Any = None,
        sp_link: bool = False,
        sp_super: Any = None,
        **kwargs: Any,
    ) -> Promise:
        """Like `spawn`, and return a promise of the proxy at once."""
        me = current_cell() if sp_link else None
        if sp_link and me is None:
            raise ValueError(
                "sp_link links to the spawning process; no handler runs here"
            )
        if sp_super is not None:
            made = spawn_under(sp_super, what, args, kwargs, sp_id, dest=sp_dest)
            return made if me is None else linked(self.node, me, made, is_bound=False)
        return self._spawn(what, args, kwargs, sp_id, sp_dest, parent=me)

    def _spawn(
        self,
        what: Callable[..., Any],
        args: Any,
        kwargs: Any,
        name: Any,
        dest: Any,
        *,
        parent: Cell | None = None,
    ) -> Promise:
        cls, args, kwargs = as_class(what, args, kwargs)
        node = self.node
        agent = None if dest is None else node.connect(node_url(dest))._sp_target
        if not isinstance(agent, Remote):
            made = node.spawn(cls, *node.copied(cls, args, kwargs), name)
            return (
                made if parent is None else linked(node, parent, made, is_bound=False)
            )
        # linked over there: only that node learns of it when ours is lost meanwhile
        links = () if parent is None else (node.proxy_of(parent),)
        made = agent.ask(_SPAWN, (cls, args, kwargs, name, *links), None)
        if parent is not None:
            made = linked(node, parent, made, is_bound=True)
        return made_of(made, lambda proxy: proxy_class(cls)(proxy._sp_target))

    def spawn_many(
        self, count: int, what: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> View[Any]:
        """Make `count` processes in one go; a view of their proxies.

        What a constructor raises, this raises; those that were made are stopped then, and the rest
        is not made.  ``sp_dest`` as in `spawn`; refuses to wait like that.
        """
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"spawn_many wants a number of processes, not {count!r}")
        node = node_to_wait_for("spawn_many")
        where = kwargs.pop("sp_dest", None)
        cls, args, kwargs = as_class(what, args, kwargs)
        if where is None:
            args, kwargs = node.copied(cls, args, kwargs)
            return View(node.spawn_many(count, cls, args, kwargs).get())
        agent = node.connect(node_url(where))._sp_target
        return View(agent.ask(_SPAWN_MANY, (count, cls, args, kwargs), None).get())

    def spawn_scatter(
        self,
        destinations: Iterable[Any],
        what: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> View[Any]:
        """Make one process on each of `destinations`; a view of the proxies, in order.

        What one constructor raises, this raises; the other processes are stopped then.
        Refuses to wait like `spawn`.
        """
        node_to_wait_for("spawn_scatter")
        made: list[Promise] = []
        try:
            for destination in destinations:
                kwargs["sp_dest"] = destination
                made.append(self.spawn_nowait(what, *args, **kwargs))
            return View(syncmany(made))
        except BaseException:  # Ctrl-C too: nobody would ever know of them
            for promise in made:
                forsake(promise)
            raise

    def at(self, destination: Any) -> At:
        """Return what spawns on `destination`: the form of ``sp_dest`` that can be typed."""
        return At(self, destination)

    def connect(self, where: url | str) -> Any:
        """Return the proxy of the process at a url; nothing is sent yet.

        Args:
            where: ``url("my_proc", "tcp://10.1.1.15:54321")`` or its text form.

        Raises:
            ValueError: the url is malformed.
        """
        if not isinstance(where, (str, url)):
            raise TypeError(f"connect wants a url or its text, not {where!r}")
        return self.node.connect(parse(where) if isinstance(where, str) else where)

    def whereis(self, name: str) -> Any:
        """Return the proxy of the process of that name on the current node, or None."""
        node = self.node
        cell = node.scheduler.directory.get(name)
        return None if cell is None or cell.object is None else node.proxy_of(cell)

    # ---- splice.run

    def run(self, main: Callable[..., Any], *args: Any) -> Any:
        """Run ``main(*args)`` as a process on a node in this thread; return what it returns.

        Asks then cost microseconds instead of thread wake-ups.  `main` may be ``async def``.
        Ctrl-C is raised in `main`.

        Raises:
            RuntimeError: a node of this program runs already.
            TypeError: `main` is no function.
        """
        check_callable("splice.run", main)
        from splice.node.hosting import run_main  # as in _find_default

        with self._lock:
            if self._is_running:
                raise RuntimeError(
                    "a node runs already; call splice.run before first use"
                )
        try:
            return run_main(self._config, self._adopt, main, args)
        finally:
            default, self._default = self._default, None
            if default is not None:
                default.abandon()  # unless all went well

    def _adopt(self, node: Node) -> None:
        """Take `node` for the default one: it runs on a thread that somebody else provides."""
        self._default, self._thread = node, None

    def _disown(self) -> None:
        """Let go of the default node: it belongs to the OS process this is a copy of."""
        self._lock = threading.Lock()
        default, self._default, self._thread = self._default, None, None
        if default is not None:
            default.disown()


runtime = Runtime()
run = runtime.run

os.register_at_fork(after_in_child=runtime._disown)
before_leaving(Stage.NODE, runtime._at_exit)
