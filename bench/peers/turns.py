"""Taking turns: one contender for each library, and a figure of what they measured."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.measuring import SPLICE, Contender, Figure, Scale, alternate, spread
from bench.peers.environment import interpreter
from bench.peers.rows import PEERS, ROWS

TOP = Path(__file__).resolve().parent.parent.parent

ANSWER_SECONDS = 120
"""No measurement takes half of it on a slow machine, starting a cluster included."""

CLOSE_SECONDS = 30
"""The slowest cluster takes five to close; what hangs then is killed."""


class ContenderFailedError(Exception):
    """A contender ended or hung; the text is the last line it wrote."""


class ContenderProcess:
    """A contender in an OS process of its own, and of its own group: peers start more.

    Args:
        name: the library.
        case: the row.
        scale: how much is measured.
    """

    def __init__(self, name: str, case: str, scale: Scale) -> None:
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - until close
        path = os.pathsep.join(filter(None, (str(TOP), os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(
            _command(name, case, scale),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            cwd=TOP,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self._read()  # "ready"

    def measure(self) -> float:
        """Have it measure once; the value."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # _read says why
            self._child.stdin.write("go\n")
            self._child.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._child.stdout is not None
        timer = threading.Timer(ANSWER_SECONDS, self._kill)
        timer.start()
        line = self._child.stdout.readline().strip()
        timer.cancel()
        if not line:
            self._kill()
            raise ContenderFailedError(self._last_word())
        return line

    def _last_word(self) -> str:
        self._words.seek(0)
        lines = [line.strip() for line in self._words if line.strip()]
        return lines[-1] if lines else f"no word, exit code {self._child.poll()}"

    def close(self) -> None:
        """Have it tidy up, and wait for its end."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        self._words.close()

    def _kill(self) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()


def _command(name: str, case: str, scale: Scale) -> list[str]:
    peer = PEERS[name]
    is_fresh = "fresh" if ROWS[case].is_fresh else "warm"
    if peer.is_erlang:
        less = "20" if scale.is_quick else "1"
        script = str(Path(__file__).with_name(peer.where))
        return [interpreter(name), script, case, less, is_fresh]
    told = [peer.where, case, json.dumps(asdict(scale)), is_fresh]
    return [interpreter(name), "-m", "bench.peers.contender", *told]


def compare(
    case: str, peers: tuple[str, ...], scale: Scale, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Let splice and the peers that can be started take turns at a row.

    Args:
        case: the row.
        peers: which of its peers to ask for.
        scale: how much is measured.
        tell: hears of a peer that cannot be measured, or not to the end.

    Returns:
        A record for each contender; a peer's `ratio` is how many times better splice is.
    """
    row = ROWS[case]
    with contextlib.ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for name in (SPLICE, *(peer for peer in row.peers if peer in peers)):
            try:
                measure = _contender(stack, name, case, scale)
            except (ContenderFailedError, LookupError) as reason:
                if name == SPLICE:
                    raise
                tell(f"{case}: no {name}: {reason}")
            else:
                contenders[name] = (
                    measure if name == SPLICE else _enduring(measure, tell)
                )
        values, calls = alternate(scale.repeats, contenders, warm_up=False)
    for name in [name for name, its in values.items() if math.isnan(its[-1])]:
        tell(f"{case}: {name} was left out, as it failed meanwhile")
        del values[name], contenders[name]
    target = row.target
    if target and target.of_floor and row.peers[0] not in contenders:
        target = None  # it is a ratio to the first
    title, unit = row.title, row.unit
    figure = Figure(f"P_{case}", title, unit, values, row.less_is_better, target, calls)
    return [{"name": case, **r} for r in _with_gains(figure)]


def _with_gains(figure: Figure) -> Iterator[dict[str, Any]]:
    for record in figure.records(version("splice.io")):
        other = record["peer"]
        gains = {} if other == SPLICE else spread("ratio", figure.gains(other))
        yield {**record, **gains}


def _enduring(measure: Contender, tell: Callable[[str], None]) -> Contender:
    """Measure as long as the peer does; from its failure on, the values are not a number."""
    failures: list[str] = []

    def once() -> float:
        try:
            return math.nan if failures else measure()
        except ContenderFailedError as reason:
            failures.append(str(reason))
            tell(str(reason))
            return math.nan

    return once


def _contender(
    stack: contextlib.ExitStack, name: str, case: str, scale: Scale
) -> Contender:
    if not ROWS[case].is_fresh:
        return stack.enter_context(_started(name, case, scale)).measure

    def once() -> float:
        with _started(name, case, scale) as child:
            return child.measure()

    once()  # shows that it can
    return once


@contextlib.contextmanager
def _started(name: str, case: str, scale: Scale) -> Iterator[ContenderProcess]:
    with contextlib.closing(ContenderProcess(name, case, scale)) as child:
        yield child
