"""OsChild: one OS process that the launcher started, from its pipes to its end.

All of it happens on the thread of `splice.node.launch.OsLauncher`, which is drawn there;
the far side is `splice.node.lifeline`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from splice.log import logger
from splice.node.evidence import Evidence, count_oom_kills, named_by_kernel
from splice.node.lifeline import COMMAND
from splice.node.outlets import OnOutput, Outlets

if TYPE_CHECKING:
    from splice.node.launch import OsLauncher

_log = logger("node")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended.

    Attributes:
        pid: its number while it lived.
        code: its exit code, None when a signal ended it or nobody knows.
        signal: the signal that ended it, or None.
        failure: what it reported instead of readiness, or after it, a traceback; or None.
        evidence: what else is known of it.
    """

    pid: int
    code: int | None
    signal: int | None
    failure: str | None = None
    evidence: Evidence = field(default_factory=Evidence, compare=False)

    @property
    def text(self) -> str:
        """What happened, to stand behind the name of a node: ``was killed by SIGKILL``."""
        if self.signal is not None:
            return f"was killed by {signal_name(self.signal)}"
        if self.code is None:
            return "ended (exit status collected by somebody else)"
        return f"exited with code {self.code}"


class Child(Protocol):
    """An OS process that a launcher started.  Thread-safe."""

    @property
    def pid(self) -> int:
        """Its number in the system's table; only for people to read."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM); nothing happens when it has ended."""

    def kill(self) -> None:
        """End it at once, and all it started; nothing happens when it has ended."""

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Return how it ended, or None when it still lives after `timeout` seconds."""


class OsChild:
    """A child of this OS process.

    What has no underscore may be called from any thread; the rest, and all state but
    `_ended`, belongs to the launcher's thread.
    """

    def __init__(
        self,
        launcher: OsLauncher,
        on_ready: Callable[[dict[str, Any]], None],
        on_exit: Callable[[Exit], None],
        on_output: OnOutput | None = None,
    ) -> None:
        self.pid = 0
        self._launcher = launcher
        self._on_ready = on_ready
        self._on_exit = on_exit
        self._pidfd = -1
        self._lifeline = -1
        self._report = -1
        self._unsent = memoryview(b"")
        self._received = b""
        self._failure: str | None = None
        self._exit: Exit | None = None
        self._ended = threading.Event()
        self._outlets = Outlets(launcher, on_output) if on_output else None
        self._oom_kills = count_oom_kills()
        self._is_killed = False
        self._peak_memory_bytes = 0

    def terminate(self) -> None:
        """Ask it to end (SIGTERM); nothing happens when it has ended."""
        self._launcher.post(partial(self._send_signal, signal.SIGTERM))

    def kill(self) -> None:
        """End it at once, and all it started; nothing happens when it has ended."""
        self._launcher.post(partial(self._send_signal, signal.SIGKILL))

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Return how it ended, or None when it still lives after `timeout` seconds.

        Raises:
            CannotWait: called by a callback, whose thread is the one that sees children end.
        """
        self._launcher.check_may_wait(self)
        return self._exit if self._ended.wait(timeout) else None

    def execute(self, frames: bytes, target: str) -> None:
        """Make the OS process.  Launcher's thread only, as for all that follows."""
        try:
            with self._launcher.forking:
                self._pipe_and_execute(target)
        except BaseException:
            self.close()
            raise
        self._unsent = memoryview(frames)
        for descriptor in (self._lifeline, self._report):
            os.set_blocking(descriptor, False)
        watch = self._launcher.watch
        watch(self._lifeline, selectors.EVENT_WRITE, self._send_boot)
        watch(self._report, selectors.EVENT_READ, self._read_report)
        if self._outlets is not None:
            self._outlets.watch()
        if self._pidfd >= 0:
            watch(self._pidfd, selectors.EVENT_READ, self.look)

    def _pipe_and_execute(self, target: str) -> None:
        with contextlib.ExitStack() as far_ends:
            boot_end, self._lifeline = os.pipe()
            far_ends.callback(os.close, boot_end)
            self._report, report_end = os.pipe()
            far_ends.callback(os.close, report_end)
            outlets: list[int] = []
            if self._outlets is not None:
                outlets = far_ends.enter_context(self._outlets.open())
            command = self._launcher.command
            self.pid = _execute(command, target, boot_end, report_end, outlets)
            self._pidfd = _open_pidfd(self.pid)

    def _send_boot(self) -> None:
        """Send what the pipe takes; afterwards it stays open as the child's lifeline."""
        try:
            self._unsent = self._unsent[os.write(self._lifeline, self._unsent) :]
        except BrokenPipeError:
            self._unsent = memoryview(b"")  # the child has ended: `look` tells
        if not self._unsent:
            self._launcher.unwatch(self._lifeline)

    def _read_report(self) -> None:
        if self._report < 0:
            return
        while chunk := read_now(self._report):
            self._received += chunk
        *messages, self._received = self._received.split(b"\n")
        if chunk is not None:
            self._launcher.unwatch(self._report)
            os.close(self._report)
            self._report = -1
        for message in map(json.loads, messages):
            self._failure = message.get("failed")
            if "ready" in message:
                self._call_back(self._on_ready, message["ready"])

    def look(self) -> None:
        """Tell how it ended, if it has; what it reported before goes first."""
        status = self._collect()
        if status is None:
            return
        self._read_report()
        if self._outlets is not None:
            self._outlets.drain()
        self._launcher.forget(self)
        code, number = status
        evidence = self._gather_evidence(number)
        self.close()
        self._exit = Exit(self.pid, code, number, self._failure, evidence)
        self._call_back(self._on_exit, self._exit)
        self._ended.set()

    def _gather_evidence(self, number: int | None) -> Evidence:
        """Return what is known of its end by signal `number`, if it was one."""
        lines = self._outlets.last_lines() if self._outlets is not None else ()
        oom = ""
        if number == signal.SIGKILL and not self._is_killed:
            oom = named_by_kernel(self.pid) or count_oom_kills().since(self._oom_kills)
        return Evidence(self._peak_memory_bytes, oom, lines, self._is_killed)

    def _collect(self) -> tuple[int | None, int | None] | None:
        """Return exit code and signal (neither: somebody else has them), None while it lives."""
        try:
            result = self._collect_by_pidfd()
        except ChildProcessError:
            return None, None
        if result is None:
            return None
        return (result, None) if result >= 0 else (None, -result)

    def _collect_by_pidfd(self) -> int | None:
        if self._pidfd < 0:
            return self._collect_by_number()
        look = os.WEXITED | os.WNOHANG
        if os.waitid(os.P_PIDFD, self._pidfd, look | os.WNOWAIT) is None:
            return None
        # Until it is collected its number is nobody else's, so now is the time to end
        # what it left behind in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._collect_by_number()

    def _collect_by_number(self) -> int | None:
        # this call and no other tells of its memory
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not pid:
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        self._peak_memory_bytes = usage.ru_maxrss * unit
        return os.waitstatus_to_exitcode(status)

    def _send_signal(self, number: signal.Signals) -> None:
        if self._exit is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._is_killed = number == signal.SIGKILL and not self._has_ended()
            if self._pidfd >= 0:
                # Raises when somebody else has collected it: its number may be another's.
                signal.pidfd_send_signal(self._pidfd, number)
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            elif self._pidfd < 0:
                os.kill(self.pid, number)

    def _has_ended(self) -> bool:
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return (
                self._pidfd < 0 or os.waitid(os.P_PIDFD, self._pidfd, look) is not None
            )
        except ChildProcessError:
            return True

    def _call_back(self, function: Callable[[T], None], argument: T) -> None:
        try:
            function(argument)
        except Exception:
            _log.exception("a callback about OS process %s failed", self.pid)

    def close(self) -> None:
        """Close the descriptors; in a forked copy this is all there is to do."""
        for descriptor in (self._pidfd, self._lifeline, self._report):
            if descriptor >= 0:
                self._launcher.unwatch(descriptor)
                os.close(descriptor)
        if self._outlets is not None:
            self._outlets.close()
        self._pidfd = self._lifeline = self._report = -1

    @property
    def is_polled(self) -> bool:
        """Whether the system gives no event when it ends."""
        return self._pidfd < 0


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9; a number without a name is shown as ``signal 42``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _execute(
    command: Sequence[str],
    target: str,
    boot_end: int,
    report_end: int,
    outlets: Sequence[int],
) -> int:
    """Run an interpreter in a session of its own; return its number.

    `outlets`, where there are any, become its standard output and error, and what it writes log
    records to.
    """
    # as multiprocessing does: -O, -W, -X and their like hold for children too
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    # -P: our own path replaces the interpreter's, and the folder must not come before
    arguments = [*flags, "-P", "-c", COMMAND, target, str(report_end)]
    stdout, stderr, *records = outlets or (None, None)
    arguments += map(str, records)
    child = subprocess.Popen(
        [*command, *arguments],
        stdin=boot_end,
        stdout=stdout,
        stderr=stderr,
        pass_fds=(report_end, *records),
        start_new_session=True,
    )
    # Its end is ours to collect: a Popen that knows a result never looks for one.
    child.returncode = 0
    return child.pid


def _open_pidfd(pid: int) -> int:
    """Return a descriptor of the OS process, or -1: no such call here, or no descriptor left."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def read_now(descriptor: int) -> bytes | None:
    """Return what is there: nothing at the end, None when there is nothing yet."""
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return None
