"""Runs programs as their readers would, and looks at what they print and leave behind.

What a program must print stands behind its ``print``, as a comment::

    print(sync(counter.add(1)))  # 11
    for x in coro: print(x)      # 1, 2, 3

Words are compared, in the order of the lines; spaces and commas only separate them.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
import tokenize
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from splice import runtime

PATIENCE = 50
"""Seconds after which a program counts as hanging; none takes a tenth of it."""

Run = Callable[[str, Path], str]
"""Runs source code, with a folder for files; returns what it has printed."""


@pytest.fixture
def words_of() -> Callable[[str], list[str]]:
    return _words


@pytest.fixture
def promised() -> Callable[[str], list[str]]:
    """What source code says that it prints, as words."""
    return _promised


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s,]+", text)


def _promised(source: str) -> list[str]:
    words: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and "print(" in token.line:
            words += _words(token.string.removeprefix("#"))
    return words


def as_script(source: str, folder: Path) -> str:
    """A file without a guard, run by Python."""
    path = folder / "program.py"
    path.write_text(source, encoding="utf-8")
    return _in_os_process([str(path)], "", folder)


def as_page(source: str, folder: Path) -> str:
    """As a script; pages show failures on purpose, and those are logged."""
    path = folder / "program.py"
    path.write_text(source, encoding="utf-8")
    return _in_os_process([str(path)], "", folder, may_log=True)


def as_standard_input(source: str, folder: Path) -> str:
    """Code that has no file, as in a REPL or behind a pipe."""
    return _in_os_process(["-"], source, folder)


def in_module(source: str, folder: Path) -> str:
    """The top level of a module that no other node can import."""
    return _here(source)


def in_function(source: str, folder: Path) -> str:
    """The body of a function: every class in it is local, every variable a closure's."""
    body = textwrap.indent(source, "    ")
    return _here(f"def program():\n{body}\nprogram()\n")


@pytest.fixture(
    params=[
        as_script,
        in_module,
        pytest.param(as_standard_input, marks=pytest.mark.slow),
        pytest.param(in_function, marks=pytest.mark.slow),
    ],
    ids=lambda run: run.__name__,
)
def run(request: pytest.FixtureRequest) -> Run:
    """Each of the ways in which a program may be run."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def run_script() -> Run:
    return as_page


def _in_os_process(
    arguments: list[str], stdin: str, folder: Path, *, may_log: bool = False
) -> str:
    mark = f"SPLICE_TEST_{uuid.uuid4().hex}"
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, mark: "1"},
        timeout=PATIENCE,
        check=False,
    )
    left = [
        process.cmdline() for process in psutil.process_iter() if _has(process, mark)
    ]
    assert may_log or not ended.stderr, ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert left == []
    return ended.stdout


def _has(process: psutil.Process, mark: str) -> bool:
    """Tell whether an OS process descends from the one that was marked."""
    try:
        return mark in process.environ()
    except psutil.Error:
        return False  # another user's, or gone since


def _here(source: str) -> str:
    printed = io.StringIO()
    code = compile(source, "<program>", "exec")
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, {"__name__": "program_of_a_test"})
    finally:
        runtime.shutdown()
    assert psutil.Process().children(recursive=True) == []
    return printed.getvalue()
