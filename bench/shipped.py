"""The cases of shipping: numpy, pandas and scikit-learn on workers that have nothing but splice.

Each measurement is a program of its own (`bench.ship_session`) with workers of its own.  What the
client has and what the workers have are two folders, so that nothing is found by accident.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import splice
from bench.measuring import SPLICE, Figure, Scale, Target, alternate

WANTED = ("numpy", "pandas", "scikit-learn")
NEEDED = ("pyzmq", "greenlet", "cloudpickle", "psutil", "click", "rich")
PLAIN = "installed"
"""The floor: the same imports by a worker that has the packages itself."""


def folder() -> Path:
    """Return where the packages are that the client has."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "splice-bench" / "shipped"


def install(tell: Callable[[str], None]) -> None:
    """Have pip put the packages there."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"]
    command += ["--target", str(folder()), *WANTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    why = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    tell(f"{', '.join(WANTED)}: {f'not installed: {why}' if why else 'installed'}")


def warm(scale: Scale) -> list[Figure]:
    """A worker imports what another one of its machine has fetched before."""
    if not _is_there():
        return []
    with _measured() as measure:
        measure("cold")  # fills the store, and compiles
        values, _ = alternate(
            scale.repeats,
            {
                SPLICE: lambda: float(measure("warm")["seconds"]),
                PLAIN: lambda: float(measure("plain")["seconds"]),
            },
        )
    added = [a - b for a, b in zip(values[SPLICE], values[PLAIN], strict=True)]
    target = Target("< 0.3 s", most=0.3)
    title = "imports of numpy, pandas, scikit-learn: from the store"
    return [
        Figure("S_warm", title, "s", values, True),
        Figure(
            "S_added",
            "of which: more than installed",
            "s",
            {SPLICE: added},
            True,
            target,
        ),
    ]


def cold(scale: Scale) -> list[Figure]:
    """The first worker of a machine fetches them, and other processes of its node go on."""
    if not _is_there():
        return []
    found: list[dict[str, Any]] = []
    # all stores stay until the end: for minutes after a great many files were removed, ext4
    # takes several times as long to make others in their place
    with ExitStack() as stores:
        for _ in range(scale.repeats):
            measure = stores.enter_context(_measured())
            found.append(measure("cold"))

    def figure(case: str, title: str, unit: str, key: str, target: Target) -> Figure:
        values = {SPLICE: [float(one[key]) for one in found]}
        return Figure(case, title, unit, values, True, target)

    return [
        figure(
            "S_cold",
            "transfer of them, 250 MB",
            "s",
            "transfer",
            Target("< 2 s", most=2),
        ),
        figure(
            "S_pause",
            "longest wait of a process there meanwhile",
            "ms",
            "pause_ms",
            Target("< 1000 ms", most=1000),
        ),
    ]


def miss(scale: Scale) -> list[Figure]:
    """An optional import that nobody has, after all that was shipped."""
    if not _is_there():
        return []
    with _measured() as measure:
        measure("cold")
        values, _ = alternate(
            scale.repeats,
            {
                SPLICE: lambda: float(measure("warm")["miss_us"]),
                PLAIN: lambda: float(measure("plain")["miss_us"]),
            },
        )
    target = Target("< 100 µs", most=100)
    return [Figure("S_miss", "missing optional import", "µs", values, True, target)]


def _is_there() -> bool:
    """Tell whether there is something to ship, and say what to do if not."""
    is_there = (folder() / "sklearn").exists()
    if not is_there:
        text = f"skipped: no packages at {folder()}: scripts/bench --install-shipped"
        print(text, file=sys.stderr)
    return is_there


@contextmanager
def _measured() -> Iterator[Callable[[str], dict[str, Any]]]:
    """Give what measures once, with a store and bare workers of its own."""
    with tempfile.TemporaryDirectory(prefix="splice-bench-") as home:
        bare = _bare(Path(home) / "bare")

        def measure(how: str) -> dict[str, Any]:
            environment = {**os.environ, "XDG_CACHE_HOME": f"{home}/cache"}
            command = [sys.executable, "-m", "bench.ship_session", how]
            done = subprocess.run(
                [*command, str(folder()), str(bare)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{how} failed: {done.stderr[-600:]}")
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found

        yield measure


def _bare(site: Path) -> Path:
    """Copy splice and what it needs, and nothing else."""
    for name in NEEDED:
        for file in importlib.metadata.files(name) or []:
            if ".." not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    shutil.copytree(Path(splice.__file__).parent, site / "splice")
    return site
