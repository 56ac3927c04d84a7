"""History: what has happened in a simulated cluster, in order; written once, then only read.

Places and processes have short names: ``n2.1`` is the first incarnation of the second node,
``n2.1:p5`` the process ``p5`` there, and ``n2:p5`` whoever bears that name at that address.
The same seed writes the same history, to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

NEIGHBOURS: Final = 12
"""Events shown around one that matters: what a person reads before losing the thread."""


class What(Enum):
    """What an event tells, and what stands in its fields."""

    UP = "up"
    """A node has started: place."""
    DOWN = "down"
    """A node is gone: place, text how."""
    FAULT = "fault"
    """Something begins to go wrong: place, other, seconds; text what."""
    BORN = "born"
    """A process was made: place is the process."""
    OVER = "over"
    """A process has ended: place, text why."""
    SENT = "sent"
    """A message was sent: place is the sender, other the target, text the kind."""
    QUEUED = "queued"
    """A message stands in the mailbox of a process of another node: place."""
    HANDLED = "handled"
    """A handler was called: place is the process."""
    VERDICT = "verdict"
    """The sender knows: text is the value or the error, other the verdict."""
    CANCEL = "cancel"
    """Somebody gave a message up; text tells whether it came in time."""
    STREAM = "stream"
    """A coroutine was read: other is the values, text how it ended."""
    LEFT = "left"
    """Something was not tidied up in the end: place, text."""
    CRASH = "crash"
    """An error came out where none should: text."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that has happened.

    Attributes:
        at: virtual time in seconds.
        what: its kind, which says what the other fields mean.
        message: number of the message that it concerns, 0 for none.
        place: node or process where it has happened.
        other: the other one, or a verdict.
        text: details.
        seconds: how long it lasts.
    """

    at: float
    what: What
    message: int = 0
    place: str = ""
    other: str = ""
    text: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        number = f"#{self.message}" if self.message else ""
        places = " -> ".join(part for part in (self.place, self.other) if part)
        lasts = f" for {self.seconds:.3f} s" if self.seconds else ""
        line = f"{self.at:10.4f}  {self.what.value:8} {number:6} {places}  {self.text}"
        return line.rstrip() + lasts


class History:
    """The events of one run; append-only."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events = list(events)

    def add(self, event: Event) -> None:
        """Note an event, which happened after all others."""
        self._events.append(event)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __str__(self) -> str:
        return "\n".join(map(str, self._events))

    def digest(self) -> str:
        """Return a short text that is the same for the same history, and for no other."""
        digest = hashlib.blake2b(digest_size=12)
        for event in self._events:
            digest.update(repr((event.at, str(event))).encode())
        return digest.hexdigest()

    def around(self, messages: Container[int], places: Container[str] = ()) -> str:
        """Return what has happened to some messages, with what happened beside it.

        Events that concern them are marked, faults and deaths always shown, and gaps told.
        """
        marked = [
            (event.message and event.message in messages) or event.place in places
            for event in self._events
        ]
        shown: set[int] = set()
        for index, event in enumerate(self._events):
            if marked[index]:
                shown.update(range(index - NEIGHBOURS, index + NEIGHBOURS + 1))
            elif event.what in {What.UP, What.DOWN, What.FAULT, What.CRASH}:
                shown.add(index)
        lines, last = [], -1
        for index, event in enumerate(self._events):
            if index in shown:
                if index != last + 1:
                    lines.append(f"            ... {index - last - 1} events")
                lines.append(f"{'>' if marked[index] else ' '} {event}")
                last = index
        return "\n".join(lines)


def node_of(place: str) -> str:
    """Return the node of a process: ``n2.1`` of ``n2.1:p5``."""
    return place.partition(":")[0]


def address_of(place: str) -> str:
    """Return the node of a process or node, whichever incarnation: ``n2`` of ``n2.1:p5``."""
    return node_of(place).partition(".")[0]


def name_of(place: str) -> str:
    """Return the name of a process at its node: ``p5`` of ``n2.1:p5``."""
    return place.partition(":")[2]


def is_bound(place: str) -> bool:
    """Tell whether a place means one incarnation."""
    return "." in node_of(place)
