"""Restart: what a supervisor does when a child ends; pure.

::

    a child has ended ─► decide ─► Keep      its entry stays, nothing runs
                              ├──► Forget    its entry goes
                              ├──► Restart   stop those, then start these, in order
                              ├──► GiveUp    too many restarts: the supervisor ends
                              └──► WindUp    a significant child is done: so is the supervisor

Intensity is counted in restarts within a period, as in OTP: one more than ``intensity`` within
``period`` seconds, and the supervisor gives up.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
"""Who is restarted when a child ends: it alone, all, it and those started after it, it alone."""

Kind = Literal["permanent", "transient", "temporary"]
"""When a child is restarted: always, unless it ended in order, never."""

AutoShutdown = Literal["never", "any_significant", "all_significant"]
"""When a supervisor is done: never by itself, when one of its significant children has ended
for good, when the last of them has."""

STRATEGIES: Final = ("one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one")
KINDS: Final = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS: Final = ("never", "any_significant", "all_significant")

IN_ORDER: Final = frozenset({"normal", "shutdown"})
"""Reasons of an end that is no failure."""


@dataclass(frozen=True, slots=True)
class Member:
    """A child as the decisions see it.

    Attributes:
        is_significant: its end for good may be that of the supervisor.
        is_active: it runs, or will again.
    """

    key: Hashable
    kind: Kind
    is_significant: bool = False
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave the child as it is: ended, and known."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Strike the child out."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop some children, forget some, start some.

    Attributes:
        stop: those to be stopped, the one started last first; the ended one is not among them.
        forget: those of them that are not started again, for they are temporary.
        start: those to be started, in starting order.
        restarts: the times of restarts that count from now on.
    """

    stop: tuple[Hashable, ...]
    forget: tuple[Hashable, ...]
    start: tuple[Hashable, ...]
    restarts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the supervisor: its children cannot be kept running."""


@dataclass(frozen=True, slots=True)
class WindUp:
    """End the supervisor: what it was for is done."""


Action = Keep | Forget | Restart | GiveUp | WindUp


@dataclass(frozen=True, slots=True)
class Policy:
    """How a supervisor restarts.

    Raises:
        ValueError: a part of it is not what it must be; the text says which.
    """

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    def __post_init__(self) -> None:
        if self.auto_shutdown not in AUTO_SHUTDOWNS:
            raise ValueError(
                f"no auto_shutdown {self.auto_shutdown!r}; there are "
                f"{', '.join(AUTO_SHUTDOWNS)}"
            )
        if self.strategy not in STRATEGIES:
            raise ValueError(
                f"no strategy {self.strategy!r}; there are {', '.join(STRATEGIES)}"
            )
        if not isinstance(self.intensity, int) or self.intensity < 0:
            raise ValueError(
                f"intensity is a number of restarts, 0 or more, not {self.intensity!r}"
            )
        if not self.period > 0:
            raise ValueError(
                f"period is a number of seconds above 0, not {self.period!r}"
            )

    @property
    def is_simple(self) -> bool:
        """Whether all children are made alike, on demand."""
        return self.strategy == "simple_one_for_one"

    @property
    def restarts_alone(self) -> bool:
        """Whether the restart of a child concerns no other one."""
        return self.strategy in {"one_for_one", "simple_one_for_one"}

    def decide(
        self,
        members: Sequence[Member],
        ended: Hashable,
        reason: Any,
        restarts: Sequence[float],
        now: float,
        *,
        counts: bool = True,
    ) -> Action:
        """Decide what is done about the end of a child that nobody wanted to end.

        Args:
            members: all children, in starting order; where one is restarted alone, and is not
                significant, it will do.
            ended: the key of the one that has ended.
            reason: why.
            restarts: the times of earlier restarts.
            now: the time.
            counts: whether a restart counts; not for the second child of one lost node.
        """
        member = next(m for m in members if m.key == ended)
        if comes_back(member.kind, reason):
            return self.again(members, ended, restarts, now, counts=counts)
        if member.is_significant and self._is_done(members, ended):
            return WindUp()
        is_kept = member.kind != "temporary" and not self.is_simple
        return Keep() if is_kept else Forget()

    def _is_done(self, members: Sequence[Member], ended: Hashable) -> bool:
        if self.auto_shutdown != "all_significant":
            return self.auto_shutdown == "any_significant"
        others = (m for m in members if m.key != ended)
        return not any(m.is_significant and m.is_active for m in others)

    def again(
        self,
        members: Sequence[Member],
        ended: Hashable,
        restarts: Sequence[float],
        now: float,
        *,
        counts: bool = True,
    ) -> Restart | GiveUp:
        """Decide how a child is restarted, which has ended or could not be restarted."""
        recent = tuple(t for t in restarts if now - t <= self.period)
        if counts:
            recent = (*recent, now)
        if len(recent) > self.intensity:
            return GiveUp()
        others = [m for m in self._concerned(members, ended) if m.key != ended]
        gone = {m.key for m in others if m.kind == "temporary"}
        return Restart(
            stop=tuple(m.key for m in reversed(others)),
            forget=tuple(m.key for m in others if m.key in gone),
            start=tuple(
                m.key for m in self._concerned(members, ended) if m.key not in gone
            ),
            restarts=recent,
        )

    def _concerned(self, members: Sequence[Member], ended: Hashable) -> list[Member]:
        if self.strategy == "one_for_all":
            return list(members)
        index = next(i for i, member in enumerate(members) if member.key == ended)
        if self.strategy == "rest_for_one":
            return list(members[index:])
        return [members[index]]


def comes_back(kind: Kind, reason: Any) -> bool:
    """Whether a child of that kind is restarted after an end for `reason`."""
    if kind == "transient":
        # the type first: a reason may be anything, also what cannot be hashed
        return not (isinstance(reason, str) and reason in IN_ORDER)
    return kind == "permanent"


def places(
    wanted: Sequence[str],
    lost: Collection[str],
    load: Mapping[str | None, int],
    *,
    is_restart: bool = False,
) -> tuple[str | None, ...]:
    """Decide on which nodes a child may be started, the best one first.

    Args:
        wanted: addresses of the nodes it is for; empty for that of its supervisor.
        lost: those that it was lost with, or that could not be reached.
        load: how many children its supervisor has on each node.
        is_restart: it has lived before, so the node of its supervisor will do in the end.

    Returns:
        Addresses; None is the node of its supervisor.
    """
    left = [address for address in dict.fromkeys(wanted) if address not in lost]
    best = sorted(left, key=lambda address: load.get(address, 0))
    return (*best, None) if is_restart or not best else tuple(best)
