"""Inbox: the door through which other threads reach a node.

::

    any thread ─► drop_in ─► deque ─► one wake-up of the loop ─► drain ─► after
                                       (none while one is on its way)

Once the node is closed, or its loop gone, whoever drops something in serves the inbox on the spot,
one thread at a time: nothing that is dropped in is ever left lying.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any

from splice.actor.context import current_worker
from splice.actor.elsewhere import block
from splice.actor.promise import PENDING, Promise, Tell

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler


class Inbox:
    """What other threads have for one node.

    Args:
        scheduler: that of the node.
        after: called on the node's thread when the inbox has been served.
    """

    def __init__(self, scheduler: Scheduler, after: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._after = after
        self._items: deque[Any] = deque()
        self._is_woken = False
        # re-entrant: a finalizer that runs inside may drop something in
        self._closing = RLock()

    def drop_in(self, item: Any) -> None:
        """Have a message, or a function with its arguments, served.  Thread-safe."""
        self._items.append(item)
        scheduler = self._scheduler
        if scheduler.is_closed:
            self.serve_closed()
        elif not self._is_woken:
            # one wake-up serves everything that is dropped in until the inbox is drained
            try:
                self._is_woken = True
                scheduler.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop was closed, and nobody told the scheduler
                self.close()
            except BaseException:  # Ctrl-C: the next one shall wake the loop
                self._is_woken = False
                raise

    def close(self) -> None:
        """Abandon the scheduler, whose loop is gone, and serve what is there."""
        scheduler = self._scheduler
        with self._closing:
            # as in `serve_closed`: what it fails is told on the spot
            thread, scheduler.thread = scheduler.thread, get_ident()
            try:
                scheduler.abandon()
            finally:
                scheduler.thread = thread
        self.serve_closed()

    def disown(self) -> None:
        """Forget what the parent's threads were at: this is a copy, made by `os.fork`."""
        self._is_woken = False
        self._closing = RLock()

    def serve_closed(self) -> None:
        """Serve what is there, in whatever thread; the node is closed."""
        scheduler = self._scheduler
        with self._closing:
            # this thread stands in for the node's, which may be gone
            thread, scheduler.thread = scheduler.thread, get_ident()
            try:
                while self._items:
                    self._serve(self._items.popleft())
            finally:
                scheduler.thread = thread

    def _drain(self) -> None:
        self._is_woken = False
        items = self._items
        try:
            # no more than there are now: the loop has others to serve
            for _ in range(len(items)):
                self._serve(items.popleft())
        finally:
            if items and not self._is_woken:
                self._is_woken = True
                self._scheduler.loop.call_soon(self._drain)
        self._after()

    @staticmethod
    def _serve(item: Any) -> None:
        kind = type(item)
        if kind is Tell:
            item.target.put_tell(item)
        elif kind is tuple:
            function, args = item
            function(*args)
        else:
            item.target.put(item)


def call(scheduler: Scheduler, function: Callable[..., Any], args: Any) -> Any:
    """Call ``function(*args)`` on the thread of `scheduler`; see `Scheduler.call`."""
    answer = Promise(scheduler)
    scheduler.post(_call_into, answer, function, args)
    if current_worker() is None and answer.state == PENDING:
        block(answer, None, is_brief=True)  # else what was made there would be lost
    return answer.get()


def _call_into(answer: Promise, function: Callable[..., Any], args: Any) -> None:
    """Settle `answer` with what ``function(*args)`` returns or raises; see `call`."""
    try:
        value = function(*args)
    except BaseException as error:
        answer.reject(error)
    else:
        answer.resolve(value)
