"""Work: what a hub has done by its workers: maps, and single calls.

A work is a `Share` of the ledger that knows what becomes of the outcomes.  All of it belongs to
the thread of the client's node, but for what says otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from splice.actor.promise import ERROR, PENDING, Promise
from splice.cluster.batches import Batch, Collector, Cutter, Part
from splice.cluster.orders import CALL, Outcome
from splice.cluster.packed import Packed, pack_error
from splice.cluster.share import Share
from splice.errors import Cancelled, SpliceError
from splice.node.current import decoding
from splice.seconds import timeout_of

if TYPE_CHECKING:
    from splice.node.node import Node


class Work(Share):
    """What a map and single calls have in common.

    Attributes:
        number: tells it from others on the workers.
        function: packed ``(function, extra arguments, retry_on)``; None for calls.
        timeout: seconds that a batch may take, None for ever.
        retries_timeouts: an item that took too long is given out again.
    """

    number = CALL
    function: Packed | None = None
    retries_timeouts = False

    def __init__(self, *, timeout: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        timeout = timeout_of(timeout)
        if timeout is not None and not timeout > 0:
            raise ValueError(
                f"timeout is more than 0 seconds, or None, not {timeout!r}"
            )
        self.timeout = timeout

    def settle(self, batch: Batch, outcome: Outcome) -> None:
        """Take in what a worker has answered to a batch."""
        raise NotImplementedError

    def fail(self, batch: Batch, error: BaseException) -> None:
        """Take `error` as the outcome of every item of a batch."""
        raise NotImplementedError

    def describe(self, batch: Batch) -> str:
        """Say what a batch is, for messages to people: ``item 7 of a map``."""
        raise NotImplementedError


class MapWork(Work):
    """One map.

    Its caller looks at it from a thread of its own: it takes `news` first, then looks, and waits
    for that news when there is nothing.

    Attributes:
        news: a promise that is settled when there is something to look at.
        wanted: how many batches the caller is to supply; it sets that back to 0.
        is_asked: the caller was asked, and has not supplied them yet.
        is_over: no more outcomes come.
        error: why it ended before its end.
        done: items whose outcome is known.
        parts: outcomes that the caller may take.
    """

    def __init__(
        self, node: Node, number: int, function: Packed, cutter: Cutter, **options: Any
    ) -> None:
        self.is_stream = options.pop("is_stream", False)
        is_ordered = options.pop("is_ordered", True)
        retry_on = options.pop("retry_on", ())
        super().__init__(
            pace=cutter.pace,
            chunksize=cutter.chunksize,
            is_windowed=self.is_stream,
            **options,
        )
        self.uncut = cutter.remaining
        self.number = number
        self.function = function
        self.retries_timeouts = issubclass(TimeoutError, retry_on)
        self.collector = Collector(in_order=is_ordered)
        self.parts: deque[Part] = deque()
        self.news = Promise(node.scheduler)
        self.wanted = 0
        self.is_asked = False
        self.is_over = False
        self.error: BaseException | None = None
        self._scheduler = node.scheduler

    @property
    def done(self) -> int:
        """Items whose outcome is known."""
        return self.collector.count

    def settle(self, batch: Batch, outcome: Outcome) -> None:
        """Take in what a worker has answered to a batch."""
        self.add(Part(batch.start, batch.count, outcome.values, outcome.failures))

    def fail(self, batch: Batch, error: BaseException) -> None:
        """Take `error` as the outcome of every item of a batch."""
        self.add(Part(batch.start, batch.count, None, [(-1, pack_error(error))]))

    def describe(self, batch: Batch) -> str:
        """Say which items of the map a batch is."""
        if batch.count == 1:
            return f"item {batch.start} of a map"
        return f"items {batch.start} to {batch.end - 1} of a map"

    def add(self, part: Part) -> None:
        """Take in the outcome of some items."""
        if not self.is_over:
            self.unread += 1
            self.collector.add(part)

    def hand_on(self) -> None:
        """Let the caller have what has come in this turn."""
        ready = self.collector.take()
        self.parts += ready
        if ready and self.is_stream:
            self.tell()

    def want(self, count: int) -> None:
        """Ask the caller for batches, unless it was asked before."""
        if count and not self.is_asked:
            self.is_asked = True
            self.wanted = count
            self.tell()

    def end(self, error: BaseException | None) -> None:
        """No more outcomes come; with an `error`, not all of them are here."""
        if not self.is_over:
            self.parts += self.collector.take()
            self.is_over = True
            self.error = error
            self.tell()

    def tell(self) -> None:
        """Tell the caller that there is something to look at."""
        # the new one first: whoever is told shall find the next in its place
        news, self.news = self.news, Promise(self._scheduler)
        news.resolve(None)


class Calls(Work):
    """All single calls of a session that share their options."""

    def settle(self, batch: Batch, outcome: Outcome) -> None:
        """Give a call its answer."""
        batch.items.settle(outcome)

    def fail(self, batch: Batch, error: BaseException) -> None:
        """Give a call its error."""
        batch.items.fail(error)

    def describe(self, batch: Batch) -> str:
        """Say which call it is."""
        return f"a call of {batch.items.name}"


class Call:
    """One call of one function on some worker.

    Args:
        node: the client's.
        packed: function, arguments and keyword arguments.
        name: the function's, for messages to people.

    Attributes:
        answer: the promise of what the function returns.
        batch: it, for the ledger.
        verdict: whether it could be cancelled, while that is found out.
    """

    is_near: ClassVar[bool] = False

    def __init__(
        self,
        node: Node,
        packed: Packed,
        name: str,
        cancel: Callable[[Call, bool], bool | Promise],
    ) -> None:
        self.scheduler = node.scheduler
        self.packed = packed
        self.name = name
        self.batch = Batch(0, 1, self, size_bytes=packed.size_bytes)
        self.answer = Promise(self)
        self.verdict: Promise | None = None
        self._node = node
        self._cancel = cancel

    def begin(self) -> bool:
        """Hear that a worker gets the call now; False: nobody wants it any more."""
        return True

    def cancel_message(self, message: Promise, is_begun_too: bool) -> bool | Promise:
        """Give the call up; a promise where only its worker can tell."""
        if message is not self.answer:
            return True  # what follows the answer here
        return self._cancel(self, is_begun_too)

    def settle(self, outcome: Outcome) -> None:
        """Settle the answer with what the worker has sent."""
        # A promise has its answer when it is settled, and its callbacks run here: so this is
        # opened here, as the answers of all handlers of other nodes are.
        value, error = self.opened(outcome)
        if error is None:
            self._resolve(value)
        else:
            self.fail(error)

    def opened(self, outcome: Outcome) -> tuple[Any, BaseException | None]:
        """Unpack an outcome: the value, or the error."""
        token = decoding.set(self._node)
        try:
            if outcome.failures:
                return None, outcome.failures[0][1].unpack_error()
            assert outcome.values is not None
            return outcome.values.unpack()[0], None
        except SpliceError as error:  # an answer's class is not known here
            return None, error
        finally:
            decoding.reset(token)

    def _resolve(self, value: Any) -> None:
        if self.answer.state == PENDING:
            self.answer.resolve(value)
        self.judge(was_stopped=False)

    def fail(self, error: BaseException) -> None:
        """Settle the answer with an error."""
        if self.answer.state == PENDING:
            self.answer.reject(error)
        self.judge(was_stopped=False)

    def judge(self, *, was_stopped: bool) -> None:
        """Tell who wanted the call cancelled what came of it."""
        verdict, self.verdict = self.verdict, None
        if verdict is None:
            return
        if was_stopped and self.answer.state == PENDING:
            self.answer.reject(Cancelled(f"the call of {self.name} was cancelled"))
            self.answer.look()
        verdict.resolve(was_stopped)

    def __str__(self) -> str:
        return f"the call of {self.name}"


class SealedCall(Call):
    """A call whose answer is opened by who waits for it: unpickling is the user's code."""

    def settle(self, outcome: Outcome) -> None:
        """Keep what the worker has sent."""
        self._resolve(outcome)

    def open(self) -> tuple[Any, BaseException | None]:
        """Return the value, or the error, of an answer that is there; on any thread."""
        if self.answer.state == ERROR:
            return None, self.answer.error()
        return self.opened(self.answer.value)
