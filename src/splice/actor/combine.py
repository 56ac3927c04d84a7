"""Combine: waiting for promises, one (`sync`) or many, and many as one (`gather`, `as_completed`).

All work with promises of several nodes, in a handler, in a thread and on any asyncio loop, for
all they hand out is promises again.
"""

from __future__ import annotations

import builtins
from _thread import get_ident
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import ref

from splice.actor.context import current_cell
from splice.actor.promise import ERROR, PENDING, VALUE, Promise
from splice.actor.waiters import in_turn
from splice.errors import TimeoutError
from splice.seconds import timeout_of

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler


def sync(promise: Promise, timeout: float | None = None) -> Any:
    """Wait for `promise` and return its answer, or raise its error; see `Promise.get`."""
    if not isinstance(promise, Promise):
        raise _no_promise(promise)
    if promise.state == PENDING:
        promise.wait(timeout)
    if promise.state == VALUE:
        return promise.value
    raise promise.error()


def syncmany(promises: Iterable[Promise], timeout: float | None = None) -> list[Any]:
    """Wait for all `promises` and return their answers in order.

    All are waited for even if one fails; then the first failure in order is raised.

    Args:
        promises: any iterable; it is read once.
        timeout: seconds for each wait, None for ever.
    """
    waited = _listed(promises)
    for promise in waited:
        if promise.state == PENDING:
            promise.wait(timeout)
    failed = [promise for promise in waited if promise.state == ERROR]
    for promise in failed:
        promise.look()
    if failed:
        raise failed[0].error()
    return [promise.value for promise in waited]


def gather(promises: Iterable[Promise]) -> Promise:
    """Return a promise of the list of all answers, in order.

    All are waited for even if one fails; then the first failure in order is the outcome, as with
    `syncmany`.

    Args:
        promises: any iterable; it is read once.  None at all give an empty list.
    """
    parts = _listed(promises)
    all_of_them = _All(_home(parts))
    if parts:
        gathering = _Gathering(all_of_them, len(parts))
        all_of_them.value = [part for part in parts if part.can_close_ring]
        for index, part in enumerate(parts):
            part.add_waiter_threadsafe(_Part(gathering, index))
    else:
        all_of_them.resolve([])
    return all_of_them


class _All(Promise):
    """The promise of many answers."""

    __slots__ = ()

    def describe(self) -> str:
        parts = self.value
        if self.state != PENDING or not parts:
            return super().describe()
        more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
        return f"{parts[0].describe()}{more}"


class as_completed:  # noqa: N801 - used as a function, as those of asyncio and concurrent
    """Iterate over `promises` in the order in which they are settled.

    Usable in ``for`` and in ``async for``; each promise comes once, settled::

        for promise in as_completed(promises, timeout=10):
            print(promise.get())

    Args:
        promises: any iterable; it is read once.
        timeout: seconds for all of them together, from now; None waits for ever.

    Raises:
        TimeoutError: while iterating: not all were settled in time; the text says how many.
    """

    def __init__(
        self, promises: Iterable[Promise], timeout: float | None = None
    ) -> None:
        parts = _listed(promises)
        self._home = _home(parts)
        self._count = len(parts)
        self._left = len(parts)
        self._timeout = timeout = timeout_of(timeout)
        self._until = None if timeout is None or not parts else self._now() + timeout
        self._arrivals = _Arrivals(self._home, parts)

    def __del__(self) -> None:
        arrivals = getattr(self, "_arrivals", None)  # None: the constructor failed
        if arrivals is not None and arrivals.has_more:
            # posted: a finalizer runs anywhere, also in the middle of the engine
            self._home.post(arrivals.close)

    def __iter__(self) -> Iterator[Promise]:
        return self

    def __next__(self) -> Promise:
        while self._left:
            # before the look at the queue, so that nothing is missed
            news = self._arrivals.news
            if self._arrivals.settled:
                return self._take()
            try:
                news.get(self._remaining())
            except TimeoutError:
                raise self._too_late() from None
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[Promise]:
        return self

    async def __anext__(self) -> Promise:
        while self._left:
            news = self._arrivals.news
            if self._arrivals.settled:
                return self._take()
            await self._wait_async(news)
        raise StopAsyncIteration

    async def _wait_async(self, news: Promise) -> None:
        import asyncio  # loaded already, where this is awaited

        try:
            async with asyncio.timeout(self._remaining()):
                await news
        except builtins.TimeoutError:
            raise self._too_late() from None

    def _take(self) -> Promise:
        self._left -= 1
        return self._arrivals.settled.popleft()

    def _now(self) -> float:
        return self._home.loop.time()

    def _remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - self._now())

    def _too_late(self) -> TimeoutError:
        return TimeoutError(
            f"{self._left} of {self._count} promises were not settled within "
            f"{self._timeout} s"
        )


class _Arrivals:
    """The settled ones of many promises, in that order; filled on the thread of their home.

    It stands among the waiters, and not the iterator: so that one is let go when it is dropped.

    Attributes:
        settled: those that the iterator has not given yet.
        news: settled with the next of them.
    """

    __slots__ = ("_home", "_pending", "news", "settled")

    def __init__(self, home: Scheduler, parts: list[Promise]) -> None:
        self._home = home
        self.settled: deque[Promise] = deque()
        self.news = Promise(home)
        waiters = [_Part(self, index) for index in range(len(parts))]
        self._pending = {
            index: (_way_to(part), waiters[index]) for index, part in enumerate(parts)
        }
        for part, waiter in zip(parts, waiters, strict=True):
            part.add_waiter_threadsafe(waiter)

    @property
    def has_more(self) -> bool:
        """Whether some are not settled."""
        return bool(self._pending)

    def take(self, index: int, part: Promise) -> None:
        if get_ident() != self._home.thread:
            self._home.post(self.take, index, part)
            return
        self._pending.pop(index, None)
        self.settled.append(part)
        # the new one first: whoever is told of this one shall find the next in its place
        news, self.news = self.news, Promise(self._home)
        news.resolve(None)

    def close(self) -> None:
        """Wait for the others no longer; thread of their home."""
        pending, self._pending = self._pending, {}
        for way, waiter in pending.values():
            part = way()
            if part is not None:
                part.drop_waiter_threadsafe(waiter)


def _way_to(part: Promise) -> Callable[[], Promise | None]:
    """Return what gives `part`, and keeps no Deferred from being thrown away."""
    return (lambda: part) if part.can_close_ring else ref(part)


class _Gathering:
    """Settles one promise when all its parts are settled; on the thread of its node."""

    __slots__ = ("_answers", "_failures", "_left", "_promise")

    def __init__(self, promise: Promise, count: int) -> None:
        self._promise = promise
        self._answers: list[Any] = [None] * count
        self._failures: dict[int, BaseException] = {}
        self._left = count

    def take(self, index: int, part: Promise) -> None:
        home = self._promise.scheduler
        if get_ident() != home.thread:
            home.post(self.take, index, part)
            return
        self._left -= 1
        if part.state == ERROR:
            self._failures[index] = part.error()
        else:
            self._answers[index] = part.value
        if self._left == 0:
            in_turn(self._settle, part)

    def _settle(self, _last: Promise) -> None:
        if self._promise.state != PENDING:  # cancelled since
            return
        if self._failures:
            self._promise.reject(self._failures[min(self._failures)])
        else:
            self._promise.resolve(self._answers)


class _Part:
    """One of the promises that are brought together."""

    __slots__ = ("_gathering", "_index")

    def __init__(self, gathering: _Gathering | _Arrivals, index: int) -> None:
        self._gathering = gathering
        self._index = index

    def settled(self, promise: Promise) -> None:
        self._gathering.take(self._index, promise)


class _Anywhere:
    """Stands for a scheduler where a promise is settled from the start: all is done on the spot."""

    is_near: ClassVar[bool] = False
    is_closed: ClassVar[bool] = False
    loop: ClassVar[Any] = None

    @property
    def scheduler(self) -> _Anywhere:
        return self

    @property
    def thread(self) -> int:
        return get_ident()


_ANYWHERE: Final[Any] = _Anywhere()


def _listed(promises: Iterable[Promise]) -> list[Promise]:
    parts = list(promises)
    for part in parts:
        if not isinstance(part, Promise):
            raise _no_promise(part)
    return parts


def _no_promise(given: object) -> TypeError:
    return TypeError(
        f"a promise is wanted, as a call of a handler returns it, not {given!r}; "
        "syncmany waits for many"
    )


def _home(parts: list[Promise]) -> Scheduler:
    """Return the scheduler on whose thread the parts are brought together."""
    cell = current_cell()
    if cell is not None:
        return cell.scheduler
    home: Scheduler = parts[0].scheduler if parts else _ANYWHERE
    return home
