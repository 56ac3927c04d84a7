"""Watchdog: warns of a handler that holds the loop of a node, with the stack.

One daemon thread looks at all nodes of the OS process, twice in each period of ``handler_warning``.
The loop does nothing for it as long as it takes turns or sleeps; only when it has done neither
since the last look, a question is put to it::

    look ─► a turn since, or asleep ─► fine
         ─► neither: ask the loop ─► answered by the next look ─► fine
                                  ─► not answered for a period ─► warn, once

It looks at mailboxes, too: see `splice.node.mailboxes`.
C code that keeps the interpreter to itself stops this thread too, and is not seen.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from splice.actor.info import is_users
from splice.actor.scheduler import Scheduler
from splice.log import logger
from splice.node.mailboxes import Mailboxes

if TYPE_CHECKING:
    from splice.node.node import Node

_WORK: Final[CodeType] = Scheduler.work.__code__
_RUN: Final[CodeType] = Scheduler.run.__code__

_log = logger("node")


class Watch:
    """The state of one node between two looks; decides, and does nothing itself.

    Args:
        node: the node.
        period: seconds that a handler may hold the loop.
        sample: returns the frame that the node's thread is at, or None.
        warn: told of a handler that holds the loop: its name and its stack.
    """

    def __init__(
        self,
        node: Node,
        period: float,
        *,
        sample: Callable[[], FrameType | None],
        warn: Callable[[str, str], None],
    ) -> None:
        self.node = node
        self.period = period
        self.mailboxes = Mailboxes(node)
        self._sample = sample
        self._warn = warn
        self._turns = -1
        self._looked_at = 0.0
        self._asked_at: float | None = None
        self._has_warned = False

    def look(self, now: float) -> None:
        """Look at the node; `now` is a monotonic time in seconds."""
        # this very OS process was stopped, or starved: the node had no chance either
        had_no_chance = now - self._looked_at > self.period
        self._looked_at = now
        turns = self.node.scheduler.turns
        frame = self._sample()
        if turns != self._turns or frame is None or is_asleep(frame):
            self._turns = turns
            self._asked_at = None
            self._has_warned = False
        elif self._asked_at is None:
            self._asked_at = now
            self._ask()
        elif had_no_chance:
            self._asked_at = now
        elif now - self._asked_at >= self.period and not self._has_warned:
            self._has_warned = True
            self._warn(*explain(frame))

    def answer(self) -> None:
        """The loop has come round; on the node's thread."""
        self._turns = -1

    def _ask(self) -> None:
        try:
            self.node.loop.call_soon_threadsafe(self.answer)
        except RuntimeError:
            # the loop was closed just now, and the node will be dropped at the next look
            self._asked_at = None


class Watchdog:
    """The thread that looks; there is one in an OS process, while it has nodes.  Thread-safe."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything: at first, and in a copy of the OS process, which has no thread."""
        self._lock = threading.Lock()
        self._watches: list[Watch] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, node: Node) -> None:
        """Look after `node` until it is closed, unless its ``handler_warning`` is 0."""
        period = node.config.handler_warning
        if period <= 0:
            return
        thread = node.scheduler.thread
        watch = Watch(
            node,
            period,
            sample=lambda: sys._current_frames().get(thread),
            warn=lambda name, stack: _log.warning(
                "%s has held the loop of %s for more than %g s, and nothing else runs "
                "there; make it @blocking, or have it wait with await or sync:\n%s",
                name,
                node,
                period,
                stack,
            ),
        )
        with self._lock:
            self._watches.append(watch)
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look_on, name="splice-watchdog", daemon=True
                )
                self._thread.start()

    def _look_on(self) -> None:
        while True:
            with self._lock:
                alive = [w for w in self._watches if not w.node.is_closed]
                self._watches = alive
                if not alive:
                    self._thread = None
                    return
                self._wake.clear()
            now = time.monotonic()
            for watch in alive:
                watch.look(now)
                watch.mailboxes.look()
            self._wake.wait(min(watch.period for watch in alive) / 2)


watchdog: Final = Watchdog()
"""That of this OS process."""

os.register_at_fork(after_in_child=watchdog.start_anew)


def is_asleep(frame: FrameType) -> bool:
    """Tell whether a thread waits in its loop's selector: it has nothing to do."""
    return frame.f_code.co_name == "select" and not is_users_loop(frame)


def is_users_loop(frame: FrameType) -> bool:
    """Tell whether a ``select`` is not that of the loop of a node."""
    caller = frame.f_back
    return caller is None or caller.f_code.co_name != "_run_once"


def explain(frame: FrameType) -> tuple[str, str]:
    """Return the name of the handler that runs at `frame`, and the stack of it as text."""
    frames: list[FrameType] = []
    name = "a callback of the loop"
    here: FrameType | None = frame
    while here is not None:
        code = here.f_code
        if code is _RUN or code is _WORK:
            name = _of_worker(here.f_locals.get("worker")) or name
            break
        if code.co_name == "_shielded" and not is_users(here):
            name = _of_task(here.f_locals.get("owner")) or name
            break
        frames.append(here)
        here = here.f_back
    while frames and not is_users(frames[-1]):
        frames.pop()
    summary = traceback.StackSummary.extract(
        (each, each.f_lineno) for each in reversed(frames)
    )
    return name, "".join(summary.format())


def _of_worker(worker: Any) -> str | None:
    stack = list(getattr(worker, "stack", ()))
    return stack[-1].describe() if stack else None


def _of_task(owner: Any) -> str | None:
    cell = getattr(owner, "_sp_cell", None)
    message = getattr(getattr(cell, "runner", None), "message", None)
    return None if message is None else str(message.describe())
