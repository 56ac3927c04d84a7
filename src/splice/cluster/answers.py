"""Answers: what `imap` returns: iterates over answers as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from splice.cluster.outcomes import OnError, unpack_part
from splice.cluster.running import MapRun


class Answers:
    """Iterates over the answers of a map; for one thread, or one asyncio loop, at a time."""

    def __init__(self, run: MapRun, on_error: OnError) -> None:
        self._run = run
        self._on_error = on_error
        self._answers: deque[tuple[Any, BaseException | None]] = deque()
        self._is_closed = False
        # the first items are on their way before anybody asks for an answer
        run.news()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            while not self._answers:
                news = self._run.news()
                if self._take():
                    break
                if self._is_over():
                    raise StopIteration
                self._run.wait(news)
        except KeyboardInterrupt:
            self.close()
            raise
        return self._next()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._answers:
            news = self._run.news()
            if self._take():
                break
            if self._is_over():
                raise StopAsyncIteration
            self._run.show()
            await news
        return self._next()

    def close(self) -> None:
        """Stop the work; the iteration is over."""
        self._is_closed = True
        self._answers.clear()
        self._run.close()

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_answers", None) is not None:
            self._run.close()

    def _take(self) -> bool:
        """Unpack what has come; False: nothing."""
        if self._is_closed:
            return False
        for part in self._run.take():
            errors: dict[int, BaseException] = {}
            values = unpack_part(part, errors)
            self._answers += [
                (value, errors.get(index))
                for index, value in enumerate(values, part.start)
            ]
        return bool(self._answers)

    def _is_over(self) -> bool:
        """Tell whether all is said.

        Raises:
            BaseException: why no more answers come.
        """
        if self._is_closed:
            return True
        if not self._run.work.is_over or self._run.work.parts:
            return False
        self._run.show()
        self.close()
        error = self._run.work.error or self._run.input_error
        if error is not None:
            raise error
        return True

    def _next(self) -> Any:
        value, error = self._answers.popleft()
        if error is None:
            return value
        if self._on_error == "return":
            return error
        raise error
