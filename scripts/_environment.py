"""Make or mend the virtual environment of the checkout, and print its Python.

Called by `_environment.bash` with at most one extra of pyproject.toml.  Whatever is printed
on standard output is the path of the interpreter; progress goes to standard error.
The environment is installed into again only when pyproject.toml has changed, and one caller
at a time works on any, for all of them build in this folder.  Standard library only: nothing
is installed yet.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / ".venv"
COVERS = {"": ("", "test", "dev"), "test": ("test", "dev"), "dev": ("dev",)}
"""Which extras' installation serves for the one asked for."""


def main(extra: str) -> None:
    """Print the interpreter of an environment that has splice with `extra`."""
    active = os.environ.get("VIRTUAL_ENV")
    home = Path(active) if active else OWN
    python = home / "bin" / "python"
    if not is_installed(home, extra) or not (active or is_usable(home)):
        # The folder itself is the lock, so that no lock file is left behind.
        lock = os.open(ROOT / "scripts", os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not active and not is_usable(home):
            make(home)
        if not is_installed(home, extra):  # by the one that had the lock before
            install(python, extra)
            stamp(home, extra).write_text(fingerprint(python))
    print(python)


def is_usable(home: Path) -> bool:
    """Tell whether `home` is a whole environment that was made for this very folder."""
    python = home / "bin" / "python"
    marker = home / ".splice-home"
    if marker.exists() and marker.read_text() != str(home):
        return False  # the checkout was moved or copied: its scripts name the old place
    if not python.exists():
        return False
    # A caller that was killed half-way leaves an environment without pip.
    probe = [python, "-c", "import pip"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def make(home: Path) -> None:
    """Make the environment with the Python that runs this."""
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"making {home} (Python {version})")
    # The interpreter may live in the folder that is to be made anew.
    base = getattr(sys, "_base_executable", None) or sys.executable
    subprocess.run([base, "-m", "venv", "--clear", home], check=True, stdout=sys.stderr)
    (home / ".splice-home").write_text(str(home))


def install(python: Path, extra: str) -> None:
    """Install the checkout, editable, with `extra`."""
    for name in COVERS[
        ""
    ]:  # nobody starts in what is being changed, or was left half-way
        stamp(python.parent.parent, name).unlink(missing_ok=True)
    what = f"{ROOT}[{extra}]" if extra else str(ROOT)
    say(f"installing splice{f' with what {extra!r} needs' if extra else ''}")
    command = [python, "-m", "pip", "install", "--quiet", "--editable", what]
    settings = {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_USER": "0",  # a user-wide setting that no virtual environment accepts
    }
    subprocess.run(
        command, check=True, stdout=sys.stderr, env={**os.environ, **settings}
    )


def is_installed(home: Path, extra: str) -> bool:
    """Tell whether an installation that covers `extra` is of the present pyproject.toml."""
    wanted = fingerprint(home / "bin" / "python")
    stamps = (stamp(home, other) for other in COVERS[extra])
    return any(path.exists() and path.read_text() == wanted for path in stamps)


def stamp(home: Path, extra: str) -> Path:
    """Return the file that remembers what `extra` was last installed from."""
    return home / f".splice-installed-{extra or 'core'}"


def fingerprint(python: Path) -> str:
    """Return what an installation depends on: the project file, its place, the interpreter."""
    project = (ROOT / "pyproject.toml").read_bytes()
    place = f"\0{ROOT}\0{python.resolve()}".encode()
    return hashlib.sha256(project + place).hexdigest()


def say(text: str) -> None:
    """Tell progress where it does not mix with the answer."""
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "")
    except subprocess.CalledProcessError as error:
        sys.exit(
            f"setting up the environment failed (exit code {error.returncode} of "
            f"`{shlex.join(map(str, error.cmd))}`); the lines above say why"
        )
