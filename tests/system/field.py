"""A cluster of real nodes under the simulator's workload, and one history of all of them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from splice.testing.diary import read
from splice.testing.facts import Facts
from splice.testing.history import Event, History, What
from splice.testing.invariants import Violation, check

LOSS_SECONDS = 2.0
"""The loss timeout of the nodes: six beats, and a test need not wait for long."""

CONFIG = {
    "loss_timeout": LOSS_SECONDS,
    "connect_timeout": 4.0,
    "beat_interval": 0.3,
    "handshake_timeout": 1.5,
}

REST_SECONDS = 30.0
"""In which all must have come to rest: a chain of waits, each of which ends by LOSS_SECONDS,
on a busy machine."""

PACE = 30.0
"""Acts a second on each node, one to twenty messages each."""


class Player:
    """One life of a node: an OS process, and what was told of it."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.name = self.where = ""
        self.is_dead = False

    def is_up(self) -> None:
        """Wait until it is."""
        self.name, self.where = self._heard()

    def does(self, command: str, *arguments: Any) -> str:
        """Have it do something, and return its word on it."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.popen.stdin.flush()
        (word,) = self._heard()
        return str(word)

    def _heard(self) -> list[str]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"{self.name} has ended: {self._log.read_text()}"
        words: list[str] = json.loads(line)
        return words

    def clean_up(self) -> None:
        self.popen.kill()  # also one that stands still
        with contextlib.suppress(BrokenPipeError):
            self.popen.communicate()


class Cast:
    """Nodes under load, of which a history is written.

    Args:
        folder: for diaries and logs.
        addresses: host and port of each node.
        prefix: what stands before the command of the node at a place, given when it starts.
        seed: what their workload is drawn from.
        is_lossy: connections may break by themselves.
        config: changes of CONFIG.
        plant: name of a defect to put into all nodes; see `splice.testing.planted`.
    """

    def __init__(
        self,
        folder: Path,
        addresses: list[tuple[str, int]],
        prefix: Callable[[int], tuple[str, ...]] = lambda _: (),
        *,
        seed: int = 0,
        is_lossy: bool = False,
        config: Mapping[str, Any] | None = None,
        plant: str = "",
    ) -> None:
        self._folder = folder
        self._addresses = addresses
        self._prefix = prefix
        self._seed = seed
        self._is_lossy = is_lossy
        self._plant = plant
        self._config = {**CONFIG, **(config or {})}
        self._names = {
            f"tcp://{host}:{port}": f"n{place + 1}"
            for place, (host, port) in enumerate(addresses)
        }
        self._events: list[Event] = []
        self.lives: list[Player] = []
        self.now: list[Player] = []

    @property
    def loss_timeout(self) -> float:
        return float(self._config["loss_timeout"])

    def begin(self, pace: float = PACE) -> None:
        """Start all nodes and have them act."""
        # the first alone: it makes the key
        self.now = [self._start(0)]
        self.now[0].is_up()
        self.now += [self._start(place) for place in range(1, len(self._addresses))]
        for player in self.now[1:]:
            player.is_up()
        for player in self.now:
            self._introduce(player)
        for player in self.now:
            player.does("begin", pace)

    def _start(self, place: int) -> Player:
        host, port = self._addresses[place]
        life = len(self.lives) + 1
        settings = {
            "config": {**self._config, "address": host, "port": port},
            "diary": str(self._folder / f"diary-{life}"),
            "names": self._names,
            "life": life,
            "seed": f"{self._seed} {life}",
            "plant": self._plant,
        }
        command = [sys.executable, "-m", "splice.testing.field", json.dumps(settings)]
        log = self._folder / f"log-{life}"
        player = Player([*self._prefix(place), *command], log)
        self.lives.append(player)
        return player

    def _introduce(self, player: Player) -> None:
        for other in self.living():
            other.does("settle", player.name, player.where)

    def living(self) -> list[Player]:
        return [player for player in self.now if not player.is_dead]

    # ---- what goes wrong

    @contextlib.contextmanager
    def fault(self, text: str, place: int, other: int | None = None) -> Iterator[None]:
        """Note that something is wrong while the block lasts: with one node, or between two."""
        at = time.monotonic()
        try:
            yield
        finally:
            second = "" if other is None else self.now[other].name
            lasted = time.monotonic() - at
            first = self.now[place].name
            self._events.append(
                Event(at, What.FAULT, 0, first, second, text, seconds=lasted)
            )

    def freezes(self, place: int, seconds: float) -> None:
        """Have a node stand still for a while."""
        with self.fault("freeze", place):
            self.now[place].popen.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.now[place].popen.send_signal(signal.SIGCONT)

    def dies(self, place: int) -> None:
        """Kill a node."""
        player = self.now[place]
        self._events.append(Event(time.monotonic(), What.DOWN, 0, player.name, "kill"))
        player.is_dead = True
        player.popen.kill()
        player.popen.wait()

    def is_born_again(self, place: int, pace: float = PACE) -> None:
        """Start a dead node anew at its address."""
        self.now[place] = self._start(place)
        self.now[place].is_up()
        self._introduce(self.now[place])
        for other in self.living():
            if other is not self.now[place]:
                self.now[place].does("settle", other.name, other.where)
        self.now[place].does("begin", pace)

    # ---- what comes of it

    def history(self) -> History:
        paths = sorted(self._folder.glob("diary-*"))
        return read(paths, self._events)

    def violations(self) -> list[Violation]:
        facts = Facts(
            self.history(), loss_timeout=self.loss_timeout, is_lossy=self._is_lossy
        )
        return check(facts)

    def breaks(self, rule: str) -> bool:
        """Whether a promise was broken so far, of all but those that may yet be kept."""
        return any(violation.rule == rule for violation in self.violations())

    def comes_to_rest(self) -> History:
        """Have all come to rest; the history then, in which every promise was kept."""
        for player in self.living():
            player.does("rest")
        deadline = time.monotonic() + REST_SECONDS
        while (left := self._left()) or (broken := self.violations()):
            if time.monotonic() > deadline:
                raise AssertionError(self._story(left or broken))
            time.sleep(0.2)
        return self.history()

    def _left(self) -> list[Any]:
        left = [(p.name, p.does("left", len(self.lives))) for p in self.living()]
        return [(name, what) for name, what in left if what]

    def _story(self, left: list[Any]) -> str:
        broken = self.violations()
        messages = {n for v in broken for n in v.messages}
        history = self.history()
        kept = self._folder / "history"
        kept.write_text(str(history))
        lines = [f"not at rest within {REST_SECONDS} s, or not as promised:"]
        lines += [*map(str, left), *map(str, broken[:20])]
        return "\n".join([*lines, history.around(messages)[:20000], f"see {kept}"])

    def close(self) -> None:
        for player in self.lives:
            player.clean_up()
