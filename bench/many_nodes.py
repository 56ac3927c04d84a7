"""A message costs the same however many nodes talk, each with all others."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from bench.measuring import SPLICE, Figure, Scale, Target, alternate, now
from bench.one_node import Echo
from bench.two_nodes import IPC
from bench.zmq_echo import ZmqEcho
from splice import Process, runtime, syncmany

SIZES = (1, 2, 8, 32)

OUTSTANDING = 992
"""Questions that each node has outstanding, shared out among the others: 31 divide it, and 7
nearly."""

PER_PAIR = 128
"""Questions that each node has outstanding with each other one, so that frames are as full at all
sizes."""

FLOOR_ASKS = 20_000

SHARE = 0.7
"""Of the rate of two nodes: what a shared machine may take away by itself."""


class Talker(Process):
    """Asks the echoes of all other nodes; on one node, that of its own."""

    def meet(self, echoes: list[Any]) -> None:
        here = runtime.address
        others = [each for each in echoes if each.sp_url.address != here]
        self.others = others or echoes

    def talk(self, rounds: int, share: int) -> int:
        """Ask each of them `share` at once, so many times; how many questions that were."""
        for _ in range(rounds):
            syncmany([echo.echo(i) for i in range(share) for echo in self.others])
        return rounds * share * len(self.others)


def talk_rate(talkers: list[Any], asks: int, share: int) -> float:
    """Have all talk at the same time; asks a second of all together."""
    others = max(len(talkers) - 1, 1)
    rounds = max(asks // (share * others * len(talkers)), 2)
    start = now()
    asked = sum(syncmany([each.talk(rounds, share) for each in talkers]))
    return asked / (now() - start)


def all_to_all(scale: Scale) -> list[Figure]:
    """Each of 1 to 32 nodes asks all others, with as many questions outstanding on each node."""
    return _all_to_all(scale, lambda others: OUTSTANDING // others, "")


def all_pairs(scale: Scale) -> list[Figure]:
    """The same with as many questions outstanding for each pair of nodes."""
    return _all_to_all(scale, lambda others: PER_PAIR, f", {PER_PAIR} a pair")


def _all_to_all(scale: Scale, share_of: Callable[[int], int], how: str) -> list[Figure]:
    asks = scale.size(200_000)
    places, found, first = [runtime.address], [], 0.0
    with ZmqEcho("ipc") as ipc:
        for size in SIZES[:3] if scale.is_quick else SIZES:
            places += runtime.fork(size - len(places))
            talkers = list(runtime.spawn_scatter(places, Talker))
            echoes = list(runtime.spawn_scatter(places, Echo))
            syncmany([each.meet(echoes) for each in talkers])
            share = share_of(max(size - 1, 1))
            values, calls = alternate(
                scale.repeats,
                {
                    SPLICE: lambda t=talkers, n=share: talk_rate(t, asks, n),  # type: ignore[misc]
                    IPC: lambda: ipc.piped_rate(scale.size(FLOOR_ASKS)),
                },
            )
            target = None
            if size > 2:
                target = Target("as with 2 nodes", least=SHARE * first)
            first = statistics.median(values[SPLICE]) if size == 2 else first
            title = f"asks all to all, {size} node{'s' * (size > 1)}{how}"
            case = f"F2_all_{'pairs' if how else 'to_all'}_{size}"
            found.append(
                Figure(case, title, "asks/s", values, target=target, calls=calls)
            )
    return found
