"""Crowds: full mailboxes, told to the nodes whose processes send to them; node's thread only.

::

    far mail ─► LimitedCell, full ─► note ─► (ROOM, whom, False) ─► … ─► take: its senders wait
                      half is handled ─► (ROOM, whom, True) ─► … ─► take: they go on

What is on its way already comes in above the limit: nothing is refused, so order and exactly-once
hold as for all mail, and the node's window bounds it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from splice.actor.promise import PENDING, Promise
from splice.actor.waiters import Callback
from splice.message import ROOM, Entry
from splice.uri import addressee_of, ident_of

if TYPE_CHECKING:
    from splice.actor.limited import LimitedCell
    from splice.net.peers import Peer
    from splice.node.exchange import Exchange
    from splice.node.remote import Dialogue


class Crowds:
    """The full mailboxes of one node, and which other nodes were told of them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._told: set[tuple[LimitedCell, int | None]] = set()

    def note(self, peer: Peer, cell: LimitedCell) -> None:
        """Tell `peer`, whose message was just put into `cell`, if that is full."""
        crowd = (cell, peer.incarnation)
        if crowd not in self._told and (room := cell.ready()).state == PENDING:
            self._told.add(crowd)
            self._exchange.send_word(peer, (ROOM, addressee_of(cell.ident), False))
            room.add_waiter(Callback(partial(self._end, peer, crowd)))

    def _end(
        self, peer: Peer, crowd: tuple[LimitedCell, int | None], _: Promise
    ) -> None:
        if crowd in self._told:
            self._told.remove(crowd)
            self._exchange.send_word(peer, (ROOM, addressee_of(crowd[0].ident), True))

    def lost(self, peer: Peer) -> None:
        """Forget what a lost node was told: it forgets that, too."""
        self._told = {crowd for crowd in self._told if crowd[1] != peer.incarnation}

    @staticmethod
    def take(dialogue: Dialogue, entry: Entry) -> None:
        """Take note that a mailbox of another node is full, or has room again."""
        _, addressee, has_room = entry
        # it is full for those who mean whoever bears its name, too
        for called in dict.fromkeys((addressee, ident_of(addressee))):
            if has_room:
                dialogue.open(called)
            else:
                dialogue.crowds.setdefault(called, [])
