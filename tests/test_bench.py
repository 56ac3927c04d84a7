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


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize(("row", "peer"), [("ask", "asyncio"), ("noops", "futures")])
def test_peers_of_the_standard_library_take_turns_with_splice(
    row: str, peer: str
) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--peers", peer]
    done = subprocess.run(
        [*command, "--only", row, "--json", "-"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )

    records = [json.loads(line) for line in done.stdout.splitlines()]

    figures = {r["peer"]: r for r in records if r.get("case") == f"P_{row}"}
    assert list(figures) == ["splice", peer]
    assert all(r["value"] > 0 for r in figures.values())
    assert figures[peer]["ratio"] > 0


def test_a_peer_that_is_not_installed_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from bench.peers.environment import interpreter

    with pytest.raises(LookupError, match="scripts/bench --install-peers"):
        interpreter("gevent")


def test_a_peer_that_fails_meanwhile_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.measuring import Scale
    from bench.peers import turns

    def contender(stack, name, case, scale):
        values = iter([1.0] if name == "joblib" else [2.0] * scale.repeats)

        def measure() -> float:
            try:
                return next(values)
            except StopIteration:
                raise turns.ContenderFailedError("its file was gone") from None

        return measure

    monkeypatch.setattr(turns, "_contender", contender)
    told: list[str] = []

    peers = ("mp.Pool", "joblib")
    records = turns.compare("shared", peers, Scale(repeats=3), told.append)

    assert [record["peer"] for record in records] == ["splice", "mp.Pool"]
    assert told == [
        "its file was gone",
        "shared: joblib was left out, as it failed meanwhile",
    ]


def test_every_row_of_the_peers_has_a_contender_that_is_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.peers.on_splice import CASES
    from bench.peers.rows import PEERS, ROWS

    described = (ROOT / "bench" / "README.md").read_text()

    assert [name for name in ROWS if f"`{name}`" not in described] == []
    assert CASES.keys() == ROWS.keys()
    assert {peer for row in ROWS.values() for peer in row.peers} < PEERS.keys()


def test_every_case_is_described_in_the_readme(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.cases import CASES

    described = (ROOT / "bench" / "README.md").read_text()

    assert [name for name in CASES if f"`{name}`" not in described] == []


@pytest.mark.parametrize("case", ["ship-cold", "ship-warm", "ship-miss"])
def test_a_case_of_shipping_without_packages_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from bench.cases import find
    from bench.measuring import Scale

    assert find(case)(Scale()) == []
    assert "skipped: no packages at" in capsys.readouterr().err
