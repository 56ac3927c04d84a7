"""The benchmarks still run: the quickest case through, as the command runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_a_quick_case_prints_its_figures_as_json_lines() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--only", "ask", "--json", "-"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=50
    )

    records = [json.loads(line) for line in done.stdout.splitlines()]

    figures = {r["peer"]: r for r in records if r.get("case") == "A1_ask"}
    assert figures.keys() == {"splice", "callback"}
    assert all(r["value"] > 0 for r in figures.values())


def test_every_case_is_described_in_the_readme(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.cases import CASES

    described = (ROOT / "bench" / "README.md").read_text()

    assert [name for name in CASES if f"`{name}`" not in described] == []
