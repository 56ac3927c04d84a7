"""Far processes as targets of proxies, and what was asked of their nodes.

A `Remote` is to a far process what a cell is to a near one: proxies call ``ask`` and ``tell`` on
it.  Arguments are encoded at once, in the calling thread, so an error is raised at the line that
caused it and later changes do not travel.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from splice.actor.context import current_cell
from splice.actor.handlers import Handler
from splice.actor.info import ProcessInfo
from splice.actor.limited import LimitedCell
from splice.actor.promise import PENDING, Promise, Tell
from splice.actor.proxy import Proxy
from splice.errors import DeliveryError, ProcessNotFound, ProcessStopped
from splice.net.codec import encode_arguments
from splice.uri import Resource, bound_url, ident_of, url

AGENT: Final = "node"
"""The name of every node's agent, which `splice.node.agent` takes."""

Rebuild = Callable[[url, str], Proxy]

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler
    from splice.net.peers import Peer
    from splice.node.node import Node


class Dialogue:
    """What this node has asked of another and not been answered yet.

    Attributes:
        peer: the channel's end here.
        asked: by message id, the promises that the other node owes.
        held: the ids of tells that are not delivered when they are acknowledged.
        crowds: its processes whose mailboxes are full, and who waits for that to end.
        is_over: the node was lost, or the peer became another: find the dialogue anew.
    """

    __slots__ = ("asked", "crowds", "held", "is_over", "peer")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.is_over = False
        self.asked: dict[int, Promise] = {}
        self.held: set[int] = set()
        self.crowds: dict[Resource, list[Promise]] = {}

    def open(self, resource: Resource) -> None:
        """Let senders to one of its processes go on."""
        for room in self.crowds.pop(resource, ()):
            room.resolve(None)

    def open_all(self) -> None:
        """Let all senders go on: the dialogue is over."""
        for resource in list(self.crowds):
            self.open(resource)


class Remote:
    """A process of another node.

    Attributes:
        url: bound: that life of the node and no other.  Unbound: whoever answers there when a
            message is sent.
        addressee: how messages call it.
        waits: whether its senders wait while too much is under way to it; not so where splice
            itself sends no more than is handled.
        hurries: its messages go ahead of mail that waits for credit; for splice's own few.
    """

    __slots__ = (
        "addressee",
        "dialogue",
        "hurries",
        "node",
        "scheduler",
        "url",
        "waits",
    )

    is_near: ClassVar[bool] = False
    is_far: ClassVar[bool] = True

    def __init__(
        self, node: Node, where: url, *, waits: bool = True, hurries: bool = False
    ) -> None:
        self.node = node
        self.scheduler: Scheduler = node.scheduler
        self.url = where
        # for most without a call: one is made for each proxy that arrives
        is_plain = where.serial is None
        self.addressee = where.resource if is_plain else where.addressee
        self.dialogue: Dialogue | None = None
        self.waits = waits
        self.hurries = hurries

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message and return the promise of its answer.  Thread-safe."""
        message = Promise(self, handler)
        buffers: list[Any] = []
        packed = encode_arguments(args, kwargs, buffers)
        if get_ident() == self.scheduler.thread:
            self.node.exchange.send_request(message, self, packed, buffers, self.waits)
        else:
            self.node.room.post(message, self, packed, buffers)
        return message

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer; a promise of delivery.  Thread-safe."""
        message = Tell(self, handler)
        buffers: list[Any] = []  # the lines of `ask`, for a call costs too much
        packed = encode_arguments(args, kwargs, buffers)
        if get_ident() == self.scheduler.thread:
            self.node.exchange.send_request(message, self, packed, buffers, self.waits)
        else:
            self.node.room.post(message, self, packed, buffers)
        return message

    def pack_tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Callable[[], Promise]:
        """Return what sends a message as it is now, later and as often as it is called."""
        buffers: list[Any] = []
        packed = encode_arguments(args, kwargs, buffers)

        def send() -> Promise:
            message = Tell(self, handler)
            self.node.soon(self.node.room.send_now, message, self, packed, buffers)
            return message

        return send

    def stop(self) -> Promise:
        """Stop the process as `runtime.stop` does; a promise of its end."""
        return self.node.stop(self)

    def rebuilder(self) -> Rebuild:
        """Return the function that makes a proxy from a url on another node."""
        return self.node.rebuild

    def cancel_message(self, message: Promise, is_begun_too: bool) -> bool | Promise:
        """Have the other node give `message` up; a promise where only that node can tell."""
        if message.handler is None:
            return True  # no message, but what follows one here
        return self.node.exchange.cancel(message, self, is_begun_too)

    def __str__(self) -> str:
        return str(self.url)


def agent_at(node: Node, where: url, *, hurries: bool = True) -> Remote:
    """Return the agent of a far node, for what it must hear also when it takes no mail any more.

    Args:
        node: the one that asks.
        where: the url of any process there.
        hurries: as an attribute of `Remote`.
    """
    agent = url(AGENT, where.address, where.incarnation)
    return Remote(node, agent, waits=False, hurries=hurries)


class Named:
    """A process of this very node by its name: whoever bears it when a message is sent.

    Attributes:
        resource: the name; as ``name#serial`` it means that very one, between two lives too.
    """

    __slots__ = ("node", "resource", "scheduler")

    is_near: ClassVar[bool] = False

    def __init__(self, node: Node, resource: Resource) -> None:
        self.node = node
        self.scheduler: Scheduler = node.scheduler
        self.resource = resource

    @property
    def url(self) -> url:
        """Its url; unbound when it means a name."""
        ident = ident_of(self.resource)
        life = None if ident is self.resource else self.node.incarnation
        return bound_url(ident, self.node.address, life)

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message and return the promise of its answer.  Thread-safe."""
        return self._send(Promise(self, handler, args, kwargs))

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer; a promise of delivery.  Thread-safe."""
        return self._send(Tell(self, handler, args, kwargs))

    def put(self, message: Promise) -> None:
        """Hand `message` to who bears the name now; node's thread only."""
        cell = self.scheduler.directory.find(self.resource)
        if message.state != PENDING:
            return  # cancelled on its way here
        if cell is None:
            error = not_there(self.node, self.resource)
            message.reject(error)
            if type(message) is not Tell:  # else when its promise is let go
                self._bury(message, error)
        else:
            message.target = cell
            cell.put_tell(message) if type(message) is Tell else cell.put(message)

    put_tell = put

    def _bury(self, message: Promise, error: DeliveryError) -> None:
        if message.handler is not None:  # None: what the engine sends
            note = self.node.dead_letters.note
            note(self, message.handler.name, error, current_cell(), is_told=True)

    def _send(self, message: Promise) -> Promise:
        cell = self.scheduler.directory.find(self.resource)
        if isinstance(cell, LimitedCell) and message.handler is not None:
            cell.admit(message.handler)
        if get_ident() == self.scheduler.thread:
            self.put(message)
        else:
            self.scheduler.post_message(message)
        return message

    def stop(self) -> Promise:
        """Stop the process as `runtime.stop` does; a promise of its end."""
        return self.node.stop(self)

    def rebuilder(self) -> Rebuild:
        """Return the function that makes a proxy from a url on another node."""
        return self.node.rebuild

    def cancel_message(self, message: Promise, is_begun_too: bool) -> bool:
        """Take back a message on its way here; later it is refused, or its target another."""
        return True

    def __str__(self) -> str:
        return str(ident_of(self.resource))


def not_there(node: Node, resource: Resource) -> ProcessNotFound | ProcessStopped:
    """Make the error of a message to a process that this node does not have."""
    directory = node.scheduler.directory
    if directory.was_used(resource):
        reason = directory.last_reason(resource)
        why = "; why is not known any more" if reason is None else f" ({reason!r})"
        text = f"process {ident_of(resource)} of {node} has ended{why}"
        return ProcessStopped(text, reason=reason)
    return ProcessNotFound(f"there is no process {resource!r} on {node}")


def info_of_past(node: Node, addressee: Resource) -> ProcessInfo:
    """Tell of a process that this node does not have any more.

    Raises:
        ProcessNotFound: it never had it.
    """
    directory = node.scheduler.directory
    if not directory.was_used(addressee):
        raise not_there(node, addressee)
    ident, why = ident_of(addressee), directory.last_reason(addressee)
    life = None if ident is addressee else node.incarnation
    where = bound_url(ident, node.address, life)
    reason = "" if why is None else repr(why)
    return ProcessInfo(where.resource, where, "", "ended", reason=reason)
