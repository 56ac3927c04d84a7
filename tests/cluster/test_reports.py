"""Reports: one at a time, the newest news, and patience with a master that is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from splice.actor.promise import Promise
from splice.cluster.reports import PATIENT_BEATS, Reports
from splice.errors import AccessDenied, NodeLost
from splice.testing.actors import World


class Line:
    """The line to a master: promises that the test settles."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.sent: list[Promise] = []
        self.refusals: list[Exception] = []
        self.answers: list[Any] = []
        self.reports = Reports(
            "machine",
            "tcp://10.1.1.1:50000",
            send=self.send,
            on_answer=self.answers.append,
            on_refused=self.refusals.append,
        )

    def send(self) -> Promise:
        self.sent.append(Promise(self.scheduler))
        return self.sent[-1]


@pytest.fixture
def line() -> Iterator[Line]:
    world = World()
    yield Line(world.scheduler)
    world.close()


def test_one_report_is_under_way_at_a_time_and_then_the_newest(line: Line) -> None:
    line.reports.changed()
    line.reports.changed()
    line.reports.changed()
    assert len(line.sent) == 1
    line.sent[0].resolve("first")
    assert len(line.sent) == 2
    line.sent[1].resolve("second")
    assert len(line.sent) == 2
    assert line.answers == ["first", "second"]


def test_a_report_that_could_not_be_made_is_made_at_the_next_beat(line: Line) -> None:
    reports = Reports(
        "machine",
        "tcp://10.1.1.1:50000",
        send=Failing(line.send),
        on_answer=line.answers.append,
        on_refused=line.refusals.append,
    )
    with pytest.raises(OSError, match="no load"):
        reports.beat()
    reports.beat()
    assert len(line.sent) == 1


class Failing:
    """Fails once, and then does what it is for."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.has_failed = False

    def __call__(self) -> Any:
        if not self.has_failed:
            self.has_failed = True
            raise OSError("no load")
        return self.function()


def test_a_report_that_failed_is_sent_again_at_the_next_beat(line: Line) -> None:
    line.reports.beat()
    line.sent[0].reject(NodeLost("the master is lost"))
    assert len(line.sent) == 1
    line.reports.beat()
    assert len(line.sent) == 2


def test_a_silent_master_is_told_of_once_and_so_is_its_return(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for _ in range(5 * PATIENT_BEATS):
        line.reports.beat()
    assert len(line.sent) == 1
    line.sent[0].reject(NodeLost("the master is lost"))
    line.reports.beat()
    line.sent[1].resolve(None)
    silence, back = caplog.messages
    assert silence.startswith(
        "machine does not reach the master at tcp://10.1.1.1:50000"
    )
    assert back == "machine is registered at the master tcp://10.1.1.1:50000"


def test_a_silence_is_told_with_its_seconds_and_what_to_look_at(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2 * PATIENT_BEATS):
        line.reports.beat()
    (silence,) = caplog.messages
    assert silence == (
        "machine does not reach the master at tcp://10.1.1.1:50000 and goes on trying:"
        " no answer within 6 s; does `splice master` run there, and can this machine"
        " reach it?"
    )


def test_one_that_gives_up_says_after_how_many_seconds_until_it_was_heard(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    reports = Reports(
        "session",
        "tcp://10.1.1.1:50000",
        send=line.send,
        on_answer=line.answers.append,
        on_refused=line.refusals.append,
        gives_up_after=30.0,
    )
    for _ in range(2 * PATIENT_BEATS):
        reports.beat()
    line.sent[0].resolve(None)
    for _ in range(2 * PATIENT_BEATS):
        reports.beat()
    before, after = caplog.messages
    assert "and gives up after 30 s (connect_timeout): no answer within 6 s" in before
    assert "and goes on trying: no answer within 6 s" in after


def test_a_refusal_is_final_for_one_that_was_never_registered(line: Line) -> None:
    line.reports.beat()
    line.sent[0].reject(AccessDenied("another key"))
    assert [str(error) for error in line.refusals] == ["another key"]


def test_a_refusal_by_another_master_ends_nothing_that_runs(line: Line) -> None:
    line.reports.beat()
    line.sent[0].resolve(None)
    line.reports.beat()
    line.sent[1].reject(AccessDenied("another key"))
    assert line.refusals == []
    line.reports.beat()
    assert len(line.sent) == 3


def test_what_is_closed_reports_no_more(line: Line) -> None:
    line.reports.beat()
    line.reports.close()
    line.sent[0].reject(NodeLost("the master is lost"))
    line.reports.changed()
    assert len(line.sent) == 1
