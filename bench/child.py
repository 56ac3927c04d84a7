"""A program that runs one case and prints a JSON line for each contender of each figure.

A case has an OS process of its own: memory freed by another one would hide what it takes, and a
node that has served a million processes is not a fresh one.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from bench.cases import find
from bench.measuring import Scale


def main(name: str, scale: str) -> None:
    """Run the case `name`; `scale` is a `Scale` as JSON."""
    for figure in find(name)(Scale(**json.loads(scale))):
        for record in figure.records(version("splice.io")):
            print(json.dumps({"name": name, **record}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
