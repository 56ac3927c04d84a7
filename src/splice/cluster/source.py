"""Where a session's workers come from: a seam, and its local side.

::

    Hub ── start(4) ──► WorkerSource ──► four Hired: pending
        ◄── hired.ready: its address ──   its node is up, init has run
        ◄── hired.ended: its Exit ──────  whatever ended it
        ── release(workers) ─► …          all gone when it returns

Everything here happens on the thread of the client's node.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from splice.actor.promise import Promise

if TYPE_CHECKING:
    from splice.cluster.output import Output
    from splice.node.node import Node

WORKER: Final = "splice.cluster.worker:run_worker"
"""What the OS process of a worker runs."""

GRANTED: Final = "splice.cluster.worker:run_granted_worker"
"""What it runs where an instance starts it: it waits for its client before ``init``."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs, for people.

    Attributes:
        machine: the name of the machine.
        instance: the name of the instance that has started it, empty where there is none.
    """

    machine: str
    instance: str = ""


class Hired(Protocol):
    """A worker that a source has started, or tries to.

    Attributes:
        address: where its node listens; empty until it is ready.
        incarnation: that of its node; None until it is ready.
        ready: a promise of its address; it fails when the worker ends before it is ready.
        ended: a promise of the `splice.node.launch.Exit` that tells how its OS process ended, or
            why there never was one; settled behind `ready`, and never with an error.
    """

    address: str
    incarnation: int | None
    ready: Promise
    ended: Promise

    @property
    def pid(self) -> int:
        """The number of its OS process on its machine, 0 while there is none."""

    def kill(self) -> None:
        """End its OS process and what that started, at once; `ended` tells when it is gone."""


class WorkerSource(Protocol):
    """Starts the workers of one session, and ends them.

    Attributes:
        on_recall: is given a worker that others need more, to be released after its batch; set
            by who starts workers here.
        is_near: all are children of this OS process, on its machine.
    """

    is_near: bool
    on_recall: Callable[[Any], None] | None

    @property
    def is_closing(self) -> bool:
        """Whether no more workers come: the node is being shut down, say."""

    def place(self, worker: Any) -> Place:
        """Return where a worker runs that is ready."""

    def start(self, count: int) -> Sequence[Hired]:
        """Start `count` workers; fewer are returned where there is no room for more.

        Raises:
            SpliceError: no worker can be had; the text says why.
        """

    async def release(self, workers: Sequence[Any]) -> None:
        """End `workers`, by force those that take too long; return when they are gone."""

    async def close(self) -> None:
        """Let go of what else there is; the session is over, its workers were released."""


class LocalSource:
    """Workers on this machine: children of the client's node.

    Args:
        node: the client's.
        init: packed as by `splice.net.codec.encode`, with its buffers; each worker runs it first.
        output: where workers' output goes.
    """

    is_near = True

    def __init__(self, node: Node, init: Any, output: Output) -> None:
        self.on_recall: Callable[[Any], None] | None = None  # these are nobody else's
        self._children = node.children
        self._init = init
        self._output = output
        self._place = Place(socket.gethostname())

    @property
    def is_closing(self) -> bool:
        """Whether the node is being shut down, and its children with it."""
        return self._children.is_closing

    def place(self, worker: Any) -> Place:
        """Return where a worker runs: here."""
        return self._place

    def start(self, count: int) -> Sequence[Hired]:
        """Start `count` OS processes.

        Raises:
            SpliceError: the node is being shut down.
        """
        return self._children.start(
            count, self._init, target=WORKER, outlet=self._output.outlet
        )

    async def release(self, workers: Sequence[Any]) -> None:
        """Have the nodes of `workers` shut down, and kill those that do not."""
        await self._children.shut_down(workers)

    async def close(self) -> None:
        """Nothing is left to be done."""
