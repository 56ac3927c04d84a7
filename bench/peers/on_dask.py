"""Dask's distributed: local worker processes of one thread each; an actor, futures and `map`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed import Client, LocalCluster

from bench.items import first
from bench.measuring import Contender, Scale, now
from bench.peers import maps
from bench.peers.contender import Case

PARTS = 8


class Target:
    """Echoes and counts."""

    def __init__(self) -> None:
        self.count = 0

    def echo(self, value: Any) -> Any:
        return value

    def one(self, number: int) -> None:
        self.count += 1

    def total(self) -> int:
        return self.count


def _start(worker_count: int) -> tuple[Any, Any]:
    cluster = LocalCluster(
        n_workers=worker_count,
        processes=True,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        host="127.0.0.1",
    )
    return cluster, Client(cluster)


def _case(measure: Callable[[Any, int], float], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        cluster, client = _start(1)
        size = scale.size(count)
        target = client.submit(Target, actor=True).result()
        yield lambda: measure(target, size)
        client.close()
        cluster.close()

    return case


def _far_ask(target: Any, count: int) -> float:
    start = now()
    for i in range(count):
        target.echo(i).result()
    return count / (now() - start)


def _far_piped(target: Any, count: int) -> float:
    start = now()
    for answer in [target.echo(i) for i in range(count)]:
        answer.result()
    return count / (now() - start)


def _far_tell(target: Any, count: int) -> float:
    before, start = target.total().result(), now()
    for i in range(count):
        target.one(i)
    while target.total().result() != before + count:
        pass
    return count / (now() - start)


class OfDask:
    """Futures; batches by hand, as its `map` makes a task of every item."""

    def __init__(self) -> None:
        self._cluster, self._client = _start(2)

    def each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        tasks = self._client.map(function, items, pure=False)
        found: list[Any] = self._client.gather(tasks)
        return found

    def bulk(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        size = len(items) // PARTS
        parts = [items[i : i + size] for i in range(0, len(items), size)]
        tasks = self._client.map(_all_of, parts, function=function, pure=False)
        return [answer for part in self._client.gather(tasks) for answer in part]

    def shared(self, count: int, array: Any) -> list[Any]:
        client = self._client
        sent = client.scatter(array, broadcast=True, hash=False)
        tasks = [client.submit(first, i, sent, pure=False) for i in range(count)]
        found: list[Any] = client.gather(tasks)
        return found

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


def _all_of(part: Sequence[Any], function: Callable[..., Any]) -> list[Any]:
    return [function(item) for item in part]


CASES: dict[str, Case] = {
    "far-ask": _case(_far_ask, 500),
    "far-piped": _case(_far_piped, 2_000),
    "far-tell": _case(_far_tell, 2_000),
    **maps.cases("Dask", OfDask),
}
