"""gevent: an actor is a greenlet that reads its queue; a question brings what takes the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.queue import SimpleQueue

from bench.measuring import Contender, Scale, now
from bench.peers.contender import Case
from bench.peers.memory import resident

RING = 503


def _case(measure: Callable[[int], float], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = scale.size(count)
        yield lambda: measure(size)

    return case


def _ask(count: int) -> float:
    mail = SimpleQueue()

    def echo() -> None:
        while True:
            value, answer = mail.get()
            answer.set(value)

    def caller() -> float:
        start = now()
        for i in range(count):
            answer = AsyncResult()
            mail.put((i, answer))
            answer.get()
        return count / (now() - start)

    echoing = gevent.spawn(echo)
    rate: float = gevent.spawn(caller).get()
    echoing.kill()
    return rate


def _tell(count: int) -> float:
    mail = SimpleQueue()

    def counter() -> None:
        for _ in range(count):
            mail.get()

    def sender() -> None:
        for i in range(count):
            mail.put(i)

    counting = gevent.spawn(counter)
    gevent.sleep(0)
    start = now()
    gevent.spawn(sender)
    counting.join()
    return count / (now() - start)


def _ring(hops: int) -> float:
    mails = [SimpleQueue() for _ in range(RING)]
    done = AsyncResult()

    def member(mine: Any, following: Any) -> None:
        while left := mine.get():
            following.put(left - 1)
        done.set()

    members = [
        gevent.spawn(member, mails[i], mails[(i + 1) % RING]) for i in range(RING)
    ]
    gevent.sleep(0)
    start = now()
    mails[0].put(hops)
    done.get()
    rate = hops / (now() - start)
    gevent.killall(members)
    return rate


def _branch(number: int, size: int, parent: Any) -> None:
    if size == 1:
        parent.put(number)
        return
    mail = SimpleQueue()
    size //= 10
    for i in range(10):
        gevent.spawn(_branch, number + i * size, size, mail)
    parent.put(sum(mail.get() for _ in range(10)))


def _skynet_seconds(leaves: int) -> float:
    mail = SimpleQueue()
    start = now()
    gevent.spawn(_branch, 0, leaves, mail)
    total = mail.get()
    seconds = now() - start
    assert total == leaves * (leaves - 1) // 2
    return seconds


def skynet(leaves: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = 1000 if scale.is_quick else leaves
        yield lambda: _skynet_seconds(size)

    return case


def _idle(count: int) -> tuple[float, float]:
    before, start = resident(), now()
    mails = [SimpleQueue() for _ in range(count)]
    idle = [gevent.spawn(mail.get) for mail in mails]
    gevent.sleep(0)
    gevent.sleep(0)
    seconds = now() - start
    cost = (resident() - before) / count
    for mail in mails:
        mail.put(None)
    gevent.joinall(idle)
    return count / seconds, cost


CASES: dict[str, Case] = {
    "ask": _case(_ask, 100_000),
    "tell": _case(_tell, 300_000),
    "ring": _case(_ring, 200_000),
    "skynet": skynet(100_000),
    "skynet-small": skynet(10_000),
    "skynet-million": skynet(1_000_000),
    "spawn": _case(lambda count: _idle(count)[0], 100_000),
    "memory": _case(lambda count: _idle(count)[1], 100_000),
}
