"""Patience: how the thread that imports waits for the client.

Any thread may import.  On most of them one waits for a promise; the thread of the node's own loop
cannot, for it is the one that would settle it.  It reads and writes messages until the answer is
there, and nothing else happens on the loop meanwhile, as with any import::

    main thread, user's threads   ask ─► queue ─► the loop asks ─► Asked.get()
    the node's loop               ask ─────────► promise, Peers.pump until it is settled

The queue is served by the loop, and by a pump as well: else a thread that imports, and holds the
gate, would wait for the loop while that waits for the gate.

While a batch of messages is taken in, the loop can do neither: then `Postponed` is raised, and
`splice.node.held` decodes that message on another thread.  So it is with what comes while the loop
itself is in the middle of an import, if it needs a module that is not ready: it may be that one.
"""

from __future__ import annotations

import time
from _thread import get_ident
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from splice.actor.proxy import tell
from splice.errors import DependencyTransferError, InternalError, SpliceError
from splice.net.passing import Postponed

if TYPE_CHECKING:
    from splice.actor.promise import Promise
    from splice.node.node import Node

PUMP_SECONDS: Final = 0.02
"""Between two looks at the queue while the loop pumps; its own answers end the pump at once."""


class Asked:
    """What another thread than the loop's has asked.

    Not the promise itself: to wait for one, a thread needs the loop, which may be pumping.
    """

    __slots__ = ("_outcome",)

    def __init__(self) -> None:
        self._outcome: SimpleQueue[Promise | SpliceError] = SimpleQueue()

    def follow(self, promise: Promise) -> None:
        """Get what `promise` becomes; on the loop."""
        if promise.done():
            self.settled(promise)
        else:
            promise.add_waiter(self)

    def settled(self, promise: Promise) -> None:
        """Take in the outcome; called on the loop."""
        self._outcome.put(promise)

    def fail(self, error: SpliceError) -> None:
        """Take in why nothing could be asked; on the loop."""
        self._outcome.put(error)

    def get(self) -> Any:
        """Wait for the answer on a thread; return it, or raise what it became."""
        outcome = self._outcome.get()
        if isinstance(outcome, SpliceError):
            raise outcome
        return outcome.get()


class Patience:
    """Asks and waits on whatever thread it is called; thread-safe.

    Args:
        node: the worker's.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._queue: deque[tuple[Asked, Any, tuple[Any, ...]]] = deque()
        self._is_pumping = False

    def ask(self, handler: Any, *args: Any) -> Promise | Asked:
        """Call a handler of a far process; what `get` waits for, on the same thread."""
        if self._is_on_loop:
            self._check_may_pump()
            asked: Promise = handler(*args)
            return asked
        asking = Asked()
        self._queue.append((asking, handler, args))
        self._node.scheduler.post(self._serve)
        return asking

    def tell(self, handler: Any, *args: Any) -> None:
        """Tell a far process something, and wait for nothing."""
        self._node.scheduler.post(self._tell, handler, args)

    def _tell(self, handler: Any, args: tuple[Any, ...]) -> None:
        told = tell(handler, *args)
        told.add_done_callback(lambda _: None)  # who could have been told may be gone

    def get(self, answer: Promise | Asked) -> Any:
        """Wait for an answer and return it, or raise what it became."""
        if isinstance(answer, Asked):
            return answer.get()
        self._check_may_pump()
        while not answer.done():
            self._pump(answer)
        return answer.get()

    def pause(self, seconds: float) -> None:
        """Wait so long, or a bit less.

        Raises:
            Postponed: on the loop, while messages are taken in that can be taken in later.
            DependencyTransferError: on the loop, where nothing can be waited for.
        """
        if self._is_on_loop:
            self._check_may_pump()
            self._pump(None)
        else:
            time.sleep(seconds)

    def postpone(self) -> None:
        """Import nothing on the loop for a message that comes while it waits for a module itself.

        Raises:
            Postponed: such a message is being taken in.
        """
        if self._is_pumping and self._is_decoding:
            raise Postponed

    @property
    def _is_decoding(self) -> bool:
        held = self._node.exchange.held
        return held is not None and held.is_decoding

    @property
    def _is_on_loop(self) -> bool:
        return get_ident() == self._node.scheduler.thread

    def _check_may_pump(self) -> None:
        try:
            self._node.open().pump(lambda: True, 0.0)
        except InternalError as error:
            if self._is_decoding:
                raise Postponed from None
            raise DependencyTransferError(
                "a module cannot be fetched from the client in a callback on the loop of a "
                "node; import it before, or in a handler"
            ) from error

    def _pump(self, promise: Promise | None) -> None:
        """Move messages, for the time of one look at the queue."""
        node = self._node
        self._serve()
        deadline = node.loop.time() + PUMP_SECONDS
        self._is_pumping = True
        try:
            node.open().pump(
                lambda: bool(self._queue) or (promise is not None and promise.done()),
                deadline,
            )
        finally:
            self._is_pumping = False
        self._serve()

    def _serve(self) -> None:
        """Ask what other threads want to know; on the loop."""
        while self._queue:
            asking, handler, args = self._queue.popleft()
            try:
                asking.follow(handler(*args))
            except SpliceError as error:  # the node is closed
                asking.fail(error)
