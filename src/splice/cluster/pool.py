"""Pool: a session for programs written for `multiprocessing.Pool`."""

from __future__ import annotations

import builtins
import multiprocessing
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial
from itertools import islice
from typing import Any, Final

from splice.cluster.executor import _call_each, _check_size, _chunks
from splice.cluster.futures import Executor
from splice.errors import TimeoutError

SHARES: Final = 4
"""Chunks of a map for each worker, as `multiprocessing` cuts them."""

Done = Callable[[Any], object] | None


class PoolTimeout(TimeoutError, multiprocessing.TimeoutError):
    """The answer did not come in time; also the error that `multiprocessing` raises then."""


class AsyncResult:
    """The answer of an asynchronous call or map of a pool.  Thread-safe.

    Args:
        futures: of its parts.
        value: makes the answer of those of the parts.
        callback: called with the answer, on a thread of the pool.
        error_callback: called with the error instead.
    """

    def __init__(
        self,
        futures: list[Future[Any]],
        value: Callable[[list[Any]], Any],
        callback: Done = None,
        error_callback: Done = None,
    ) -> None:
        self._value_of = value
        self._callback = callback
        self._error_callback = error_callback
        self._futures = futures
        self._left = len(futures)
        self._lock = threading.Lock()
        self._is_ready = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        for future in futures:
            future.add_done_callback(self._part_is_done)
        if not futures:
            self._finish()

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it, or raise the error it became.

        Raises:
            multiprocessing.TimeoutError: it did not come within `timeout` seconds.
        """
        self.wait(timeout)
        if not self.ready():
            raise PoolTimeout(f"no answer of the pool within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the answer is there, `timeout` seconds at most."""
        for future in self._futures[:1]:
            future._check_wait()  # type: ignore[attr-defined]  # it is a CallFuture
        self._is_ready.wait(timeout)

    def ready(self) -> bool:
        """Tell whether the answer is there."""
        return self._is_ready.is_set()

    def successful(self) -> bool:
        """Tell whether the answer is no error.

        Raises:
            ValueError: it is not there yet.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def _part_is_done(self, future: Future[Any]) -> None:
        error = _error_of(future)
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            is_last = not self._left
        if is_last:
            self._finish()

    def _finish(self) -> None:
        try:
            if self._error is None:
                self._value = self._value_of([f.result() for f in self._futures])
                if self._callback is not None:
                    self._callback(self._value)
            elif self._error_callback is not None:
                self._error_callback(self._error)
        finally:
            self._futures = []
            self._is_ready.set()


class PoolIterator:
    """Iterates over the answers of `Pool.imap`; what `next` waits for may have a timeout."""

    def __init__(
        self, more: Iterator[Future[Any]], ahead: int, *, is_ordered: bool
    ) -> None:
        self._more = more
        self._is_ordered = is_ordered
        self._futures: deque[Future[Any]] = deque()
        self._settled: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._open = 0
        self._values: list[Any] = []
        for future in islice(more, ahead):
            self._add(future)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next answer, or raise the error it became.

        Raises:
            multiprocessing.TimeoutError: it did not come within `timeout` seconds.
            StopIteration: there are no more.
        """
        if not self._values:
            values = self._take(timeout).result()
            self._values = values[::-1]
        return self._values.pop()

    def _take(self, timeout: float | None) -> Future[Any]:
        """Wait for the next part, and have another one begun for it."""
        if not self._open:
            raise StopIteration
        try:
            if self._is_ordered:
                self._futures[0].exception(timeout)
                future = self._futures.popleft()
            else:
                future = self._settled.get(timeout=timeout)
        except (queue.Empty, builtins.TimeoutError):
            raise PoolTimeout(f"no answer of the pool within {timeout} s") from None
        self._open -= 1
        for another in islice(self._more, 1):
            self._add(another)
        return future

    def _add(self, future: Future[Any]) -> None:
        self._open += 1
        if self._is_ordered:
            self._futures.append(future)
        else:
            future.add_done_callback(self._settled.put)


class Pool:
    """A pool of workers of its own, like a `multiprocessing.Pool`.

    Args:
        processes: workers; None takes all CPUs that this program may use.
        initializer: called on each worker, replaced ones too, before its first call.
        initargs: its arguments.
        maxtasksperchild: calls, or chunks of a map, that a worker does before another one takes
            its place, which gives back what they have left in its memory; None: it stays.
        session_options: those of `splice.cluster.sessions`, ``master_address`` for example.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        maxtasksperchild: int | None = None,
        **session_options: Any,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError(f"a pool wants at least 1 process, not {processes!r}")
        life = maxtasksperchild
        if life is not None and (not isinstance(life, int) or life < 1):
            raise ValueError(f"maxtasksperchild is at least 1 or None, not {life!r}")
        self._executor = Executor(
            processes,
            initializer,
            initargs,
            max_tasks_per_child=life,
            **session_options,
        )
        self._size = self._executor._session._hub.crew.size
        self._is_open = True

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
    ) -> Any:
        """Return ``func(*args, **kwds)``, called on a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Done = None,
        error_callback: Done = None,
    ) -> AsyncResult:
        """Like `apply`; returns at once."""
        self._check_open()
        future = self._executor.submit(func, *args, **(kwds or {}))
        return AsyncResult([future], _only, callback, error_callback)

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Return the answers of ``func(item)`` in the order of the items."""
        return list(self.map_async(func, iterable, chunksize).get())

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Done = None,
        error_callback: Done = None,
    ) -> AsyncResult:
        """Like `map`; returns when the items are read."""
        items = [(item,) for item in iterable]
        return self.starmap_async(func, items, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Return the answers of ``func(*item)`` in the order of the items."""
        return list(self.starmap_async(func, iterable, chunksize).get())

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Done = None,
        error_callback: Done = None,
    ) -> AsyncResult:
        """Like `starmap`; returns when the items are read."""
        self._check_open()
        items = [tuple(item) for item in iterable]
        if chunksize is None:
            chunksize = max(1, -(-len(items) // (SHARES * self._size)))
        _check_size("chunksize", chunksize)
        futures = list(self._submitted(func, iter(items), chunksize))
        return AsyncResult(futures, _joined, callback, error_callback)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> PoolIterator:
        """Iterate over the answers of ``func(item)`` in the order of the items.

        `iterable` may be endless: it is read as the answers are taken.
        """
        return self._stream(func, iterable, chunksize, is_ordered=True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> PoolIterator:
        """Like `imap`, with the answers in the order in which they come."""
        return self._stream(func, iterable, chunksize, is_ordered=False)

    def _stream(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        *,
        is_ordered: bool,
    ) -> PoolIterator:
        self._check_open()
        _check_size("chunksize", chunksize)
        items = ((item,) for item in iterable)
        parts = self._submitted(func, items, chunksize)
        return PoolIterator(parts, SHARES * self._size, is_ordered=is_ordered)

    def _submitted(
        self, func: Callable[..., Any], items: Iterator[tuple[Any, ...]], size: int
    ) -> Iterator[Future[Any]]:
        call = partial(self._executor.submit, _call_each, func)
        return map(call, _chunks(items, size))

    def close(self) -> None:
        """Take no more work; the workers end behind what there is."""
        self._is_open = False
        self._executor.shutdown(wait=False)

    def terminate(self) -> None:
        """Stop all work and end the workers at once."""
        self._is_open = False
        self._executor._stop()
        self._executor.shutdown(wait=False)
        self._executor._session.shutdown(cancel=True)

    def join(self) -> None:
        """Wait until the workers have ended; `close` or `terminate` comes first.

        Raises:
            ValueError: neither did.
        """
        if self._is_open:
            raise ValueError("Pool is still running")
        self._executor.shutdown()

    def _check_open(self) -> None:
        if not self._is_open:
            raise ValueError("Pool not running")

    def __enter__(self) -> Pool:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()


def _only(values: list[Any]) -> Any:
    return values[0]


def _joined(values: list[list[Any]]) -> list[Any]:
    return [value for part in values for value in part]


def _error_of(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error
