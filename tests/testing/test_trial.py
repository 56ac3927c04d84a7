"""Whole clusters, simulated: they keep their promises, and known defects do not get by."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from splice.testing.campaign import run_one
from splice.testing.history import What
from splice.testing.planted import PLANTS
from splice.testing.trial import Trial

GROUP = 5
"""Seeds in one test: a fraction of a second."""

SEED = os.environ.get("SPLICE_SEED")


@pytest.mark.parametrize("start", range(0, 200, GROUP) if SEED is None else [int(SEED)])
def test_a_cluster_keeps_its_promises(start: int) -> None:
    for seed in range(start, start + GROUP if SEED is None else start + 1):
        outcome = Trial(seed).run()
        assert not outcome.violations, f"{outcome}\n{outcome.story()}"


def test_a_trial_has_all_that_can_happen_in_it() -> None:
    seen = {event.what for seed in range(12) for event in Trial(seed).run().history}
    assert seen == set(What) - {What.LEFT, What.CRASH}


PRINT_DIGESTS = """
from splice.testing.trial import Trial
print(*(Trial(seed).run().history.digest() for seed in range(100, 103)))
"""


@pytest.mark.system
def test_a_seed_gives_the_same_history_in_every_os_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "random")
    }
    here = [Trial(seed).run().history.digest() for seed in range(100, 103)]
    assert [digest.split() for digest in digests] == [here]


@pytest.mark.parametrize(
    ("plant", "rules"),
    [
        ("skip-deduplication", {"handled once"}),
        ("acknowledge-early", {"true verdict"}),
        ("reuse-number", {"nothing is left", "true verdict"}),
        ("resend-after-loss", {"no impostor"}),
        ("lose-answer", {"one verdict"}),
    ],
)
def test_a_planted_defect_is_found(plant: str, rules: set[str]) -> None:
    missing = set(rules)
    for seed in range(40):
        failure, _ = run_one(seed, plant)
        if failure is not None:
            assert f"scripts/simulate --seed {seed} --plant {plant}" in failure.text
            missing -= set(failure.rules)
        if not missing:
            return
    pytest.fail(f"not found: {missing}")


def test_all_that_can_be_planted_is_tried() -> None:
    marks = test_a_planted_defect_is_found.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(PLANTS)


def test_nothing_planted_stays_behind() -> None:
    before = Trial(3).run().history.digest()
    run_one(3, "skip-deduplication")
    assert Trial(3).run().history.digest() == before
