"""The cases on one node: one OS process, no socket.

The processes live on the background node that any script has, and the work is driven by a process
there; the ``run-`` cases do the same work under `splice.run`, on the main thread and with the
thresholds of the garbage collector raised.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import splice
from bench import floors
from bench.measuring import SPLICE, Figure, Scale, Target, alternate, now
from splice import Deferred, Exit, Process, runtime, sync, syncmany, tell

RING = 503
WINDOW = 1000
BURST = 10_000

Host = Callable[[Callable[[], Any]], Any]
"""Runs a function in a handler of the node and returns its result."""


class Driver(Process):
    """Runs a function as a process."""

    def run(self, function: Callable[[], Any]) -> Any:
        return function()


class Echo(Process):
    """Answers with what it was asked."""

    __slots__ = ()

    def echo(self, value: Any) -> Any:
        return value


class Count(Process):
    """Counts messages."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def one(self, number: int) -> None:
        self.count += 1

    def total(self) -> int:
        return self.count


class Ring(Process):
    """A member of the ring."""

    __slots__ = ("done", "following")

    def join(self, following: Any, done: Deferred) -> None:
        self.following = following
        self.done = done

    def hop(self, left: int) -> None:
        if left:
            tell(self.following.hop, left - 1)
        else:
            self.done.set()


class Sky(Process):
    """A branch or leaf of the tree; it ends when it has told its sum to its parent."""

    __slots__ = ("left", "parent", "total")

    def grow(self, number: int, size: int, parent: Any) -> None:
        if size == 1:
            tell(parent.add, number)
            raise Exit("normal")
        self.left, self.total, self.parent = 10, 0, parent
        size //= 10
        for i in range(10):
            branch = runtime.spawn(Sky)
            tell(branch.grow, number + i * size, size, self.sp_proxy)

    def add(self, number: int) -> None:
        self.total += number
        self.left -= 1
        if not self.left:
            tell(self.parent.add, self.total)
            raise Exit("normal")


class Root(Process):
    """Gets the sum of the whole tree."""

    __slots__ = ("done",)

    def __init__(self, done: Deferred) -> None:
        self.done = done

    def add(self, number: int) -> None:
        self.done.set(number)
        raise Exit("normal")


class Idle(Process):
    """Does nothing, and ends when asked to."""

    __slots__ = ("one", "two")

    def quit(self) -> None:
        raise Exit("normal")


# ---- what is measured, in a handler


def ask_rate(echo: Any, count: int) -> float:
    """Ask in sequence; asks a second."""
    start = now()
    for i in range(count):
        sync(echo.echo(i))
    return count / (now() - start)


def piped_rate(echo: Any, count: int, window: int) -> float:
    """Ask in windows, each sent at once; asks a second."""
    start = now()
    for _ in range(count // window):
        syncmany([echo.echo(i) for i in range(window)])
    return count // window * window / (now() - start)


def tell_rate(counter: Any, count: int, burst: int | None = None) -> float:
    """Tell, and ask after each burst how many came; messages a second."""
    burst = burst or count
    before = sync(counter.total())
    start = now()
    for sent in range(0, count, burst):
        for i in range(burst):
            tell(counter.one, i)
        assert sync(counter.total()) == before + sent + burst
    return count / (now() - start)


def ring_rate(ring: Any, hops: int) -> float:
    """Send a token round; hops a second."""
    done = Deferred()
    syncmany([m.join(ring[(i + 1) % RING], done) for i, m in enumerate(ring)])
    start = now()
    tell(ring[0].hop, hops)
    sync(done)
    return hops / (now() - start)


def skynet_seconds(leaves: int) -> float:
    """Sum up over a tree of processes; seconds."""
    done = Deferred()
    root = runtime.spawn(Root, done)
    start = now()
    tell(runtime.spawn(Sky).grow, 0, leaves, root)
    total = sync(done)
    seconds = now() - start
    assert total == leaves * (leaves - 1) // 2
    return seconds


# ---- the cases


def _background() -> Host:
    driver = runtime.spawn(Driver)
    return lambda function: driver.run(function).get()


def _under_run(
    case: Callable[[Scale, Host], list[Figure]], scale: Scale
) -> list[Figure]:
    found: list[Figure] = splice.run(case, scale, lambda function: function())
    for figure in found:
        figure.case += "_run"
        figure.title += ", under splice.run"
    return found


def ask(scale: Scale) -> list[Figure]:
    """A process asks another, one question at a time."""
    return _ask(scale, _background())


def run_ask(scale: Scale) -> list[Figure]:
    """The same under splice.run."""
    return _under_run(_ask, scale)


def _ask(scale: Scale, host: Host) -> list[Figure]:
    count = scale.size(200_000)
    echo = runtime.spawn(Echo)
    values, calls = alternate(
        scale.repeats,
        {
            SPLICE: lambda: host(lambda: ask_rate(echo, count)),
            "callback": lambda: floors.ask_rate(count),
        },
    )
    target = Target(">= 0.6 M/s", least=0.6e6)
    return [Figure("A1_ask", "ask", "asks/s", values, target=target, calls=calls)]


def thread_ask(scale: Scale) -> list[Figure]:
    """The main thread asks a process on the background node: two wake-ups of a thread."""
    count = scale.size(5_000)
    echo = runtime.spawn(Echo)
    values, calls = alternate(
        scale.repeats,
        {
            SPLICE: lambda: ask_rate(echo, count),
            "two locks": lambda: floors.thread_ping_pong_rate(count),
        },
    )
    title = "ask from another thread"
    return [Figure("A1_ask_thread", title, "asks/s", values, calls=calls)]


def piped(scale: Scale) -> list[Figure]:
    """A process asks another, a thousand questions at a time."""
    count = scale.size(200_000, WINDOW)
    host, echo = _background(), runtime.spawn(Echo)
    values, calls = alternate(
        scale.repeats,
        {
            SPLICE: lambda: host(lambda: piped_rate(echo, count, WINDOW)),
            "callback": lambda: floors.piped_rate(count, WINDOW),
        },
    )
    return [Figure("A1_piped", "piped asks (1000)", "asks/s", values, calls=calls)]


def tells(scale: Scale) -> list[Figure]:
    """A process tells another, ten thousand messages before the other runs."""
    return _tells(scale, _background())


def run_tells(scale: Scale) -> list[Figure]:
    """The same under splice.run."""
    return _under_run(_tells, scale)


def flood(scale: Scale) -> list[Figure]:
    """A process tells another, all before the other runs."""
    return _flood(scale, _background())


def run_flood(scale: Scale) -> list[Figure]:
    """The same under splice.run."""
    return _under_run(_flood, scale)


def _tells(scale: Scale, host: Host) -> list[Figure]:
    return _told(scale, host, "A2_tell", "tell", BURST)


def _flood(scale: Scale, host: Host) -> list[Figure]:
    return _told(scale, host, "A2_flood", "tell, all at once", None)


def _told(
    scale: Scale, host: Host, case: str, title: str, burst: int | None
) -> list[Figure]:
    count = scale.size(300_000, burst or 1)
    counter = runtime.spawn(Count)
    values, calls = alternate(
        scale.repeats,
        {
            SPLICE: lambda: host(lambda: tell_rate(counter, count, burst)),
            "callback": lambda: floors.tell_rate(count),
        },
    )
    target = Target(">= 0.8 M/s", least=0.8e6)
    return [Figure(case, title, "msgs/s", values, target=target, calls=calls)]


def ring(scale: Scale) -> list[Figure]:
    """A token goes round 503 processes by tells."""
    hops = scale.size(500_000)
    host, members = _background(), runtime.spawn_many(RING, Ring)
    values, calls = alternate(
        scale.repeats,
        {
            SPLICE: lambda: host(lambda: ring_rate(members, hops)),
            "callback": lambda: floors.ring_rate(RING, hops),
        },
    )
    target = Target(">= 0.8 M/s", least=0.8e6)
    title = f"ring of {RING}"
    return [Figure("A3_ring", title, "hops/s", values, target=target, calls=calls)]


def skynet(scale: Scale) -> list[Figure]:
    """A tree of processes is spawned, sums up, and ends."""
    return _skynet(scale, _background())


def run_skynet(scale: Scale) -> list[Figure]:
    """The same under splice.run."""
    return _under_run(_skynet, scale)


def _skynet(scale: Scale, host: Host) -> list[Figure]:
    sizes = [1_000 if scale.is_quick else 100_000]
    if scale.is_full:
        sizes.append(1_000_000)
    found = []
    for leaves in sizes:
        values, _ = alternate(
            scale.repeats,
            {
                SPLICE: lambda n=leaves: host(lambda: skynet_seconds(n)),  # type: ignore[misc]
                "callback": lambda n=leaves: floors.skynet_seconds(n),  # type: ignore[misc]
            },
            warm_up=False,
        )
        is_million = leaves == 1_000_000
        size = "1M" if is_million else f"{leaves // 1000}k"
        found.append(
            Figure(
                f"A5_skynet_{size}",
                f"skynet, {size} leaves",
                "s",
                values,
                less_is_better=True,
                target=Target("< 4.5 s", most=4.5) if is_million else None,
            )
        )
    return found


def spawn(scale: Scale) -> list[Figure]:
    """Many processes are spawned, asked to end, and as many spawned again."""
    count = scale.size(1_000_000)
    seconds: dict[str, list[float]] = {
        "first": [],
        "stop": [],
        "again": [],
        "floor": [],
    }
    for _ in range(scale.repeats):
        for turn in ("first", "again"):
            start = now()
            view = runtime.spawn_many(count, Idle)
            made = now()
            seconds[turn].append(made - start)
            syncmany(view.quit())
            if turn == "first":
                seconds["stop"].append(now() - made)
            del view
        seconds["floor"].append(floors.timed(lambda: floors.idle(count)))
    target = None if scale.is_quick else Target("< 3 s", most=3.0)
    size = f"{count // 1000:,}k"
    return [
        Figure(
            f"A4_{name}_{size}",
            f"{title} {size}",
            "s",
            {SPLICE: seconds[turn], "callback": seconds["floor"]},
            less_is_better=True,
            target=target if turn != "stop" else None,
        )
        for turn, name, title in (
            ("first", "spawn", "spawn"),
            ("stop", "stop", "ask to end"),
            ("again", "spawn_again", "spawn again"),
        )
    ]


def spawn_one(scale: Scale) -> list[Figure]:
    """A process spawns others, one at a time."""
    count = scale.size(100_000)
    host = _background()

    def rate() -> float:
        start = now()
        made = [runtime.spawn(Idle) for _ in range(count)]
        seconds = now() - start
        syncmany([process.quit() for process in made])
        return count / seconds

    values, calls = alternate(
        scale.repeats,
        {
            SPLICE: lambda: host(rate),
            "callback": lambda: count / floors.timed(lambda: floors.idle(count)),
        },
    )
    title = "spawn, one at a time"
    return [Figure("A4_spawn_one", title, "processes/s", values, calls=calls)]


def idle(scale: Scale) -> list[Figure]:
    """The memory of an idle process, each time in a fresh OS process."""
    count = scale.size(1_000_000)
    values: dict[str, list[float]] = {SPLICE: [], "callback": []}
    for _ in range(scale.repeats):
        for name, found in values.items():
            found.append(_bytes_each(name, count))
    return [
        Figure(
            f"A4_rss_{count // 1000}k",
            f"idle process (of {count // 1000:,}k)",
            "B/process",
            values,
            less_is_better=True,
            target=Target("<= 450 B", most=450),
        )
    ]


def _bytes_each(what: str, count: int) -> float:
    command = [sys.executable, "-m", "bench.footprint", what, str(count)]
    return float(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
