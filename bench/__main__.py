"""The command: run the cases, each in its own OS process, and show what came of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.table import Table

from bench.cases import CASES
from bench.measuring import SPLICE, Scale
from bench.peers.environment import install
from bench.peers.rows import PEERS, ROWS, standard
from bench.peers.turns import ContenderFailedError, compare
from bench.shipped import install as install_shipped
from bench.table import draw, draw_peers

CASE_SECONDS = 600
"""Longer than any case takes on a slow machine; one that hangs must not stop the others."""

QUICK_CASE_SECONDS = 60
"""The same for a quick run, whose cases take two or three."""

notes = Console(stderr=True)


@click.command(
    help=f"Measure splice.  Cases: {', '.join(CASES)}; with --peers: {', '.join(ROWS)}."
    f"  PEERS: {', '.join(PEERS)}."
)
@click.argument("peers", nargs=-1)
@click.option("--peers", "is_peers", is_flag=True, help="Other libraries beside it.")
@click.option("--install-peers", "is_install", is_flag=True, help="Get them ready.")
@click.option(
    "--install-shipped", "is_to_ship", is_flag=True, help="Get what ship-... ships."
)
@click.option(
    "--only", "names", multiple=True, metavar="NAME", help="This case; repeatable."
)
@click.option("--quick", is_flag=True, help="Small and few: shows that the cases run.")
@click.option("--full", is_flag=True, help="A million leaves of skynet as well.")
@click.option(
    "--repeats", type=click.IntRange(1), help="Measurements of each (5; quick: 2)."
)
@click.option(
    "--json", "to", type=click.Path(), help="Write JSON lines there; - for stdout."
)
def main(
    peers: tuple[str, ...],
    is_peers: bool,
    is_install: bool,
    is_to_ship: bool,
    names: tuple[str, ...],
    quick: bool,
    full: bool,
    repeats: int | None,
    to: str | None,
) -> None:
    """Run the cases and show the table; exit code 1 if one failed."""
    if is_install or is_to_ship:
        (install_shipped if is_to_ship else install)(notes.print)
        return
    if peers and not is_peers:
        raise click.UsageError("peers are named after --peers")
    _refuse_unknown("peer", peers, PEERS)
    _refuse_unknown("case", names, ROWS if is_peers else CASES)
    # Without bytecode every start compiles anew, and starting is among what is measured.
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        notes.print("PYTHONDONTWRITEBYTECODE is unset for the benchmarks")
    scale = Scale(repeats or (2 if quick else 5), quick, full)
    records = [_machine()]
    _write(to, records, "w")
    for name in names or (standard(scale) if is_peers else CASES):
        notes.print(f"{name} ...", style="dim")
        found = list(_compare(name, peers, scale) if is_peers else _run(name, scale))
        _write(to, found, "a")
        records += found
    _show(to, records[0], records[1:], draw_peers if is_peers else draw)


def _refuse_unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(
            f"no {kind} {', '.join(unknown)}; there are {', '.join(known)}"
        )


def _show(
    to: str | None,
    machine: dict[str, Any],
    records: list[dict[str, Any]],
    drawn: Callable[[list[dict[str, Any]]], Table],
) -> None:
    console = (
        notes if to == "-" else Console(width=None if sys.stdout.isatty() else 160)
    )
    console.print(_describe(machine))
    console.print(drawn(records))
    failed = [record for record in records if record["value"] is None]
    for record in failed:
        console.print(f"{record['name']} {record['unit']}", style="red", markup=False)
    sys.exit(1 if failed else 0)


def _compare(
    name: str, peers: tuple[str, ...], scale: Scale
) -> Iterator[dict[str, Any]]:
    """Let splice and its peers take turns; a record for each, or one that says why not."""
    try:
        yield from compare(name, peers or tuple(PEERS), scale, notes.print)
    except ContenderFailedError as why:
        yield _failure(name, str(why))


def _run(name: str, scale: Scale) -> Iterator[dict[str, Any]]:
    """Run a case in an OS process of its own; its records, or one that says why not."""
    command = [sys.executable, "-m", "bench.child", name, json.dumps(asdict(scale))]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    limit = QUICK_CASE_SECONDS if scale.is_quick else CASE_SECONDS
    try:
        out, err = child.communicate(timeout=limit)
        why = _last_line(err) or f"exit code {child.returncode}, and no word"
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        why = f"no end within {limit} s"
    yield from (json.loads(line) for line in out.splitlines() if line.startswith("{"))
    if child.returncode:
        notes.print(err, style="red", markup=False)
        yield _failure(name, why)
    elif err:
        notes.print(err, style="yellow", markup=False)


def _failure(name: str, why: str) -> dict[str, Any]:
    return {
        "name": name,
        "peer": SPLICE,
        "case": name,
        "title": name,
        "value": None,
        "unit": f"failed: {why[:120]}",
        "n": 0,
    }


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _machine() -> dict[str, Any]:
    return {
        "peer": "machine",
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def _describe(machine: dict[str, Any]) -> str:
    return (
        f"Python {machine['python']}, {machine['cpus']} CPUs, load {machine['load']} at the "
        "start.  'x floor': over 1 is better than the floor, by rounds; 'calls': what one "
        "message costs in Python function calls."
    )


def _write(to: str | None, records: list[dict[str, Any]], mode: str) -> None:
    if to is None:
        return
    lines = "".join(json.dumps(record) + "\n" for record in records)
    if to == "-":
        sys.stdout.write(lines)
        sys.stdout.flush()
    else:
        with _open(to, mode) as file:
            file.write(lines)


def _open(to: str, mode: str) -> IO[str]:
    return Path(to).open(mode, encoding="utf-8")


if __name__ == "__main__":
    main()
