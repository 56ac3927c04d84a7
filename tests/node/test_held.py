"""Held messages: what needs a module waits on a thread, and keeps its place in the line."""

import threading

import pytest

from splice import Process, tell
from splice.actor.promise import Promise
from splice.config import Config
from splice.errors import DependencyTransferError, RemoteError
from splice.net.passing import Postponed
from splice.node.held import Held
from splice.node.hosting import NodeThread


class Value:
    """Cannot be decoded on the loop of the far node, as if its module were missing there."""

    def __init__(self, n):
        self.n = n

    def __reduce__(self):
        return rebuild, (self.n,)


class Hopeless(Value):
    def __reduce__(self):
        return fail, ()


loops = set()


def rebuild(n):
    if threading.get_ident() in loops:
        raise Postponed
    return Value(n)


def fail():
    rebuild(0)
    raise DependencyTransferError("the disk is full")


class Collector(Process):
    def __init__(self):
        self.seen = []

    def take(self, value):
        self.seen.append(getattr(value, "n", value))
        return value

    def all(self):
        return self.seen


@pytest.fixture
def far(monkeypatch):
    """A collector on another node, which holds what it cannot decode; its proxy from ours."""
    near, other = NodeThread(Config()), NodeThread(Config())
    client, worker = near.start(), other.start()
    loops.add(worker.scheduler.thread)
    worker.exchange.held = Held(worker.exchange, worker)
    proxy = worker.spawn(Collector, (), {}, None).get()
    try:
        yield client.connect(proxy.sp_url, "tests.node.test_held:Collector")
    finally:
        for node, thread in ((client, near), (worker, other)):
            node.begin_shut_down()
            thread.join(10)
        loops.clear()


def test_mail_keeps_its_order_behind_a_message_that_waits(far):
    for value in (1, Value(2), 3, Value(4), Value(5), 6):
        far.take(value)
    assert far.all().get(timeout=20) == [1, 2, 3, 4, 5, 6]


def test_a_large_message_that_waits_keeps_its_buffers(far):
    large = bytes(200_000)
    far.take((Value(1), large))
    far.take(large)
    assert far.all().get(timeout=20)[1] == large


def test_what_can_never_be_decoded_fails_and_the_line_goes_on(far):
    failing, fine = far.take(Hopeless(0)), far.take(Value(2))
    with pytest.raises(
        (DependencyTransferError, RemoteError), match="the disk is full"
    ):
        failing.get(timeout=20)
    assert fine.get(timeout=20).n == 2


def test_an_answer_that_waits_arrives(far):
    loops.clear()
    assert far.take(Value(1)).get(timeout=20).n == 1


def test_an_answer_is_not_held_behind_mail(far):
    client = far._sp_target.node
    client.exchange.held = Held(client.exchange, client)
    loops.add(client.scheduler.thread)
    answers: list[Promise] = [far.take(Value(n)) for n in range(5)]
    assert [answer.get(timeout=20).n for answer in answers] == list(range(5))


def test_a_tell_counts_as_delivered_when_it_was_decoded_and_put_into_its_mailbox(far):
    delivered = [tell(far.take, value) for value in (Value(1), 2)]
    assert [promise.get(timeout=20) for promise in delivered] == [None, None]
    with pytest.raises(
        (DependencyTransferError, RemoteError), match="the disk is full"
    ):
        tell(far.take, Hopeless(0)).get(timeout=20)
    assert far.all().get(timeout=20) == [1, 2]
