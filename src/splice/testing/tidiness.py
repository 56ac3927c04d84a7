"""Tidiness: what a node that has come to rest should not hold any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from splice.actor.promise import PENDING
from splice.node.node import Node

CONNECTIONS_EACH: Final = 4
"""Connections with one node: each side may have dialled the other at the same moment, once by
its address and once as that incarnation."""


def leftovers(node: Node, *, nodes: int) -> Iterator[str]:
    """Yield what is left on a node where nothing should be going on.

    Args:
        nodes: how many incarnations there ever were.
    """
    exchange, scheduler, peers = node.exchange, node.scheduler, node.peers
    asked = sum(
        promise.state == PENDING
        for dialogue in exchange._dialogues.values()
        for promise in dialogue.asked.values()
    )
    counts = {
        "requests that wait for an answer": asked,
        "requests of others that it has not answered": sum(
            map(len, exchange.owing.values())
        ),
        "parked handlers": len(scheduler.parked),
        "names that mail is kept for": len(exchange.early),
        "processes at work": sum(
            cell.head is not None or cell.runner is not None
            for cell in scheduler.directory.cells()
        ),
    }
    if peers is not None:
        known = peers.known()
        counts["nodes that it owes mail"] = sum(
            not peer.outbound.is_empty for peer in known
        )
        counts["nodes too many"] = max(0, len(known) - 2 * nodes)
        links = len(peers._connections._connections)
        counts["connections too many"] = max(0, links - CONNECTIONS_EACH * nodes)
    for what, count in counts.items():
        if count:
            yield f"{count} {what}"
