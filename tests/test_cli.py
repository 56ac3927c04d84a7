"""The command line: its words, and what it says when something is wrong."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from splice.cli import main

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@pytest.fixture(autouse=True)
def log_level_as_before() -> Iterator[None]:
    """A daemon sets it for its OS process, which is that of the tests here."""
    log = logging.getLogger("splice")
    level = log.level
    yield
    log.setLevel(level)


def scripts() -> dict[str, str]:
    found = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["scripts"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("sp_run_master.py", ["-p", "--port", "-t", "--node-timeout", "-l"]),
        (
            "sp_run_instance.py",
            ["-m", "--master-address", "-t", "--keepalive-timeout", "-l"],
        ),
    ],
)
def test_the_scripts_of_old_have_their_options(script: str, options: list[str]) -> None:
    module, _, name = scripts()[script].partition(":")
    command: click.Command = getattr(import_module(module), name)
    known = {each for parameter in command.params for each in parameter.opts}
    assert known >= {*options, "--log-level"}


@pytest.mark.parametrize("command", ["master", "instance", "status", "drain"])
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert command in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["instance"], "Missing option '-m' / '--master-address'"),
        (["instance", "-m", "master:1"], "malformed address 'master:1'"),
        (["master", "-l", "loud"], "Unknown level: 'LOUD'"),
        (["master", "-p", "70000"], "70000 is not in the range"),
        (["instance", "-m", "tcp://a:1", "--slots", "0"], "0 is not in the range"),
        (["status", "-m", "nonsense"], "malformed address 'nonsense'"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert text in result.output
