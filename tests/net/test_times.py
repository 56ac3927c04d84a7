"""Every time is counted on a clock that nobody can set."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import splice

WALL_CLOCKS = {
    ("time", "time"),
    ("time", "time_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("date", "today"),
}

AGES = {"shipping/contents.py": "of a file: its times are of that clock"}
"""Where one is read all the same; set wrong, it costs time there and nothing else."""


def wall_clocks(text: str) -> Iterator[int]:
    """Yield the lines in which a clock is read that can be set."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in WALL_CLOCKS
        ):
            yield node.lineno


def test_no_module_counts_time_on_a_clock_that_can_be_set() -> None:
    root = Path(splice.__file__).parent
    for path in root.rglob("*.py"):
        name = str(path.relative_to(root))
        found = list(wall_clocks(path.read_text(encoding="utf-8")))
        assert bool(found) == (name in AGES), f"{name}: use the loop's time, monotonic"


def test_a_clock_that_can_be_set_would_be_found() -> None:
    assert list(wall_clocks("import time\ndeadline = time.time() + 5")) == [2]
