"""Pykka: an actor is a thread, and so there are fewer of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka

from bench.measuring import Contender, Scale, now
from bench.peers.contender import Case
from bench.peers.memory import resident

RING = 503


class Echo(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


class Caller(pykka.ThreadingActor):
    """Asks an echo in sequence; answers with the rate."""

    def on_receive(self, message: Any) -> float:
        echo, count = message
        start = now()
        for i in range(count):
            echo.ask(i)
        return float(count / (now() - start))


class Count(pykka.ThreadingActor):
    def __init__(self, last: int, done: threading.Event) -> None:
        super().__init__()
        self.left, self.done = last, done

    def on_receive(self, message: Any) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


class Ring(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> None:
        if not isinstance(message, int):
            self.following, self.done = message
        elif message:
            self.following.tell(message - 1)
        else:
            self.done.set()


class Idle(pykka.ThreadingActor):
    pass


def _case(measure: Callable[[int], float], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = scale.size(count)
        yield lambda: measure(size)

    return case


def _ask(count: int) -> float:
    echo, caller = Echo.start(), Caller.start()
    rate = float(caller.ask((echo, count)))
    pykka.ActorRegistry.stop_all()
    return rate


def _tell(count: int) -> float:
    done = threading.Event()
    counter = Count.start(count, done)
    start = now()
    for i in range(count):
        counter.tell(i)
    done.wait()
    rate = count / (now() - start)
    counter.stop()
    return rate


def _ring(hops: int) -> float:
    done = threading.Event()
    members = [Ring.start() for _ in range(RING)]
    for i, member in enumerate(members):
        member.ask((members[(i + 1) % RING], done))
    start = now()
    members[0].tell(hops)
    done.wait()
    rate = hops / (now() - start)
    pykka.ActorRegistry.stop_all()
    return rate


def _idle(count: int) -> tuple[float, float]:
    before, start = resident(), now()
    idle = [Idle.start() for _ in range(count)]
    seconds = now() - start
    cost = (resident() - before) / count
    for actor in idle:
        actor.stop()
    return count / seconds, cost


CASES: dict[str, Case] = {
    "ask": _case(_ask, 10_000),
    "tell": _case(_tell, 50_000),
    "ring": _case(_ring, 30_000),
    "spawn": _case(lambda count: _idle(count)[0], 2_000),
    "memory": _case(lambda count: _idle(count)[1], 2_000),
}
