"""The checker finds each planted violation in a history written by hand, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from splice.testing.facts import Facts
from splice.testing.history import Event, What
from splice.testing.invariants import RULES, Violation, check

A, B, B2 = "n1.1:p1", "n2.1:p1", "n2.2:p1"
LOSS_TIMEOUT = 4.0


class Story:
    """A history as one tells it: each call is the next event, a tenth of a second later."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 0.0
        for place in (A, B):
            self.born(place)

    def _add(
        self, what: What, message: int = 0, *texts: str, lasts: float = 0.0
    ) -> Story:
        place, other, text = (*texts, "", "", "")[:3]
        self.now += 0.1
        self.events.append(Event(self.now, what, message, place, other, text, lasts))
        return self

    def later(self, seconds: float) -> Story:
        self.now += seconds
        return self

    def born(self, place: str) -> Story:
        return self._add(What.BORN, 0, place)

    def over(self, place: str, why: str = "normal") -> Story:
        return self._add(What.OVER, 0, place, "", why)

    def down(self, node: str) -> Story:
        return self._add(What.DOWN, 0, node, "", "kill")

    def fault(self, one: str, other: str, what: str, lasts: float) -> Story:
        return self._add(What.FAULT, 0, one, other, what, lasts=lasts)

    def sent(self, number: int, kind: str = "echo", to: str = B, by: str = A) -> Story:
        return self._add(What.SENT, number, by, to, kind)

    def queued(self, number: int, place: str = B) -> Story:
        return self._add(What.QUEUED, number, place)

    def handled(self, number: int, place: str = B) -> Story:
        return self._add(What.HANDLED, number, place)

    def verdict(self, number: int, verdict: str, text: str = "") -> Story:
        return self._add(What.VERDICT, number, "", verdict, text)

    def answered(self, number: int) -> Story:
        return self.verdict(number, "answered", str(number))

    def asked(self, number: int, to: str = B) -> Story:
        """Send, queue, handle and answer."""
        return (
            self.sent(number, to=to)
            .queued(number, to)
            .handled(number, to)
            .answered(number)
        )

    def streamed(self, values: str, end: str) -> Story:
        return self._add(What.STREAM, 1, A, values, end)

    def noted(self, what: What, text: str) -> Story:
        return self._add(what, 0, "n1.1", "", text)

    def violations(self) -> list[Violation]:
        return check(Facts(self.events, loss_timeout=LOSS_TIMEOUT))


def lost(story: Story, number: int = 1, verdict: str = "unknown") -> Story:
    return story.sent(number).verdict(number, verdict, "NodeLost")


GOOD: dict[str, Callable[[Story], Story]] = {
    "an answered request": lambda s: s.asked(1),
    "a delivered tell": lambda s: (
        s.sent(1, "tell echo").queued(1).verdict(1, "delivered").handled(1)
    ),
    "a delivered tell whose process ended before": lambda s: (
        s.sent(1, "tell echo").queued(1).verdict(1, "delivered").over(B)
    ),
    "a near tell, which is not noted in its mailbox": lambda s: (
        s.sent(1, "tell echo", to=A).verdict(1, "delivered").handled(1, A)
    ),
    "an error raised on purpose": lambda s: (
        s.sent(1, "fail").queued(1).handled(1).verdict(1, "failed", "Oops")
    ),
    "a request that was given up in time": lambda s: (
        s.sent(1).queued(1).verdict(1, "failed", "Cancelled")
    ),
    "a nap given up in the middle": lambda s: (
        s.sent(1, "nap").queued(1).handled(1).verdict(1, "failed", "Cancelled")
    ),
    "no verdict on a dead node": lambda s: s.sent(1).down("n1.1"),
    "a loss by a death": lambda s: lost(s.down("n2.1")),
    "a loss by a long cut": lambda s: lost(s.fault("n1.1", "n2.1", "cut", 9).later(5)),
    "a loss by a freeze": lambda s: lost(s.fault("n2.1", "", "freeze", 9).later(5)),
    "unbound, to a new incarnation": lambda s: (
        s.down("n2.1")
        .born(B2)
        .sent(1, to="n2:p1")
        .queued(1, B2)
        .handled(1, B2)
        .answered(1)
    ),
    "a monitor that waits": lambda s: s.sent(1, "monitor"),
    "a monitor that tells": lambda s: (
        s.sent(1, "monitor").over(B).verdict(1, "answered", "normal")
    ),
    "a monitor of a child that has ended before, and lives again": lambda s: (
        s.over(B, "Oops").born(B).sent(1, "monitor").sent(2, "link")
    ),
    "a monitor and a link on their way while a child was made again": lambda s: (
        s.sent(1, "monitor").sent(2, "link").over(B, "Oops").born(B)
    ),
    "a monitor of nobody": lambda s: s.sent(1, "monitor", to="n2.1:nobody").verdict(
        1, "answered", "noproc"
    ),
    "an end before the death of its node": lambda s: (
        s.sent(1, "link").over(B, "normal").down("n2.1")
    ),
    "a shared fate": lambda s: s.sent(1, "link").over(B, "killed").over(A, "killed"),
    "a normal end is not shared": lambda s: s.sent(1, "link").over(B, "normal"),
    "a whole stream": lambda s: s.streamed("0,1,2", "complete of 3"),
    "a stream that broke off": lambda s: s.streamed("0,1", "NodeLost"),
    "an empty stream": lambda s: s.streamed("", "complete of 0"),
    "a child that was made again": lambda s: (
        s.sent(1, "start").handled(1).verdict(1, "answered", B).handled(1)
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_may_happen_is_no_violation(name: str) -> None:
    assert GOOD[name](Story()).violations() == []


BAD: dict[str, tuple[str, Callable[[Story], Story]]] = {
    "no verdict": ("one verdict", lambda s: s.sent(1).queued(1).handled(1)),
    "no verdict, though another node died": (
        "one verdict",
        lambda s: s.down("n2.1").sent(1),
    ),
    "two verdicts": ("one verdict", lambda s: s.asked(1).answered(1)),
    "handled twice": ("handled once", lambda s: s.asked(1).handled(1)),
    "handled, never sent": ("handled once", lambda s: s.handled(9)),
    "out of order": (
        "in order",
        lambda s: (
            s.sent(1).sent(2).queued(1).queued(2)
            .handled(2).handled(1).answered(1).answered(2)
        ),
    ),
    "answered, not handled": ("true verdict", lambda s: s.sent(1).answered(1)),
    "another one's answer": (
        "true verdict",
        lambda s: s.sent(1).queued(1).handled(1).verdict(1, "answered", "2"),
    ),
    "delivered, and nowhere": (
        "true verdict",
        lambda s: s.sent(1, "tell echo").verdict(1, "delivered"),
    ),
    "delivered before it was in the mailbox": (
        "true verdict",
        lambda s: s.sent(1, "tell echo").verdict(1, "delivered").queued(1).handled(1),
    ),
    "delivered and dropped": (
        "true verdict",
        lambda s: s.sent(1, "tell echo").queued(1).verdict(1, "delivered"),
    ),
    "delivered to a node that died before": (
        "true verdict",
        lambda s: s.sent(1, "tell echo").verdict(1, "delivered").down("n2.1"),
    ),
    "not delivered, but handled": (
        "true verdict",
        lambda s: s.sent(1).queued(1).handled(1).verdict(1, "not delivered", "ProcessStopped"),
    ),
    "a tell not delivered, but queued": (
        "true verdict",
        lambda s: s.sent(1, "tell echo").queued(1).verdict(1, "not delivered", "ProcessStopped"),
    ),
    "given up in time, but handled": (
        "true verdict",
        lambda s: s.sent(1).queued(1).handled(1).verdict(1, "failed", "Cancelled"),
    ),
    "raised by nobody": (
        "true verdict",
        lambda s: s.sent(1, "fail").verdict(1, "failed", "Oops"),
    ),
    "an error of splice's own": (
        "true verdict",
        lambda s: s.sent(1).queued(1).verdict(1, "failed", "KeyError"),
    ),
    "to the wrong incarnation": (
        "no impostor",
        lambda s: s.down("n2.1").born(B2).sent(1).queued(1, B2).handled(1, B2).answered(1),
    ),
    "to another process": (
        "no impostor",
        lambda s: s.born("n2.1:p2").sent(1).queued(1, "n2.1:p2").handled(1, "n2.1:p2").answered(1),
    ),
    "a loss for nothing": ("loss has cause", lost),
    "a loss by a short cut": (
        "loss has cause",
        lambda s: lost(s.fault("n1.1", "n2.1", "cut", 0.5)),
    ),
    "a loss by somebody else's cut": (
        "loss has cause",
        lambda s: lost(s.fault("n1.1", "n3.1", "cut", 9).later(5)),
    ),
    "a loss long after": (
        "loss has cause",
        lambda s: lost(s.fault("n1.1", "n2.1", "cut", 9).later(60)),
    ),
    "a loss before the death": ("loss has cause", lambda s: lost(s).down("n2.1")),
    "a monitor that is not told": ("ends are told", lambda s: s.sent(1, "monitor").over(B)),
    "a monitor that is told a lie": (
        "ends are told",
        lambda s: s.sent(1, "monitor").verdict(1, "answered", "NodeLost"),
    ),
    "a fate that is not shared": (
        "fate is shared",
        lambda s: s.sent(1, "link").over(B, "killed"),
    ),
    "a dead node's fate that is not shared": (
        "fate is shared",
        lambda s: s.sent(1, "link").down("n2.1"),
    ),
    "a link to who has ended before": (
        "fate is shared",
        lambda s: s.over(B, "normal").sent(1, "link"),
    ),
    "a stream that lacks its end": (
        "streams are whole",
        lambda s: s.streamed("0,1", "complete of 3"),
    ),
    "a stream with a value twice": (
        "streams are whole",
        lambda s: s.streamed("0,1,1", "NodeLost"),
    ),
    "something left": ("nothing is left", lambda s: s.noted(What.LEFT, "1 request")),
    "a crash": ("no crash", lambda s: s.noted(What.CRASH, "KeyError()")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_broken_promise_is_found(name: str) -> None:
    rule, tell = BAD[name]
    assert {v.rule for v in tell(Story()).violations()} == {rule}


def test_every_rule_has_a_history_that_breaks_it() -> None:
    broken = {rule.replace(" ", "_") for rule, _ in BAD.values()} - {"no_crash"}
    assert broken == {rule.__name__ for rule in RULES}


def test_a_violation_names_the_message_and_both_ends() -> None:
    (violation,) = Story().sent(1).violations()
    assert str(violation) == (
        "one verdict: #1 (echo, n1.1:p1 -> n2.1:p1) has none, and its sender's node lives"
    )
    assert violation.messages == (1,)


def test_two_short_faults_in_a_row_may_be_one_long_one() -> None:
    story = Story().fault("n1.1", "n2.1", "cut", 0.5)
    story.later(2).fault("n2.1", "n1.1", "cut one way", 0.5)
    assert lost(story.later(2)).violations() == []


def test_on_a_wire_that_loses_messages_any_loss_has_a_cause() -> None:
    facts = Facts(lost(Story()).events, loss_timeout=LOSS_TIMEOUT, is_lossy=True)
    assert check(facts) == []
