"""Terms: what a session was asked to be, and how it begins.

::

    session(...) ─► Terms: checked ─► Terms.open ─► Opened: its hub, what it ships
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splice.actor.combine import syncmany
from splice.cluster.hub import Hub
from splice.cluster.output import How, Output
from splice.cluster.packed import pack
from splice.cluster.records import Prelude
from splice.cluster.source import LocalSource, WorkerSource
from splice.cluster.worker import work_in
from splice.net.codec import encode
from splice.node.given import check_callable
from splice.shipping.answers import MAX_UNIT_BYTES, Ship
from splice.shipping.shipment import Shipment

if TYPE_CHECKING:
    from splice.actor.promise import Promise
    from splice.node.node import Node


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has begun.

    Attributes:
        hub: gives out its work.
        shipment: what its workers get from here.
        size: how many workers it begins with, or waits for.
        wait: returns when the workers are ready.
        output: shows what they print.
    """

    hub: Hub
    shipment: Shipment
    size: int
    wait: Callable[[list[Promise]], object]
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What `splice.cluster.sessions` was called with; it says what each means.

    Attributes:
        worker_life: calls that a worker does before another one takes its place, None for no
            limit; for executors and pools.

    Raises:
        TypeError: `name` is no text, `init` no function, or `deny` no collection of names.
        ValueError: `worker_count` is not positive, or `work_dir` is no folder.
    """

    name: str | None = None
    owner: str | None = None
    worker_count: int | None = None
    work_dir: str | os.PathLike[str] | None = None
    master_address: str | None = None
    init: Callable[[], Any] | None = None
    ship: Ship = "missing"
    deny: Collection[str] = ()
    max_unit_bytes: int = MAX_UNIT_BYTES
    output: How = "prefix"
    worker_life: int | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not isinstance(self.name, str):
            raise TypeError(
                f"the name of a session is text, not {self.name!r}; the number of its workers "
                "is worker_count="
            )
        if self.worker_count is not None:
            check_count(self.worker_count)
        if self.init is not None:
            check_callable("init", self.init)
        if isinstance(self.deny, str) or not isinstance(self.deny, Collection):
            raise TypeError(f"deny is a collection of names, not {self.deny!r}")
        is_local = self.master_address is None
        if self.work_dir is not None and is_local and not Path(self.work_dir).is_dir():
            raise ValueError(
                f"work_dir is a folder that exists where the workers run, not {self.work_dir!r}"
            )

    def open(self, node: Node) -> Opened:
        """Find where the workers come from; none is started yet.

        Args:
            node: the client's.

        Raises:
            AccessDenied: the master has another key; the text says what to copy where.
            ConnectTimeout: no master answers at that address.
            UnpicklableError: `init` cannot travel.
            ValueError: `output` is nothing that is known.
        """
        output = Output(self.output)
        shipment = Shipment(node, self.ship, self.deny, self.max_unit_bytes)
        try:
            return self._open(node, shipment, output)
        except BaseException:
            shipment.end()
            raise

    def _open(self, node: Node, shipment: Shipment, output: Output) -> Opened:
        buffers: list[Any] = []
        packed_init = encode(Prelude(self._first_call(shipment)), buffers), buffers
        source: WorkerSource = LocalSource(node, packed_init, output)
        wait: Callable[[list[Promise]], object] = syncmany
        size = self.worker_count or _cpu_count()
        if self.master_address is not None:
            # 15 ms, for those who have a master
            from splice.cluster.opening import open_source, wait_for_workers

            who = {
                "name": self.name or "",
                "owner": self.owner or getpass.getuser(),
            }
            granted = open_source(node, packed_init, self.master_address, output, **who)
            source, wait = granted, partial(wait_for_workers, granted)
            size = self.worker_count or max(1, granted.capacity.slots)
        hub = Hub(node, source, size, self.worker_life)
        return Opened(hub, shipment, size, wait, output)

    def _first_call(self, shipment: Shipment) -> Callable[[], None] | None:
        """Return what each worker calls first, those too that take the place of others."""
        init = shipment.before(self.init and pack(self.init))
        if self.work_dir is None:
            return init
        folder = os.fspath(self.work_dir)
        if self.master_address is None:
            folder = str(Path(folder).absolute())  # this program may go elsewhere
        return partial(work_in, folder, init)


def check_count(worker_count: int) -> None:
    """Check a number of workers.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is not positive.
    """
    if type(worker_count) is not int:
        kind = type(worker_count).__name__
        raise TypeError(
            f"worker_count is a whole number, not {worker_count!r} of type {kind}"
        )
    if worker_count < 1:
        raise ValueError(f"a session wants at least 1 worker, not {worker_count!r}")


def _cpu_count() -> int:
    """Return how many CPUs this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no such limit
