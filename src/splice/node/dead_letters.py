"""Dead letters: what was sent and nobody will handle, counted, told and logged.

::

    process that has ended ◄─ message, near or far ──┐
    tell that was not delivered, promise let go ─────┼─► note ─► count, hearers
    answer to what was given up here ────────────────┘     └──► a line a minute

Who asks learns from the promise what has become of that, so only what nobody hears of is logged.
Node's thread only, but for `listen`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final

from splice.errors import DeliveryError
from splice.log import logger
from splice.node.remote import not_there
from splice.uri import Resource, ident_of

if TYPE_CHECKING:
    from splice.net.peers import Peer
    from splice.node.node import Node

LOG_INTERVAL: Final = 60.0
"""Seconds from one line of the log to the next: a process that is gone may be sent to a million
times, and the first time says it."""

_log = logger("node")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message, or an answer, that nobody will handle.

    Attributes:
        target: the url of the process it was for; of an answer the address of the node.
        handler: its name; ``"answer"`` of an answer.
        sender: the url of the process that sent it, the address of its node when it came from
            afar, or None where that is not known any more.
        error: why; what its promise failed with, if that was pending.
    """

    target: str
    handler: str
    sender: str | None
    error: BaseException


Hearer = Callable[[DeadLetter], object]


class DeadLetters:
    """Those of one node.

    Attributes:
        count: how many there were.
    """

    def __init__(self, node: Node) -> None:
        self.count = 0
        self._node = node
        self._hearers: list[Hearer] = []
        self._logged_at = -inf
        self._logged = 0
        node.scheduler.on_dead_letter = self.note

    def listen(self, hearer: Hearer) -> Callable[[], None]:
        """Call `hearer` with each from now on; returns what ends that.  Thread-safe."""
        self._hearers.append(hearer)

        def stop() -> None:
            if hearer in self._hearers:
                self._hearers.remove(hearer)

        return stop

    def note(
        self,
        target: Any,
        handler: str,
        error: BaseException,
        sender: Any = None,
        *,
        is_told: bool = False,
    ) -> None:
        """Take note of a message to `target` that nobody will handle.

        Args:
            target: the process, near or far, or what else has a url.
            sender: the process of this node that has sent it, if that is known.
            is_told: whoever has sent it learns of that by its promise.
        """
        came_from = None if sender is None or not self._hearers else str(sender.url)
        if not is_told:
            self._log(error)
        self._note(lambda: str(target.url), handler, came_from, error)

    def refused(self, peer: Peer, resource: Resource, handler: str) -> DeliveryError:
        """Take note of a message from afar to a process that is not there; its error."""
        node = self._node
        error = not_there(node, resource)
        # no url: the text may be none that a process could bear
        where = f"{node.address}/{ident_of(resource)}#{node.incarnation:x}"
        self._note(lambda: where, handler, str(peer), error)
        return error

    def late(self, peer: Peer, ident: int) -> None:
        """Take note of an answer to a message that was given up before."""
        error = DeliveryError(
            f"the answer of {peer} to request {ident} came when that had been given up"
        )
        self._log(error)
        self._note(lambda: self._node.address, "answer", str(peer), error)

    def _note(
        self,
        target: Callable[[], str],
        handler: str,
        sender: str | None,
        error: BaseException,
    ) -> None:
        self.count += 1
        if not self._hearers:  # a url costs more than all else here
            return
        letter = DeadLetter(target(), handler, sender, error)
        for hearer in self._hearers:
            # later: it may do what it likes, and what it raises is the loop's to report
            self._node.loop.call_soon(hearer, letter)

    def _log(self, error: BaseException) -> None:
        now = self._node.loop.time()
        if now - self._logged_at >= LOG_INTERVAL:
            _log.warning(
                "dead letter: %s; %d more since the last such line, and "
                "runtime.on_dead_letter tells of each",
                error,
                self.count - self._logged,
            )
            self._logged_at, self._logged = now, self.count + 1
