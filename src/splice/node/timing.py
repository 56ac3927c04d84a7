"""Timing: `send_after`, `send_every` and `sleep`; a part of `splice.node.runtime.Runtime`.

A timer belongs to the current node, near or far as its target may be, and sends a `tell` each time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from splice.actor.cell import Cell
from splice.actor.context import current_cell, current_worker, is_on_loop
from splice.actor.elsewhere import sleep
from splice.actor.endings import life_of, will_return
from splice.actor.promise import Promise
from splice.actor.timers import Timer
from splice.actor.unsent import Unsent
from splice.errors import CannotWait, DeliveryError, Overloaded
from splice.log import logger
from splice.node.current import current_node, node_here
from splice.seconds import is_number, refusal, seconds_of

if TYPE_CHECKING:
    from splice.node.node import Node

LEAST_SECONDS: Final = 0.001
"""Between two beats of `send_every`."""

_log = logger("node")


class Timing:
    """What a runtime does later."""

    def send_after(
        self, seconds: float, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Timer:
        """Send a message later, one way as by `tell`.

        It is not sent when the process that runs this, or the one it is for, has ended by then.
        A restart by a supervisor is an end of the one that runs this, not of the one it is for.

        Args:
            seconds: from now.
            handler: the handler of a proxy, near or far: ``counter.add``.
            args, kwargs: what the handler is called with.

        Returns:
            The timer; ``timer.cancel()`` stops it.

        Raises:
            TypeError: `handler` is no handler of a proxy, or the arguments do not fit it, or
                `seconds` is no number.
            UnpicklableError: an argument cannot travel to its node.
            ValueError: `seconds` is negative or not finite.
        """
        if not (is_number(seconds) and 0 <= seconds < inf):
            raise refusal(
                seconds, f"send_after wants seconds from now on, not {seconds!r}"
            )
        return _Sending(node_here(), Unsent(handler, args, kwargs)).start(seconds, None)

    def send_every(
        self, seconds: float, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Timer:
        """Send a message again and again, for the first time in `seconds`; as `send_after`.

        It keeps the beat; times that a busy node has missed are left out.  It ends with the
        process that runs this, with the one it is for, and with its node.  A beat takes
        0.001 seconds at least: shorter ones would leave the node no time for anything else.
        """
        if not (is_number(seconds) and LEAST_SECONDS <= seconds < inf):
            text = f"send_every wants {LEAST_SECONDS} seconds or more, not {seconds!r}"
            raise refusal(seconds, text)
        sending = _Sending(node_here(), Unsent(handler, args, kwargs))
        return sending.start(seconds, seconds)

    def sleep(self, seconds: float) -> None:
        """Wait: in a handler only that handler does, elsewhere the thread.

        Raises:
            TypeError, ValueError: `seconds` is no number, or NaN.
            CannotWait: called on the node's loop outside a handler that can park.
        """
        seconds = max(0.0, seconds_of(seconds, "what sleep waits"))
        worker = current_worker()
        if worker is not None and not worker.callbacks:
            worker.scheduler.sleep(worker, seconds)
            return
        node = current_node()
        if is_on_loop(0 if node is None else node.scheduler.thread):
            raise CannotWait(
                "sleeping here would stop the node's loop; await asyncio.sleep"
            )
        sleep(seconds)


class _Sending:
    """Sends one message whenever its timer fires."""

    __slots__ = ("_life", "_message", "_node", "_owner", "_timer")

    def __init__(self, node: Node, message: Unsent) -> None:
        self._node = node
        self._message = message
        self._owner = current_cell()
        self._life = 0 if self._owner is None else life_of(self._owner)

    def start(self, seconds: float, every: float | None) -> Timer:
        """Set the timer."""
        self._timer = Timer(
            self._send,
            self._node.loop.time() + seconds,
            every=every,
            what=str(self._message),
            is_wanted=self._is_wanted,
        )
        self._node.soon(self._node.scheduler.timers.add, self._timer)
        return self._timer

    def _is_wanted(self) -> bool:
        target, owner = self._message.target, self._owner
        if isinstance(target, Cell) and target.has_ended and not will_return(target):
            return False
        # a supervisor restarts it in the same cell: what the last life has set is over
        return owner is None or not (owner.has_ended or life_of(owner) != self._life)

    def _send(self) -> None:
        self._message.send().add_done_callback(self._sent)

    def _sent(self, delivery: Promise) -> None:
        error = delivery.exception()
        if error is None:
            return
        if isinstance(error, Overloaded):  # the next one may get through
            _log.warning("a message of %r was not sent: %s", self._timer, error)
            return
        self._timer.cancel()
        level = _log.info if isinstance(error, DeliveryError) else _log.error
        level("%r has ended: %s", self._timer, error)
