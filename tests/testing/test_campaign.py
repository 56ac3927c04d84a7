import signal
import sys
import time
from pathlib import Path

import pytest

from splice.testing import campaign
from splice.testing.campaign import Portion, run_campaign, run_one, run_portion
from splice.testing.recorder import Recorder
from splice.testing.trial import Trial

ROOT = Path(__file__).resolve().parents[2]


def test_a_portion_counts_its_seeds_and_events() -> None:
    tally = run_portion(Portion((1, 2, 3)))
    assert (tally.seeds, tally.failures) == (3, [])
    assert tally.events == sum(len(Trial(seed).run().history) for seed in (1, 2, 3))


def test_a_failure_tells_the_seed_the_rule_and_the_command() -> None:
    tally = run_portion(Portion(tuple(range(6)), "lose-answer"))
    failure = tally.failures[0]
    assert "one verdict" in failure.rules
    assert f"replay it: scripts/simulate --seed {failure.seed}" in failure.text


def test_a_trial_that_hangs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def __init__(self, seed: int, plant: str) -> None:
            while True:
                time.sleep(60)  # until the alarm

    monkeypatch.setattr(campaign, "Trial", Endless)
    monkeypatch.setattr(campaign, "TRIAL_SECONDS", 1)
    failure, _ = run_one(5)
    assert failure is not None
    assert failure.rules == ("no hang",)
    assert "did not end within 1 s" in failure.text


def test_a_handler_that_never_ends_is_a_failure_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spin(recorder: Recorder, process: object, message: int) -> None:
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(Recorder, "handled", spin)
    monkeypatch.setattr(campaign, "TRIAL_SECONDS", 0.5)
    failure, _ = run_one(5)
    assert failure is not None
    assert "no hang" in failure.rules


def test_an_alarm_that_hits_a_destructor_is_passed_over_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Last:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGALRM)

    class Endless:
        def __init__(self, seed: int, plant: str) -> None:
            Last()  # and what is raised there, Python only reports
            time.sleep(60)  # until the next alarm

    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr(campaign, "Trial", Endless)
    monkeypatch.setattr(campaign, "TRIAL_SECONDS", 0.2)
    failure, _ = run_one(5)
    assert failure is not None
    assert failure.rules == ("no hang",)
    assert unraisable == []


def test_an_alarm_after_the_end_of_the_trial_interrupts_nothing() -> None:
    with campaign._Alarm() as alarm:
        alarm.is_over = True
        signal.raise_signal(signal.SIGALRM)
    assert alarm.text == ""


def test_an_error_that_stops_a_trial_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(campaign, "Trial", lambda seed, plant: 1 / 0)
    failure, _ = run_one(5)
    assert failure is not None
    assert "ZeroDivisionError" in failure.text


def test_an_alarm_while_an_error_is_told_interrupts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tell_slowly() -> str:
        signal.raise_signal(signal.SIGALRM)
        return "told"

    monkeypatch.setattr(campaign, "Trial", lambda seed, plant: 1 / 0)
    monkeypatch.setattr(campaign.traceback, "format_exc", tell_slowly)
    failure, _ = run_one(5)
    assert failure is not None
    assert failure.text == "seed 5: told"


@pytest.mark.system
@pytest.mark.slow
def test_a_campaign_runs_all_seeds_in_other_os_processes() -> None:
    progress: list[int] = []
    tally = run_campaign(
        iter(range(40)),
        processes=2,
        plant="lose-answer",
        on_progress=lambda so_far: progress.append(so_far.seeds),
    )
    assert tally.seeds == 40
    assert progress[-1] == 40
    here = run_portion(Portion(tuple(range(40)), "lose-answer"))
    assert [f.seed for f in tally.failures] == [f.seed for f in here.failures]


@pytest.mark.system
@pytest.mark.slow
def test_a_campaign_begins_no_more_when_enough_have_failed() -> None:
    tally = run_campaign(
        iter(range(10_000)), processes=1, plant="lose-answer", max_failures=1
    )
    assert tally.failures
    assert tally.seeds < 200
