"""Supervisor: a process that starts other processes and restarts them when they fail.

::

    Supervisor ── start ──► child ── fails ──► its seat ──► a message to the supervisor
        ▲                                                             │
        └── stop, start ◄── Restart ◄── splice.actor.restart decides ◄┘

Where a child lives, and what is done there, is in `splice.actor.supervised` and its seat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from itertools import count
from typing import Any, ClassVar, Final, TypeVar

from splice.actor.cell import Cell
from splice.actor.childspec import ChildCounts, ChildInfo, ChildSpec
from splice.actor.cleaning import outlives
from splice.actor.context import current_message, current_worker
from splice.actor.family import Family
from splice.actor.handlers import Handler, Hook
from splice.actor.links import extra_of
from splice.actor.process import Process
from splice.actor.promise import Promise, Tell
from splice.actor.restart import (
    AutoShutdown,
    Forget,
    GiveUp,
    Keep,
    Member,
    Policy,
    Restart,
    Strategy,
    WindUp,
)
from splice.actor.seat import abroad
from splice.actor.supervised import Child
from splice.errors import CannotWait, Exit
from splice.log import logger
from splice.uri import url

_log = logger("actor")

F = TypeVar("F", bound=Callable[..., Any])


def _answering(function: F) -> F:
    """Have a handler answer with what it raises: that is no failure of the supervisor.

    Called by another handler of the same supervisor it raises like any method.
    """

    @wraps(function)
    def handler(self: Supervisor, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self, *args, **kwargs)
        except Exception as error:
            message = current_message()
            if (
                message is None
                or getattr(message.handler, "function", 0) is not handler
            ):
                raise
            failure = Promise(self._sp_cell.scheduler)
            failure.reject(error)
            return failure

    return handler  # type: ignore[return-value]


class Supervisor(Process):
    """A process that starts children, and restarts those that fail.

    Args:
        strategy: who is restarted when a child ends: ``"one_for_one"`` it alone,
            ``"one_for_all"`` all, ``"rest_for_one"`` it and those started after it;
            ``"simple_one_for_one"`` has one spec, of which children are made on demand.
        intensity: restarts that are borne within `period`; one more, and the supervisor stops
            its children, the last one first, and ends with the reason ``"shutdown"``.
        period: seconds.
        children: made by `child`, started in that order.
        auto_shutdown: ``"never"``, or end with the reason ``"shutdown"`` when a significant child
            has ended for good: ``"any_significant"`` with the first, ``"all_significant"`` with
            the last of them.

    Each may stand as an attribute of a subclass instead.
    """

    sp_is_supervisor: ClassVar[bool] = True

    strategy: ClassVar[Strategy] = "one_for_one"
    intensity: ClassVar[int] = 1
    period: ClassVar[float] = 5.0
    children: ClassVar[Sequence[ChildSpec]] = ()
    auto_shutdown: ClassVar[AutoShutdown] = "never"

    def __init__(
        self,
        strategy: Strategy | None = None,
        intensity: int | None = None,
        period: float | None = None,
        children: Sequence[ChildSpec] | None = None,
        auto_shutdown: AutoShutdown | None = None,
    ) -> None:
        self._policy = Policy(
            self.strategy if strategy is None else strategy,
            self.intensity if intensity is None else intensity,
            self.period if period is None else period,
            self.auto_shutdown if auto_shutdown is None else auto_shutdown,
        )
        specs = _checked(self.children if children is None else children)
        self._family = Family(is_simple=self._policy.is_simple)
        self._restarts: tuple[float, ...] = ()
        self._lost_nodes: dict[tuple[str, int | None], float] = {}
        self._retried: Child | None = None
        self._numbers = count(1)
        self._template: ChildSpec | None = None
        extra_of(self._sp_cell).at_end = self._orphan
        if not self._policy.is_simple:
            self._start_first(specs)
        elif len(specs) == 1:
            self._template = specs[0]
        else:
            raise ValueError(
                f"simple_one_for_one has exactly 1 spec in children, not {len(specs)}"
            )

    # ---- handlers

    @_answering
    def start_child(self, *spec: Any, **kwargs: Any) -> Any:
        """Start a child and answer its proxy; what its constructor raises is raised.

        Args:
            spec: made by `child`; in ``simple_one_for_one`` further arguments for the
                constructor instead.

        Raises:
            ChildExists: there is a child of that id, running or not.
            CannotWait: called by the supervisor itself, and not in a plain handler.
        """
        is_spec = len(spec) == 1 and not kwargs and isinstance(spec[0], ChildSpec)
        if self._template is not None and not is_spec:
            made = replace(
                self._template,
                args=(*self._template.args, *spec),
                kwargs={**self._template.kwargs, **kwargs},
            )
            return self._start(("child", next(self._numbers)), made).proxy
        if self._template is not None or not is_spec:
            raise TypeError(
                "start_child wants one spec, made by splice.child; in simple_one_for_one "
                "arguments for the constructor"
            )
        return self._start(spec[0].id, spec[0]).proxy

    @_answering
    def restart_child(self, id: Any) -> Any:  # noqa: A002 - as in `child`
        """Start a child again that has ended, and answer its proxy.

        Raises:
            NoSuchChild: there is none of that id.
            ChildRunning: it runs, or is about to be restarted.
            CannotWait: its own last handler, not at its end yet, has led to this call; or as
                `start_child`.
            ProcessStopped: the node is being shut down.
        """
        found = self._family.stopped(id)
        self._check_wait("restart_child")
        self._family.restart(found)
        return found.proxy

    @_answering
    def terminate_child(self, id: Any) -> None:  # noqa: A002 - as in `child`
        """Stop a child; its spec is kept, unless it is temporary.

        Of one whose restart fails again and again, those are stopped too that were to be
        restarted after it.

        Args:
            id: of the child; in ``simple_one_for_one`` its proxy.

        Raises:
            NoSuchChild: there is none of that id.
            CannotWait: as `start_child`.
        """
        found = self._family.find(id)
        self._check_wait("terminate_child")
        found.stop(will_return=False)
        self._give_up_on(found)
        if self._policy.is_simple or found.spec.restart == "temporary":
            self._forget(found)

    @_answering
    def delete_child(self, id: Any) -> None:  # noqa: A002 - as in `child`
        """Forget a child that has been stopped.

        Raises:
            NoSuchChild: there is none of that id.
            ChildRunning: it runs, or is about to be restarted.
        """
        self._forget(self._family.stopped(id))

    @_answering
    def get_childspec(self, id: Any) -> ChildSpec:  # noqa: A002 - as in `child`
        """Answer how a child is made; of a temporary one without its arguments.

        Args:
            id: of the child; in ``simple_one_for_one`` its proxy.

        Raises:
            NoSuchChild: there is none of that id.
        """
        return self._family.find(id).spec

    def which_children(self) -> list[ChildInfo]:
        """Answer all children, in starting order."""
        return self._family.infos()

    def count_children(self) -> ChildCounts:
        """Answer how many children there are."""
        return self._family.counts()

    # ---- starting and stopping

    def _start_first(self, specs: list[ChildSpec]) -> None:
        for spec in specs:
            try:
                self._start(spec.id, spec)
            except Exception as error:
                error.add_note(f"raised by the start of child {spec.id!r}")
                self._stop_all()
                raise

    def _start(self, key: Any, spec: ChildSpec) -> Child:
        if key is None:
            key = self._family.new_key(spec.cls.__name__, self._numbers)
        self._family.check_new(key)
        self._check_wait("start_child")
        if spec.significant and self._policy.auto_shutdown == "never":
            raise ValueError(
                f"child {key!r} is significant, but auto_shutdown of its supervisor is 'never'"
            )
        made = Child(self._sp_cell, key, spec, self._has_ended)
        self._family.start(made)
        return made

    @property
    def _is_retiring(self) -> bool:
        """Whether the node is being shut down."""
        return self._sp_cell.scheduler.is_retiring

    def _check_wait(self, what: str) -> None:
        """Raise CannotWait where a child cannot be waited for, before anything is done about it."""
        worker = current_worker()
        if worker is None or worker.callbacks:
            raise CannotWait(
                f"{self._sp_cell}.{what} waits for the child, and here nothing can; call it in a "
                "plain handler of the supervisor"
            )

    def _forget(self, found: Child) -> None:
        self._family.remove(found)
        found.seat.close()

    def _stop_all(self) -> None:
        family = list(reversed(self._family))
        if self._policy.is_simple:
            # all at the same time: none of them needs another one
            endings = [found.stop_nowait(will_return=False) for found in family]
            for found, ending in zip(family, endings, strict=True):
                found.see_out(ending)
        else:
            for found in family:
                found.stop(will_return=False)
        for found in family:
            found.seat.close()
        self._family.clear()

    @outlives
    def sp_terminate(self, reason: Any) -> None:
        """Stop the children, the one started last first."""
        if not self._sp_cell.scheduler.is_closing:  # then all are ended anyway
            self._stop_all()

    def _orphan(self, reason: Any) -> None:
        """End the children of a supervisor that was killed, or could not be made."""
        for found in list(reversed(self._family)):
            found.orphan()

    # ---- when a child has ended

    def _has_ended(self, found: Child) -> None:
        tell_owner(self._sp_cell, _ENDED, found)

    def _ended(self, found: Child) -> None:
        if found not in self._family or not found.has_failed:
            return  # it was stopped or restarted since
        if _is_on_the_stack_of_another():
            self._has_ended(found)
            return
        # of its last end: this may have been sent for an earlier one, and again since
        reason = found.see_to()
        if self._is_retiring or (found.spec.dest and abroad(self._sp_cell).is_leaving):
            found.seat.release()  # nothing comes back; the nodes that were forked go first
            return
        now = self._sp_cell.scheduler.loop.time()
        action = self._policy.decide(
            self._members(found),
            found.key,
            reason,
            self._restarts,
            now,
            counts=self._is_news(found.seat.lost_node),
        )
        _log.info("child %r has ended (%r): %s", found.key, reason, action)
        if isinstance(action, (Keep, Forget)):
            found.seat.release()
            if isinstance(action, Forget):
                self._forget(found)
        else:
            self._carry_out(action)

    def _is_news(self, lost_node: url | None) -> bool:
        """Whether a loss is the first one to be heard of that node, which may have had many."""
        if lost_node is None:
            return True
        node = lost_node.address, lost_node.incarnation
        now = self._sp_cell.scheduler.loop.time()
        recent = {
            lost: when
            for lost, when in self._lost_nodes.items()
            if now - when <= self._policy.period
        }
        self._lost_nodes = {**recent, node: now}
        return node not in recent

    def _members(self, found: Child) -> list[Member]:
        return self._family.members(found, is_alone=self._policy.restarts_alone)

    def _give_up_on(self, found: Child) -> None:
        """Stop those too that were to be started after `found`, which will not be."""
        if found is not self._retried or self._policy.restarts_alone:
            return
        self._retried = None
        for other in self._family:
            if other.is_restarting:
                other.stop(will_return=False)

    def _is_to_be_retried(self, found: Child) -> bool:
        if found not in self._family or not found.is_restarting:
            return False
        # where several are restarted in order, only the first that fails
        return self._policy.restarts_alone or found is self._retried

    def _again(self, found: Child) -> None:
        """Try once more to restart a child whose constructor has failed."""
        if self._is_to_be_retried(found):
            if _is_on_the_stack_of_another():
                tell_owner(self._sp_cell, _AGAIN, found)
                return
            if self._is_retiring:  # as in `_ended`
                found.stop(will_return=False)
                self._give_up_on(found)
                return
            now = self._sp_cell.scheduler.loop.time()
            self._carry_out(
                self._policy.again(self._members(found), found.key, self._restarts, now)
            )

    def _carry_out(self, action: Restart | GiveUp | WindUp) -> None:
        if not isinstance(action, Restart):
            raise Exit("shutdown")
        self._restarts = action.restarts
        for key in action.stop:
            will_return = key not in action.forget
            self._family[key].stop(will_return=will_return)
        for key in action.forget:
            self._forget(self._family[key])
        starting = [self._family[key] for key in action.start]
        for found in starting:
            found.is_restarting = True
        for found in starting:
            try:
                self._family.restart(found)
            except Exception:
                if not self._is_retiring:  # else that is no news
                    _log.exception("child %r could not be restarted", found.key)
                self._retried = found
                tell_owner(self._sp_cell, _AGAIN, found)
                return


_ENDED: Final = Hook("child_ended", Supervisor._ended, is_plain=True)
_AGAIN: Final = Hook("child_again", Supervisor._again, is_plain=True)


def _checked(children: Sequence[ChildSpec]) -> list[ChildSpec]:
    specs = list(children)
    for spec in specs:
        if not isinstance(spec, ChildSpec):
            raise TypeError(
                f"children are specs, made by splice.child, and {spec!r} is none"
            )
    return specs


def _is_on_the_stack_of_another() -> bool:
    """Tell whether the handler runs by direct call: its caller may be a child that is to end.

    That one could not be unwound from under it; what is sent again has a turn of its own.
    """
    worker = current_worker()
    return worker is not None and len(worker.stack) > 1


def tell_owner(owner: Cell, handler: Handler, *args: Any) -> None:
    """Send a supervisor a message of its own; nothing when it has ended."""
    if not owner.has_ended:
        owner.put_tell(Tell(owner, handler, args))
