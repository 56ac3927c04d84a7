"""Held messages: what needs a module waits on a thread, and keeps its place in the line."""

import threading
import time

import pytest

from splice import Process, tell
from splice.actor.promise import Promise
from splice.config import Config
from splice.errors import DependencyTransferError, RemoteError
from splice.net.passing import Postponed
from splice.node import early
from splice.node.held import Held
from splice.node.hosting import NodeThread
from splice.uri import url


class Value:
    """Cannot be decoded on the loop of the far node, as if its module were missing there."""

    def __init__(self, n):
        self.n = n

    def __reduce__(self):
        return rebuild, (self.n,)


class Hopeless(Value):
    def __reduce__(self):
        return fail, ()


class Slow(Value):
    """Is decoded when `may_go_on` is set."""

    def __reduce__(self):
        return rebuild_slowly, (self.n,)


loops = set()
may_go_on = threading.Event()


def rebuild(n):
    if threading.get_ident() in loops:
        raise Postponed
    return Value(n)


def rebuild_slowly(n):
    value = rebuild(n)
    assert may_go_on.wait(20)
    return value


def interrupt():
    rebuild(0)
    raise KeyboardInterrupt


class Interrupting(Value):
    def __reduce__(self):
        return interrupt, ()


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
def nodes():
    """Two nodes; the second holds what it cannot decode."""
    may_go_on.clear()
    near, other = NodeThread(Config()), NodeThread(Config())
    client, worker = near.start(), other.start()
    loops.add(worker.scheduler.thread)
    worker.exchange.held = Held(worker.exchange, worker)
    try:
        yield client, worker
    finally:
        may_go_on.set()
        for node, thread in ((client, near), (worker, other)):
            node.begin_shut_down()
            thread.join(10)
        loops.clear()


@pytest.fixture
def there(nodes):
    """A collector on the node that holds; its proxy there."""
    return nodes[1].spawn(Collector, (), {}, None).get()


@pytest.fixture
def far(nodes, there):
    """The same, from the other node."""
    return nodes[0].connect(there.sp_url, "tests.node.test_held:Collector")


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


def test_an_object_that_raises_ctrl_c_by_itself_does_not_hold_up_the_line(far):
    failing, fine = far.take(Interrupting(0)), far.take(2)
    with pytest.raises(RemoteError, match="KeyboardInterrupt"):
        failing.get(timeout=20)
    assert fine.get(timeout=20) == 2


def test_a_tell_that_waited_for_a_module_is_not_delivered_while_it_waits_for_a_name(
    nodes, far, monkeypatch
):
    monkeypatch.setattr(early, "NAME_PATIENCE", 1000.0)
    client, worker = nodes
    where = url("late", worker.address, worker.incarnation)
    late = client.connect(where, "tests.node.test_held:Collector")
    told = [tell(late.take, value) for value in (Value(1), Value(2), 3)]
    assert far.all().get(timeout=20) == []  # stood behind them in the line
    assert not any(promise.done() for promise in told)
    worker.spawn(Collector, (), {}, "late").get()
    assert [promise.get(timeout=20) for promise in told] == [None] * 3
    assert late.all().get(timeout=20) == [1, 2, 3]
    assert not client.exchange.dialogue_with(late._sp_target).held


def test_what_a_lost_node_has_sent_is_not_delivered_after_its_loss(nodes, there, far):
    client, worker = nodes
    told = [tell(far.take, value) for value in (Slow(1), 2)]
    held = worker.exchange.held
    deadline = time.monotonic() + 20
    while not any(line.mail for line in list(held._lines.values())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.on_thread(worker.peers.lost, client.incarnation, "is lost in this test")
    (thread,) = [t for t in threading.enumerate() if t.name == "splice-decoding"]
    may_go_on.set()
    thread.join(20)
    assert there.all().get() == []
    assert not held._lines
    assert not any(promise.done() for promise in told)
