"""ChildSpec: how to make a child of a supervisor, and what a supervisor tells of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from splice.actor.process import Process
from splice.actor.proxy import Proxy
from splice.actor.restart import KINDS, Kind
from splice.seconds import is_number
from splice.uri import check_address, check_name, url

SHUTDOWN_SECONDS: Final = 5.0
"""Seconds a child has to end before it is killed: OTP's default, and that of `runtime.stop`."""

Shutdown = float | Literal["kill"] | None
"""Seconds to end before it is killed; ``"kill"`` at once; None waits for ever."""


TYPES: Final = ("worker", "supervisor")

# ---- what users hand in and get


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to make a child, and how to go on with it; made by `child`."""

    cls: type
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    id: Any = None
    restart: Kind = "permanent"
    shutdown: Shutdown = SHUTDOWN_SECONDS
    type: Literal["worker", "supervisor"] = "worker"
    name: str | None = None
    significant: bool = False
    dest: tuple[str, ...] = ()

    @property
    def lasting(self) -> ChildSpec:
        """What is kept of it when its process is made: the arguments of a temporary one are not.

        They may be large, and such a child is never made again.
        """
        if self.restart != "temporary" or not (self.args or self.kwargs):
            return self
        return replace(self, args=(), kwargs={})


def child(
    cls: type,
    *args: Any,
    id: Any = None,  # noqa: A002 - OTP's word
    restart: Kind = "permanent",
    shutdown: Shutdown | Literal["default"] = "default",
    type: Literal["worker", "supervisor"] | None = None,  # noqa: A002 - OTP's word
    significant: bool = False,
    sp_id: str | None = None,
    sp_dest: Any = None,
    **kwargs: Any,
) -> ChildSpec:
    """Say how to make a child of a supervisor, and how to go on with it.

    Args:
        cls: a process class.
        args, kwargs: for its constructor, at each start.
        id: what the supervisor calls it; `sp_id` or the name of the class when None.
        restart: ``"permanent"`` always restarts, ``"transient"`` unless it ended with
            ``"normal"`` or ``"shutdown"``, ``"temporary"`` never.
        shutdown: seconds to end before it is killed, ``"kill"``, or None to wait for ever;
            5 unless given, and for a supervisor None.
        type: ``"worker"`` or ``"supervisor"``; by its class when None.
        significant: its end for good may be that of the supervisor, as that one's
            `auto_shutdown` says; not for a permanent child, which never ends for good.
        sp_id: the name of the process.
        sp_dest: address of the node it lives on, or a process there, or a view of several: it is
            started where its supervisor has the fewest children, and on another of them when its
            node is lost.  When none is left, and when this is None: the supervisor's own node.

    Raises:
        TypeError: `cls` is no process class.
        ValueError: `restart`, `shutdown` or `type` is not one of those, a permanent child is to
            be significant, a name or an address is malformed, or a view empty.
    """
    if not (inspect.isclass(cls) and issubclass(cls, Process)):
        raise TypeError(f"child wants a process class, not {cls!r}")
    is_supervisor = getattr(cls, "sp_is_supervisor", False)
    if shutdown == "default":
        shutdown = None if is_supervisor else SHUTDOWN_SECONDS
    _check_restart(cls, restart, significant=significant)
    _check_shutdown(shutdown)
    if type not in {None, *TYPES}:
        raise ValueError(f"no type {type!r}; there are {', '.join(TYPES)}")
    if sp_id is not None:
        check_name(sp_id)
    return ChildSpec(
        cls,
        args,
        kwargs,
        id=sp_id or cls.__name__ if id is None else id,
        restart=restart,
        shutdown=shutdown,
        type=type or ("supervisor" if is_supervisor else "worker"),
        name=sp_id,
        significant=significant,
        dest=_addresses(sp_dest),
    )


def _check_restart(cls: type, restart: Kind, *, significant: bool) -> None:
    if restart not in KINDS:
        raise ValueError(f"no restart {restart!r}; there are {', '.join(KINDS)}")
    if significant and restart == "permanent":
        raise ValueError(
            f"a permanent {cls.__name__} never ends for good, so it cannot be significant"
        )


def _check_shutdown(shutdown: Shutdown) -> None:
    if shutdown is None or shutdown == "kill":
        return
    if not (is_number(shutdown) and shutdown >= 0):
        raise ValueError(
            f"shutdown is seconds, 'kill' or None for no limit, not {shutdown!r}"
        )


def _addresses(dest: Any) -> tuple[str, ...]:
    """Return the addresses of the nodes that a child may live on; none for the supervisor's."""
    if dest is None:
        return ()
    if isinstance(dest, Proxy):
        dest = dest.sp_url
    if isinstance(dest, url):
        return (dest.address,)
    if isinstance(dest, str) or not isinstance(dest, Iterable):
        return (check_address(dest),)
    found = tuple(address for one in dest for address in _addresses(one))
    if not found:
        raise ValueError(f"sp_dest names no node: {dest!r}")
    return found


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child, as `Supervisor.which_children` tells it.

    Attributes:
        id: what the supervisor calls it; None in ``simple_one_for_one``.
        proxy: its proxy; it stays good over restarts, while its node lives.
        restart: when it is restarted.
        state: ``"running"``, ``"restarting"`` or ``"stopped"``.
    """

    id: Any
    proxy: Proxy
    restart: Kind
    state: str


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children there are, as `Supervisor.count_children` tells it.

    Attributes:
        specs: those it knows; 1 in ``simple_one_for_one``.
        active: those that run.
        supervisors, workers: by their type, running or not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int
