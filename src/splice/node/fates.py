"""Fates: the part of `runtime` that ends, links and monitors processes, near or far.

::

    link(a, b)    both here ─► splice.actor.links
                  one far ───► splice.node.signals
                  both far ──► the agent of one's node, always the same for two nodes
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from splice.actor import links
from splice.actor.cell import Cell
from splice.actor.context import current_cell, may_wait_for
from splice.actor.handlers import NamedHandler
from splice.actor.links import NO_PROCESS, Monitor
from splice.actor.promise import Promise
from splice.actor.proxy import proxy_class
from splice.actor.spawning import Made, made_of
from splice.errors import TimeoutError
from splice.node.current import node_to_wait_for
from splice.node.given import as_class, check_callable, target_of
from splice.node.remote import Named, Remote, agent_at
from splice.seconds import timeout_of
from splice.uri import ident_of

if TYPE_CHECKING:
    from splice.net.lives import NodeEvent
    from splice.node.node import Node


_START_CHILD: Final = NamedHandler("start_child")
_KILL: Final = NamedHandler("kill")


class Fates:
    """What `splice.node.runtime.Runtime` can do about the ends of processes.  Thread-safe."""

    @property
    def node(self) -> Node:
        """The current node."""
        raise NotImplementedError

    def stop(
        self,
        proc: Any,
        reason: Any = "normal",
        *,
        drain: bool = False,
        timeout: float | None = 5.0,
    ) -> None:
        """Stop a process and wait until it has ended; ahead of its mail.

        The handler at hand finishes.  A process that stops itself ends after it.

        Args:
            proc: its proxy, or the process object itself in its own handler.
            reason: what its links and monitors are told.
            drain: let it handle the mail it has first.
            timeout: seconds for the handler at hand, after which the process is killed.

        Raises:
            CannotWait: called where waiting would stop the loop; nothing is done then.
        """
        target, timeout = target_of(proc), timeout_of(timeout)
        here = current_cell()
        if here is not None and self.node.cell_of(target) is here:
            self.node.stop(here, reason, drain=drain)
            return
        stopped = node_to_wait_for("stop").stop(target, reason, drain=drain)
        try:
            stopped.get(timeout)
        except TimeoutError:
            self.kill(proc)

    def kill(self, proc: Any) -> None:
        """End a process at once: its clean-up hook is not run, its handler is unwound.

        Of a far one it waits until that is done, unless waiting here would stop the loop.
        """
        target = target_of(proc)
        node = self.node
        if not isinstance(target, Remote):
            node.kill(target)
            return
        agent, named = agent_at(node, target.url), (target.addressee,)
        if may_wait_for(node.scheduler.thread):
            agent.ask(_KILL, named, None).get()
        else:
            agent.tell(_KILL, named, None)  # a dead letter if it fails

    def link(self, one: Any, other: Any) -> None:
        """Have two processes share their fate: when one ends, so does the other.

        A normal end is no reason to end.  A class with ``sp_trap_exit = True`` gets
        ``sp_exited(exited)`` instead.  Returns at once; if one of the two is not there, the
        other is treated as if it had just ended, for the reason ``"noproc"``.

        Args:
            one, other: proxies, or a process object in its own handler; on any nodes.
        """
        _soon(self.node, join, self.node, target_of(one), target_of(other), "link")

    def unlink(self, one: Any, other: Any) -> None:
        """Take a link back; nothing happens when there is none."""
        _soon(self.node, join, self.node, target_of(one), target_of(other), "unlink")

    def monitor(self, proc: Any) -> Promise:
        """Watch a process: a promise of its `Down`, whose reason says why it has ended.

        A process whose class has ``sp_down(down)`` gets the `Down` as a message, too, when it
        calls this in a handler.  The monitor ends with that process.
        """
        node, target = self.node, target_of(proc)
        owner = current_cell()
        if owner is not None and owner.has_ended:
            owner = None
        return watch(node, target, owner)

    def on_node(self, hearer: Callable[[NodeEvent], object]) -> Callable[[], None]:
        """Hear of the other nodes that the current one talks with: who comes, goes, is busy.

        Args:
            hearer: is called with a `NodeEvent` for each change, on the node's loop: it may
                send, and must not wait.

        Returns:
            What ends it; call it without arguments.
        """
        check_callable("on_node", hearer)
        node = self.node
        stop: Callable[[], None] = node.on_thread(
            lambda: node.open().lives.listen(hearer)
        )
        return stop

    def demonitor(self, monitor: Promise) -> None:
        """Watch no more; the promise of `monitor` fails with `Cancelled`.

        A `Down` that stands in the mailbox already is handled all the same.

        Raises:
            TypeError: it is no promise that `monitor` has returned.
        """
        if not isinstance(monitor, Monitor):
            raise TypeError(
                f"{monitor!r} is no monitor: give what runtime.monitor has returned"
            )
        monitor.cancel()


def watch(node: Node, target: Any, owner: Cell | None = None) -> Monitor:
    """Have the end of a process told, also to `owner` if it wants to know.  Thread-safe."""
    promise = Monitor(node.scheduler, target, None)
    _soon(node, _monitor, node, target, promise, owner)
    return promise


def linked(node: Node, parent: Cell, making: Promise, *, is_bound: bool) -> Made:
    """Return the promise of a process that is made, and linked to `parent` by then.

    Thread-safe.

    Args:
        is_bound: another node makes it, and links it to `parent` by itself.
    """
    birth = _Birth(node, parent, is_bound=is_bound)
    _soon(node, birth.begin)
    making.add_done_callback(birth.over)
    return made_of(making, lambda proxy: proxy)


class _Birth:
    """Has a process linked to its parent when it is made.

    If the parent has ended by then, the process takes that end: as in Erlang, where the link stands
    from the start.
    """

    __slots__ = ("_ends", "_is_bound", "_node", "_parent")

    def __init__(self, node: Node, parent: Cell, *, is_bound: bool) -> None:
        self._node = node
        self._parent = parent
        self._is_bound = is_bound
        self._ends: list[Any] = []

    def begin(self) -> None:
        """Take note of the end of the parent from now on."""
        if self._parent.has_ended:
            self._ends.append(self._parent.runner.reason)
        else:
            links.extra_of(self._parent).watchers[self] = None

    def down(self, source: Any, reason: Any) -> None:
        """Take note of the end; see `splice.actor.links.Watcher`."""
        self._ends.append(reason)

    def over(self, making: Promise) -> None:
        """Link what was made, if it was."""
        if not self._ends:
            links.extra_of(self._parent).watchers.pop(self, None)
        if making.exception() is not None:
            return
        child = making.get()._sp_target
        if self._ends:
            self._orphan(child, self._ends[0])
        else:  # also one that is bound: it may have ended by now
            join(self._node, self._parent, child, "link")

    def _orphan(self, child: Any, reason: Any) -> None:
        if not isinstance(child, Remote):
            links.take_exit(child, self._parent, reason)
        elif self._is_bound:
            self._node.exchange.signals.part(self._parent, child, reason)
        else:
            join(self._node, self._parent.ghost(), child, "link")


def spawn_under(
    supervisor: Any,
    what: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None,
    *,
    dest: Any,
) -> Promise:
    """Have `supervisor` make a child, on its own node or at `dest`; a promise of its proxy."""
    from splice.actor.childspec import child  # 8 ms, for those who supervise

    options = {
        option: kwargs.pop(f"sp_{option}")
        for option in ("restart", "shutdown", "significant")
        if f"sp_{option}" in kwargs
    }
    cls, args, kwargs = as_class(what, args, kwargs)
    # without a name the supervisor numbers it, for one may have many of one class
    spec = child(cls, sp_id=name, sp_dest=dest, **options)
    spec = replace(spec, args=args, kwargs=kwargs, id=name)
    making: Promise = target_of(supervisor).ask(_START_CHILD, (spec,), None)
    return made_of(making, lambda proxy: proxy_class(cls)(proxy._sp_target))


def join(node: Node, one: Any, other: Any, how: str) -> None:
    """Link or unlink two processes wherever they are; node's thread only."""
    one, other = _resolved(node, one), _resolved(node, other)
    if isinstance(one, Remote):
        one, other = other, one
    if isinstance(one, Remote):
        _join_far(node, one, other, how)
    elif isinstance(other, Remote):
        getattr(node.exchange.signals, how)(one, other)
    else:
        getattr(links, how)(one, other)


def _join_far(node: Node, one: Remote, other: Remote, how: str) -> None:
    """Have two far processes joined by the node of one; if that is not reached, by the other's."""
    if other.url.address < one.url.address:
        one, other = (
            other,
            one,
        )  # in either order by the same node, or two calls would race

    def told(told: Promise) -> None:
        if told.exception() is not None:
            again = _ask_agent(node, other, one, how)
            again.add_done_callback(Promise.exception)

    _ask_agent(node, one, other, how).add_done_callback(told)


def _ask_agent(node: Node, one: Remote, other: Remote, how: str) -> Promise:
    proxy = node.connect(other.url)
    agent = agent_at(node, one.url)
    return agent.tell(NamedHandler(how), (one.addressee, proxy), None)


def _resolved(node: Node, target: Any) -> Any:
    """Return the process that a name means now; one that has ended when it means none."""
    if not isinstance(target, Named):
        return target
    cell = node.scheduler.directory.find(target.resource)
    return cell or Cell(node.scheduler, ident_of(target.resource)).ghost()


def _monitor(node: Node, target: Any, promise: Monitor, owner: Cell | None) -> None:
    if owner is not None:
        promise.own(owner)
    cell = _resolved(node, target)
    if isinstance(cell, Remote):
        node.exchange.signals.monitor(cell, promise)
    elif cell.has_ended:
        promise.down(cell, NO_PROCESS)
    else:
        links.monitor(cell, promise)


def _soon(node: Node, function: Callable[..., Any], *args: Any) -> None:
    if get_ident() == node.scheduler.thread:
        function(*args)
    else:
        node.scheduler.post(partial(function, *args))
