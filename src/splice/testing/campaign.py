"""Campaign: many trials, in several OS processes; what ``scripts/simulate`` runs.

::

    seeds ─► portions ─► OS processes: Trial(seed).run() ─► Report ─► failures, in order, and a rate

A trial that takes far too long (real) time is a failure, too: nothing may hang.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Any, Final, Self

from splice.testing.trial import Trial

PORTION: Final = 25
"""Seeds that an OS process runs between two reports: about a second."""

TRIAL_SECONDS: Final = 60
"""Real time for one trial: a thousand times what it takes, on a machine as busy as can be."""

AGAIN_SECONDS: Final = 0.1
"""Until a trial that goes on nevertheless is ended once more: some turns of its loop."""

HANGS: Final = "no hang"
"""The rule that a trial breaks which does not come to its end."""

CRASHES: Final = "no crash"
"""The rule that an error breaks which stops the trial itself."""


class Hang(KeyboardInterrupt):
    """A trial did not come to its end.

    A kind of Ctrl-C, for a loop hands on nothing else that its callbacks raise.
    """


@dataclass(frozen=True, slots=True)
class Failure:
    """A trial that found something.

    Attributes:
        seed: its seed.
        rules: the promises that were not kept, each once.
        text: what was found, and how to replay it.
    """

    seed: int
    rules: tuple[str, ...]
    text: str


@dataclass(slots=True)
class Tally:
    """What a campaign has come to.

    Attributes:
        seeds: how many were run.
        seconds: for how long.
        events: in their histories.
        failures: what was found, in the order of the seeds.
    """

    seeds: int = 0
    seconds: float = 0.0
    events: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Seeds in a second."""
        return self.seeds / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.events} events in {self.seconds:.0f} s "
            f"({self.rate:.0f} a second): {len(self.failures)} failed"
        )


@dataclass(frozen=True, slots=True)
class Portion:
    """Seeds that one OS process runs at a time.

    Attributes:
        seeds: which.
        plant: the defect to put in, or an empty text.
    """

    seeds: tuple[int, ...]
    plant: str = ""


def run_one(seed: int, plant: str = "") -> tuple[Failure | None, int]:
    """Run one trial; return what it found, if anything, and how many events there were."""
    with _Alarm() as alarm:
        try:
            outcome = Trial(seed, plant).run()
        except Hang:
            pass
        except Exception:
            # a defect of splice that came out where the trial itself runs
            alarm.is_over = True  # before that is told, too
            text = f"seed {seed}: {traceback.format_exc()}"
            return Failure(seed, (CRASHES,), text), 0
        finally:
            alarm.is_over = True
    if alarm.text:
        return Failure(seed, (HANGS,), f"seed {seed}: {alarm.text}"), 0
    if not outcome.violations:
        return None, len(outcome.history)
    rules = tuple(dict.fromkeys(v.rule for v in outcome.violations))
    return Failure(seed, rules, str(outcome)), len(outcome.history)


def run_portion(portion: Portion) -> Tally:
    """Run some trials one after the other."""
    tally = Tally()
    for seed in portion.seeds:
        failure, events = run_one(seed, portion.plant)
        tally.seeds += 1
        tally.events += events
        if failure is not None:
            tally.failures.append(failure)
    return tally


def run_campaign(
    seeds: Iterator[int],
    *,
    processes: int,
    seconds: float | None = None,
    plant: str = "",
    max_failures: int | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
    on_failure: Callable[[Failure], None] = lambda _: None,
) -> Tally:
    """Run many trials.

    Args:
        seeds: of the trials.
        processes: OS processes that run them.
        seconds: begin no more after so many; None runs all seeds.
        plant: the defect to put in, or an empty text.
        max_failures: begin no more after so many; None goes on.
        on_progress: called with what there is whenever a portion is done.
        on_failure: called with each failure as soon as it is known.
    """
    tally, begun = Tally(), time.monotonic()
    portions = _portions(seeds, plant)
    # spawn: what this OS process holds, and its threads, are no business of the trials
    context = multiprocessing.get_context("spawn")
    running: set[Future[Tally]] = set()
    pool = ProcessPoolExecutor(
        processes,
        mp_context=context,
        initializer=gc.freeze,  # each trial collects its garbage: not all that was imported
    )
    with pool:
        while True:
            is_enough = (seconds is not None and tally.seconds >= seconds) or (
                max_failures is not None and len(tally.failures) >= max_failures
            )
            if not is_enough:
                for portion in islice(portions, 2 * processes - len(running)):
                    running.add(pool.submit(run_portion, portion))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                part = future.result()
                _add(tally, part)
                for failure in part.failures:
                    on_failure(failure)
            tally.seconds = time.monotonic() - begun
            on_progress(tally)
    tally.failures.sort(key=lambda failure: failure.seed)
    return tally


def _portions(seeds: Iterator[int], plant: str) -> Iterator[Portion]:
    while portion := tuple(islice(seeds, PORTION)):
        yield Portion(portion, plant)


def _add(tally: Tally, part: Tally) -> None:
    tally.seeds += part.seeds
    tally.events += part.events
    tally.failures += part.failures


class _Alarm:
    """A context that interrupts a trial that takes too long, and remembers where it was.

    Main thread only: signals come there.

    Attributes:
        text: what is to be told; empty while there was no need.
        is_over: whether the trial is; then nothing is interrupted any more.
    """

    def __init__(self) -> None:
        self.text = ""
        self.is_over = False
        self._before: Any = None
        self._unraisable = sys.unraisablehook

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._pass_over
        # again and again: the first one may hit a handler, and end only that process
        signal.setitimer(signal.ITIMER_REAL, TRIAL_SECONDS, AGAIN_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        sys.unraisablehook = self._unraisable

    def _ring(self, number: int, frame: FrameType | None) -> None:
        """Raise `Hang` wherever the trial is."""
        if self.is_over:
            return
        where: list[str] = []
        while frame is not None and len(where) < 6:
            where.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            frame = frame.f_back
        at = ", ".join(where)
        self.text = self.text or f"did not end within {TRIAL_SECONDS} s; it was at {at}"
        raise Hang(self.text)

    def _pass_over(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Say nothing of a `Hang` that hit a destructor: the next one comes."""
        if not isinstance(unraisable.exc_value, Hang):
            self._unraisable(unraisable)
