"""Erlang-style distributed processes for Python.

The public names, and nothing else.  Nodes load asyncio and ZeroMQ at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from splice.actor.combine import as_completed, gather, sync, syncmany
from splice.actor.deferred import Deferred
from splice.actor.handlers import blocking
from splice.actor.info import ProcessInfo
from splice.actor.links import Down, Exited
from splice.actor.process import Process, ProcessMeta
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy, tell
from splice.actor.timers import Timer
from splice.errors import (
    AccessDenied,
    Cancelled,
    CannotWait,
    ChildExists,
    ChildRunning,
    CompositeError,
    ConnectTimeout,
    CoroutineEnded,
    DeadlockError,
    DeliveryError,
    Exit,
    NameTaken,
    NodeLost,
    NoSuchChild,
    NoSuchHandler,
    Overloaded,
    ProcessKilled,
    ProcessNotFound,
    ProcessStopped,
    RemoteError,
    SpliceError,
    TimeoutError,
    UnpicklableError,
    VersionMismatch,
)
from splice.node.runtime import run, runtime
from splice.node.view import View
from splice.uri import url

if TYPE_CHECKING:
    from splice.actor.childspec import ChildCounts, ChildInfo, child
    from splice.actor.supervisor import Supervisor
    from splice.net.lives import NodeEvent
    from splice.node.dead_letters import DeadLetter
    from splice.node.insight import Statistics
    from splice.node.room import ready

# loaded when it is used: supervision takes 8 ms, and what has to do with other nodes asyncio
_LATER = {
    "ChildCounts": "splice.actor.childspec",
    "ChildInfo": "splice.actor.childspec",
    "DeadLetter": "splice.node.dead_letters",
    "NodeEvent": "splice.net.lives",
    "Statistics": "splice.node.insight",
    "Supervisor": "splice.actor.supervisor",
    "child": "splice.actor.childspec",
    "ready": "splice.node.room",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'splice' has no attribute {name!r}")


__all__ = [
    "AccessDenied",
    "CannotWait",
    "Cancelled",
    "ChildCounts",
    "ChildExists",
    "ChildInfo",
    "ChildRunning",
    "CompositeError",
    "ConnectTimeout",
    "CoroutineEnded",
    "DeadLetter",
    "DeadlockError",
    "Deferred",
    "DeliveryError",
    "Down",
    "Exit",
    "Exited",
    "NameTaken",
    "NoSuchChild",
    "NoSuchHandler",
    "NodeEvent",
    "NodeLost",
    "Overloaded",
    "Process",
    "ProcessInfo",
    "ProcessKilled",
    "ProcessMeta",
    "ProcessNotFound",
    "ProcessStopped",
    "Promise",
    "Proxy",
    "RemoteError",
    "SpliceError",
    "Statistics",
    "Supervisor",
    "TimeoutError",
    "Timer",
    "UnpicklableError",
    "VersionMismatch",
    "View",
    "as_completed",
    "blocking",
    "child",
    "gather",
    "ready",
    "run",
    "runtime",
    "sync",
    "syncmany",
    "tell",
    "url",
]
