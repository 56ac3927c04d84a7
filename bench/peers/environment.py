"""The peers' own virtual environment, outside the tree: what they need must not touch splice's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from bench.peers.rows import PEERS


def folder() -> Path:
    """Return where the environment is."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "splice-bench" / "peers"


def python() -> Path:
    """Return its interpreter, which is there once `install` has run."""
    return folder() / "bin" / "python"


def install(tell: Callable[[str], None]) -> None:
    """Make the environment and install each peer, one at a time: a failing one stops no other."""
    if not python().exists():
        venv.create(folder(), with_pip=True)
    for package in sorted({p for peer in PEERS.values() for p in peer.packages}):
        command = [python(), "-m", "pip", "install", "--quiet", package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        why = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        tell(
            f"{package}: {f'not installed: {why}' if done.returncode else 'installed'}"
        )
    if not shutil.which("escript"):
        tell(
            "Erlang: no escript on PATH; on Debian and Ubuntu: apt install erlang-base"
        )


def interpreter(name: str) -> str:
    """Return what runs the contender of a peer.

    Raises:
        LookupError: that is not there; the text says what to do.
    """
    peer = PEERS[name]
    if peer.is_erlang:
        found = shutil.which("escript")
        if found is None:
            raise LookupError("no escript on PATH (Debian and Ubuntu: erlang-base)")
        return found
    if not peer.packages:
        return sys.executable
    if not python().exists():
        raise LookupError("not installed: scripts/bench --install-peers")
    return str(python())
