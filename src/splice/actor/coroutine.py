"""Coroutine: a generator as a process.

::

    coro = runtime.spawn(count, 10)     def count(start):
    for x in coro: ...                      while True:
    sync(coro.send(5))                          got = yield start

Each of ``next``, ``send``, ``throw`` and ``close`` is a message; its answer is what the generator
yields.  The end comes as `CoroutineEnded`, as StopIteration in a ``for``.  `CoroutineProxy.stream`
asks ahead, so that a far generator need not wait for each answer to arrive.

A coroutine knows which nodes draw values out of it, and ends when the last of them is lost, so that
its ``finally`` blocks run and nothing is left behind.  The node it lives on counts once it draws.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any, ClassVar

from splice.actor.context import current_message
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import Iterated, Proxy
from splice.errors import CoroutineEnded, DeadlockError, ProcessKilled


class CoroutineProxy(Iterated, Proxy):
    """The proxy of a coroutine: it can be iterated, in step with each iteration."""

    __slots__ = ()

    def stream(self, prefetch: int = 32) -> Stream:
        """Iterate with up to `prefetch` values asked for ahead; ``for`` and ``async for``.

        Raises:
            ValueError: `prefetch` is less than 1.
        """
        if not isinstance(prefetch, int) or prefetch < 1:
            raise ValueError(
                f"a stream asks for at least 1 value ahead, not {prefetch!r}"
            )
        return Stream(self, prefetch)


class Stream:
    """Iterates over a coroutine and asks ahead; see `CoroutineProxy.stream`.

    Whoever stops in the middle throws it away or calls `close`: what was asked for ahead is
    taken back then, and what was produced already, or is at work, is lost.
    """

    def __init__(self, proxy: CoroutineProxy, prefetch: int) -> None:
        self._proxy = proxy
        self._ahead: deque[Promise] = deque()
        self._prefetch = prefetch

    def close(self) -> None:
        """Give up what was asked for ahead; the coroutine itself goes on."""
        for promise in self._ahead:
            # not what is at work: to cancel that would end an asynchronous generator
            if get_ident() == promise.scheduler.thread:
                promise.withdraw()
            else:
                promise.scheduler.post(promise.withdraw)
        self._end()

    def __del__(self) -> None:
        # when the interpreter ends, nothing is left to tell
        if self._ahead and not sys.is_finalizing():
            self.close()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        promise = self._ask()
        try:
            return promise.get()
        except CoroutineEnded as end:
            self._end()
            raise StopIteration(end.value) from None
        except BaseException as error:
            self._put_back(promise, error)
            raise
        finally:
            # else the error, its traceback, this frame and the promise would be a ring
            del promise

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        promise = self._ask()
        try:
            return await promise
        except CoroutineEnded:
            self._end()
            raise StopAsyncIteration from None
        except BaseException as error:
            self._put_back(promise, error)
            raise
        finally:
            del promise  # as above

    def _ask(self) -> Promise:
        """Ask for so many that `prefetch` are under way, and return the first of them."""
        while len(self._ahead) < self._prefetch:
            self._ahead.append(self._proxy.next())  # type: ignore[attr-defined]
        return self._ahead.popleft()

    def _put_back(self, promise: Promise, error: BaseException) -> None:
        """Have the next wait be for `promise` again, if `error` is no answer but of the wait."""
        if isinstance(error, ProcessKilled):
            self.close()  # who was killed reads on no more, and may be garbage for long
            return
        is_answer = promise.done() and promise.value is error
        # what closes a ring of waits is not asked for any more
        if not is_answer and not isinstance(error, DeadlockError):
            self._ahead.appendleft(promise)

    def _end(self) -> None:
        # those asked for beyond the end fail as well: that is no news
        for promise in self._ahead:
            promise.add_done_callback(_ignore)
        self._ahead.clear()
        self._prefetch = 1


def _ignore(promise: Promise) -> None:
    """Look at a promise that nobody waits for any more."""


class Drawn(Process):
    """What plain and asynchronous coroutines share.

    Attributes:
        sp_answers: the errors that are answers of its handlers, and no failures of the process.
        sp_drawers: the nodes that have asked it for values; None stands for its own.
    """

    sp_proxy_base: ClassVar[type[Proxy]] = CoroutineProxy
    sp_answers: ClassVar[tuple[type[Exception], ...]] = (CoroutineEnded,)

    def __init__(self) -> None:
        self.sp_drawers: set[Any] = set()

    def _note_drawer(self) -> None:
        message = current_message()
        note = getattr(message and message.waiter, "note_drawer", None)
        if note is not None:  # the question came from another node
            note(self)
        else:
            self.sp_drawers.add(None)


class Coroutine(Drawn):
    """A process around one generator; made by spawning a generator function."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        super().__init__()
        self._generator: GeneratorType[Any, Any, Any] = function(*args, **kwargs)
        self._has_started = False
        self._value: Any = None

    def next(self) -> Any:
        """Run to the next ``yield`` and answer what it yields."""
        return self._step(self._generator.__next__)

    def send(self, value: Any) -> Any:
        """Give `value` to the ``yield`` it stands at, and run to the next.

        A generator that has not started is started first: the value goes to its first ``yield``.
        """
        if not self._has_started:
            self._step(self._generator.__next__)
        return self._step(self._generator.send, value)

    def throw(self, error: BaseException) -> Any:
        """Raise `error` at the ``yield`` it stands at, and run to the next."""
        return self._step(self._generator.throw, error)

    def close(self) -> None:
        """End the generator; its ``finally`` blocks run."""
        self._generator.close()

    def sp_terminate(self, reason: Any) -> None:
        """Run the generator's ``finally`` blocks when the process is stopped."""
        self._generator.close()

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        self._note_drawer()
        if self._generator.gi_frame is None:  # it has ended, in whichever way
            raise CoroutineEnded(self._value)
        self._has_started = True
        try:
            return step(*args)
        except StopIteration as end:
            self._value = end.value
            raise CoroutineEnded(end.value) from None
        except CoroutineEnded as end:
            raise _not_its_own() from end


class AsyncCoroutine(Drawn):
    """A process around one asynchronous generator."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        super().__init__()
        self._generator: AsyncGeneratorType[Any, Any] = function(*args, **kwargs)
        self._has_started = False

    async def next(self) -> Any:
        """Run to the next ``yield`` and answer what it yields."""
        return await self._step(self._generator.__anext__)

    async def send(self, value: Any) -> Any:
        """Give `value` to the ``yield`` it stands at, and run to the next."""
        if not self._has_started:
            await self._step(self._generator.__anext__)
        return await self._step(self._generator.asend, value)

    async def throw(self, error: BaseException) -> Any:
        """Raise `error` at the ``yield`` it stands at, and run to the next."""
        return await self._step(self._generator.athrow, error)

    async def close(self) -> None:
        """End the generator; its ``finally`` blocks run."""
        await self._generator.aclose()

    async def sp_terminate(self, reason: Any) -> None:
        """Run the generator's ``finally`` blocks when the process is stopped."""
        await self._generator.aclose()

    async def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        self._note_drawer()
        if self._generator.ag_frame is None:  # to throw into it would answer None
            raise CoroutineEnded
        self._has_started = True
        try:
            return await step(*args)
        except StopAsyncIteration:
            raise CoroutineEnded from None
        except CoroutineEnded as end:
            raise _not_its_own() from end


def _not_its_own() -> RuntimeError:
    """Make the error of a generator that lets the end of another coroutine out (see PEP 479)."""
    return RuntimeError(
        "a CoroutineEnded came out of a generator, which would pass for the end of its own "
        "values; catch it there and return"
    )
