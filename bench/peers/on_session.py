"""splice's sessions, as the other pools are driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.items import first
from splice.cluster import session


class OfSplice:
    """A session of two workers."""

    def __init__(self) -> None:
        self._session = session(worker_count=2)

    def each(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return self._session.map(function, items, chunksize=1)

    def bulk(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return self._session.map(function, items)

    def shared(self, count: int, array: Any) -> list[Any]:
        return self._session.map(first, range(count), array)

    def close(self) -> None:
        self._session.shutdown()
