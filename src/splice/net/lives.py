"""Lives: tells whoever listens what becomes of the nodes that this one talks with.

::

                 met                    cut                  lost
    (unknown) ---------> up ---------------------> cut ----------------> lost
                 ^       | ^                        |                     |
                 |  busy | | again                  | again               |
                 |       v |                        v                     |
                 |       busy                       up                    |
                 '--- up, or restarted: another incarnation at its address '

`Peers` says what it sees, on the node's loop; listeners are called on that loop too, in
callbacks of their own, so they may send and must not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from splice.log import logger
from splice.net.actions import Cause, Fate
from splice.net.peer import Peer

Kind = Literal["up", "restarted", "cut", "busy", "again", "lost"]

_log = logger("net")


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """What has become of another node.

    Attributes:
        kind: ``"up"``: a conversation with it begins; ``"restarted"``: so it does, and another
            incarnation was at that address before; ``"cut"``: no connection with it stands,
            and it is lost unless one does soon; ``"busy"``: its connection stands, and it has
            said nothing for two beats (a long C call, as a rule); ``"again"``: neither any
            more; ``"lost"``: it was given up, and whatever it owed has failed.
        address: where it is reached.
        incarnation: which life of it.
        fate: of a lost one: ``"ended"``, ``"frozen"`` or ``"cut off"``; empty otherwise.
        reason: of a lost one, as in the text of `NodeLost`; empty otherwise.
    """

    kind: Kind
    address: str
    incarnation: int | None
    fate: Fate | Literal[""] = ""
    reason: str = ""


Hearer = Callable[[NodeEvent], object]


class Lives:
    """Who is told of other nodes.

    Args:
        loop: the node's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._hearers: list[Hearer] = []
        self._last: dict[str, int | None] = {}

    def listen(self, hearer: Hearer) -> Callable[[], None]:
        """Call `hearer` with each event from now on; returns what ends that.  Thread-safe."""
        self._hearers.append(hearer)

        def stop() -> None:
            if hearer in self._hearers:
                self._hearers.remove(hearer)

        return stop

    def met(self, peer: Peer) -> None:
        """Note that a connection with a node stands, or was hung up at once."""
        if not peer.is_connected:
            return
        before, peer.life = peer.life, "up"
        if before in {"cut", "busy"}:
            self._tell("again", peer)
        elif before != "up":
            last = self._last.get(peer.address, peer.incarnation)
            self._last[peer.address] = peer.incarnation
            self._tell("up" if last == peer.incarnation else "restarted", peer)

    def cut(self, peer: Peer) -> None:
        """Note that a connection has gone; perhaps others stand."""
        if peer.life in {"up", "busy"} and not peer.is_connected:
            peer.life = "cut"
            self._tell("cut", peer)

    def look(self, peer: Peer, now: float) -> None:
        """Look whether a node is busy; at every beat."""
        is_busy = peer.channel.is_busy(now)
        if is_busy and peer.life == "up":
            peer.life = "busy"
            self._tell("busy", peer)
        elif not is_busy and peer.life == "busy":
            peer.life = "up"
            self._tell("again", peer)

    def lost(self, peer: Peer, cause: Cause) -> None:
        """Note a verdict."""
        if peer.life != "lost":
            peer.life, cause = "lost", peer.explained(cause)
            self._tell("lost", peer, cause.fate, cause.text)

    def _tell(
        self,
        kind: Kind,
        peer: Peer,
        fate: Fate | Literal[""] = "",
        reason: str = "",
    ) -> None:
        event = NodeEvent(kind, peer.address, peer.incarnation, fate, reason)
        what = ", ".join(filter(None, (kind, fate, reason)))
        _log.info("node %s: %s", peer.address, what)
        for hearer in self._hearers:
            # later: it may do what it likes, and what it raises is the loop's to report
            self._loop.call_soon(hearer, event)
