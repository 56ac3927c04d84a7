"""Signals: links and monitors between the processes of two nodes.

::

    monitor(far) ─► Signals ─► (SIGNAL, "monitor", far, number) ─► … ─► watchers of the cell
         Down ◄─ Monitor ◄─ (SIGNAL, "down", …, number, reason) ◄─ … ◄─ it ends
         Down ◄─ Monitor ◄─ lost(peer): `NodeLost`

Each side keeps what ties it to the other, so that the loss of a node is the end of everything that
was linked to it or watched there.  Signals travel in order with mail.  What happens then is
decided in `splice.actor.links`.  Node's thread only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

from splice.actor.links import NO_PROCESS, Monitor, extra_of, take_exit
from splice.errors import SpliceError, shown
from splice.log import logger
from splice.message import SIGNAL, Entry
from splice.net.codec import decode, encode, encode_error
from splice.net.outgoing import Outgoing
from splice.node.pairs import Pair, Pairs
from splice.uri import Resource, addressee_of, ident_of, url

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.net.peers import Peer
    from splice.node.node import Node
    from splice.node.remote import Remote

_TYING: Final = frozenset({"link", "monitor"})

_log = logger("node")


class _FarEnd:
    """The far end of a link of a process of this node; hangs in its ``extra.links``.

    Attributes:
        number: of the signal that has told the other node of it; None when that has told us.
    """

    __slots__ = ("_signals", "cell", "number", "peer", "url")

    is_near: ClassVar[bool] = False

    def __init__(
        self,
        signals: Signals,
        peer: Peer,
        cell: Cell,
        where: url,
        number: int | None,
    ) -> None:
        self._signals = signals
        self.peer = peer
        self.cell = cell
        self.url = where
        self.number = number

    def exit(self, source: Cell, reason: Any) -> None:
        """Tell it that the near end has ended."""
        self._signals.drop_link(self)
        self._signals.tell_exit(self.peer, self.url.ident, source.ident, reason)

    @property
    def key(self) -> Pair:
        """The near and the far name."""
        return self.cell.ident, self.url.ident

    def __str__(self) -> str:
        return str(self.url)


class _FarWatcher:
    """A monitor that another node has set on a process of this node."""

    __slots__ = ("_signals", "cell", "number", "peer")

    def __init__(
        self, signals: Signals, peer: Peer, cell: Cell, number: Resource
    ) -> None:
        self._signals = signals
        self.peer = peer
        self.cell = cell
        self.number = number

    def down(self, source: Any, reason: Any) -> None:
        """Tell the far side of the end."""
        self._signals.ties(self.peer).watchers.pop(self.number, None)
        self._signals.send(self.peer, "down", source.ident, self.number, reason)

    def forget(self) -> None:
        """Watch no more."""
        if self.cell.extra is not None:
            self.cell.extra.watchers.pop(self, None)


class _Ties:
    """What ties processes of this node to those of another.

    Attributes:
        links: by the near and the far end.
        monitors: those set from here, by number, with the url that is watched.
        watchers: those set from there, by number.
        waiting: links and monitors from there to names that nobody bears yet, as messages call
            their ends.
        parting: by the ends of each link that has ended here, the number of the signal that tells
            of it, until the other node has said that it knows or a new one of the two is made
            here: one that comes from there meanwhile is from before (Erlang's UNLINK_ID_ACK).
    """

    __slots__ = ("links", "monitors", "parting", "waiting", "watchers")

    def __init__(self) -> None:
        self.links: Pairs[_FarEnd] = Pairs()
        self.monitors: dict[Resource, tuple[Monitor, url]] = {}
        self.watchers: dict[Resource, _FarWatcher] = {}
        self.waiting: set[tuple[str, Resource, Resource]] = set()
        self.parting: Pairs[int] = Pairs()


class Signals:
    """The links and monitors of one node that reach to others."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ties: dict[Peer, _Ties] = {}
        self._numbers = count(1)

    @property
    def peers(self) -> list[Peer]:
        """The nodes that something of this one is tied to."""
        return list(self._ties)

    def ties(self, peer: Peer) -> _Ties:
        """Return what ties this node to another."""
        return self._ties.setdefault(peer, _Ties())

    # ---- what processes of this node want

    def link(self, cell: Cell, far: Remote) -> None:
        """Link a process of this node to a far one."""
        peer = self._reach(far)
        if cell.has_ended:
            self.send(peer, "absent", far.url.ident, cell.ident)
        else:
            number = next(self._numbers)
            if self._add_link(peer, cell, far.url, number):
                self.send(peer, "link", far.url.ident, cell.ident, number=number)

    def bind(self, cell: Cell, far: Remote) -> None:
        """Note a link that the other node notes by itself, before any signal of it can come.

        That is how a process is spawned linked: its node binds it before it answers, and the
        node of its parent links the two with the answer, which goes ahead of mail and signals.
        """
        if cell.has_ended:
            self.part(cell, far, cell.runner.reason)
            return
        peer = self._reach(far)
        number = next(self._numbers)
        if self._add_link(peer, cell, far.url, number):
            # says nothing new, but fails where that node was lost before
            self.send(peer, "bound", far.url.ident, cell.ident, number=number)

    def part(self, cell: Cell, far: Remote, reason: Any) -> None:
        """Tell a far process that `cell`, to which its node has bound it, ended before that."""
        self.send(self._reach(far), "exit", far.url.ident, cell.ident, reason)

    def unlink(self, cell: Cell, far: Remote) -> None:
        """Take a link to a far process back."""
        peer = self._reach(far)
        end = self._end_of(peer, cell.ident, far.url.ident)
        if end is not None:  # which may call it in another way than `far`
            number = self._part(peer, *end.key)
            self.send(peer, "unlink", end.url.ident, cell.ident, number=number)

    def _part(self, peer: Peer, near: Resource, far: Resource) -> int:
        """Return the number of the signal that ends a link, until it is acknowledged."""
        number = next(self._numbers)
        self.ties(peer).parting.put((near, far), number)
        return number

    def tell_exit(self, peer: Peer, far: Resource, near: Resource, reason: Any) -> None:
        """Tell a far process of the end of a near one.

        What comes for that one until the other node knows is not for its next life, or for the next
        process of its name.
        """
        number = self._part(peer, near, far)
        self.send(peer, "exit", far, near, reason, number=number)

    def monitor(self, far: Remote, promise: Monitor) -> None:
        """Have `promise` settled with the `Down` of a far process."""
        peer = self._reach(far)
        number = next(self._numbers)
        self.ties(peer).monitors[number] = (promise, far.url)
        promise.take_back = partial(self._demonitor, far, number)
        self.send(peer, "monitor", far.url.ident, number)

    def _demonitor(self, far: Remote, number: int) -> None:
        for peer, ties in self._ties.items():
            if ties.monitors.pop(number, None) is not None:
                self.send(peer, "demonitor", far.url.ident, number)
                return

    def _reach(self, far: Remote) -> Peer:
        return self._node.open().reach(far.url.address, far.url.incarnation)

    # ---- both sides

    def send(
        self,
        peer: Peer,
        name: str,
        resource: Resource,
        source: Resource,
        reason: Any = None,
        *,
        number: int | None = None,
    ) -> None:
        """Send a signal as `Peer.send_signal` does; nothing once this node is closed."""
        scheduler = self._node.scheduler
        if scheduler.is_closed:
            return
        buffers: list[Any] = []
        value = _packed(reason, buffers)
        ends = addressee_of(resource), addressee_of(source)
        entry = (SIGNAL, name, *ends, value, number)
        peer.send_signal(Outgoing(entry, tuple(buffers)))
        if not scheduler.scheduled:
            scheduler.schedule()

    def _add_link(
        self, peer: Peer, cell: Cell, where: url, number: int | None = None
    ) -> bool:
        """Note a link; False when it stood already."""
        ties = self.ties(peer)
        end = _FarEnd(self, peer, cell, where, number)
        if ties.links.get(end.key) is not None:
            return False
        ties.parting.pop(end.key)
        ties.links.put(end.key, end)
        extra_of(cell).links[end] = None
        return True

    def drop_link(self, end: _FarEnd) -> None:
        """Forget a link whose near end has ended."""
        self.ties(end.peer).links.pop(end.key)

    def _cut(self, end: _FarEnd) -> None:
        self.drop_link(end)
        if end.cell.extra is not None:
            end.cell.extra.links.pop(end, None)

    # ---- what the other node says

    def take(self, peer: Peer, entry: Entry, supply: Iterator[Any]) -> None:
        """Take in a signal of another node."""
        payload = entry[4]
        try:
            reason = decode(payload, supply)
        except SpliceError as error:  # of a type that is not known here
            reason = error
        self.receive(peer, entry, reason)

    def receive(self, peer: Peer, entry: Entry, reason: Any) -> None:
        """Take in a signal whose reason is decoded."""
        _, name, *ends, _, number = entry
        resource, source = map(ident_of, ends)
        if name in _TYING:
            self._take_tie(peer, name, resource, source)
        elif name == "unlink":
            self.ties(peer).waiting.discard(("link", *ends))
            self._end_of(peer, resource, source)
            self.send(peer, "unlinked", source, resource, number=number)
        elif name == "unlinked":
            self._forget_parting(peer, (resource, source), number)
        elif name == "bound":
            pass  # noted with the answer, or there was none: see `bind`
        elif name == "exit":
            self.ties(peer).waiting.discard(("link", *ends))
            self._take_exit(peer, resource, source, reason, number=number)
        elif name == "absent":
            self._take_absence(peer, resource, source)
        elif name == "demonitor":
            self.ties(peer).waiting.discard(("monitor", *ends))
            watcher = self.ties(peer).watchers.pop(source, None)
            if watcher is not None:
                watcher.forget()
        elif name == "down":
            self._take_down(peer, source, reason)
        else:
            _log.warning("signal of unknown name %r from %s", name, peer)

    def _take_tie(
        self, peer: Peer, name: str, resource: Resource, source: Resource
    ) -> None:
        """Take in a link or a monitor; it waits like mail while its name may still be made."""
        ties = self.ties(peer)
        if name == "link" and ties.parting.get((resource, source)) is not None:
            return  # from before, also to a later process of a plain name
        take = self._take_link if name == "link" else self._take_monitor
        waiting = ties.waiting
        key = name, addressee_of(resource), addressee_of(source)

        def again() -> None:
            if key in waiting:  # else it was taken back, or its node is lost
                waiting.remove(key)
                take(peer, resource, source)

        early = self._node.exchange.early
        if self._found(resource) or not early.keep(addressee_of(resource), again):
            take(peer, resource, source)
        else:
            waiting.add(key)

    def _found(self, ident: Resource) -> Cell | None:
        return self._node.scheduler.directory.find(addressee_of(ident))

    def _take_link(self, peer: Peer, resource: Resource, source: Resource) -> None:
        cell = self._found(resource)
        if cell is None or cell.has_ended:
            self.tell_exit(peer, source, resource, NO_PROCESS)
        else:
            self._add_link(peer, cell, peer.url_of(source))

    def _forget_parting(self, peer: Peer, key: Pair, number: Any) -> None:
        """Take note that nothing comes any more from before the link was taken back."""
        parting = self.ties(peer).parting
        if number is not None and parting.get(key) == number:
            parting.pop(key)

    def _end_of(
        self, peer: Peer, resource: Resource, source: Resource
    ) -> _FarEnd | None:
        """Cut the link between those two, and return it; None when there is none."""
        end = self.ties(peer).links.get((resource, source))
        if end is not None:
            self._cut(end)
        return end

    def _take_exit(
        self,
        peer: Peer,
        resource: Resource,
        source: Resource,
        reason: Any,
        *,
        number: Any = None,
    ) -> None:
        end = self._end_of(peer, resource, source)
        if number is not None:
            self.send(peer, "unlinked", source, resource, number=number)
        if end is not None:
            take_exit(end.cell, end, reason)

    def _take_absence(self, peer: Peer, resource: Resource, source: Resource) -> None:
        """Take the end of a link that never stood: the far process had ended before."""
        cell = self._found(resource)
        if cell is not None:
            take_exit(cell, peer.url_of(source), NO_PROCESS)

    def _take_monitor(self, peer: Peer, resource: Resource, number: Resource) -> None:
        cell = self._found(resource)
        if cell is None or cell.has_ended:
            self.send(peer, "down", resource, number, NO_PROCESS)
            return
        watcher = _FarWatcher(self, peer, cell, number)
        self.ties(peer).watchers[number] = watcher
        extra_of(cell).watchers[watcher] = None

    def _take_down(self, peer: Peer, number: Resource, reason: Any) -> None:
        found = self.ties(peer).monitors.pop(number, None)
        if found is not None:
            promise, where = found
            promise.down(where, reason)

    # ---- loss

    def failed(self, peer: Peer, entry: Entry, error: SpliceError) -> None:
        """Take note that a signal has not arrived: what it was to tie together is gone."""
        name, resource, source = entry[1], *map(ident_of, entry[2:4])
        number = entry[-1]  # or it is a probe
        if name == "monitor":
            self._take_down(peer, source, error)
        elif name in {"link", "bound"}:
            end = self.ties(peer).links.get((source, resource))
            if end is not None and end.number == number:  # else that one is a later one
                self._take_exit(peer, source, resource, error)
        elif name in {"unlink", "exit"}:
            self._forget_parting(peer, (source, resource), number)

    def lost(self, peer: Peer, error: SpliceError) -> None:
        """End everything that was tied to a lost node, with the loss for a reason."""
        ties = self._ties.pop(peer, None)
        if ties is None:
            return
        ties.waiting.clear()
        for watcher in ties.watchers.values():
            watcher.forget()
        for _, end in ties.links.rows():
            extra_of(end.cell).links.pop(end, None)
            take_exit(end.cell, end, error)
        for promise, where in ties.monitors.values():
            promise.down(where, error)

    def merged(self, peer: Peer, into: Peer) -> None:
        """Two ways to one node became one; nothing has come the way that is given up."""
        ties = self._ties.pop(peer, None)
        if ties is None:
            return
        other = self.ties(into)
        other.monitors.update(ties.monitors)
        # what was sent that way comes after all that was sent the other way
        for pair, _ in [*ties.links.rows(), *ties.parting.rows()]:
            other.parting.pop(pair)
            end = other.links.get(pair)
            if end is not None:
                self._cut(end)
        for pair, number in ties.parting.rows():
            other.parting.put(pair, number)
        for pair, end in ties.links.rows():
            end.peer = into
            other.links.put(pair, end)


def _packed(reason: Any, buffers: list[Any]) -> Any:
    if isinstance(reason, BaseException):
        return encode_error(reason, buffers)
    try:
        return encode(reason, buffers)
    except SpliceError:  # it cannot travel: its text does
        return encode(shown(reason), buffers)
