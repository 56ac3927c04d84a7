"""What callers give: classes and generator functions, destinations, processes, in any form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from splice.actor.coroutine import AsyncCoroutine, Coroutine
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy
from splice.uri import check_address, url

if TYPE_CHECKING:
    from splice.node.runtime import Runtime

_OPTIONS: Final = ("sp_id", "sp_dest", "sp_link", "sp_super")
_OF_CHILDREN: Final = ("sp_restart", "sp_shutdown", "sp_significant")


def as_class(
    what: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[type, tuple[Any, ...], dict[str, Any]]:
    """Return the class, and the arguments of its constructor, that `spawn` was given."""
    for name in kwargs:
        if name.startswith("sp_"):
            raise TypeError(_no_option(name))
    if isinstance(what, type) and issubclass(what, Process):
        return what, args, kwargs
    if inspect.isgeneratorfunction(what):
        return Coroutine, (what, args, kwargs), {}
    if inspect.isasyncgenfunction(what):
        return AsyncCoroutine, (what, args, kwargs), {}
    raise TypeError(
        f"spawn wants a process class or a generator function, not {what!r}; derive the class "
        "from splice.Process"
    )


def _no_option(name: str) -> str:
    if name in _OF_CHILDREN:
        return f"{name} is for children: give sp_super, the supervisor, with it"
    return (
        f"spawn has no option {name}; it has {', '.join(_OPTIONS)}, and with sp_super also"
        f" {', '.join(_OF_CHILDREN)}"
    )


def node_url(destination: Any) -> url:
    """Return the url of the agent of a node: given its address, or a process there."""
    if isinstance(destination, Proxy):
        where = destination.sp_url
        return url("node", where.address, where.incarnation)
    if isinstance(destination, url):
        return url("node", destination.address, destination.incarnation)
    return url("node", check_address(destination))


def check_callable(what: str, function: Any) -> None:
    """Raise TypeError unless `function`, given to `what`, can be called."""
    if not callable(function):
        raise TypeError(f"{what} wants a function, not {function!r}")


def target_of(proc: Any) -> Any:
    """Return what a proxy stands for, or the record of a process given in its own handler."""
    if isinstance(proc, Proxy):
        return proc._sp_target
    if isinstance(proc, Process) and proc.sp_is_running:
        return proc._sp_cell
    raise TypeError(f"{proc!r} is no process: give its proxy")


class At:
    """Spawns on one node: ``runtime.at(address).spawn(Counter, 5)``."""

    def __init__(self, runtime: Runtime, destination: Any) -> None:
        self._runtime = runtime
        self._destination = destination

    def spawn(self, what: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As `Runtime.spawn`, there."""
        return self._runtime.spawn(what, *args, sp_dest=self._destination, **kwargs)

    def spawn_nowait(
        self, what: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Promise:
        """As `Runtime.spawn_nowait`, there."""
        return self._runtime.spawn_nowait(
            what, *args, sp_dest=self._destination, **kwargs
        )
