"""Invariants: what splice promises, checked on a history; pure.

Each rule reads the facts of a history and yields what breaks it.  A rule never asks how splice
works: only who sent, who handled, and what the sender was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from splice.testing.facts import DRIVER, Course, Facts
from splice.testing.history import Event, What, is_bound, node_of

ONE_SIDED: Final = frozenset({"link"})
"""Kinds of messages that nobody is told of."""

MADE_AGAIN: Final = frozenset({"start"})
"""Kinds whose handling is a birth, which a supervisor repeats."""

MAKING: Final = MADE_AGAIN | {"spawn"}
"""Kinds that another process than the named one handles: an agent or a supervisor."""

UNHANDLED: Final = ONE_SIDED | MADE_AGAIN | {"monitor"}
"""Kinds of messages that no handler of the workload notes for each that was sent."""

KNOWN: Final = {
    "Oops": "raised by a handler on purpose",
    "Cancelled": "given up",
    "DeliveryError": "the sender's node was shut down",
    "NodeLost": "the node",
    "ConnectTimeout": "the node",
    "ProcessNotFound": "the process",
    "ProcessStopped": "the process",
    "NameTaken": "of a spawn",
    "ChildExists": "of a supervisor",
}
"""Errors that a sender may be told, with what they are about; any other is a defect."""

NORMAL: Final = "normal"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: which promise.
        text: what has happened instead.
        messages: numbers of the messages concerned.
        places: processes and nodes concerned.
    """

    rule: str
    text: str
    messages: tuple[int, ...] = ()
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


Rule = Callable[[Facts], Iterable[Violation]]


def check(facts: Facts) -> list[Violation]:
    """Return all violations, by rule and in the order of the messages."""
    return [violation for rule in RULES for violation in rule(facts)]


def one_verdict(facts: Facts) -> Iterator[Violation]:
    """Every message of a living node has exactly one verdict, and none has two."""
    for course in facts.courses.values():
        if course.kind in ONE_SIDED:
            continue
        count = len(course.verdicts)
        if count > 1:
            said = " and ".join(_told(verdict) for verdict in course.verdicts)
            yield _wrong("one verdict", course, f"has {count} verdicts: {said}")
        elif not count and course.kind != "monitor" and not facts.is_down(course.home):
            yield _wrong("one verdict", course, "has none, and its sender's node lives")


def handled_once(facts: Facts) -> Iterator[Violation]:
    """No handler runs a message twice, and none one that nobody has sent."""
    for event in facts.unsent:
        text = f"#{event.message} was never sent: {event}"
        yield Violation("handled once", text, (event.message,))
    for course in facts.courses.values():
        handled = len(course.handled)
        if handled > 1 and course.kind not in MADE_AGAIN:
            where = ", ".join(event.place for event in course.handled)
            text = f"was handled {handled} times: {where}"
            yield _wrong("handled once", course, text)


def in_order(facts: Facts) -> Iterator[Violation]:
    """What one process sends to another is handled in the order it was sent."""
    last: dict[tuple[str, str, str], Course] = {}
    for course in facts.courses.values():  # in the order they were sent
        if not course.handled or course.kind in MAKING:
            continue
        key = course.sent.place, course.target, course.handled[0].place
        before = last.get(key)
        if before and before.turn > course.turn:
            text = f"was handled before #{before.number}, which was sent before it"
            yield _wrong("in order", course, text, before)
        last[key] = course


def true_verdict(facts: Facts) -> Iterator[Violation]:
    """What the sender is told is so."""
    for course in facts.courses.values():
        for verdict in course.verdicts[:1]:
            text = _untrue(facts, course, verdict)
            if text:
                yield _wrong("true verdict", course, f"{_told(verdict)}, but {text}")


def _untrue(facts: Facts, course: Course, verdict: Event) -> str:
    """Say what is wrong with a verdict; an empty text for nothing."""
    if course.kind in UNHANDLED:
        return ""
    if verdict.other == "answered":
        return _wrong_answer(course, verdict)
    if verdict.other == "delivered":
        return _not_delivered(facts, course, verdict)
    if verdict.text not in KNOWN:
        return "that is no error that a sender may be told"
    return _wrong_error(course, verdict)


def _wrong_error(course: Course, verdict: Event) -> str:
    if not course.handled:
        if verdict.text == "Oops":
            return "no handler raised it"
        # a tell is delivered when it is in the mailbox, a request when it is handled
        is_in = course.is_one_way and course.queued
        return "it was queued" if is_in and verdict.other == "not delivered" else ""
    is_given_up = verdict.text == "Cancelled" and course.kind != "nap"
    if verdict.other == "not delivered" or is_given_up:
        return "it was handled"
    return ""


def _wrong_answer(course: Course, verdict: Event) -> str:
    if not course.handled:
        return "it was not handled"
    if course.sent.place == DRIVER:
        return ""
    expected = {str(course.number), course.handled[0].place}
    return "" if verdict.text in expected else "the answer is another one's"


def _not_delivered(facts: Facts, course: Course, verdict: Event) -> str:
    is_far = course.home != node_of(course.target)
    arrived = [e for e in (*course.queued, *course.handled) if e.at <= verdict.at]
    if is_far and not arrived:
        return "it was not in a mailbox by then"
    meant = facts.meant(course.target)
    if course.handled or any(facts.is_over(place) for place in meant):
        return ""
    return "it was not handled, and its process lives"


def no_impostor(facts: Facts) -> Iterator[Violation]:
    """A message for one incarnation never comes to another, nor to another process."""
    for course in facts.courses.values():
        if course.kind in MAKING or course.kind in UNHANDLED:
            continue
        for event in (*course.handled, *course.queued):
            if event.place not in facts.meant(course.target):
                text = f"was for {course.target} and came to {event.place}"
                yield _wrong("no impostor", course, text)
                break


def loss_has_cause(facts: Facts) -> Iterator[Violation]:
    """No node is thought dead that lives and was not cut off for long."""
    for course in facts.courses.values():
        for verdict in course.verdicts:
            if verdict.text != "NodeLost" or course.sent.place == DRIVER:
                continue
            if course.kind == "monitor":  # it may be the reason of an end
                continue
            if not facts.may_be_lost(course.home, node_of(course.target), verdict.at):
                text = f"{_told(verdict)}, but nothing was wrong for long"
                yield _wrong("loss has cause", course, text)


def ends_are_told(facts: Facts) -> Iterator[Violation]:
    """Who monitors a process hears of its end, and of nothing else."""
    for course in facts.courses.values():
        if course.kind != "monitor" or facts.is_down(course.home):
            continue
        is_over = any(
            facts.is_over_since(place, course.sent_turn)
            for place in facts.meant(course.target)
        )
        # who was made again may have been dead only while the signal travelled
        is_gone = is_over and not facts.is_alive(course.target)
        if is_gone and is_bound(course.target) and not course.verdicts:
            yield _wrong("ends are told", course, "has ended, and the monitor waits")
        for verdict in course.verdicts:
            if is_over or facts.is_over(course.sent.place) or _is_gone(verdict):
                continue
            if not facts.may_be_lost(course.home, node_of(course.target), verdict.at):
                text = f"has not ended; the monitor says {verdict.text}"
                yield _wrong("ends are told", course, text)


def _is_gone(verdict: Event) -> bool:
    return "noproc" in verdict.text  # nobody of that name was there


def fate_is_shared(facts: Facts) -> Iterator[Violation]:
    """Who is linked to a process that has failed ends as well."""
    for course in facts.courses.values():
        if course.kind != "link" or not is_bound(course.target):
            continue
        me, other = course.sent.place, course.target
        if facts.is_over(me) or facts.is_alive(other):
            continue
        reasons = facts.reasons_since(other, course.sent_turn)
        # with several lives, nobody can say in which one the link came
        if reasons and NORMAL not in reasons:
            text = f"{me} lives on, though {other} has ended ({reasons})"
            yield _wrong("fate is shared", course, text)


def streams_are_whole(facts: Facts) -> Iterator[Violation]:
    """A coroutine's values come in order, each once; all of them when it ends well."""
    for event in facts.others:
        if event.what is not What.STREAM:
            continue
        values = [int(value) for value in event.other.split(",") if value]
        end, _, count = event.text.partition(" of ")
        is_whole = end != "complete" or len(values) == int(count)
        if values != list(range(len(values))) or not is_whole:
            text = f"#{event.message} read {event.other} ({event.text})"
            yield Violation("streams are whole", text, (event.message,))


def nothing_is_left(facts: Facts) -> Iterator[Violation]:
    """In the end nothing is owed, parked or on its way, and nothing has crashed."""
    for event in facts.others:
        if event.what is What.LEFT:
            text = f"{event.place} still has {event.text}"
            yield Violation("nothing is left", text, places=(event.place,))
        elif event.what is What.CRASH:
            yield Violation("no crash", event.text)


RULES: Final[tuple[Rule, ...]] = (
    one_verdict,
    handled_once,
    in_order,
    true_verdict,
    no_impostor,
    loss_has_cause,
    ends_are_told,
    fate_is_shared,
    streams_are_whole,
    nothing_is_left,
)
"""All of them."""


def _told(verdict: Event) -> str:
    return " ".join(part for part in (verdict.other, verdict.text) if part)


def _wrong(
    rule: str, course: Course, text: str, other: Course | None = None
) -> Violation:
    numbers = (course.number,) if other is None else (other.number, course.number)
    sent = course.sent
    what = f"#{course.number} ({course.kind}, {sent.place} -> {sent.other})"
    return Violation(rule, f"{what} {text}", numbers, (sent.other,))
