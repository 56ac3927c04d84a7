"""Pools of OS processes: of the standard library, joblib and mpire.

The first three fork, as they do on Linux unless told otherwise; joblib starts fresh interpreters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool
from typing import Any

from bench.items import first
from bench.peers.maps import cases

Function = Callable[..., Any]


class OfMultiprocessing:
    """`multiprocessing.Pool`."""

    def __init__(self) -> None:
        self._pool = Pool(2)

    def each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, items, 1)

    def bulk(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, items)

    def shared(self, count: int, array: Any) -> list[Any]:
        return self._pool.map(functools.partial(first, array=array), range(count))

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


class OfFutures:
    """`concurrent.futures.ProcessPoolExecutor`, chunked by hand where that is what helps."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(2)

    def each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items))

    def bulk(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items, chunksize=len(items) // 8))

    def shared(self, count: int, array: Any) -> list[Any]:
        mapped = functools.partial(first, array=array)
        return list(self._pool.map(mapped, range(count), chunksize=max(count // 8, 1)))

    def close(self) -> None:
        self._pool.shutdown()


class OfJoblib:
    """joblib with its own workers (loky), which map large arrays from a file."""

    def __init__(self) -> None:
        from joblib import Parallel, delayed

        self._parallel = Parallel
        self._delayed = delayed
        self._each = Parallel(2, batch_size=1, pre_dispatch="all")
        self._bulk = Parallel(2)

    def each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._each(self._delayed(function)(i) for i in items)
        return found

    def bulk(self, function: Function, items: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._bulk(self._delayed(function)(i) for i in items)
        return found

    def shared(self, count: int, array: Any) -> list[Any]:
        calls = (self._delayed(first)(i, array) for i in range(count))
        # One made anew: the same one called again soon may find its file of the array being
        # removed (joblib 1.5: FileNotFoundError while it pickles a task).
        found: list[Any] = self._parallel(2)(calls)
        return found

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


class OfMpire:
    """mpire, workers kept alive; a shared object needs a pool made for it, and forked."""

    def __init__(self) -> None:
        from mpire import WorkerPool

        self._make = WorkerPool
        self._pool = WorkerPool(2, keep_alive=True)

    def each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._pool.map(function, items, chunk_size=1)
        return found

    def bulk(self, function: Function, items: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._pool.map(function, items, iterable_len=len(items))
        return found

    def shared(self, count: int, array: Any) -> list[Any]:
        with self._make(2, shared_objects=array) as pool:
            found: list[Any] = pool.map(_first_of_shared, range(count))
            return found

    def close(self) -> None:
        self._pool.stop_and_join()


def _first_of_shared(array: Any, index: int) -> float:
    return first(index, array)


POOL = cases("mp.Pool", OfMultiprocessing)
FUTURES = cases("futures", OfFutures)
JOBLIB = cases("joblib", OfJoblib)
MPIRE = cases("mpire", OfMpire)
