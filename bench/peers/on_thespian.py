"""Thespian on its simple base: all actors in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from thespian.actors import Actor, ActorSystem

from bench.measuring import Contender, Scale, now
from bench.peers.contender import Case
from bench.peers.memory import resident

RING = 503
LIMIT = timedelta(seconds=60)


class Echo(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        if isinstance(message, int):
            self.send(sender, message)


class Caller(Actor):
    """Asks an echo in sequence; answers with the rate."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        if isinstance(message, tuple):
            self.echo, self.count = message
            self.asker, self.start = sender, now()
            self.send(self.echo, self.count)
        elif isinstance(message, int) and message:
            self.send(self.echo, message - 1)
        elif message == 0:
            self.send(self.asker, self.count / (now() - self.start))


class Count(Actor):
    count = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        if isinstance(message, int):
            self.count += 1
        elif message == "total":
            self.send(sender, self.count)


class Ring(Actor):
    """Passes the token on; the first remembers who is to hear of the end."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        if isinstance(message, tuple):
            self.following = message[0]
            self.send(sender, "joined")
        elif isinstance(message, list):  # [hops left, who asked]
            left, *asker = message
            if left:
                self.send(self.following, [left - 1, *(asker or [sender])])
            else:
                self.send(asker[0], "done")


class Idle(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        pass


def _case(measure: Callable[[Any, int], float], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = scale.size(count)
        system = ActorSystem("simpleSystemBase")
        yield lambda: measure(system, size)
        system.shutdown()

    return case


def _ask(system: Any, count: int) -> float:
    echo, caller = system.createActor(Echo), system.createActor(Caller)
    return float(system.ask(caller, (echo, count), LIMIT))


def _tell(system: Any, count: int) -> float:
    counter = system.createActor(Count)
    start = now()
    for i in range(count):
        system.tell(counter, i)
    assert system.ask(counter, "total", LIMIT) == count
    return count / (now() - start)


def _ring(system: Any, hops: int) -> float:
    members = [system.createActor(Ring) for _ in range(RING)]
    for i, member in enumerate(members):
        system.ask(member, (members[(i + 1) % RING],), LIMIT)
    start = now()
    assert system.ask(members[0], [hops], LIMIT) == "done"
    return hops / (now() - start)


def _idle(system: Any, count: int) -> tuple[float, float]:
    before, start = resident(), now()
    kept = [system.createActor(Idle) for _ in range(count)]
    seconds = now() - start
    return len(kept) / seconds, (resident() - before) / count


CASES: dict[str, Case] = {
    "ask": _case(_ask, 10_000),
    "tell": _case(_tell, 20_000),
    "ring": _case(_ring, 20_000),
    "spawn": _case(lambda system, count: _idle(system, count)[0], 2_000),
    "memory": _case(lambda system, count: _idle(system, count)[1], 10_000),
}
