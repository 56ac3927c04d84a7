"""Every error that splice raises.

::

    SpliceError
    ├── DeliveryError (.verdict)          a message did not surely arrive
    │   ├── ProcessNotFound               no such process on that node
    │   ├── ProcessStopped (.reason)      it has ended, or ended before handling this
    │   ├── NodeLost (.node)              its node is gone, frozen or cut off
    │   ├── ConnectTimeout                nobody answered at that address
    │   ├── Overloaded                    a bounded mailbox or channel is full
    │   ├── AccessDenied                  the cluster keys differ
    │   └── VersionMismatch               protocol, Python or platform differ
    ├── TimeoutError                      the answer did not come in time (also the built-in)
    ├── Cancelled                         the promise was cancelled
    ├── CannotWait                        waiting here would stop the node's own loop
    ├── DeadlockError                     a ring of processes waits for itself
    ├── NoSuchHandler                     the process has no handler of that name
    ├── NameTaken                         another process has that ``sp_id``
    ├── CoroutineEnded (.value)           the generator has returned
    ├── RemoteError                       a far error whose type is not known here
    ├── UnpicklableError (.path)          an argument or answer cannot travel
    ├── CompositeError (.results .errors) some items of a map failed
    ├── WorkerDied                        a worker's OS process ended under its work
    ├── ChildExists, NoSuchChild, ChildRunning    a supervisor cannot do that
    ├── DependencyRefused, DependencyTransferError    a module could not be shipped
    └── InternalError                     a defect of splice; please report it

    ProcessExit (BaseException)
    ├── Exit                              raised by a handler to end its process
    └── ProcessKilled                     thrown into a parked handler of a killed process

Messages say what failed, for whom, the numbers, and what to do.  All errors pickle.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from splice.worker_died import WorkerDied as WorkerDied

Verdict = Literal["not delivered", "unknown"]


class SpliceError(Exception):
    """The root of all errors that splice raises."""


class InternalError(SpliceError):
    """A defect of splice itself."""


class DeliveryError(SpliceError):
    """A message did not surely arrive.

    Attributes:
        verdict: ``"not delivered"`` (it was certainly not handled) or ``"unknown"`` (the far
            node died or was cut off while it could have been handled).
    """

    verdict: Verdict = "not delivered"

    def __init__(self, message: str, *, verdict: Verdict | None = None) -> None:
        super().__init__(message)
        if verdict is not None:
            self.verdict = verdict


class ProcessNotFound(DeliveryError):
    """No process of that name or id is, or ever was, on that node."""


class ProcessStopped(DeliveryError):
    """The process has ended, or ended before it handled the message.

    Attributes:
        reason: why it ended: ``"normal"``, ``"shutdown"``, ``"killed"``, an exception, or what
            `Exit` was given; None when that is not known any more.
    """

    reason: Any = "normal"

    def __init__(
        self, message: str, *, reason: Any = "normal", verdict: Verdict | None = None
    ) -> None:
        super().__init__(message, verdict=verdict)
        self.reason = reason


class NodeLost(DeliveryError):
    """The node of the process is gone, frozen, cut off, or was restarted.

    Attributes:
        node: its address.
    """

    verdict: Verdict = "unknown"
    node: str = ""

    def __init__(
        self, message: str, *, node: str = "", verdict: Verdict | None = None
    ) -> None:
        super().__init__(message, verdict=verdict)
        self.node = node


class ConnectTimeout(DeliveryError, builtins.TimeoutError):
    """Nobody answered at the address within ``connect_timeout``."""


class Overloaded(DeliveryError):
    """A bounded mailbox or channel is full and the sender may not wait."""


class AccessDenied(DeliveryError, PermissionError):
    """The other node has another cluster key, or none."""


class VersionMismatch(DeliveryError):
    """The other node speaks another protocol, or runs another Python or platform."""


class TimeoutError(SpliceError, builtins.TimeoutError):  # noqa: A001 - also the built-in
    """The answer did not come in time; the promise stays usable."""


class Cancelled(SpliceError):
    """The promise was cancelled."""


class CannotWait(SpliceError, RuntimeError):
    """Waiting here would stop the loop that the answer needs; the text says what to use."""


class DeadlockError(SpliceError, RuntimeError):
    """This wait would close a ring of processes that wait for each other."""


class NoSuchHandler(SpliceError, AttributeError):
    """The process has no handler of that name."""


class NameTaken(SpliceError, ValueError):
    """Another process of the node has that ``sp_id``."""


class CoroutineEnded(SpliceError):
    """The generator of a coroutine has returned.

    Attributes:
        value: what it returned.
    """

    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.value = value


class RemoteError(SpliceError):
    """A far error whose own type could not be rebuilt here; its text and traceback are kept."""


class UnpicklableError(SpliceError, TypeError):
    """An argument or an answer cannot travel between nodes.

    Attributes:
        path: the way to the offending part, for example ``args[0].lock``.
    """

    path: str = ""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class CompositeError(SpliceError):
    """Some items of a map failed.

    Attributes:
        results: what succeeded, by index of the item.
        errors: what failed, by index of the item.
    """

    def __init__(
        self,
        message: str,
        results: Mapping[int, Any] | None = None,
        errors: Mapping[int, BaseException] | None = None,
    ) -> None:
        super().__init__(message)
        self.results = dict(results or {})
        self.errors = dict(errors or {})


class ChildExists(SpliceError, ValueError):
    """The supervisor already has a child of that id."""


class NoSuchChild(SpliceError, LookupError):
    """The supervisor has no child of that id."""


class ChildRunning(SpliceError, RuntimeError):
    """The child runs, and the supervisor was asked what needs it stopped."""


class DependencyRefused(SpliceError, ImportError):
    """The client has the module, but it may not or cannot run on this worker."""


class DependencyTransferError(SpliceError, RuntimeError):
    """The client has the module, and its transfer failed; deliberately no ImportError."""


class ProcessExit(BaseException):
    """What ends a process from inside its handler; not for `except Exception`."""


class Exit(ProcessExit):
    """Raise it in a handler to end the process.

    Args:
        reason: why; ``"normal"`` and ``"shutdown"`` are ordinary ends.
        answer: what the caller of the handler gets (None when not given).
    """

    def __init__(self, reason: Any = "normal", *, answer: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


class ProcessKilled(ProcessExit):
    """Thrown into a parked handler whose process is killed, or stopped for too long."""


def shown(value: object) -> str:
    """Return the `repr` of an object of the user, for messages to people; never raises."""
    try:
        return repr(value)
    except BaseException:  # the user's __repr__, wherever the engine stands just then
        return f"<a {type(value).__qualname__} that cannot be shown>"


def __getattr__(name: str) -> Any:
    # WorkerDied derives from a class of concurrent.futures.process, which takes 50 ms to load
    if name == "WorkerDied":
        from splice.worker_died import WorkerDied

        return WorkerDied
    raise AttributeError(f"module 'splice.errors' has no attribute {name!r}")
