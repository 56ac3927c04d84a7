"""Mailboxes: looks for those that grow, because a process is sent more than it handles.

The watchdog's thread looks, so senders and handlers do nothing for it.  It reads what the node's
thread changes meanwhile: a mailbox that is being emptied may look shorter than it was, and never
longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from splice.actor.promise import Promise
from splice.config import MAILBOX_WARNING
from splice.log import logger

if TYPE_CHECKING:
    from splice.node.node import Node
    from splice.uri import Resource

PORTION: Final = 10_000
"""Processes that one look looks at, in a millisecond or two: a few thousandths of the
interpreter's time, and of a million processes each has its turn within a minute."""

_log = logger("node")


class Mailboxes:
    """Looks through the mailboxes of one node, and warns once of each that is large.

    Args:
        node: the node.
        limit: messages from which on a mailbox is large.
        portion: how many processes are looked at in one look.
    """

    def __init__(
        self, node: Node, *, limit: int = MAILBOX_WARNING, portion: int = PORTION
    ) -> None:
        self._node = node
        self._limit = limit
        self._portion = portion
        self._place = 0
        self._warned: set[Resource] = set()

    def look(self) -> None:
        """Look at some processes: at others each time, until all had their turn."""
        directory = self._node.scheduler.directory
        # nothing of them is kept between two looks: names and numbers of a million processes
        # that have ended would hold their memory
        idents = directory.idents(self._place, self._portion)
        self._place = self._place + len(idents) if len(idents) == self._portion else 0
        for ident in idents:
            cell = directory.get(ident)
            if cell is None or cell.head is None:
                continue
            length = length_of(cell.head)
            if length >= self._limit and ident not in self._warned:
                self._warned.add(ident)
                _log.warning(
                    "the mailbox of %s on %s holds %d messages: it is sent more than it "
                    "handles; with sp_mailbox_limit its class makes senders wait",
                    cell,
                    self._node,
                    length,
                )


def length_of(message: Any) -> int:
    """Return how many messages stand in a mailbox from `message` on, in any thread."""
    length = 0
    while isinstance(
        message, Promise
    ):  # None at the end, a mark in one that was just taken
        length += 1
        message = message.next
    return length
