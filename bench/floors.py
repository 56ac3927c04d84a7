"""Floors in one OS process: what the same work costs when nothing is done but the work.

The callback floor is a run queue of objects with a `handle` method: no answers matched to
questions, no errors, no names, no fairness.  A library must cost more; the ratio says how much, and
unlike messages per second it hardly depends on the mood of the machine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

now = time.perf_counter


def call_seconds(count: int = 200_000) -> float:
    """Measure one call of a Python function that returns its argument, loop included."""
    repeats = range(count)
    start = now()
    for i in repeats:
        _returns(i)
    return (now() - start) / count


def _returns(value: int) -> int:
    return value


# ---- the run queue


class Callbacks:
    """The base of floor processes; a subclass has `handle(message)`."""

    __slots__ = ("is_idle", "mail")

    def __init__(self) -> None:
        self.mail: list[Any] = []
        self.is_idle = True

    def handle(self, message: Any) -> None:
        raise NotImplementedError


_ready: deque[Callbacks] = deque()


def _send(target: Callbacks, message: Any) -> None:
    target.mail.append(message)
    if target.is_idle:
        target.is_idle = False
        _ready.append(target)


def _run(first: Callbacks, message: Any) -> float:
    """Send one message, run until nobody has mail; the seconds it took."""
    start = now()
    _send(first, message)
    while _ready:
        target = _ready.popleft()
        while target.mail:
            mail, target.mail = target.mail, []
            for one in mail:
                target.handle(one)
        target.is_idle = True
    return now() - start


# ---- the cases


class _Echo(Callbacks):
    __slots__ = ()

    def handle(self, message: Any) -> None:
        _send(message[1], message[0])


class _Asker(Callbacks):
    __slots__ = ("echo", "left")

    def __init__(self, echo: Callbacks, left: int) -> None:
        super().__init__()
        self.echo = echo
        self.left = left

    def handle(self, message: Any) -> None:
        if self.left:
            self.left -= 1
            _send(self.echo, (self.left, self))


class _PipedAsker(Callbacks):
    __slots__ = ("echo", "left", "owed", "window")

    def __init__(self, echo: Callbacks, left: int, window: int) -> None:
        super().__init__()
        self.echo = echo
        self.left = left
        self.owed = 0
        self.window = window

    def handle(self, message: Any) -> None:
        self.owed -= 1
        if self.owed <= 0 < self.left:
            self.left -= self.window
            self.owed = self.window
            for i in range(self.window):
                _send(self.echo, (i, self))


class _Count(Callbacks):
    __slots__ = ("count",)

    count: int

    def handle(self, message: Any) -> None:
        self.count += 1


class _Teller(Callbacks):
    __slots__ = ("left", "to")

    def __init__(self, to: Callbacks, left: int) -> None:
        super().__init__()
        self.to = to
        self.left = left

    def handle(self, message: Any) -> None:
        to = self.to
        for i in range(self.left):
            _send(to, i)


class _Ring(Callbacks):
    __slots__ = ("following",)

    following: Callbacks

    def handle(self, message: Any) -> None:
        if message:
            _send(self.following, message - 1)


class _Sky(Callbacks):
    __slots__ = ("left", "parent", "total")

    left: int
    parent: Callbacks
    total: int

    def handle(self, message: Any) -> None:
        if type(message) is tuple:
            number, size, self.parent = message
            if size == 1:
                _send(self.parent, number)
                return
            size //= 10
            self.left, self.total = 10, 0
            for i in range(10):
                _send(_Sky(), (number + i * size, size, self))
        else:
            self.total += message
            self.left -= 1
            if not self.left:
                _send(self.parent, self.total)


class _Root(Callbacks):
    __slots__ = ("got",)

    got: int

    def handle(self, message: Any) -> None:
        self.got = message


def ask_rate(count: int) -> float:
    """Ask an echo `count` times in sequence; asks a second."""
    return count / _run(_Asker(_Echo(), count), 0)


def piped_rate(count: int, window: int) -> float:
    """Ask an echo in windows, each sent at once; asks a second."""
    return count / _run(_PipedAsker(_Echo(), count, window), 0)


def tell_rate(count: int) -> float:
    """Send `count` messages to a counter; messages a second."""
    counter = _Count()
    counter.count = 0
    return count / _run(_Teller(counter, count), 0)


def ring_rate(size: int, hops: int) -> float:
    """Send a token round a ring; hops a second."""
    ring = [_Ring() for _ in range(size)]
    for i, member in enumerate(ring):
        member.following = ring[(i + 1) % size]
    return hops / _run(ring[0], hops)


def skynet_seconds(leaves: int) -> float:
    """Sum up `leaves` numbers over a tree of floor processes; seconds."""
    root = _Root()
    seconds = _run(_Sky(), (0, leaves, root))
    assert root.got == leaves * (leaves - 1) // 2
    return seconds


def idle(count: int) -> list[Callbacks]:
    """Make idle floor processes."""
    return [_Count() for _ in range(count)]


# ---- threads


def thread_ping_pong_rate(count: int) -> float:
    """Wake another thread and be woken by it, by a lock each; round trips a second."""
    there, back = threading.Lock(), threading.Lock()
    there.acquire()
    back.acquire()

    def answer() -> None:
        for _ in range(count):
            there.acquire()
            back.release()

    other = threading.Thread(target=answer)
    other.start()
    start = now()
    for _ in range(count):
        there.release()
        back.acquire()
    seconds = now() - start
    other.join()
    return count / seconds


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that `function` takes."""
    start = now()
    function()
    return now() - start
