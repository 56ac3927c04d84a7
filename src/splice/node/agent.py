"""Agent: the process every node runs under the name ``node``; spawns, stops and tells from afar."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from splice.actor.context import current_message
from splice.actor.coroutine import Drawn
from splice.actor.info import ProcessInfo
from splice.actor.links import take_exit
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy
from splice.errors import NodeLost, ProcessKilled
from splice.node.fates import join
from splice.node.remote import AGENT, Named, Remote
from splice.node.replies import Reply
from splice.uri import Resource

if TYPE_CHECKING:
    from splice.node.node import Node

NAME = AGENT


def _note_drawer(asker: Any, made: Promise) -> None:
    """Count who has a coroutine made among those who draw values out of it."""
    note = getattr(asker, "note_drawer", None)
    if note is not None and made.exception() is None and made.value._sp_target.object:
        note(made.value._sp_target.object)


class Agent(Process):
    """What other nodes may ask of this one.

    Its handlers answer with promises, so that a slow constructor or a process that is slow to
    stop holds up nobody else.
    """

    @property
    def _node(self) -> Node:
        return cast("Node", self._sp_cell.scheduler.home)

    def spawn(
        self,
        cls: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        parent: Proxy | None = None,
    ) -> Promise:
        """Make a process here, linked to `parent` if given; answers its proxy."""
        made = self._node.spawn(cls, args, kwargs, name)
        message = current_message()
        asker = message and message.waiter
        if parent is not None:  # before the answer, with which the parent's node does
            made.add_done_callback(partial(self._link_new, parent, asker))
        if issubclass(cls, Drawn):
            made.add_done_callback(partial(_note_drawer, asker))
        return made

    def _link_new(self, parent: Proxy, asker: Any, made: Promise) -> None:
        if made.exception() is not None:
            return
        child, whose = made.get()._sp_target, parent._sp_target
        if isinstance(asker, Reply) and asker.is_vain:
            text = f"{asker.peer} was lost while {child} was made for {whose}"
            take_exit(child, whose.url, NodeLost(text, node=asker.peer.address))
        else:
            self._node.exchange.signals.bind(child, cast("Remote", whose))

    def spawn_many(
        self, count: int, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Promise:
        """Make `count` processes here; answers the list of their proxies."""
        return self._node.spawn_many(count, cls, args, kwargs)

    def stop(self, addressee: Resource, reason: Any, drain: bool) -> Promise:
        """Stop a process; answers None when it has ended."""
        node = self._node
        return node.stop(Named(node, addressee), reason, drain=drain)

    def kill(self, addressee: Resource) -> None:
        """End a process at once."""
        node = self._node
        cell = node.scheduler.directory.find(addressee)
        if cell is self._sp_cell:
            raise ProcessKilled
        if cell is not None:
            node.scheduler.kill(cell)

    def link(self, addressee: Resource, other: Proxy) -> None:
        """Link a process of this node to another one, anywhere."""
        join(self._node, Named(self._node, addressee), other._sp_target, "link")

    def unlink(self, addressee: Resource, other: Proxy) -> None:
        """Take such a link back."""
        join(self._node, Named(self._node, addressee), other._sp_target, "unlink")

    def whereis(self, name: str) -> Any:
        """Answer the proxy of the process of that name, or None."""
        cell = self._node.scheduler.directory.get(name)
        return (
            None if cell is None or cell.object is None else self._node.proxy_of(cell)
        )

    def process_info(self, addressee: Resource) -> ProcessInfo:
        """Answer what a process is doing."""
        return self._node.find_info(addressee)

    def info(self) -> dict[str, Any]:
        """Answer figures of the node: address, pid, processes, children."""
        node = self._node
        return {
            "address": node.address,
            "incarnation": node.incarnation,
            "pid": os.getpid(),
            "processes": len(node.scheduler.directory),
            "children": [child.address for child in node.children],
        }

    def shutdown(self, seconds: float | None = None) -> Promise:
        """Shut the node down: children first, then itself; answered before it goes.

        Args:
            seconds: that whoever asks waits, before its OS process is killed; None when nobody
                does that, and it has as long as at its own end.
        """
        node = self._node
        if seconds is None:
            seconds = node.config.end_seconds
        return node.run_coroutine(partial(node.ending.on_request, seconds))
