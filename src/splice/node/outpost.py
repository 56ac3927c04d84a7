"""Outpost: the process that keeps one child of a supervisor that lives on another node.

::

    Supervisor ─ FarSeat ─► Outpost ─ NearSeat ─► child
        ▲                      │ ▲                  │
        └── its end ◄──────────┘ └───── its end ◄───┘

It does there what the supervisor has decided, and keeps the child's mail meanwhile.  Each watches
the other: an outpost that has lost its supervisor ends, and its child with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from splice.actor.childspec import ChildSpec
from splice.actor.cleaning import outlives
from splice.actor.deferred import Deferred
from splice.actor.endings import kill
from splice.actor.handlers import NamedHandler
from splice.actor.links import extra_of
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy, proxy_class
from splice.actor.seat import NearSeat
from splice.errors import ProcessStopped
from splice.node.agent import NAME
from splice.node.fates import watch
from splice.node.remote import Remote
from splice.uri import url

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.node.node import Node


class Outpost(Process):
    """Keeps one child.

    Args:
        supervisor: whose child it is.
        spec: how to make it.
    """

    def __init__(self, supervisor: Proxy, spec: ChildSpec) -> None:
        cell = self._sp_cell
        self._end = _unseen()
        self._has_begun = False
        node: Any = cell.scheduler.home
        whose = _unhindered(node, supervisor._sp_target)
        self._seat = NearSeat(cell, spec, self._has_ended, supervisor=whose)
        extra_of(cell).at_end = self._orphan
        watch(node, whose, owner=cell).add_done_callback(self._is_left)

    @property
    def _is_retiring(self) -> bool:
        return self._sp_cell.scheduler.is_retiring

    def begin(self) -> Proxy:
        """Begin the first life of the child; answer its proxy, or what its constructor raises."""
        self._seat.start()
        self._has_begun = True
        return self._seat.proxy

    def ended(self) -> Promise:
        """Answer, when it has ended, why it did: as a value, or with the error itself."""
        return self._end

    def again(self) -> bool:
        """Begin another life of the child; False when it can have none here any more."""
        if self._seat.is_running:
            return True  # it does by now: the supervisor could not wait for an earlier order
        self._end = _unseen()
        try:
            self._seat.restart()
        except ProcessStopped:
            if not self._is_retiring:
                raise
            return False
        return True

    def end_child(self, will_return: bool) -> Promise | None:
        """Have the child end, in the time it has; answered when it has."""
        return self._seat.stop(will_return=will_return)

    def kill_child(self) -> None:
        """Have the child end at once."""
        self._seat.kill()

    def release(self) -> None:
        """Fail the mail that waits for another life."""
        self._seat.release()

    @outlives
    def sp_terminate(self, reason: Any) -> None:
        """End the child."""
        # when the node is shut down, all are ended anyway
        if self._has_begun and not self._sp_cell.scheduler.is_closing:
            ending = self._seat.stop(will_return=False)
            if ending is not None:
                ending.exception()

    def _has_ended(self, reason: Any) -> None:
        if self._is_retiring and self._seat.will_return:
            return  # it cannot come back here: with the node another place is found for it
        if isinstance(reason, BaseException):
            self._end.fail(reason)
        else:
            self._end.set(reason)

    def _orphan(self, reason: Any) -> None:
        self._seat.orphan()

    def _is_left(self, down: Promise) -> None:
        if down.exception() is None:  # else we have ended, and watch no more
            # at once, whatever it is at; the child has its time nevertheless
            kill(self._sp_cell, "shutdown")


def _unseen() -> Deferred:
    """Return a Deferred that may fail without anybody having asked for it."""
    deferred = Deferred()
    deferred.add_done_callback(Promise.exception)
    return deferred


_SPAWN: Final = NamedHandler("spawn")


def establish(node: Node, address: str, supervisor: Cell, spec: ChildSpec) -> Promise:
    """Start an outpost for a child on another node; a promise of its proxy.

    What is sent to it waits for no room and no credit: it may have to end a child that is buried
    in mail.
    """
    agent: Any = _unhindered(node, node.connect(url(NAME, address))._sp_target)
    owner = node.proxy_of(supervisor)
    made: Promise = agent.ask(_SPAWN, (Outpost, (owner, spec), {}, None), None)
    return made.then(
        lambda proxy: proxy_class(Outpost)(_unhindered(node, proxy._sp_target))
    )


def _unhindered(node: Node, target: Any) -> Any:
    """Return a target whose messages wait for no room and no credit."""
    if not isinstance(target, Remote):  # on this very node
        return target
    return Remote(node, target.url, waits=False, hurries=True)
