"""Sessions whose workers have splice and what it needs, and nothing else of the client's.

They run the same interpreter with a path of their own.  Where the tests are run by root, the
folders of the client are also hidden from them by a mount namespace, so nothing can be found by
accident.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import splice
from splice import runtime
from splice.cluster import Session, session
from splice.node.launch import OsLauncher
from splice.shipping import contents

NEEDED = ("pyzmq", "greenlet", "cloudpickle", "psutil", "click", "rich")
SRC = Path(splice.__file__).parents[1]

HIDE = 'for d in $HIDDEN; do mount -t tmpfs none "$d" || exit 9; done; exec "$0" "$@"'


def can_hide() -> bool:
    """Tell whether this user may make mount namespaces."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    done = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    return done.returncode == 0


@pytest.fixture(scope="session")
def bare_path(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A path with the standard library, splice and what it needs; made once a run."""
    site = tmp_path_factory.mktemp("bare")
    for name in NEEDED:
        for file in importlib.metadata.files(name) or []:
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
    shutil.copytree(SRC / "splice", site / "splice")
    library = sysconfig.get_path("stdlib")
    return [library, f"{library}/lib-dynload", str(site)]


Opener = Callable[..., Session]


@pytest.fixture
def far_session(
    bare_path: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opener]:
    """Open sessions on bare workers, with a cold store.

    ``hide`` names further folders of the client, ``has`` those that are the worker's own, and
    ``under`` is a command that runs their interpreter.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened: list[Session] = []
    children = runtime.node.children
    before = children._launcher

    def open_one(
        count: int = 1,
        *,
        hide: tuple[Path, ...] = (),
        has: tuple[Path, ...] = (),
        under: tuple[str, ...] = (),
        **options: object,
    ) -> Session:
        command = [*under, sys._base_executable]
        if can_hide():
            folders = [sysconfig.get_path("purelib"), *map(str, hide)]
            monkeypatch.setenv("HIDDEN", " ".join(folders))
            command = ["unshare", "-m", "sh", "-c", HIDE, *command]
        children._launcher = OsLauncher(
            command=command, path=[*bare_path, *map(str, has)]
        )
        opened.append(session(worker_count=count, **options))
        return opened[-1]

    try:
        yield open_one
    finally:
        for each in opened:
            each.shutdown()
        children._launcher = before


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the client's path, to be filled and hidden."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def chunks(monkeypatch):
    """Count the bytes that the client gives out; `at` is called before each chunk."""
    chunk = contents.Unit.chunk

    class Chunks:
        sent = 0

        def at(self, number):
            """Do nothing unless a test says otherwise."""

    counted = Chunks()

    def count(unit, number):
        counted.at(number)
        data = chunk(unit, number)
        counted.sent += len(data)
        return data

    monkeypatch.setattr(contents.Unit, "chunk", count)
    return counted
