"""The case of `import splice`: what it adds to the start of an interpreter."""

from __future__ import annotations

import subprocess
import sys

from bench.measuring import SPLICE, Figure, Scale, Target, now


def imports(scale: Scale) -> list[Figure]:
    """Milliseconds over the bare interpreter, the two started one after the other."""
    programs = {SPLICE: "import splice", "import zmq": "import zmq"}
    values: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        _milliseconds(program)  # compiles what is not compiled yet
    for _ in range(scale.repeats * 2):
        for name, program in programs.items():
            bare = _milliseconds("")
            values[name].append(_milliseconds(program) - bare)
    target = Target("< 60 ms", most=60)
    title = "import splice, over the bare interpreter"
    return [Figure("D_import", title, "ms", values, less_is_better=True, target=target)]


def _milliseconds(program: str) -> float:
    start = now()
    subprocess.run([sys.executable, "-c", program], check=True)
    return (now() - start) * 1000
