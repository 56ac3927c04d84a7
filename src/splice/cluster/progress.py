"""Progress: shows how far a map is while its caller waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splice.errors import TimeoutError

if TYPE_CHECKING:
    from splice.cluster.hub import Map

STEP_SECONDS = 0.1
"""Seconds between two looks: as often as a person can see."""


def follow(work: Map, total: int) -> Any:
    """Wait for a map and show a bar on standard error; return its parts."""
    from rich.console import Console  # 50 ms, for those who want a bar
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task("map", total=total)
        while True:
            try:
                parts = work.finished.get(timeout=STEP_SECONDS)
            except TimeoutError:
                bar.update(shown, completed=work.done)
            else:
                bar.update(shown, completed=total)
                return parts
