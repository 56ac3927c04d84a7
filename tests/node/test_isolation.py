"""isolate=True: messages between processes of one node are copies, as between nodes."""

import threading
from collections.abc import Iterator

import pytest

from splice import Process, Proxy, UnpicklableError, runtime, sync, tell
from splice.config import Config
from splice.node.node import Node
from splice.testing.simulation import Simulation


class Shelf(Process):
    """Keeps what it is given, and gives it away."""

    def __init__(self, things=None):
        self.things = things

    def keep(self, things):
        self.things = things

    def give(self):
        return self.things

    async def give_async(self):
        return self.things

    def count(self):
        return len(self.things)

    def myself(self):
        return {"me": self}

    def give_lock(self):
        return threading.Lock()

    def fail(self):
        self.things = KeyError("fig", ["seed"])
        raise self.things

    def seeds(self):
        return self.things.args[1]

    def slow(self):
        runtime.sleep(5)


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, config=Config(isolate=True))
    yield simulation
    simulation.close()


@pytest.fixture
def node(sim: Simulation) -> Node:
    return sim.node()


@pytest.fixture(params=["spawned", "named"])
def shelf(sim: Simulation, node: Node, request: pytest.FixtureRequest) -> Shelf:
    """A proxy, as spawn gives it and as connect does."""

    def scenario():
        spawned = runtime.spawn(Shelf, ["apple"], sp_id="shelf")
        named = runtime.connect(f"{node.address}/shelf")
        return spawned if request.param == "spawned" else named

    return sim.run(node, scenario)


@pytest.mark.parametrize("send", [lambda s, x: sync(s.keep(x)), tell])
def test_what_is_changed_after_it_was_sent_is_not_changed_for_the_other(
    sim, node, shelf, send
):
    def scenario():
        things = ["apple"]
        sync(shelf.keep(things)) if send is not tell else tell(shelf.keep, things)
        things.append("pear")
        return sync(shelf.count())

    assert sim.run(node, scenario) == 1


@pytest.mark.parametrize("handler", ["give", "give_async"])
def test_an_answer_that_is_changed_is_not_changed_for_the_one_who_gave_it(
    sim, node, shelf, handler
):
    def scenario():
        sync(getattr(shelf, handler)()).append("pear")
        return sync(shelf.count())

    assert sim.run(node, scenario) == 1


def test_the_arguments_of_a_constructor_are_copies(sim, node):
    def scenario():
        things = ["apple"]
        shelf = runtime.spawn(Shelf, things)
        (many,) = runtime.spawn_many(1, Shelf, things)
        things.append("pear")
        return sync(shelf.count()), sync(many.count())

    assert sim.run(node, scenario) == (1, 1)


def test_a_process_inside_a_container_travels_as_its_proxy(sim, node, shelf):
    answer = sim.run(node, lambda: sync(shelf.myself()))
    assert isinstance(answer["me"], Proxy)
    assert answer["me"].sp_id == "shelf"


def test_an_argument_that_cannot_travel_is_refused_at_the_caller(sim, node, shelf):
    with pytest.raises(UnpicklableError, match=r"args\[0\]"):
        sim.run(node, lambda: shelf.keep(threading.Lock()))


def test_an_answer_that_cannot_travel_is_an_error_of_the_caller(sim, node, shelf):
    with pytest.raises(UnpicklableError):
        sim.run(node, lambda: sync(shelf.give_lock()))


def test_an_error_is_a_copy_of_its_own_type(sim, node, shelf):
    def scenario():
        error = shelf.fail().exception()
        error.args[1].append("another")
        return type(error), sync(shelf.seeds())

    assert sim.run(node, scenario) == (KeyError, ["seed"])


def test_a_generator_as_a_process_works_on_copies(sim, node):
    def counting(things):
        while True:
            yield len(things)

    def scenario():
        things = ["apple"]
        counter = runtime.spawn(counting, things)
        things.append("pear")
        return next(counter)

    assert sim.run(node, scenario) == 1


def test_a_message_can_be_cancelled(sim, node, shelf):
    def scenario():
        shelf.slow()
        kept = shelf.keep(["never"])
        was_cancelled = kept.cancel()
        return was_cancelled, sync(shelf.give())

    assert sim.run(node, scenario) == (True, ["apple"])


def test_what_a_timer_will_send_is_copied_when_it_is_set(sim, node):
    def scenario():
        shelf, things = runtime.spawn(Shelf), ["apple"]
        runtime.send_after(1, shelf.keep, things)
        things.append("pear")
        runtime.sleep(2)
        return sync(shelf.count())

    assert sim.run(node, scenario) == 1


def test_without_isolation_things_are_handed_over_as_they_are():
    sim = Simulation(seed=1)

    def scenario():
        things = ["apple"]
        shelf = runtime.spawn(Shelf, things)
        return sync(shelf.give()) is things

    assert sim.run(sim.node(), scenario)
    sim.close()
