"""The first moments of an OS process that a launcher started.

`splice.node.child` starts it with `COMMAND`, which needs nothing but the interpreter: the
launcher's ``sys.path`` comes first on the standard input, so splice is found wherever the
parent found it, and the user's script is never run again.  Then, in this order:

1. the kernel is asked to end this OS process with its parent (Linux);
2. the boot message is read, and the pipe it came on is kept as the *lifeline*: its end means
   that the parent is gone, whatever happened to it, and a thread ends this OS process;
3. the target ``module:function`` is called on the main thread, with the boot message and the
   function that reports readiness; what it raises before that is reported as the failure.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Final, Protocol

COMMAND: Final = (
    "import marshal,sys;"
    "read=sys.stdin.buffer.read;"
    "size=read(8) or sys.exit(1);"
    "parent,sys.path[:]=marshal.loads(read(int.from_bytes(size,'big')));"
    "from splice.node.lifeline import main;"
    "main(parent)"
)
"""What the interpreter runs; ``sys.argv[1:]`` is the target, the report's descriptor, and that
of the log records where the parent takes them."""


class Ready(Protocol):
    """Reports readiness with a dictionary that JSON can carry; to be called once."""

    def __call__(self, info: dict[str, Any], *, is_last: bool = True) -> None:
        """Report it; what is raised afterwards is still reported unless it `is_last`."""


_PR_SET_PDEATHSIG: Final = 1
_IOLBF: Final = 1

records: int | None = None
"""The descriptor on which the parent takes log records; an OS process has one, like its standard
error, or none."""


def main(parent: int) -> None:
    """Run the target; the parameter is the parent's number in the system's table.

    Called once, by `COMMAND`, on the main thread.
    """
    _die_with(parent)
    target, report = sys.argv[1], Report(int(sys.argv[2]))
    if len(sys.argv) > 3:
        _be_read(int(sys.argv[3]))
    del sys.argv[1:]
    boot = _read_boot()
    _hold_lifeline()
    # Ctrl-C is the parent's to handle. A function and not SIG_IGN: what the user's code
    # executes from here must not inherit deafness.
    signal.signal(signal.SIGINT, _ignore)
    try:
        _resolve(target)(boot, report.ready)
    except Exception:
        if not report.is_open:
            raise
        report.failed(traceback.format_exc())
        sys.exit(1)


class Report:
    """The pipe on which the child says once that it is ready, or why it is not; or both."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._pipe = open(descriptor, "wb")  # noqa: SIM115 - closed by what is sent
        self.is_open = True

    def ready(self, info: dict[str, Any], *, is_last: bool = True) -> None:
        """Tell the launcher that the child works, and what it should know."""
        self._send({"ready": info}, is_last=is_last)

    def failed(self, text: str) -> None:
        """Tell the launcher why the child never came up."""
        self._send({"failed": text}, is_last=True)

    def _send(self, message: dict[str, Any], *, is_last: bool) -> None:
        self._pipe.write(json.dumps(message).encode() + b"\n")
        self._pipe.flush()
        if is_last:
            self.is_open = False
            self._pipe.close()


def _die_with(parent: int) -> None:
    """Let the kernel kill this OS process when the thread that started it ends."""
    if sys.platform == "linux":
        # only here: 4 ms, and no other platform has the call
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It died before we asked. Nobody is left to read a report.
        os._exit(1)


def _be_read(descriptor: int) -> None:
    """Write so that the parent, which reads what we write, has it at once."""
    global records
    records = descriptor
    os.set_inheritable(records, False)
    # to a pipe Python writes in blocks, and a sudden death would swallow the last one
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(
            line_buffering=True, errors="backslashreplace", encoding="utf-8"
        )
    if sys.platform == "linux":
        import ctypes  # loaded by `_die_with`

        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _IOLBF, 0)
    faulthandler.enable(all_threads=False)  # tells where a crash in C code happened


def _read_boot() -> bytes:
    source = sys.stdin.buffer
    size = int.from_bytes(source.read(8), "big")
    boot = source.read(size)
    if len(boot) < size:
        os._exit(1)  # the parent died while it sent
    return boot


def _hold_lifeline() -> None:
    """Move the pipe away from the standard input, and watch it."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))  # noqa: SIM115
    threading.Thread(
        target=_watch, args=(lifeline,), name="splice-lifeline", daemon=True
    ).start()


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 4096):
        pass
    # The launcher gave us a process group of our own: all that was started from here ends
    # too. No grace: nobody is left who could receive an answer or a log record.
    os.killpg(0, signal.SIGKILL)


def _ignore(*_: object) -> None:
    pass


def _resolve(target: str) -> Callable[[bytes, Ready], object]:
    module, _, name = target.partition(":")
    function: Callable[[bytes, Ready], object]
    function = getattr(importlib.import_module(module), name)
    return function
