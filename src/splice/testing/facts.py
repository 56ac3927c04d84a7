"""Facts: a history put in order by message, process and node, for the invariants; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from splice.testing.history import Event, What, address_of, is_bound, name_of, node_of

DRIVER: Final = "driver"
"""Who sends the first messages: the trial itself, on the node of whom it sends to."""

RECOVERY_SECONDS: Final = 3.0
"""A connection may need so long after a fault: two seconds until it is dialled again, and its
handshake."""


@dataclass(slots=True)
class Course:
    """What has become of one message."""

    sent: Event
    sent_turn: int
    queued: list[Event] = field(default_factory=list)
    handled: list[Event] = field(default_factory=list)
    verdicts: list[Event] = field(default_factory=list)
    cancels: list[Event] = field(default_factory=list)
    turn: int = 0
    """Which of all events its handling was; `sent_turn`, its sending."""

    @property
    def number(self) -> int:
        """Its number."""
        return self.sent.message

    @property
    def kind(self) -> str:
        """What it asks for."""
        return self.sent.text

    @property
    def is_one_way(self) -> bool:
        """Whether its verdict is about its delivery."""
        return self.kind.startswith("tell ")

    @property
    def target(self) -> str:
        """Whom it is for."""
        return self.sent.other

    @property
    def home(self) -> str:
        """The node of the sender, which gets the verdict."""
        return node_of(self.target if self.sent.place == DRIVER else self.sent.place)


class Facts:
    """A history, by message, process and node.

    Args:
        events: the history.
        loss_timeout: of its nodes.
        is_lossy: the wire lost messages at random, so any connection may be slow to come.
    """

    def __init__(
        self, events: Iterable[Event], *, loss_timeout: float, is_lossy: bool = False
    ) -> None:
        self.loss_timeout = loss_timeout
        self.is_lossy = is_lossy
        self.courses: dict[int, Course] = {}
        self.ends: dict[str, list[Event]] = defaultdict(list)
        self._lives: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.down: dict[str, float] = {}
        self.unsent: list[Event] = []
        self.others: list[Event] = []
        self._places: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._faults: list[Event] = []
        self._stretches: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self._turn = 0
        for event in events:
            self._turn += 1
            self._sort_in(event)

    def _sort_in(self, event: Event) -> None:
        what = event.what
        if what is What.SENT:
            self.courses[event.message] = Course(event, self._turn)
        elif what in {What.QUEUED, What.HANDLED, What.VERDICT, What.CANCEL}:
            self._of_message(event)
        elif what is What.OVER:
            self.ends[event.place].append(event)
            self._lives[event.place].append((self._turn, event.text))
        elif what is What.DOWN:
            self.down[event.place] = event.at
        elif what is What.FAULT:
            self._faults.append(event)
        elif what is What.BORN:
            key = address_of(event.place), name_of(event.place)
            self._places[key].add(event.place)
            self._lives[event.place].append((self._turn, ""))
        else:
            self.others.append(event)

    def _of_message(self, event: Event) -> None:
        course = self.courses.get(event.message)
        if course is None:
            self.unsent.append(event)
        elif event.what is What.QUEUED:
            course.queued.append(event)
        elif event.what is What.HANDLED:
            course.handled.append(event)
            course.turn = course.turn or self._turn
        elif event.what is What.VERDICT:
            course.verdicts.append(event)
        else:
            course.cancels.append(event)

    # ---- processes and nodes

    def meant(self, target: str) -> set[str]:
        """Return the processes that a target can mean: several lives when it is not bound."""
        if is_bound(target):
            return {target}
        return self._places[address_of(target), name_of(target)]

    def is_over(self, place: str, by: float = inf) -> bool:
        """Tell whether a process has ended, or its node, or one like it before a restart."""
        ends = self.ends.get(place)
        return bool(ends and ends[0].at <= by) or self.is_down(node_of(place), by)

    def is_over_since(self, place: str, turn: int) -> bool:
        """Tell whether a process was dead at an event of the history, or has ended since."""
        return bool(self.reasons_since(place, turn))

    def reasons_since(self, place: str, turn: int) -> list[str]:
        """Return why a process has ended since an event of the history, in order.

        A supervised one has several lives; one that was dead already counts as no process.
        """
        lives = self._lives.get(place, [])
        before = [reason for when, reason in lives if when <= turn]
        reasons = ["noproc"] if before and before[-1] else []
        reasons += [reason for when, reason in lives if when > turn and reason]
        if not reasons and self.is_down(node_of(place)):
            reasons.append("node down")
        return reasons

    def is_alive(self, place: str) -> bool:
        """Tell whether a process lives in the end, perhaps after several lives."""
        lives = self._lives.get(place)
        return bool(lives and not lives[-1][1]) and not self.is_down(node_of(place))

    def is_down(self, node: str, by: float = inf) -> bool:
        """Tell whether a node was dead by then; of an address, whether one there was."""
        return any(
            at <= by
            for name, at in self.down.items()
            if node in {name, address_of(name)}
        )

    # ---- faults

    def may_be_lost(self, one: str, other: str, at: float) -> bool:
        """Tell whether one node had reason, by that time, to think that the other is dead."""
        if self.is_lossy or self.is_down(other, at) or self.is_down(one, at):
            return True
        late = self.loss_timeout * 2 + RECOVERY_SECONDS
        return any(
            start <= at <= end + late and end - start >= self.loss_timeout
            for start, end in self._disturbed(address_of(one), address_of(other))
        )

    def _disturbed(self, one: str, other: str) -> list[tuple[float, float]]:
        """Return when the way between two addresses was disturbed, one after the other."""
        key = (min(one, other), max(one, other))
        if key not in self._stretches:
            self._stretches[key] = _joined(
                (fault.at, fault.at + fault.seconds + RECOVERY_SECONDS)
                for fault in self._faults
                if _concerns(fault, one, other)
            )
        return self._stretches[key]


def _concerns(fault: Event, one: str, other: str) -> bool:
    places = {address_of(fault.place)}
    if not fault.other:
        return bool(places & {one, other})
    return places | {address_of(fault.other)} == {one, other}


def _joined(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
