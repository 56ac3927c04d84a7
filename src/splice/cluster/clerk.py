"""Clerk: keeps the futures of an executor, and settles them on a thread of its own.

::

    submit ─► CallFuture with its FutureCall ─► hub: begin, as it is given to a worker
    clerk's thread ◄── queue ◄── the call's answer, on the node's thread
       └─ unpack, set_result ─► the user's callbacks

Unpickling and callbacks are the user's code: they may take their time, and wait for promises, which
nothing on a node's loop may.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from splice.actor.context import is_on_loop
from splice.actor.promise import PENDING, Promise
from splice.cluster.initializer import InitializerFailed
from splice.cluster.packed import Packed, pack
from splice.cluster.work import Calls, SealedCall
from splice.errors import CannotWait, SpliceError
from splice.log import logger
from splice.node.leaving import Stage, before_leaving

if TYPE_CHECKING:
    from splice.cluster.hub import Hub
    from splice.node.node import Node

_log = logger("cluster")

_at_work: set[Clerk] = set()
"""Those that have a thread; their calls are waited for at the end of the program."""


class CallFuture(Future[Any]):
    """The future of one call.  Thread-safe.

    Attributes:
        call: the call, as long as it is not settled.
    """

    call: FutureCall | None = None

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread

    def cancel(self) -> bool:
        """Prevent the call; False: it was given to a worker already."""
        if not super().cancel():
            return False
        if (call := self.call) is not None:
            self.call = None
            call.call_off()
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it, or raise the error it became.

        Raises:
            CannotWait: to wait here would stop a node's loop.
        """
        self._check_wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the answer, and return the error it became, if it did."""
        self._check_wait()
        return super().exception(timeout)

    def _check_wait(self) -> None:
        if not self.done() and is_on_loop(self._thread):
            raise CannotWait(
                "to wait for a future here would stop the node's loop; submit the call to the "
                "session itself, which gives a promise, or await asyncio.wrap_future(future)"
            )


class FutureCall(SealedCall):
    """A call whose answer is a future's; node's thread, but for what says otherwise."""

    def __init__(
        self, node: Node, packed: Packed, name: str, hub: Hub, future: CallFuture
    ) -> None:
        super().__init__(node, packed, name, hub.cancel_call)
        self.future = future
        self._hub = hub
        self._has_begun: bool | None = None

    def begin(self) -> bool:
        """Have the future run from now on; False: it was cancelled before."""
        if self._has_begun is None:
            self._has_begun = self.future.set_running_or_notify_cancel()
        return self._has_begun

    def call_off(self) -> None:
        """The future was cancelled.  Thread-safe."""
        self._node.soon(self._call_off)

    def _call_off(self) -> None:
        self.begin()  # tells those that wait for the future
        self._hub.cancel_call(self, False)

    def stop(self, error: SpliceError | BrokenProcessPool) -> None:
        """Fail with `error`, whether it is in work or not."""
        if self.answer.state == PENDING:
            self.fail(error)
            self._hub.cancel_call(self, True)


class Clerk:
    """Submits calls to a hub and settles their futures.  Thread-safe.

    Args:
        node: the client's.
        hub: that of the session.
        retries: how often a call is given out again after a worker's death.
        on_end: called once, when it is closed and its last future is settled; must not wait.

    Attributes:
        is_closed: no more calls are taken.
        broken: why no call can be done any more.
    """

    def __init__(
        self, node: Node, hub: Hub, *, retries: int, on_end: Callable[[], object]
    ) -> None:
        self.is_closed = False
        self.broken: InitializerFailed | None = None
        self._node = node
        self._hub = hub
        self._options = Calls(retries=retries)
        self._on_end = on_end
        self._has_ended = False
        self._unfinished: set[CallFuture] = set()
        self._changed = threading.Condition()
        self._settled: SimpleQueue[FutureCall | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> CallFuture:
        """Have ``function(*args, **kwargs)`` called; `name` is the function's, for people."""
        future = CallFuture(self._node.scheduler.thread)
        with self._changed:
            self._check_open()
            if self._thread is None:
                self._start()
            self._unfinished.add(future)
        # first of all its callbacks: whoever hears of the last one may close
        future.add_done_callback(self._forget)
        try:
            packed = pack((function, args, kwargs))
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return future
        future.call = FutureCall(self._node, packed, name, self._hub, future)
        self._node.soon(self._submit, future.call)
        return future

    def _check_open(self) -> None:
        if self.broken is not None:
            raise BrokenProcessPool(str(self.broken)) from self.broken
        if self.is_closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _submit(self, call: FutureCall) -> None:
        call.answer.add_waiter(_Answered(self, call))
        self._hub.submit(call, self._options)

    def answered(self, call: FutureCall) -> None:
        """Have the future of a call settled; on the node's thread."""
        if call.begin():
            self._settled.put(call)

    def stop(self, error: SpliceError | BrokenProcessPool) -> None:
        """Fail all calls there are with `error`; what is in work is stopped."""
        with self._changed:
            calls = [future.call for future in self._unfinished]
        for call in calls:
            if call is not None:
                self._node.soon(call.stop, error)

    def close(self, *, wait: bool, cancel: bool = False) -> None:
        """Take no more calls.

        Args:
            wait: return when all futures are settled and their callbacks have run.
            cancel: prevent the calls that no worker has.
        """
        with self._changed:
            self.is_closed = True
            futures = list(self._unfinished) if cancel else []
        for future in futures:
            future.cancel()
        with self._changed:
            self._end_if_idle()
            is_own = threading.current_thread() is self._thread
            while wait and self._unfinished and not is_own:
                self._changed.wait()
        if wait and self._thread is not None and not is_own:
            self._thread.join()

    def _forget(self, future: Future[Any]) -> None:
        with self._changed:
            self._unfinished.discard(future)
            self._end_if_idle()
            self._changed.notify_all()

    def _end_if_idle(self) -> None:
        if self.is_closed and not self._unfinished and not self._has_ended:
            self._has_ended = True
            self._settled.put(None)
            self._on_end()

    # ---- the clerk's thread

    def _start(self) -> None:
        # a daemon: the end of the program waits for it in `_at_exit`, while the node still lives
        thread = threading.Thread(
            target=self._serve, name="splice-futures", daemon=True
        )
        thread.start()  # raises where no thread can be had
        self._thread = thread
        _at_work.add(self)

    def _serve(self) -> None:
        while (call := self._settled.get()) is not None:
            self._settle(call)
            del call  # nothing of it may live until the next one comes
        _at_work.discard(self)

    def _settle(self, call: FutureCall) -> None:
        value, error = call.open()
        future, future.call = call.future, None
        if isinstance(error, InitializerFailed) and self.broken is None:
            self.broken = error
            self.stop(BrokenProcessPool(str(error)))
        try:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        except BaseException:
            # the others are to be settled, whatever a callback does
            _log.exception("a callback of a future of %s failed", call)


class _Answered:
    """Tells the clerk that a call has its answer."""

    __slots__ = ("_call", "_clerk")

    def __init__(self, clerk: Clerk, call: FutureCall) -> None:
        self._clerk = clerk
        self._call = call

    def settled(self, promise: Promise) -> None:
        self._clerk.answered(self._call)


def _at_exit() -> None:
    """Let what was submitted come to its end, before the node is shut down."""
    for clerk in list(_at_work):
        clerk.close(wait=True)


before_leaving(Stage.EXECUTORS, _at_exit)
# a copy has no thread that would settle anything
os.register_at_fork(after_in_child=_at_work.clear)
