"""Ending: how a node is shut down in order, and the time that each part of that may take.

::

    its children end ─► clean-up hooks ─► what was sent arrives ─► Node.leave
    ├──── half ──────┤                │                        │            │
    ├──────────── six tenths ─────────┤                        │            │
    ├──────────────────── seven tenths, on request ────────────┤            │
    ├─────────────────────────── all that there is ─────────────────────────┤

All there is, is what a parent gives a child before it kills its OS process, or what the end of a
program gives its node: no part may use up what the next ones need.  A child gives its own children
half of what it has, and so on: whoever is further down has less time, and ends before.
What was sent is waited for as long as something of it arrives, which may be longer; so a program
may end before all of a large transfer has arrived.  A node that is asked to end from afar answers
before that part, which is cut short, for its OS process may be killed, and left out if no hook ran:
without hooks it ends at once.

Node's thread only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from splice.actor.retiring import retire
from splice.log import logger

if TYPE_CHECKING:
    import asyncio

    from splice.node.node import Node

CHILDREN: Final = 0.5
"""The part of the time after which children are killed: of the end of a program, which has twice
``shutdown_timeout``, that is the whole ``shutdown_timeout``."""

CLEAN_UP: Final = 0.6
"""The part in which hooks must be done, even if children took all of theirs.  The rest is for what
was sent, for the second that sockets may linger, and for the end of the OS process."""

SEE_OFF: Final = 0.7
"""The part in which what was sent must have arrived, where somebody else sets the time."""

ASIDE: Final = 0.05
"""Seconds that whoever began the clean-up has to say who is late, before another asker goes on."""

_log = logger("node")


class Ending:
    """The end of one node; whoever asks for it again joins in."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._cleaning: asyncio.Task[None] | None = None
        self._had_hooks = True  # until it is known that it had none
        self._going: list[asyncio.Task[None]] = []  # a loop keeps no hold of its tasks

    async def of_its_own(self) -> None:
        """End the children, then the node, when what it has sent has arrived."""
        try:
            await self._prepare(self._node.config.end_seconds)
            await self._see_off()
        finally:
            self._node.leave()

    async def on_request(self, seconds: float) -> None:
        """End the children, then the node: soon, but not before it is known that this is done.

        Args:
            seconds: that whoever asks waits, before the OS process is killed if it is a child.
        """
        loop = self._node.loop
        until = loop.time() + seconds * SEE_OFF
        try:
            await self._prepare(seconds)
        finally:
            # the answer is sent in the next turn, and this is the one after that
            loop.call_soon(loop.call_later, 0, self._go, until)

    def _go(self, until: float) -> None:
        """Have the node leave; when what its hooks have sent has arrived, if it had any."""
        if not self._had_hooks:
            self._node.leave()
            return
        self._going.append(self._node.loop.create_task(self._leave_by(until)))

    async def _leave_by(self, until: float) -> None:
        import asyncio  # loaded with the node

        try:
            async with asyncio.timeout_at(until):
                await self._see_off()
        except TimeoutError:
            _log.debug("not all that %s has sent has arrived", self._node)
        finally:
            self._node.leave()

    async def _prepare(self, seconds: float) -> None:
        """Do what comes before the node may leave."""
        begun = self._node.loop.time()
        await self._node.children.shut_down(seconds=seconds * CHILDREN)
        left = begun + seconds * CLEAN_UP - self._node.loop.time()
        most = self._node.config.shutdown_timeout / 2
        await self._clean_up(max(0.0, min(left, most)))

    async def _clean_up(self, patience: float) -> None:
        """Have the processes that clean up do so."""
        import asyncio  # loaded with the node

        if self._cleaning is None:  # else it is shut down twice
            self._cleaning = self._node.loop.create_task(self._retire(patience))
            self._cleaning.add_done_callback(partial(_note, self._node))
        # whoever began it may have had more time
        await asyncio.wait([self._cleaning], timeout=patience + ASIDE)

    async def _retire(self, patience: float) -> None:
        self._had_hooks = await retire(self._node.scheduler, patience)

    async def _see_off(self) -> None:
        node = self._node
        if node.peers is None:
            return
        from splice.net.farewell import Farewell  # loaded late, as what `open` loads

        patience = node.config.shutdown_timeout / 2
        await Farewell(node.peers.known(), node.loop.time, patience).over()


def _note(node: Node, cleaning: asyncio.Task[None]) -> None:
    """Log a defect: the node ends in order all the same."""
    error = None if cleaning.cancelled() else cleaning.exception()
    if error is not None:
        _log.error("not all processes of %s could clean up", node, exc_info=error)
