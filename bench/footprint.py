"""A program that prints the bytes of memory that one idle process takes, out of many.

By the growth of the resident set, proxies and the view that holds them included.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import psutil

from bench import floors
from bench.one_node import Idle
from splice import runtime


def main(what: str, count: int) -> None:
    """Print the bytes of one of `count` processes of splice, or of the callback floor."""
    make: Any = floors.idle if what == "callback" else _processes
    make(1000)
    before = _resident()
    kept = make(count)
    print((_resident() - before) / count)
    assert len(kept) == count


def _processes(count: int) -> Any:
    return runtime.spawn_many(count, Idle)


def _resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
