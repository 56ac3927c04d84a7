"""The layers of docs/design/overview.md hold, and a breach of them would be noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BREACHES = {
    "a lower layer imports a higher one": (
        "layers",
        "splice/net/breach.py",
        "from splice.node import runtime",
        {"splice/node/runtime.py": ""},
    ),
    "the ground imports a layer": (
        "layers",
        "splice/uri.py",
        "from splice.actor import promise",
        {},
    ),
    "the siblings actor and net meet": (
        "layers",
        "splice/actor/breach.py",
        "from splice.net import codec",
        {"splice/net/codec.py": ""},
    ),
    "a breach hides in a function": (
        "layers",
        "splice/actor/breach.py",
        "def late():\n    import splice.net.codec",
        {"splice/net/codec.py": ""},
    ),
    "a module has no place in the layers": (
        "layers",
        "splice/utilities.py",
        "",
        {},
    ),
    "two modules of a folder import each other": (
        "rings",
        "splice/actor/breach.py",
        "from splice.actor import other",
        {"splice/actor/other.py": "from splice.actor import breach"},
    ),
    "a module imports the root package": (
        "root",
        "splice/actor/breach.py",
        "from splice import sync",
        {},
    ),
    "a process knows ZeroMQ": (
        "actor",
        "splice/actor/breach.py",
        "import zmq",
        {},
    ),
    "a channel switches stacks": (
        "net",
        "splice/net/breach.py",
        "import greenlet",
        {},
    ),
    "the ground needs more than the standard library": (
        "ground",
        "splice/uri.py",
        "import msgpack",
        {},
    ),
    "the library needs numpy": (
        "heavy",
        "splice/net/breach.py",
        "import numpy",
        {},
    ),
}


def lint_imports(
    source: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Hold the packages under `source` against the contracts of pyproject.toml."""
    command = "from importlinter.cli import lint_imports_command as main; main()"
    config = str(ROOT / "pyproject.toml")
    return subprocess.run(
        [
            sys.executable,
            "-c",
            command,
            "--config",
            config,
            "--no-cache",
            "--no-logo",
            *options,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house of the same layers, each of them empty."""
    for folder in ("actor", "net", "node"):
        write(tmp_path / "splice" / folder / "__init__.py", "")
    for module in (
        "uri",
        "message",
        "errors",
        "config",
        "log",
        "worker_died",
        "seconds",
    ):
        write(tmp_path / "splice" / f"{module}.py", "")
    write(tmp_path / "splice" / "actor" / "promise.py", "")
    # The one import that the contract about rings names as an exception.
    write(tmp_path / "splice" / "errors.py", "import splice.worker_died")
    write(tmp_path / "splice" / "__init__.py", "")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_the_library_keeps_its_layers(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "splice", tmp_path / "splice")
    result = lint_imports(tmp_path, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_empty_house_keeps_the_layers(house: Path) -> None:
    result = lint_imports(house, house)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_noticed_when(breach: str, house: Path) -> None:
    contract, module, source, others = BREACHES[breach]
    for other, text in others.items():
        write(house / other, text)
    write(house / module, source)
    result = lint_imports(house, house, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
