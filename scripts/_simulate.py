"""The command line of `scripts/simulate`; the work is done by `splice.testing.campaign`."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from itertools import count

from splice.testing.campaign import Tally, run_campaign
from splice.testing.planted import PLANTS
from splice.testing.trial import Trial


def main() -> int:
    """Run what the arguments say; the exit code tells whether all promises were kept."""
    options = arguments().parse_args()
    if options.seed is not None:
        return 0 if replay(options.seed, options.plant, is_whole=options.whole) else 1
    last = None if options.seeds is None else options.start + options.seeds
    seeds = count(options.start) if last is None else iter(range(options.start, last))
    tally = run_campaign(
        seeds,
        processes=options.jobs,
        seconds=None if options.minutes is None else 60 * options.minutes,
        plant=options.plant,
        max_failures=options.failures,
        on_progress=show_progress,
        on_failure=lambda failure: print(failure.text, flush=True),
    )
    return report(tally)


def replay(seed: int, plant: str, *, is_whole: bool) -> bool:
    """Run one trial and print its story; return whether it kept all promises."""
    outcome = Trial(seed, plant).run()
    is_good = not outcome.violations
    print(outcome.history if is_whole or is_good else outcome.story())
    print("all promises kept" if is_good else outcome)
    print(f"{len(outcome.history)} events, history {outcome.history.digest()}")
    return is_good


def show_progress(tally: Tally) -> None:
    """Print how far it is: over the last line in a terminal, else as a line of its own."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(tally, end=end, file=sys.stderr, flush=True)


def report(tally: Tally) -> int:
    """Print what was found."""
    rules = Counter(rule for failure in tally.failures for rule in failure.rules)
    for rule, times in rules.most_common():
        print(f"{rule}: broken in {times} seeds")
    print(tally)
    return 1 if tally.failures else 0


def arguments() -> argparse.ArgumentParser:
    """Return what there is to be said on the command line."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    add = parser.add_argument
    given = os.environ.get("SPLICE_SEED")
    add("--seed", type=int, default=given, help="replay this one and print its history")
    add("--whole", action="store_true", help="of a replay, print the whole history")
    add(
        "--seeds", type=int, help="how many to run; without end when --minutes is given"
    )
    add("--start", type=int, default=0, help="the first one")
    add("--jobs", type=int, default=os.cpu_count(), help="OS processes that run them")
    add("--minutes", type=float, help="begin no more after so long")
    add("--failures", type=int, help="begin no more after so many have failed")
    add("--plant", choices=list(PLANTS), default="", help="put this defect in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
