"""Hops: what a probe carries from node to node, and what follows from it.  Pure.

::

    node 1                      node 2                      node 1
    request 7 of node 2         request 4 of node 1         request 8 of node 2
      └► wait 1 ► request 4 ──►   └► wait 1 ► request 8 ──►   └► wait 1: we were here

A hop is one node that the probe has passed: by which request it came, which waits it followed, by
which request it left.  When it meets a wait that it has passed before, the hops since then are a
ring, wherever it began.

Each wait was seen at another time, so a ring may be a phantom.  Therefore it is gone round once
more: if all of its waits still stand, they stood together when the first round ended.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from splice.actor.lines import Call, ring_text


class Stop(NamedTuple):
    """One wait.

    Attributes:
        number: which wait of its node it is.
        url: the process that waits.
        calls: the handlers at hand there, the last of which waits.
    """

    number: int
    url: str
    calls: tuple[Call, ...]


class Hop(NamedTuple):
    """One node on the way of a probe.

    Attributes:
        node: its incarnation.
        asker: the incarnation of the node before it.
        entry: number of the request of that node that it owes the answer of.
        stops: the waits that hold that answer up, in order.
        exit: number of its own request that the last of them waits for.
    """

    node: int
    asker: int
    entry: int
    stops: tuple[Stop, ...]
    exit: int


Hops = tuple[Hop, ...]


def ring_of(hops: Hops, here: Hop) -> Hops | None:
    """Return the ring that `here` closes with the hops before it, or None.

    The ring begins with the node of `here`.
    """
    for earlier, hop in enumerate(hops):
        if hop[:3] == here[:3]:  # the very promise where we were
            return hops[earlier:]
    for index, stop in enumerate(here.stops):
        for earlier, hop in enumerate(hops):
            if hop.node != here.node:
                continue
            numbers = [known.number for known in hop.stops]
            if stop.number in numbers:
                # the wait itself as it was met now: below it on its stack may be others
                rest = hop.stops[numbers.index(stop.number) + 1 :]
                stops = here.stops[: index + 1] + rest
                first = here._replace(stops=stops, exit=hop.exit)
                return (first, *hops[earlier + 1 :])
    return None


def gives_way(ring: Hops) -> Stop:
    """Return the wait that ends with an error: that of the greatest url.

    All who find the same ring choose the same one, so it is broken once.
    """
    stops = [stop for hop in ring for stop in hop.stops]
    return max(stops, key=lambda stop: (stop.url, stop.number))


def describe(ring: Hops) -> str:
    """Say who waits for whom, for messages to people."""
    return ring_text(c for hop in ring for stop in hop.stops for c in stop.calls)


def pack(hops: Hops) -> tuple[Any, ...]:
    """Return plain tuples, which may stand in a batch."""
    return tuple(
        (*hop[:3], tuple(tuple(stop) for stop in hop.stops), hop.exit) for hop in hops
    )


def unpack(packed: Any) -> Hops:
    """Return the hops of `pack`.

    Raises:
        TypeError: it is something else.
        ValueError: likewise.
    """
    return tuple(
        Hop(
            int(node),
            int(asker),
            int(entry),
            tuple(_stop(*stop) for stop in stops),
            int(leaves),
        )
        for node, asker, entry, stops, leaves in packed
    )


def _stop(number: int, where: str, calls: Any) -> Stop:
    named = tuple((str(name), str(node), str(line)) for name, node, line in calls)
    return Stop(int(number), str(where), named)
