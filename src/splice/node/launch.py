"""Launcher: starts, watches and ends OS processes from one lasting thread.

One thread, because Linux ends a child (PR_SET_PDEATHSIG) when the *thread* that started it
ends; lasting, because a thread of the user's or a pool's may end at any time.  Callbacks run
on this thread, one at a time, and must be short: they hand over and return::

    any thread                launcher's thread                      the child (node/lifeline.py)
    start(boot) ────────────▶ pipes, Popen, pidfd
                              path, boot ─────────── stdin ────────▶ target(boot, ready)
    on_ready(info) ◀───────── {"ready": info} ◀───── report pipe ─── ready(info)
    child.kill() ───────────▶ SIGKILL to its group ────────────────▶ ×
    on_exit(Exit) ◀────────── exit status ◀───────── pidfd ─────────
                              (the parent ends) ──── stdin's end ──▶ kills itself

A child is a session of its own: the terminal's Ctrl-C does not reach it, and whatever it
started and left in its process group ends with it.  A copy of the parent made by `os.fork`
owns no children: it holds no pipe that would keep them alive, and cannot end them.

Nothing is done at the end of the program: with it end the thread and the pipes, and so do the
children.  Who wants them to end gently does so before, as the node does.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import selectors
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Protocol

from splice.errors import CannotWait, SpliceError
from splice.node.child import Child as Child
from splice.node.child import Exit as Exit
from splice.node.child import OsChild, read_now
from splice.node.outlets import OnOutput

POLL_SECONDS: Final = 0.02
"""Seconds between two looks at a child where the system has no pidfd: a lost worker is noticed
before a person would, and a hundred children cost nothing measurable."""


class Launcher(Protocol):
    """What a node needs to have OS processes started; the simulator has its own."""

    def start(
        self,
        boot: bytes,
        *,
        target: str,
        on_ready: Callable[[dict[str, Any]], None],
        on_exit: Callable[[Exit], None],
        on_output: OnOutput | None = None,
    ) -> Child:
        """Start a child that calls ``target`` (``module:function``) with `boot` and `ready`.

        Args:
            boot: what it needs to know; travels on a pipe and may hold secrets.
            target: ``module:function``, found with the parent's ``sys.path``.
            on_ready: called at most once, with what the child reported.
            on_exit: called exactly once, whether it was ready or not, and last.
            on_output: is given what it writes, see `splice.node.outlets`; None: it writes where
                the parent does.

        Raises:
            OSError: the system could not start it; no callback follows.
        """


class OsLauncher:
    """Starts OS processes from one thread, which begins with the first and never ends.

    `start` may be called from any thread.  Use `os_launcher`: one for each OS process.

    Args:
        command: runs the interpreter; the one that runs here if None.
        path: the children's ``sys.path``; that of this OS process if None.
    """

    def __init__(
        self, *, command: Sequence[str] | None = None, path: Sequence[str] | None = None
    ) -> None:
        self._command = command
        self._path = path
        self.forking = threading.Lock()
        """Held while a child's pipes are made, so that no forked copy has them unnoticed."""
        self._owner = os.getpid()
        self._thread: threading.Thread | None = None
        self._children: set[OsChild] = set()
        self._requests: deque[Callable[[], None]] = deque()
        self._selector: selectors.BaseSelector | None = None
        self._alarm = (-1, -1)

    def start(
        self,
        boot: bytes,
        *,
        target: str,
        on_ready: Callable[[dict[str, Any]], None],
        on_exit: Callable[[Exit], None],
        on_output: OnOutput | None = None,
    ) -> Child:
        """Start a child; see `Launcher`.  Returns when the OS process exists: about 2 ms."""
        self._check_owner()
        self._begin()
        frames = _frame(self._origin()) + _frame(boot)
        child = OsChild(self, on_ready, on_exit, on_output)
        if threading.current_thread() is self._thread:
            self._start_child(child, frames, target)
            return child
        answer: SimpleQueue[Exception | None] = SimpleQueue()
        self.post(partial(self._start_for, answer, child, frames, target))
        if (error := answer.get()) is not None:
            raise error
        return child

    @property
    def command(self) -> Sequence[str]:
        """What runs the interpreter of a child that is started now."""
        return [sys.executable] if self._command is None else self._command

    def post(self, request: Callable[[], None]) -> None:
        """Have `request` called on the launcher's thread; the door for all others."""
        self._check_owner()
        self._requests.append(request)
        with contextlib.suppress(BlockingIOError):  # full: the thread is awake anyway
            os.write(self._alarm[1], b"!")

    def check_may_wait(self, child: OsChild) -> None:
        """Raise when waiting here for the end of `child` could never end."""
        self._check_owner()
        if threading.current_thread() is self._thread:
            raise CannotWait(
                f"a callback may not wait for the end of OS process {child.pid}: it runs on"
                " the thread that would see it; use on_exit"
            )

    def disown(self) -> None:
        """Let go of all children: this is a forked copy of the OS process that has them."""
        # The selector is shared with the parent: it is closed and never asked to change.
        if self._selector is not None:
            self._selector.close()
            self._selector = None
            for descriptor in self._alarm:
                os.close(descriptor)
        for child in self._children:
            child.close()
        self._children.clear()

    def watch(self, descriptor: int, event: int, then: Callable[[], None]) -> None:
        """Call `then` when `descriptor` is ready.  Launcher's thread only."""
        assert self._selector is not None
        self._selector.register(descriptor, event, then)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching `descriptor`, if it is watched.  Launcher's thread only."""
        if self._selector is not None and descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def forget(self, child: OsChild) -> None:
        """Strike out a child that has ended.  Launcher's thread only."""
        self._children.discard(child)

    def _origin(self) -> bytes:
        path = sys.path if self._path is None else self._path
        return marshal.dumps((os.getpid(), [str(entry) for entry in path]))

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise SpliceError(
                f"this OS process ({os.getpid()}) is a forked copy of {self._owner}, which"
                " owns the children; start your own from here"
            )

    def _begin(self) -> None:
        with self.forking:
            if self._thread is not None:
                return
            self._selector = selectors.DefaultSelector()
            self._alarm = os.pipe()
            for descriptor in self._alarm:
                os.set_blocking(descriptor, False)
            self.watch(self._alarm[0], selectors.EVENT_READ, self._run_requests)
            self._thread = threading.Thread(
                target=self._serve, name="splice-launcher", daemon=True
            )
            _started.append(self)
            self._thread.start()

    def _serve(self) -> None:
        assert self._selector is not None
        while True:
            polled = [child for child in self._children if child.is_polled]
            for key, _ in self._selector.select(POLL_SECONDS if polled else None):
                # An event before this one may have closed it, or opened another.
                if self._selector.get_map().get(key.fd) == key:
                    key.data()
            for child in polled:
                child.look()

    def _run_requests(self) -> None:
        while read_now(self._alarm[0]):
            pass
        while self._requests:
            self._requests.popleft()()

    def _start_for(
        self,
        answer: SimpleQueue[Exception | None],
        child: OsChild,
        frames: bytes,
        target: str,
    ) -> None:
        """Start a child for another thread; what goes wrong is raised there."""
        try:
            self._start_child(child, frames, target)
        except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            answer.put(error)
        else:
            answer.put(None)

    def _start_child(self, child: OsChild, frames: bytes, target: str) -> None:
        child.execute(frames, target)
        self._children.add(child)


_shared: dict[int, OsLauncher] = {}
_started: list[OsLauncher] = []
# Module state, since an OS process has one launcher as it has one table of children.


def os_launcher() -> OsLauncher:
    """Return the launcher of this OS process.  Thread-safe."""
    return _shared.setdefault(os.getpid(), OsLauncher())


def _frame(content: bytes) -> bytes:
    return len(content).to_bytes(8, "big") + content


def _before_fork() -> None:
    for launcher in _started:
        launcher.forking.acquire()


def _after_fork_in_parent() -> None:
    for launcher in _started:
        launcher.forking.release()


def _after_fork_in_child() -> None:
    for launcher in _started:
        launcher.disown()
    _started.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
