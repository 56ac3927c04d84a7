"""A program that measures one library at one case, once for each line it reads.

It prints ``ready`` when it has measured once for nothing, and then a value for each line.  A case
is a generator: what it yields measures, and what follows the yield tidies up.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator

from bench.measuring import Contender, Scale

Case = Callable[[Scale], Iterator[Contender]]


def main(where: str, case: str, scale: str, is_fresh: str) -> None:
    """Measure `case` of the dictionary ``module:name`` in `where`.

    Args:
        where: the dictionary of cases, below this package.
        case: its name.
        scale: a `Scale` as JSON.
        is_fresh: ``"fresh"`` if nothing may run before the measurement.
    """
    # Libraries print what they like; only this program speaks to its parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, name = where.split(":")
    cases: dict[str, Case] = getattr(
        importlib.import_module(f"bench.peers.{module}"), name
    )
    opened = contextlib.contextmanager(cases[case])
    with opened(Scale(**json.loads(scale))) as measure:
        if is_fresh != "fresh":
            measure()
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            print(measure(), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
