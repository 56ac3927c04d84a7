"""Opening a session at a master: who it is, how many workers it gets, and when it may begin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from splice.actor.promise import ERROR, PENDING, VALUE, Promise
from splice.cluster.admission import denied
from splice.cluster.claim import MasterSource
from splice.errors import AccessDenied, SpliceError
from splice.log import logger
from splice.net.keys import find_key
from splice.uri import check_address

if TYPE_CHECKING:
    from splice.cluster.output import Output
    from splice.node.node import Node

GRACE_SECONDS: Final = 1.0
"""After the first workers are ready, for more of those that were asked for: slots that another
session hands back, or instances that are just registering again, come within it or much later."""

_log = logger("cluster")


def open_source(
    node: Node,
    init: Any,
    master_address: str,
    output: Output,
    *,
    name: str,
    owner: str,
) -> MasterSource:
    """Return the source of the workers of a new session; the master has heard of it.

    Args:
        node: the client's.
        init: packed as by `splice.net.codec.encode`, with its buffers.
        master_address: where the master listens.
        output: where workers' output goes.
        name, owner: of the session, for people.

    Raises:
        AccessDenied: the master has another key; the text says what to copy where.
        ConnectTimeout: nobody answers at that address.
        ValueError: the address is malformed.
    """
    check_address(master_address)
    source = MasterSource(
        node, init, master_address, name=name, owner=owner, output=output
    )
    try:
        node.run_coroutine(source.open).get()
    except BaseException as error:
        node.run_coroutine(source.close)
        if isinstance(error, AccessDenied):
            raise denied(master_address, find_key(node.config.key)) from error
        raise
    return source


def wait_for_workers(source: MasterSource, workers: Sequence[Promise]) -> None:
    """Wait for the workers there are: at least one, and all that can be had now.

    Raises:
        SpliceError: none came within ``connect_timeout``; or what went wrong with one.
    """
    source.node.run_coroutine(partial(_until_open, source, workers)).get()


async def _until_open(source: MasterSource, workers: Sequence[Promise]) -> None:
    patience = source.node.config.connect_timeout
    bell = _Bell()
    for worker in workers:
        worker.add_waiter(bell)
    while any(worker.state == PENDING for worker in workers):
        ready = sum(worker.state == VALUE for worker in workers)
        if 0 < source.capacity.slots <= ready:
            break  # that is all there is
        has_one = ready > 0
        has_rung = await bell.rings_within(GRACE_SECONDS if has_one else patience)
        if any(worker.state == ERROR for worker in workers):
            break
        # one that is being started may take long: its `init` loads a model, say
        if not (has_rung or has_one or source.is_starting):
            raise SpliceError(
                f"no worker within {patience:g} s: the cluster of {source.master_address} has"
                f" {source.capacity}; start more instances, or end a session"
            )
        if not has_rung and not source.is_starting:
            break
    _judge(source, workers)


def _judge(source: MasterSource, workers: Sequence[Promise]) -> None:
    for worker in workers:
        if worker.state == ERROR:
            raise worker.error()
    ready = sum(worker.state == VALUE for worker in workers)
    if ready < len(workers):
        _log.warning(
            "the session begins with %d of %d workers: the cluster of %s has %s; the others"
            " join as slots get free",
            ready,
            len(workers),
            source.master_address,
            source.capacity,
        )


class _Bell:
    """Rings when one of many promises is settled."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def settled(self, promise: Promise) -> None:
        self._rung.set()

    async def rings_within(self, seconds: float) -> bool:
        """Wait until it rings; False when it did not."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True
