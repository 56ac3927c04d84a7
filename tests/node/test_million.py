"""A million processes on one node, and a hundred thousand handlers that wait at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("million.py")


def run(story: str, count: int) -> dict[str, Any]:
    """Run a story in a fresh OS process: what an earlier one freed would hide what it takes."""
    command = [sys.executable, str(PROGRAM), story, str(count)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=280
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_processes_live_answer_and_go_and_their_memory_returns() -> None:
    count = 1_000_000
    figures = run("come_and_go", count)
    assert figures["answers"] == count
    assert figures["lived"] >= count
    # the agent and the main process
    assert figures["left"] == 2
    assert figures["grown"] * 2**20 / count < 450
    assert figures["blocks_kept"] < figures["blocks_grown"] / 1000
    # what Python's allocator keeps of pages that are not quite empty
    assert figures["kept"] < figures["grown"] / 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_handlers_wait_at_once() -> None:
    count = 100_000
    figures = run("block", count)
    assert (figures["waiting"], figures["answers"]) == (count, 7 * count)
    assert figures["grown"] * 2**20 / count < 16 * 1024
