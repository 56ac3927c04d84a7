"""Seat: where a child of a supervisor lives: in a cell of its node, or at an outpost on another.

::

    Supervisor ─► NearSeat ─► Cell                                on the node of the supervisor
    Supervisor ─► FarSeat ─► … ─► Outpost ─► NearSeat ─► Cell     on another one

A child lives in the same cell from restart to restart, so its url stays, old proxies reach the new
one, and mail that was queued is handled by it.  A far seat is gone with its node; then the child
is given another one.  In the handlers of the owner only, which wait for what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final, Protocol, cast

from splice.actor.cell import Cell
from splice.actor.childspec import ChildSpec
from splice.actor.context import Worker, current_worker
from splice.actor.endings import is_unwound, kill, release, revive
from splice.actor.handlers import NamedHandler
from splice.actor.links import Down, extra_of
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy, proxy_class, tell
from splice.actor.restart import comes_back
from splice.actor.rings import check_ring, check_standing
from splice.actor.spawning import CONSTRUCT, depart, forsake, refusal, spawn
from splice.errors import CannotWait, DeadlockError, DeliveryError, NodeLost
from splice.log import logger
from splice.uri import url

UNWINDING_SECONDS: Final = 0.001
"""Seconds between two looks whether a killed handler is unwound: that takes one turn."""

_SIGN: Final = NamedHandler("count_children")

_log = logger("actor")

OnEnd = Callable[[Any], None]
"""Called with the reason when a child has ended that nobody wanted to end."""


class Seat(Protocol):
    """Where a child lives.

    Attributes:
        is_running: whether it runs, and its end is news.
        is_gone: whether the seat is no more, so the child needs another one.
        lost_node: the node that it was lost with, or None.
    """

    is_running: bool
    is_gone: bool
    lost_node: url | None

    @property
    def proxy(self) -> Proxy:
        """The proxy of the child."""

    def start(self) -> None:
        """Begin its first life; what its constructor raises is raised."""

    def restart(self) -> None:
        """Begin another life in the same cell; what its constructor raises is raised."""

    def stop(self, *, will_return: bool) -> Promise | None:
        """Have it end, in the time it has.

        Args:
            will_return: its mail waits for the next life.

        Returns:
            What to wait for; None when it has ended.
        """

    def kill(self) -> None:
        """Have it end at once: it cannot do so in order."""

    def release(self) -> None:
        """Fail the mail that waits: it will not be restarted after all."""

    def orphan(self) -> None:
        """Have it end, without waiting: its owner has ended."""

    def close(self) -> None:
        """Give the seat up, whose child has ended or was not seen made."""


class NearSeat:
    """A child in a cell of its owner's node; it is the keeper of that cell.

    Args:
        owner: who starts and stops it: its supervisor, or the outpost of that.
        spec: how to make it.
        on_end: told of its end.
        supervisor: for messages to people; the owner when None.

    Attributes:
        supervisor: likewise.
        will_return: whether it, or its mail, waits for another life.
        ending: of an orphan, the promise of its end.
    """

    is_gone: ClassVar[bool] = False
    lost_node: ClassVar[None] = None

    def __init__(
        self, owner: Cell, spec: ChildSpec, on_end: OnEnd, supervisor: Any = None
    ) -> None:
        self._owner = owner
        self._spec = spec
        self._on_end = on_end
        self.supervisor = supervisor or owner
        self._cell: Cell | None = None
        self._making: Promise | None = None
        self.will_return = False
        self._sign: Promise | None = None
        self.is_running = False
        self.ending: Promise | None = None

    # ---- splice.actor.links.Keeper

    def keeps_mail(self, reason: Any) -> bool:
        """Whether its mail shall wait for another life."""
        if self._owner.has_ended or self._owner.scheduler.is_retiring:
            return False
        if self.is_running:
            return comes_back(self._spec.restart, reason)
        return self.will_return

    def ended(self, reason: Any) -> None:
        """Tell its owner, unless that has ended it or waits for its constructor."""
        if self.is_running:
            self.is_running = False
            self.will_return = comes_back(self._spec.restart, reason)
            self._on_end(reason)
            if self.will_return and self.supervisor.is_near:
                # soon: what it had at hand fails only now, and waits for no other life
                loop = self._owner.scheduler.loop
                loop.call_soon(_check_supervisor, self.supervisor)

    def sign(self) -> Promise:
        """Ask its far supervisor for a sign: while that is busy, all that waits here waits for it.

        So the search for rings over nodes finds its way to the supervisor.
        """
        if self._sign is None or self._sign.done():
            self._sign = self.supervisor.ask(_SIGN, (), None)
            self._sign.add_done_callback(Promise.exception)
        return self._sign

    def hear_of_supervisor(self) -> None:
        """Wait until this node knows of the end of a far supervisor, if it has ended.

        Its node may be lost, and others have noticed that before.
        """
        if self.ending is None and not self.supervisor.is_near:
            abroad(self._owner).sign_of(self.supervisor).exception()

    # ---- Seat

    @property
    def cell(self) -> Cell:
        """The record of the child."""
        assert self._cell is not None, "it was started"
        return self._cell

    @property
    def proxy(self) -> Proxy:
        """The proxy of the child."""
        return self.cell.proxy_as(self._spec.cls)

    def start(self) -> None:
        """Begin its first life; what its constructor raises is raised."""
        spec = self._spec
        scheduler = self._owner.scheduler
        if spec.name is not None:
            _see_out_orphan(scheduler.directory.get(spec.name))
        making = spawn(scheduler, spec.cls, spec.args, spec.kwargs, spec.name)
        self._making, self._cell = making, making.target
        extra_of(self.cell).keeper = self
        self._see_made()
        self._spec = spec.lasting
        self._runs()

    def restart(self) -> None:
        """Begin another life, when nothing of the last one runs any more."""
        if self.cell.has_ended:
            self._revive()
        # else the wait for its constructor was refused once, and that has gone on
        self._see_made()
        self._runs()

    def _see_made(self) -> None:
        making = self._making
        assert making is not None, "it has been ordered"
        try:
            making.get()
        finally:
            if making.done():
                self._making = None  # an error may hold much

    def _revive(self) -> None:
        cell, spec = self.cell, self._spec
        worker = current_worker()
        if worker is not None and any(m.target is cell for m in worker.stack):
            raise CannotWait(
                f"{cell} cannot be restarted from under its own handler, which has led here; "
                "tell somebody else to ask for it"
            )
        if worker is not None:
            self._see_out_last_life(worker)
        if cell.scheduler.is_retiring:
            raise refusal(spec.cls)
        if spec.name is not None and cell.runner.kept is None:
            cell.scheduler.directory.check_name(spec.name)
        self._making = Promise(cell, CONSTRUCT, (spec.cls, spec.args, spec.kwargs))
        revive(cell, self._making)

    def _see_out_last_life(self, worker: Worker) -> None:
        """Wait until no handler of the last life stands on a stack any more.

        One that stands below what it has called is left there, for that may take any time.  What
        it waits for itself, while it is unwound, it does not get if that waits for us.
        """
        cell = self.cell
        while not is_unwound(cell):
            last: Worker = cell.runner.runner
            if last.stack[-1].target is not cell:
                return
            if last.waiting is not None and not last.has_timeout:
                try:
                    check_ring(worker, last.waiting)
                except DeadlockError as error:
                    cell.scheduler.inject(last, error)
            cell.scheduler.sleep(worker, UNWINDING_SECONDS)

    def _runs(self) -> None:
        self.is_running = True
        if self.cell.has_ended:  # right after its constructor
            self.ended(self.cell.runner.reason)

    def stop(self, *, will_return: bool) -> Promise | None:
        """Have it end, in the time it has; a promise of that, or None when it has ended."""
        self.is_running = False
        self.will_return = will_return
        cell, shutdown = self.cell, self._spec.shutdown
        if cell.has_ended:
            if not will_return:
                release(cell)
        elif shutdown == "kill":
            kill(cell)
        else:
            return depart(cell, "shutdown", shutdown, "killed")
        return None

    def kill(self) -> None:
        """Have it end at once: it cannot do so in order."""
        kill(self.cell)

    def release(self) -> None:
        """Fail the mail that waits: it will not be restarted after all."""
        release(self.cell)

    def orphan(self) -> None:
        """Have it end, without waiting: its owner has ended."""
        self.is_running = self.will_return = False
        if self._cell is None:
            return
        release(self.cell)
        if self.cell.has_ended:
            return
        if self._spec.shutdown == "kill":
            kill(self.cell)
        else:
            self.ending = depart(self.cell, "shutdown", self._spec.shutdown)

    def close(self) -> None:
        """End what was made in vain: the wait for its constructor was refused."""
        if self._cell is not None and self.ending is None and not self._cell.has_ended:
            kill(self._cell)


def _check_supervisor(supervisor: Cell) -> None:
    """Look whether one that owes a new life waits, over any number of others, for itself."""
    check_standing(supervisor.runner)


def _see_out_orphan(cell: Cell | None) -> None:
    """Wait for the end of a child of a supervisor that was killed: it still has its name."""
    keeper = None if cell is None or cell.extra is None else cell.extra.keeper
    if isinstance(keeper, NearSeat):
        keeper.hear_of_supervisor()
    ending: Promise | None = getattr(keeper, "ending", None)
    if cell is None or ending is None:
        return
    try:
        ending.exception()
    except DeadlockError:  # it waits for that supervisor
        kill(cell)


class Abroad(Protocol):
    """What a supervisor needs of its node for children on others."""

    is_leaving: bool

    def outpost(self, address: str, supervisor: Cell, spec: ChildSpec) -> Promise:
        """Start an outpost for a child on another node; a promise of its proxy."""

    def watch(self, proc: Proxy) -> Promise:
        """Have the end of a process told; a promise of its `Down`."""

    def sign_of(self, target: Any) -> Promise:
        """Ask the node of a far process for a sign; a promise that fails when it is lost."""


def abroad(owner: Cell) -> Abroad:
    """Return the node of `owner`, as far as it reaches others."""
    return cast("Abroad", owner.scheduler.home)


class FarSeat:
    """A child on another node, where an outpost starts and stops it.

    Args:
        owner: its supervisor.
        spec: how to make it.
        on_end: told of its end.
        address: of the node.
    """

    def __init__(
        self, owner: Cell, spec: ChildSpec, on_end: OnEnd, address: str
    ) -> None:
        self._owner = owner
        self._spec = spec
        self._on_end = on_end
        self._address = address
        self._life = 0
        self._making: Promise | None = None
        self._outpost: Any = None
        self._proxy: Proxy | None = None
        self._watch: Promise | None = None
        self.is_running = self.is_gone = False
        self.lost_node: url | None = None

    @property
    def proxy(self) -> Proxy:
        """The proxy of the child."""
        assert self._proxy is not None, "it was started"
        return self._proxy

    def start(self) -> None:
        """Begin its first life; what its constructor raises is raised."""
        home = abroad(self._owner)
        self.is_gone = True  # until it is there
        self._making = home.outpost(self._address, self._owner, self._spec)
        self._outpost = self._making.get()
        self.is_gone = False
        self._watch = home.watch(self._outpost)
        self._watch.add_done_callback(self._outpost_ended)
        target = self._outpost.begin().get()._sp_target
        self._proxy = proxy_class(self._spec.cls)(target)
        self._spec = self._spec.lasting
        self._runs()

    def restart(self) -> None:
        """Begin another life in the same cell; what its constructor raises is raised."""
        if not self._outpost.again().get():  # its node is being shut down
            cast("Promise", self._watch).get()
        self._runs()

    def _runs(self) -> None:
        if self.is_gone:  # since the answer came, before this handler had its turn
            raise self._lost("its node is lost")
        self.is_running = True
        self._life += 1
        ended = partial(self._child_ended, self._life)
        self._outpost.ended().add_done_callback(ended)

    def _child_ended(self, life: int, end: Promise) -> None:
        error = end.exception()
        if self.is_running and life == self._life:
            self.is_running = False
            self._on_end(end.get() if error is None else error)

    def _outpost_ended(self, promise: Promise) -> None:
        if promise.exception() is not None:  # taken back
            return
        down: Down = promise.get()
        self.is_gone = True
        reason = down.reason
        # the type first: a reason may be an array, whose == is no bool
        is_shut_down = type(reason) is str and reason == "shutdown"
        if is_shut_down or isinstance(reason, DeliveryError):
            self.lost_node = down.url
        if self.is_running:
            self.is_running = False
            is_lost = isinstance(reason, NodeLost)
            self._on_end(reason if is_lost else self._lost(repr(reason)))

    def _lost(self, why: str) -> NodeLost:
        whom = self._proxy or f"a new {self._spec.cls.__name__}"
        text = f"{self._address} does not keep {whom} any more: {why}"
        return NodeLost(text, node=self._address)

    def stop(self, *, will_return: bool) -> Promise | None:
        """Have it end, in the time it has; a promise of that, or None when it has ended."""
        self.is_running = False
        if self.is_gone:
            return None
        ending: Promise = self._outpost.end_child(will_return)
        ending.add_done_callback(self._stopped)
        return ending

    def _stopped(self, ending: Promise) -> None:
        error = ending.exception()
        if error is not None:
            _log.info("%s was not stopped in order: %s", self._proxy, error)

    def kill(self) -> None:
        """Have it end at once: it cannot do so in order."""
        if not self.is_gone:
            self._outpost.kill_child().exception()

    def release(self) -> None:
        """Fail the mail that waits: it will not be restarted after all."""
        if not self.is_gone:
            tell(self._outpost.release).add_done_callback(Promise.exception)

    def orphan(self) -> None:
        """Nothing is to be done: its outpost watches its supervisor."""

    def close(self) -> None:
        """End the outpost."""
        if self._watch is not None:
            self._watch.cancel()
        if self._outpost is not None and not self.is_gone:
            self._outpost._sp_target.stop().add_done_callback(Promise.exception)
        elif self._outpost is None and self._making is not None:
            forsake(self._making)  # made for a supervisor killed meanwhile
