"""Links and monitors: who shares whose fate, and who is told of an end.

::

    a ◄── link ──► b     b ends: ─► fate_of ─► nothing, `sp_exited`, or a ends as well
    a ── monitor ─► b    b ends: ─► Down ─► the promise of `monitor`, and `sp_down` of a

What few processes have hangs in ``Cell.extra``, a record made at first need, so an idle process
pays one empty slot.  The other end of a link and a watcher may be far; the node brings objects
for those (`splice.node.signals`).  Node's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from splice.actor.handlers import hook
from splice.actor.promise import PENDING, VALUE, Promise, Tell
from splice.actor.spawning import depart
from splice.errors import ProcessStopped
from splice.log import logger
from splice.uri import url

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.actor.scheduler import Scheduler

_log = logger("actor")

NORMAL: Final = "normal"
NO_PROCESS: Final = "noproc"


# ---- what is told


class _Notice:
    """Whose end it was and why; an immutable value that pickles."""

    __slots__ = ("_source", "reason")

    def __init__(self, source: Any, reason: Any) -> None:
        self._source = source
        self.reason = reason

    @property
    def url(self) -> url:
        """The url of the process that has ended."""
        # asked late: that of a near process has the node open its sockets
        source = self._source
        return source if isinstance(source, url) else source.url

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self.url == other.url and self.reason == other.reason)

    __hash__ = None  # type: ignore[assignment]  # a reason may be anything

    def __reduce__(self) -> Any:
        return type(self), (self.url, self.reason)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._source}, {self.reason!r})"


class Down(_Notice):
    """What a monitor says: a process has ended.

    Attributes:
        url: of the process.
        reason: why it ended; ``"noproc"`` when it was not there, `NodeLost` when its node is lost.
    """

    __slots__ = ()


class Exited(_Notice):
    """What a process with ``sp_trap_exit`` is told of the end of one that it is linked to.

    Attributes:
        url: of the process.
        reason: why it ended; ``"noproc"`` when it was not there, `NodeLost` when its node is lost.
    """

    __slots__ = ()


# ---- decisions


class Fate(Enum):
    """What the end of one process means for one that is linked to it."""

    UNTOUCHED = "untouched"
    TOLD = "told"
    ENDS = "ends"


def fate_of(*, traps: bool, reason: Any) -> Fate:
    """Decide what becomes of a process when one that it is linked to ends for `reason`."""
    if traps:
        return Fate.TOLD
    return Fate.UNTOUCHED if _is_normal(reason) else Fate.ENDS


def _is_normal(reason: Any) -> bool:
    # the type first: a reason may be an array, whose == is no bool
    return type(reason) is str and reason == NORMAL


# ---- the record


class FarEnd(Protocol):
    """The other end of a link, on another node."""

    is_near: ClassVar[bool]

    def exit(self, source: Cell, reason: Any) -> None:
        """Tell it that `source` has ended; the link is gone."""


class Watcher(Protocol):
    """Who is told of the end of a process, once."""

    def down(self, source: Any, reason: Any) -> None:
        """Take note of the end."""


class Keeper(Protocol):
    """Who restarts a process: its supervisor's record of it."""

    @property
    def supervisor(self) -> Any:
        """Its supervisor, near or far; for messages to people."""

    def keeps_mail(self, reason: Any) -> bool:
        """Whether a process that ended for `reason` will come back, so its mail shall wait."""

    def ended(self, reason: Any) -> None:
        """Take note that the process has ended."""

    def stop(self, *, will_return: bool) -> Promise | None:
        """Have it end, in the time it has; a promise of that, or None when it has ended."""


class Extra:
    """What few processes have.

    Attributes:
        links: whom it is linked to, in the order the links were made.
        watchers: who monitors it.
        watching: the monitors it has set itself.
        keeper: its supervisor's record of it, or None.
        at_end: called with its reason when it has ended, or None.
        lives: how often its supervisor has restarted it.
    """

    __slots__ = ("at_end", "keeper", "links", "lives", "watchers", "watching")

    def __init__(self) -> None:
        self.links: dict[Any, None] = {}
        self.watchers: dict[Watcher, None] = {}
        self.watching: dict[Monitor, None] = {}
        self.keeper: Keeper | None = None
        self.at_end: Callable[[Any], None] | None = None
        self.lives = 0

    @property
    def fails(self) -> bool:
        """Whether an error of a handler ends the process: it is linked or supervised."""
        return bool(self.links) or self.keeper is not None

    def keeps_mail(self, reason: Any) -> bool:
        """Whether its mail shall wait for its next life."""
        return self.keeper is not None and self.keeper.keeps_mail(reason)

    def ended(self, cell: Cell, reason: Any) -> None:
        """Tell everybody concerned that `cell` has ended."""
        links, self.links = self.links, {}
        watchers, self.watchers = self.watchers, {}
        watching, self.watching = self.watching, {}
        for monitor in watching:
            monitor.give_up()
        for other in links:
            if other.is_near:
                other.extra.links.pop(cell, None)
                take_exit(other, cell, reason)
            else:
                other.exit(cell, reason)
        for watcher in watchers:
            watcher.down(cell, reason)
        if self.keeper is not None:
            self.keeper.ended(reason)
        if self.at_end is not None:
            self.at_end(reason)


def extra_of(cell: Cell) -> Extra:
    """Return the record of `cell`; it is made at first need."""
    extra: Extra | None = cell.extra
    if extra is None:
        extra = cell.extra = Extra()
    return extra


# ---- links


def link(one: Cell, other: Cell) -> None:
    """Have two processes of this node share their fate; if one is not there, the other is told."""
    if one is other:
        return
    if one.has_ended or other.has_ended:
        take_exit(one, other, NO_PROCESS)
        take_exit(other, one, NO_PROCESS)
        return
    extra_of(one).links[other] = None
    extra_of(other).links[one] = None


def unlink(one: Cell, other: Cell) -> None:
    """Take a link back."""
    for cell, end in ((one, other), (other, one)):
        if cell.extra is not None:
            cell.extra.links.pop(end, None)


def take_exit(cell: Cell, source: Any, reason: Any) -> None:
    """Let `cell` take the end of `source`, to which it was linked; one that has ended does not.

    While its node is being shut down it lives on: all are ended, but others may need it until then.
    """
    if cell.has_ended:
        return
    traps = bool(getattr(cell.object, "sp_trap_exit", False))
    fate = fate_of(traps=traps, reason=reason)
    if fate is Fate.TOLD:
        tell_hook(cell, "sp_exited", Exited(source, reason))
    elif fate is Fate.ENDS and not cell.scheduler.is_retiring:
        depart(cell, reason)


def tell_hook(cell: Cell, name: str, notice: _Notice) -> None:
    """Put `notice` into the mailbox of `cell`, for its method `name` if it has one."""
    handler = hook(type(cell.object), name)
    if handler is None:
        _log.debug("%s has no %s for %r", cell, name, notice)
        return
    message = Tell(cell, handler, (notice,))
    message.state = VALUE  # nobody waits for its delivery
    cell.put(message)


# ---- monitors


class Monitor(Promise):
    """The promise of the `Down` of one process; cancelling it takes the monitor back.

    Attributes:
        owner: the process that watches, or None.
        take_back: called when it is cancelled or its owner has ended, before the end has come.
    """

    __slots__ = ("owner", "take_back", "watched")

    def __init__(self, scheduler: Scheduler, watched: Any, owner: Cell | None) -> None:
        super().__init__(scheduler)
        self.watched = watched
        self.owner: Cell | None = None
        self.take_back: Callable[[], None] | None = None
        if owner is not None:
            self.own(owner)

    def own(self, owner: Cell) -> None:
        """Belong to a process: it may get the `Down` as a message, and the monitor ends with it."""
        self.owner = owner
        if not owner.has_ended:
            extra_of(owner).watching[self] = None

    def describe(self) -> str:
        """Say what is waited for, for messages to people."""
        return f"the end of {self.watched}"

    def down(self, source: Any, reason: Any) -> None:
        """Settle, and tell the process that watches if its class wants to know."""
        self._forget()
        if self.state != PENDING:
            return
        owner, down = self.owner, Down(source, reason)
        self.resolve(down)
        if (
            owner is not None
            and not owner.has_ended
            and hasattr(owner.object, "sp_down")
        ):
            tell_hook(owner, "sp_down", down)

    def give_up(self) -> None:
        """Watch no more: the process that watched has ended."""
        self._take_back()
        if self.state == PENDING:
            error = ProcessStopped(
                f"{self.owner} has ended, which waited for {self.describe()}"
            )
            self.reject(error)
            self.look()

    def call_off(self, verdict: Promise, *, is_begun_too: bool = True) -> None:
        """Watch no more."""
        self._take_back()
        super().call_off(verdict, is_begun_too=is_begun_too)

    def _take_back(self) -> None:
        self._forget()
        if self.take_back is not None:
            self.take_back()

    def _forget(self) -> None:
        if self.owner is not None and self.owner.extra is not None:
            self.owner.extra.watching.pop(self, None)


def monitor(cell: Cell, promise: Monitor) -> None:
    """Have `promise` settled with the `Down` of `cell`: at once if that has ended."""
    if cell.has_ended:
        promise.down(cell, NO_PROCESS)
        return
    watchers = extra_of(cell).watchers
    watchers[promise] = None
    promise.take_back = lambda: watchers.pop(promise, None)
