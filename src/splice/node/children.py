"""Children: the nodes that this node has forked: started, watched, and ended before it ends."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from splice.actor.handlers import NamedHandler
from splice.actor.promise import PENDING, Promise
from splice.errors import NodeLost, SpliceError
from splice.log import logger
from splice.net.codec import encode
from splice.node.remote import AGENT, agent_at
from splice.uri import url

if TYPE_CHECKING:
    from splice.node.launch import Child, Exit, Launcher
    from splice.node.node import Node
    from splice.node.outlets import OnOutput

_log = logger("node")

FORKED = "splice.node.boot:run_node"
"""What a forked OS process runs."""


class ChildNode:
    """One forked node.

    Attributes:
        address: where it listens; empty until it is ready.
        ready: a promise of its address.
        ended: a promise of how its OS process ended.
    """

    def __init__(self, node: Node) -> None:
        self.process: Child | None = None
        self.address = ""
        self.incarnation: int | None = None
        self.ready = Promise(node.scheduler)
        self.ended = Promise(node.scheduler)

    @property
    def pid(self) -> int:
        """The number of its OS process."""
        return self.process.pid if self.process is not None else 0

    def kill(self) -> None:
        """End its OS process and all it started, at once."""
        if self.process is not None:
            self.process.kill()


class Children:
    """The child nodes of one node; node's thread only, but for `fork`."""

    def __init__(self, node: Node, launcher: Launcher | None) -> None:
        self._node = node
        self._launcher = launcher
        self._children: list[ChildNode] = []
        self.is_closing = False

    def __iter__(self) -> Iterator[ChildNode]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def fork(
        self, count: int, init: Callable[[], Any] | None = None
    ) -> list[ChildNode]:
        """Start `count` nodes.  Thread-safe.

        Raises:
            UnpicklableError: `init` cannot travel.
        """
        buffers: list[Any] = []
        packed_init = encode(init, buffers), buffers
        children: list[ChildNode] = self._node.on_thread(self.start, count, packed_init)
        return children

    def start(
        self,
        count: int,
        packed_init: Any,
        *,
        target: str = FORKED,
        address: str = "127.0.0.1",
        advertise: str | None = None,
        outlet: Callable[[], OnOutput | None] = lambda: None,
    ) -> list[ChildNode]:
        """Start `count` OS processes that run `target`; node's thread only.

        Args:
            count: how many.
            packed_init: what `encode` made of the function that each runs first.
            target: ``module:function``.
            address, advertise: settings of their nodes; only this machine reaches them unless
                told otherwise.
            outlet: gives, for each, who is told what it writes; None: it writes where we do.

        Raises:
            SpliceError: this node is being shut down.
        """
        if self.is_closing:
            raise SpliceError(f"{self._node} is being shut down and starts no nodes")
        boot = pickle.dumps(self._boot(packed_init, address, advertise))
        return [self._start(boot, target, outlet()) for _ in range(count)]

    def _boot(
        self, packed_init: Any, address: str, advertise: str | None
    ) -> dict[str, Any]:
        self._node.open()  # finds the key, which children inherit
        config = self._node.config.with_changes(
            address=address, port=0, advertise=advertise, key=self._node.key
        )
        return {"config": config, "init": packed_init}

    def _start(self, boot: bytes, target: str, on_output: OnOutput | None) -> ChildNode:
        child = ChildNode(self._node)
        post = self._node.scheduler.post
        try:
            child.process = self._find_launcher().start(
                boot,
                target=target,
                on_ready=lambda report: post(self._is_ready, child, report),
                on_exit=lambda end: post(self._has_ended, child, end),
                on_output=on_output,
            )
        except OSError as error:
            # later: whoever starts a child wants to note it before it hears of its end
            post(self._has_not_started, child, error)
        self._children.append(child)
        return child

    def _find_launcher(self) -> Launcher:
        if self._launcher is None:
            from splice.node.launch import os_launcher  # loads subprocess: 10 ms

            self._launcher = os_launcher()
        return self._launcher

    def _is_ready(self, child: ChildNode, report: dict[str, Any]) -> None:
        child.address = report["address"]
        child.incarnation = report["incarnation"]
        if child.ready.state == PENDING:
            child.ready.resolve(child.address)

    def _has_not_started(self, child: ChildNode, error: OSError) -> None:
        from splice.node.child import Exit  # loaded with the launcher

        self._children.remove(child)
        text = f"no OS process could be started: {error}"
        child.ready.reject(SpliceError(text))
        child.ended.resolve(Exit(0, None, None, text))

    def _has_ended(self, child: ChildNode, end: Exit) -> None:
        what = f"(OS process {end.pid}) {end.text}"
        if child in self._children:
            self._children.remove(child)
        if child.ready.state == PENDING:
            detail = f":\n{end.failure}" if end.failure else ""
            child.ready.reject(NodeLost(f"a node {what} before it was ready{detail}"))
        if child.incarnation is not None and self._node.peers is not None:
            self._node.peers.lost(child.incarnation, what, child.address)
        child.ended.resolve(end)

    async def shut_down(
        self,
        children: Sequence[ChildNode] | None = None,
        seconds: float | None = None,
    ) -> None:
        """End `children`, all of them when None, and theirs before them.

        Args:
            seconds: after which those are killed that have not ended; ``shutdown_timeout`` when
                None.
        """
        import asyncio  # loaded with the first node

        if children is None:
            self.is_closing = True  # nobody may start another one behind our back
            children = list(self._children)
        if seconds is None:
            seconds = self._node.config.shutdown_timeout
        await asyncio.gather(*(self._end(child, seconds) for child in children))

    async def _end(self, child: ChildNode, seconds: float) -> None:
        """Ask one child to shut down, and kill its OS process if it does not."""
        import asyncio  # loaded with the first node

        try:
            async with asyncio.timeout(seconds):
                if child.address:
                    self._ask_to_leave(child, seconds)
                else:
                    child.kill()  # still being started, it holds nothing yet
                await _settled(child.ended)
        except TimeoutError:
            _log.warning(
                "node %s (OS process %s) did not end within %g s and is killed",
                child.address,
                child.pid,
                seconds,
            )
            child.kill()
            await _settled(child.ended)

    def _ask_to_leave(self, child: ChildNode, seconds: float) -> None:
        agent = agent_at(self._node, url(AGENT, child.address, child.incarnation))
        # its answer may be lost on the way out: that it has ended is what counts
        answer: Promise = agent.ask(_SHUTDOWN, (seconds,), None)
        answer.add_done_callback(partial(_log.debug, "leave: %s: %r", child.address))

    def ended_of(self, address: str) -> Promise | None:
        """Return the promise of the end of the child at `address`, None if it is no child."""
        for child in self._children:
            if child.address == address:
                return child.ended
        return None

    def kill_all(self) -> None:
        """End all children at once, and start no more; for a node that cannot wait."""
        self.is_closing = True
        for child in self._children:
            child.kill()


_SHUTDOWN = NamedHandler("shutdown")


async def _settled(promise: Promise) -> None:
    if not promise.done():
        await promise
