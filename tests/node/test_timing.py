"""send_after and send_every, near and far: what is sent, and with whom a timer dies."""

import threading

import pytest

from splice import Process, Supervisor, UnpicklableError, runtime, sync
from splice.node.node import Node
from splice.testing.simulation import Simulation


class Till(Process):
    """Notes what it is sent, and sets timers for itself."""

    def __init__(self):
        self.notes = []
        self.timer = None

    def note(self, what, *, twice=False):
        self.notes.append([what, what] if twice else what)

    def all(self):
        return self.notes

    def remind(self, seconds, whom, what):
        self.timer = runtime.send_after(seconds, whom.note, what)

    def beat(self, seconds, whom):
        self.timer = runtime.send_every(seconds, whom.note, "beat")

    def give_up(self):
        return self.timer.cancel()

    def fail(self):
        raise ValueError("broken")

    async def remind_async(self, seconds, whom, what):
        runtime.send_after(seconds, whom.note, what)


def spawn(sim: Simulation, one: Node, where: Node) -> Till:
    return sim.run(one, lambda: runtime.spawn(Till, sp_dest=where.address))


def notes(sim: Simulation, one: Node, till: Till) -> list:
    return sim.run(one, lambda: sync(till.all()))


def test_a_message_is_sent_when_its_time_has_come_and_not_before(sim, one, other):
    till = spawn(sim, one, other)
    sim.run(one, lambda: sync(till.remind(5, till, "tea")))
    sim.advance(4.5)
    assert notes(sim, one, till) == []
    sim.advance(1)
    assert notes(sim, one, till) == ["tea"]


def test_a_message_is_sent_far_with_all_its_arguments(sim, one, other):
    till, setter = spawn(sim, one, other), spawn(sim, one, one)
    sim.run(one, lambda: sync(setter.remind(1, till, {"a": [1]})))
    sim.advance(2)
    assert notes(sim, one, till) == [{"a": [1]}]


def test_a_message_is_sent_again_and_again(sim, one, other):
    till, setter = spawn(sim, one, other), spawn(sim, one, one)
    sim.run(one, lambda: sync(setter.beat(2, till)))
    sim.advance(7)
    assert notes(sim, one, till) == ["beat"] * 3


def test_a_cancelled_timer_sends_nothing(sim, one, other):
    till, setter = spawn(sim, one, other), spawn(sim, one, one)
    sim.run(one, lambda: sync(setter.beat(2, till)))
    sim.advance(3)
    assert sim.run(one, lambda: (sync(setter.give_up()), sync(setter.give_up()))) == (
        True,
        False,
    )
    sim.advance(5)
    assert notes(sim, one, till) == ["beat"]


def test_a_timer_ends_with_the_process_that_set_it(sim, one, other):
    till, setter = spawn(sim, one, other), spawn(sim, one, one)
    sim.run(one, lambda: sync(setter.remind(2, till, "too late")))
    sim.run(one, lambda: runtime.stop(setter))
    sim.advance(3)
    assert notes(sim, one, till) == []


def test_a_timer_of_an_async_handler_ends_with_its_process_too(sim, one):
    till, setter = spawn(sim, one, one), spawn(sim, one, one)
    sim.run(one, lambda: sync(setter.remind_async(2, till, "too late")))
    sim.run(one, lambda: runtime.stop(setter))
    sim.advance(3)
    assert notes(sim, one, till) == []


def test_a_timer_ends_with_the_process_it_is_for(sim, one, other):
    till, setter = spawn(sim, one, other), spawn(sim, one, one)
    sim.run(one, lambda: sync(setter.beat(1, till)))
    sim.run(one, lambda: runtime.stop(till))
    sim.advance(5)
    assert not sim.run(one, lambda: sync(setter.give_up()))


def test_a_timer_for_a_name_that_nobody_bears_any_more_ends(sim, one):
    def scenario():
        till = runtime.spawn(Till, sp_id="till")
        timer = runtime.send_every(
            1, runtime.connect(f"{one.address}/till").note, "beat"
        )
        runtime.sleep(1.5)
        before = sync(till.all()), timer.is_running
        runtime.stop(till)
        runtime.sleep(3)
        return before, timer.is_running

    assert sim.run(one, scenario) == ((["beat"], True), False)


def test_what_travels_is_what_was_given_and_no_later_change(sim, one):
    two = sim.node()
    till = spawn(sim, one, two)
    things = ["apple"]

    def scenario():
        runtime.send_after(1, till.note, things)
        things.append("pear")
        runtime.sleep(2)
        return sync(till.all())

    assert sim.run(one, scenario) == [["apple"]]


def test_arguments_that_cannot_travel_are_refused_where_the_timer_is_set(sim, one):
    till = spawn(sim, one, sim.node())
    with pytest.raises(UnpicklableError):
        sim.run(one, lambda: runtime.send_after(1, till.note, threading.Lock()))


def test_arguments_that_do_not_fit_are_refused_where_the_timer_is_set(sim, one, other):
    till = spawn(sim, one, other)
    with pytest.raises(TypeError, match="note"):
        sim.run(one, lambda: runtime.send_every(1, till.note, "a", "b", "c"))


@pytest.mark.parametrize("handler", [print, len, "note"])
def test_only_the_handler_of_a_proxy_can_be_sent_to(sim, one, handler):
    with pytest.raises(TypeError, match="wants the handler of a proxy"):
        sim.run(one, lambda: runtime.send_after(1, handler))


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_time_that_never_comes_is_refused(sim, one, seconds):
    till = spawn(sim, one, one)
    with pytest.raises(ValueError, match="send_after wants"):
        sim.run(one, lambda: runtime.send_after(seconds, till.note, 1))


def test_a_process_among_the_arguments_travels_as_its_proxy(sim, one, other):
    class Own(Till):
        def remind_with_self(self, whom):
            runtime.send_after(0, whom.note, self, twice=True)

    def scenario():
        own, till = runtime.spawn(Own), runtime.spawn(Till, sp_dest=other.address)
        sync(own.remind_with_self(till))
        runtime.sleep(1)
        return sync(till.all()) == [[own, own]]

    assert sim.run(one, scenario)


@pytest.mark.parametrize("how", ["remind", "beat"])
def test_a_timer_does_not_outlive_a_restart_of_the_process_that_set_it(
    sim, one, other, how
):
    till = spawn(sim, one, other)

    def scenario():
        sup = runtime.spawn(Supervisor)
        setter = runtime.spawn(Till, sp_super=sup)
        given = {"remind": (2, till, "too late"), "beat": (2, till)}[how]
        sync(getattr(setter, how)(*given))
        setter.fail().exception()
        sync(setter.remind(3, till, "of the new life"))
        runtime.sleep(5)
        return sync(till.all())

    assert sim.run(one, scenario) == ["of the new life"]


def test_a_timer_for_a_process_goes_on_over_its_restart(sim, one, other):
    def scenario():
        sup = runtime.spawn(Supervisor, sp_dest=other.address)
        till = runtime.spawn(Till, sp_super=sup)
        timer = runtime.send_every(2, till.note, "beat")
        till.fail().exception()
        runtime.sleep(3)
        return timer.is_running, sync(till.all())

    assert sim.run(one, scenario) == (True, ["beat"])


@pytest.mark.parametrize("seconds", [0, 1e-17, 0.0009, -1, float("nan"), float("inf")])
def test_a_beat_that_no_node_could_keep_is_refused(sim, one, seconds):
    till = sim.run(one, lambda: runtime.spawn(Till))
    with pytest.raises(ValueError, match=r"send_every wants 0\.001 seconds or more"):
        sim.run(one, lambda: runtime.send_every(seconds, till.note, 1))


@pytest.mark.parametrize("send", ["send_after", "send_every"])
@pytest.mark.parametrize("seconds", ["1", None, True])
def test_seconds_are_numbers(sim, one, send, seconds):
    till = sim.run(one, lambda: runtime.spawn(Till))
    with pytest.raises(TypeError, match=f"{send} wants .*, not {seconds!r}"):
        sim.run(one, lambda: getattr(runtime, send)(seconds, till.note, 1))
