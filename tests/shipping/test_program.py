"""A program of its own, as a user starts it: its workers get what stands in ``__main__``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.shipping.conftest import SRC
from tests.shipping.trees import write

pytestmark = pytest.mark.system

PROGRAM = """
import json, os, sys
from dataclasses import dataclass
from splice import Process, runtime
from splice.cluster import session
from splice.node.launch import OsLauncher
import in_folder

FACTOR = 10

@dataclass
class Item:
    n: int
    def value(self):
        return FACTOR * self.n

class Counter(Process):
    def __init__(self, first: Item):
        self.n = first.value()
    def add(self, item):
        import in_archive
        self.n += item.value() + in_archive.N
        return self.n

def init():
    import in_archive

def use(item):
    return Item(item.value() + in_folder.N)

if __name__ == "__main__":
    runtime.node.children._launcher = OsLauncher(
        command=[sys._base_executable], path=json.loads(os.environ["BARE"]))
    with session(worker_count=1, init=init) as c:
        print([item.n for item in c.map(use, [Item(1), Item(2)])])
        counter = runtime.spawn(Counter, Item(1), sp_dest=c.workers[0])
        print(counter.add(Item(2)).get(timeout=20))
        print(sorted(os.path.basename(found.origin) for found in c.dependencies()))
"""


def test_functions_classes_and_processes_of_a_program_with_code_of_pythonpath(
    bare_path: list[str], tmp_path: Path
) -> None:
    write(tmp_path, {"program.py": PROGRAM, "code/in_folder.py": "N = 3"})
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("in_archive.py", "N = 4")
    environment = {
        **os.environ,
        "BARE": json.dumps(bare_path),
        "PYTHONPATH": os.pathsep.join([str(SRC), str(tmp_path / "code"), str(archive)]),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    lines = done.stdout.splitlines()
    assert lines == ["[13, 23]", "34", "['code.zip', 'in_folder.py']"], done.stderr
