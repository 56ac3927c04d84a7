"""SessionExecutor: a session as a `concurrent.futures.Executor`."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TYPE_CHECKING, Any

from splice.cluster.clerk import Clerk
from splice.errors import Cancelled

if TYPE_CHECKING:
    from splice.cluster.sessions import Session


class SessionExecutor(Executor):
    """Runs calls on the workers of a session; what `Session.executor` returns.

    It ends with `shutdown`, at the end of a ``with`` block, or when it is let go of; the session
    stays open.
    """

    def __init__(self, session: Session, *, retries: int = 0) -> None:
        self._session = session
        session._check_open()  # on a loop it is opened by its first use
        self._clerk = Clerk(
            session._node, session._hub, retries=retries, on_end=self._on_end()
        )
        # whoever lets go of it still gets the answers
        let_go = weakref.finalize(self, self._clerk.close, wait=False)
        let_go.atexit = False

    def _on_end(self) -> Callable[[], object]:
        """Return what is to be done when the last future is settled; it must not wait."""
        return _nothing

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Call ``fn(*args, **kwargs)`` on whichever worker is free first.

        Args:
            fn: any callable; lambdas and closures too.
            args, kwargs: for the call.

        Returns:
            A future.  It runs from when the call is given to a worker; until then, `cancel`
            prevents the call.  An argument that cannot travel is its error.

        Raises:
            RuntimeError: the executor or its session was shut down.
            BrokenProcessPool: its initializer failed.
        """
        if not callable(fn):
            raise TypeError(f"submit wants a function, not {fn!r}")
        if self._session._is_closed and not self._clerk.is_closed:
            raise RuntimeError("cannot schedule new futures: the session was shut down")
        return self._submit(fn, args, kwargs)

    def _submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        return self._clerk.submit(_name_of(fn), fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Call ``fn`` with the items of `iterables`, and iterate over the answers in order.

        Args:
            fn: takes as many arguments as there are iterables.
            iterables: read before this returns, but for `buffersize`.
            timeout: seconds from now until the last answer.
            chunksize: items that travel together.
            buffersize: calls whose answer was not taken yet, at most; then the iterables may be
                endless.

        Returns:
            An iterator; to close it, or to let go of it, cancels the calls not begun.  It raises
            `TimeoutError`, or what a call raised, in its place.
        """
        _check_size("chunksize", chunksize)
        if buffersize is not None:
            _check_size("buffersize", buffersize)
        deadline = None if timeout is None else time.monotonic() + timeout
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        submit = self.submit
        futures = deque(
            submit(_call_each, fn, chunk) for chunk in islice(chunks, buffersize)
        )
        more = (submit(_call_each, fn, chunk) for chunk in chunks)
        return _answers(futures, more, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; what was submitted comes to its end.

        Args:
            wait: return when it has.
            cancel_futures: cancel the calls that no worker has yet.
        """
        self._clerk.close(wait=wait, cancel=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._stop()  # the work, not only the waiting
        self.shutdown()

    def _stop(self) -> None:
        """Stop all calls there are, those in work too."""
        self._clerk.stop(Cancelled("the call was stopped with all of its executor"))


def _nothing() -> None:
    """The session is somebody else's."""


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function))


def _check_size(name: str, size: int) -> None:
    if size < 1:
        raise ValueError(f"{name} must be at least 1, not {size!r}")


def _chunks(
    items: Iterator[tuple[Any, ...]], size: int
) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _call_each(function: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    """Call a function with each of some argument lists; on a worker."""
    return [function(*args) for args in chunk]


def _answers(
    futures: deque[Future[Any]], more: Iterator[Future[Any]], deadline: float | None
) -> Iterator[Any]:
    """Yield the answers of futures of lists; cancel the rest when that ends early."""
    try:
        while futures:
            left = None if deadline is None else deadline - time.monotonic()
            values: list[Any] = futures[0].result(left)
            del futures[0]
            futures.extend(islice(more, 1))
            values.reverse()
            while values:  # none is kept longer than its taker keeps it
                yield values.pop()
    finally:
        for future in futures:
            future.cancel()
