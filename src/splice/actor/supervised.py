"""Child: a supervisor's record of one of its children: how it is made, where it lives, its state.

It finds the place for a child: at first, and again when the node that it lived on is lost.
Where that may be is decided in `splice.actor.restart`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from splice.actor.cell import Cell
from splice.actor.childspec import ChildSpec
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy
from splice.actor.restart import Member, places
from splice.actor.seat import FarSeat, NearSeat, Seat
from splice.errors import DeadlockError, DeliveryError
from splice.log import logger

_log = logger("actor")

Load = Mapping[str | None, int]
"""How many children a supervisor has on each node, by address; None is its own."""


class Child:
    """One child of a supervisor.

    Args:
        owner: the supervisor.
        key: what that calls it.
        spec: how to make it.
        on_end: called with this, when it has ended and nobody wanted that.

    Attributes:
        seat: where it lives, once it is started.
        address: of its node; None for that of its supervisor.
        is_restarting: it is about to be restarted.
        has_failed: it has ended, and its supervisor has not seen to it yet.
        reason: why it has ended then; an error may hold much.
    """

    def __init__(
        self,
        owner: Cell,
        key: Any,
        spec: ChildSpec,
        on_end: Callable[[Child], None],
    ) -> None:
        self.key = key
        self.spec = spec
        self.seat: Seat
        self.address: str | None = None
        self.is_restarting = False
        self.has_failed = False
        self.reason: Any = None
        self._owner = owner
        self._on_end = on_end
        self._lost: set[str] = set()

    @property
    def state(self) -> str:
        """What it does, for `ChildInfo`."""
        if self.seat.is_running:
            return "running"
        return "restarting" if self.is_restarting or self.has_failed else "stopped"

    @property
    def proxy(self) -> Proxy:
        """Its proxy."""
        return self.seat.proxy

    @property
    def member(self) -> Member:
        """What decisions need to know of it."""
        is_active = self.state != "stopped"
        return Member(self.key, self.spec.restart, self.spec.significant, is_active)

    def start(self, load: Load) -> None:
        """Begin its first life; what its constructor raises is raised.

        Raises:
            DeliveryError: none of the nodes that it may live on could be reached.
        """
        self._place(places(self.spec.dest, (), load))
        self.spec = self.spec.lasting

    def restart(self, load: Load) -> None:
        """Begin another life: in its seat, or if that is gone in a new one elsewhere."""
        if self.seat.is_gone or not self._restart_there():
            if self.seat.lost_node is not None:
                self._lost.add(self.seat.lost_node.address)
            self._place(places(self.spec.dest, self._lost, load, is_restart=True))
        self.is_restarting = False

    def _restart_there(self) -> bool:
        """Restart it in its seat; False when that is gone."""
        try:
            self.seat.restart()
        except DeliveryError:  # of its outpost, or of its own constructor
            if not self.seat.is_gone:
                raise
            return False
        return True

    def _place(self, addresses: tuple[str | None, ...]) -> None:
        *others, last = addresses
        for address in others:
            seat: Seat = self._seat_at(address)
            try:
                self._sit(seat, address)
            except DeliveryError as error:
                if not seat.is_gone:  # its own constructor has not heard from some node
                    raise
                _log.warning("%r cannot live on %s: %s", self.key, address, error)
                if address is not None:
                    self._lost.add(address)
            else:
                return
        self._sit(self._seat_at(last), last)

    def _seat_at(self, address: str | None) -> Any:
        """Return a new seat, with nobody in it; `Seat` cannot say that one kind is never gone."""
        if address is None:
            return NearSeat(self._owner, self.spec, self._ended)
        return FarSeat(self._owner, self.spec, self._ended, address)

    def _sit(self, seat: Seat, address: str | None) -> None:
        before: Any = getattr(self, "seat", None)
        self.seat = seat  # now: a supervisor that is killed meanwhile must know of it
        try:
            seat.start()
        except BaseException:
            seat.close()
            if before is not None:
                self.seat = before
            raise
        self.address = address

    def _ended(self, reason: Any) -> None:
        self.has_failed, self.reason = True, reason
        self._on_end(self)

    def see_to(self) -> Any:
        """Take note that its supervisor sees to its end now; returns the reason."""
        reason, self.reason = self.reason, None
        self.has_failed = False
        return reason

    def stop(self, *, will_return: bool) -> None:
        """End it, in the time it has; with `will_return` its mail waits for the next life."""
        self.see_out(self.stop_nowait(will_return=will_return))

    def see_out(self, ending: Promise | None) -> None:
        """Wait for its end; one that waits for its supervisor cannot come to it, and is killed."""
        if ending is None:
            return
        try:
            ending.exception()
        except DeadlockError as error:
            _log.info("%r waits for its supervisor and is killed: %s", self.key, error)
            self.seat.kill()

    def stop_nowait(self, *, will_return: bool) -> Promise | None:
        """Like `stop`, and return what to wait for at once; None when it has ended."""
        self.is_restarting = False
        self.see_to()
        return self.seat.stop(will_return=will_return)

    def orphan(self) -> None:
        """Have it end, without waiting: its supervisor has ended."""
        self.is_restarting = False
        self.seat.orphan()
