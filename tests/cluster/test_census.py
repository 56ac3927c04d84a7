"""The census is the first example and the demo: one program, in two places."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_demo_is_the_example():
    demo = ROOT / "src" / "splice" / "cluster" / "__main__.py"
    example = ROOT / "examples" / "census.py"
    assert demo.read_bytes() == example.read_bytes(), f"cp {example} {demo}"


@pytest.mark.slow
@pytest.mark.system
def test_workers_count_what_one_os_process_counts():
    command = [sys.executable, "-m", "splice.cluster"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "The standard library" in result.stdout
    assert "the results are the same" in " ".join(result.stdout.split())
