"""Ray on two CPUs: an actor in its worker, and tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.util.multiprocessing import Pool

from bench.items import first
from bench.measuring import Contender, Scale, now
from bench.peers import maps
from bench.peers.contender import Case


def _start() -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        object_store_memory=1_000_000_000,
    )


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


def _case(measure: Callable[[Any, int], float], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        _start()
        size, target = scale.size(count), ray.remote(Target).remote()
        ray.get(target.echo.remote(0))
        yield lambda: measure(target, size)
        ray.shutdown()

    return case


def _far_ask(target: Any, count: int) -> float:
    start = now()
    for i in range(count):
        ray.get(target.echo.remote(i))
    return count / (now() - start)


def _far_piped(target: Any, count: int) -> float:
    start = now()
    ray.get([target.echo.remote(i) for i in range(count)])
    return count / (now() - start)


def _far_tell(target: Any, count: int) -> float:
    before, start = ray.get(target.total.remote()), now()
    for i in range(count):
        target.one.remote(i)
    assert ray.get(target.total.remote()) == before + count
    return count / (now() - start)


class OfRay:
    """Tasks; its `Pool` for many small items, its object store for what is shared."""

    def __init__(self) -> None:
        _start()
        self._pool: Any = None

    def each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        task = ray.remote(function)
        found: list[Any] = ray.get([task.remote(item) for item in items])
        return found

    def bulk(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        self._pool = self._pool or Pool(2)
        found: list[Any] = self._pool.map(function, items, chunksize=len(items) // 8)
        return found

    def shared(self, count: int, array: Any) -> list[Any]:
        stored, task = ray.put(array), ray.remote(first)
        found: list[Any] = ray.get([task.remote(i, stored) for i in range(count)])
        return found

    def close(self) -> None:
        ray.shutdown()


CASES: dict[str, Case] = {
    "far-ask": _case(_far_ask, 1_000),
    "far-piped": _case(_far_piped, 5_000),
    "far-tell": _case(_far_tell, 5_000),
    **maps.cases("Ray", OfRay),
}
