"""Room: where senders of one node wait while another takes no more.

::

    handler ─► Exchange.send_request ──┐            ┌─► parked, blocked or awaiting
    thread ──► Room.post ──────────────┴─► wait ────┤         until `ready`
    loop, async handler, callback ────► Overloaded ◄┘ (after `overload_timeout`)

A channel is full when its backlog is over `backlog_bytes`, and has room again when half of that
is gone.  A process is full when its node has said so (`sp_mailbox_limit`): see `Crowds`.  Whoever
sends is held up before its message is under way, so the order is kept, and what raises was
certainly not sent.
"""

from __future__ import annotations

from _thread import allocate_lock
from functools import partial
from typing import TYPE_CHECKING, Any

from splice.actor.limited import LimitedCell, hold_on
from splice.actor.promise import Promise
from splice.errors import Overloaded
from splice.node.current import node_here
from splice.node.given import target_of
from splice.node.remote import Named, Remote
from splice.node.replies import size_of_request

if TYPE_CHECKING:
    from splice.node.node import Node


class Room:
    """The waiting senders of one node; `wait` and `post` from any thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = allocate_lock()
        self._posted_bytes = 0

    # ---- senders

    def wait(self, target: Remote, message: Promise) -> None:
        """Wait until more may be sent to `target`.

        Raises:
            Overloaded: that took too long, or nothing can wait here.
        """
        node = self._node
        hold_on(
            node.scheduler,
            lambda: node.on_thread(self.ready, target),
            f"{self._what_is_full(target)}: {message.describe()} was not sent",
        )

    def post(
        self,
        message: Promise,
        target: Remote,
        packed: tuple[Any, Any],
        buffers: list[Any],
    ) -> None:
        """Send an encoded request from a thread that is not the node's.

        What the node has not taken up yet counts, too: its loop may be busy.

        Raises:
            Overloaded: there was no room in time, or nothing can wait here.
        """
        if target.waits and self._is_full(target):
            self.wait(target, message)
        name = message.handler.name  # type: ignore[union-attr]
        size = size_of_request(*packed, name, buffers)
        self._count(size)
        self._node.scheduler.post(self._take_up, message, target, packed, buffers, size)

    def send_now(
        self,
        message: Promise,
        target: Remote,
        packed: tuple[Any, Any],
        buffers: list[Any],
    ) -> None:
        """Send an encoded request, or fail it where it would have to wait; node's thread only."""
        if self._is_full(target):
            text = f"{self._what_is_full(target)}: {message.describe()} was not sent"
            message.reject(Overloaded(text))
        else:
            self._node.exchange.send_request(message, target, packed, buffers)

    def ready(self, target: Remote) -> Promise:
        """Return a promise of room for a message to `target`; node's thread only."""
        room = Promise(self._node.scheduler)
        dialogue = self._node.exchange.dialogue_with(target)
        if dialogue is not None and target.addressee in dialogue.crowds:
            dialogue.crowds[target.addressee].append(room)
        elif dialogue is not None and dialogue.peer.is_full:
            dialogue.peer.when_roomy(partial(room.resolve, None))
        else:
            room.resolve(None)
        return room

    def _is_full(self, target: Remote) -> bool:
        if self._posted_bytes > self._node.config.backlog_bytes:
            return True
        dialogue = self._node.exchange.dialogue_with(target)
        return dialogue is not None and (
            dialogue.peer.is_full or target.addressee in dialogue.crowds
        )

    def _what_is_full(self, target: Remote) -> str:
        dialogue = self._node.exchange.dialogue_with(target)
        if dialogue is not None and target.addressee in dialogue.crowds:
            return f"the mailbox of {target.url} is full"
        limit = self._node.config.backlog_bytes
        return f"more than {limit} bytes are under way to {target.url.address} (backlog_bytes)"

    def _count(self, size: int) -> None:
        with self._lock:
            self._posted_bytes += size

    def _take_up(
        self,
        message: Promise,
        target: Remote,
        packed: tuple[Any, Any],
        buffers: list[Any],
        size: int,
    ) -> None:
        self._count(-size)
        self._node.exchange.send_request(message, target, packed, buffers)


def ready(proc: Any) -> Promise:
    """Return a promise that is settled when a message to `proc` need not wait.

    For code that may not wait itself: ``await splice.ready(proc)`` before a call.

    Args:
        proc: its proxy, near or far.
    """
    target = target_of(proc)
    if isinstance(target, Named):
        target = target.scheduler.directory.find(target.resource)
    if isinstance(target, Remote):
        return target.node.promise_of(target.node.room.ready, target)
    node = node_here()
    if isinstance(target, LimitedCell):
        return node.promise_of(target.ready_from_anywhere)
    return node.promise_of(_nothing)


def _nothing() -> None:
    """Nothing is limited there."""
