"""What happens while a process is made: its parent ends or is restarted, or nobody wants it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from splice import Cancelled, Exit, NodeLost, Process, Supervisor, runtime, sync
from splice.actor.handlers import NamedHandler
from splice.node.fates import linked
from splice.node.given import node_url
from splice.testing.simulation import Simulation


class Slow(Process):
    """Takes two seconds to begin."""

    def __init__(self) -> None:
        runtime.sleep(2)

    def is_well(self) -> bool:
        return True


class Parent(Process):
    """Spawns a linked process, and does not wait for it."""

    def __init__(self) -> None:
        self.born: Any = None

    def bear(self, dest: Any) -> None:
        self.born = runtime.spawn_nowait(Slow, sp_id="born", sp_dest=dest, sp_link=True)

    def bear_supervised(self, sup: Any, dest: Any) -> None:
        options = {"sp_dest": dest, "sp_super": sup, "sp_restart": "temporary"}
        runtime.spawn_nowait(Slow, sp_id="born", sp_link=True, **options)

    def leave(self, reason: Any) -> None:
        raise Exit(reason)

    def is_well(self) -> bool:
        return True


@pytest.fixture
def sim() -> Iterator[Simulation]:
    simulation = Simulation(seed=1, delay=0.01)
    yield simulation
    simulation.close()


@pytest.fixture(params=["near", "far"])
def dest(request: Any, sim: Simulation) -> Any:
    sim.one = sim.node()  # type: ignore[attr-defined]
    other = sim.node().address
    return None if request.param == "near" else other


def born(dest: Any) -> Any:
    """The process that is made, by its name."""
    return runtime.connect(f"{dest or runtime.address}/born")


def bear(parent: Any, dest: Any) -> Any:
    """Have a process made, and return the promise of its end while that goes on."""
    sync(parent.bear(dest))
    down = runtime.monitor(born(dest))
    runtime.sleep(1)
    return down


@pytest.mark.parametrize("reason", ["bad", ValueError("bad")])
def test_a_process_takes_the_end_of_a_parent_that_ends_while_it_is_made(
    sim: Any, dest: Any, reason: Any
) -> None:
    def scenario() -> Any:
        parent = runtime.spawn(Parent)
        down = bear(parent, dest)
        parent.leave(reason).exception()
        return repr(down.get(5).reason)

    assert sim.run(sim.one, scenario) == repr(reason)


def test_the_normal_end_of_a_parent_leaves_a_process_alone_that_is_made(
    sim: Any, dest: Any
) -> None:
    def scenario() -> Any:
        parent = runtime.spawn(Parent)
        bear(parent, dest)
        parent.leave("normal").exception()
        runtime.sleep(5)
        return sync(born(dest).is_well())

    assert sim.run(sim.one, scenario)


def test_a_process_is_not_linked_to_the_next_life_of_its_parent(
    sim: Any, dest: Any
) -> None:
    def scenario() -> Any:
        sup = runtime.spawn(Supervisor)
        parent = runtime.spawn(Parent, sp_super=sup)
        down = bear(parent, dest)
        parent.leave("bad").exception()
        reason = down.get(5).reason
        return reason, sync(parent.is_well()), runtime.info(parent).links

    assert sim.run(sim.one, scenario) == ("bad", True, ())


def test_a_parent_whose_process_is_made_is_watched_by_nobody_any_more(
    sim: Any, dest: Any
) -> None:
    def scenario() -> Any:
        parent = runtime.spawn(Parent)
        bear(parent, dest)
        runtime.sleep(3)
        extra = parent._sp_target.extra
        return len(extra.links), len(extra.watchers)

    assert sim.run(sim.one, scenario) == (1, 0)


def test_a_supervised_process_ends_when_its_linked_parent_ended_while_it_was_made(
    sim: Any, dest: Any
) -> None:
    def scenario() -> Any:
        sup = runtime.spawn(Supervisor)
        parent = runtime.spawn(Parent)
        sync(parent.bear_supervised(sup, dest))
        runtime.sleep(1)
        down = runtime.monitor(born(dest))
        parent.leave("bad").exception()
        return down.get(5).reason

    # a supervisor's child is linked when it is known, and told that nobody is there
    assert sim.run(sim.one, scenario) == ("bad" if dest is None else "noproc")


class Slack(Parent):
    """Is told of its child's making late, as from a thread that has waited for its turn."""

    sp_trap_exit = True

    def bear(self, dest: Any) -> None:
        self.ends: list[Any] = []
        node, me = runtime.node, self._sp_cell
        agent: Any = node.connect(node_url(dest))._sp_target
        wanted = (Parent, (), {}, "born", self.sp_proxy)
        making = agent.ask(NamedHandler("spawn"), wanted, None)
        making.get().leave("bad").exception()
        runtime.sleep(1)
        linked(node, me, making, is_bound=True).get()

    def sp_exited(self, exited: Any) -> None:
        self.ends.append(exited.reason)

    def told(self) -> list[Any]:
        return self.ends


def test_a_parent_hears_of_the_end_of_a_child_that_was_over_before_it_was_known(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        parent = runtime.spawn(Slack)
        sync(parent.bear(two.address))
        runtime.sleep(1)
        return sync(parent.told()), runtime.info(parent).links

    assert sim.run(one, scenario) == (["noproc"], ())


# ---- given up


def processes(node: Any) -> list[str]:
    return [type(c.object).__name__ for c in node.scheduler.directory.cells()]


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_far_spawn_that_has_not_left_yet_leaves_no_process_when_cancelled(
    sim: Simulation, is_linked: bool
) -> None:
    one, two = sim.node(), sim.node()

    class Asker(Process):
        def cancel(self) -> Any:
            options = {"sp_dest": two.address, "sp_link": is_linked}
            made = runtime.spawn_nowait(Slow, **options)
            return made.cancel(), type(made.exception())

    def scenario() -> Any:
        verdict = sync(runtime.spawn(Asker).cancel())
        runtime.sleep(5)
        return verdict

    assert sim.run(one, scenario) == (True, Cancelled)
    assert processes(two) == ["Agent"]


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_far_spawn_whose_constructor_has_begun_cannot_be_cancelled(
    sim: Simulation, is_linked: bool
) -> None:
    one, two = sim.node(), sim.node()

    class Asker(Process):
        def cancel(self) -> Any:
            options = {"sp_dest": two.address, "sp_link": is_linked}
            self.made = runtime.spawn_nowait(Slow, **options)
            runtime.sleep(1)
            return self.made.cancel(), self.made.get()

        def leave(self) -> None:
            raise Exit("bad")

    def scenario() -> Any:
        asker = runtime.spawn(Asker)
        verdict, born = sync(asker.cancel())
        down = runtime.monitor(born)
        asker.leave().exception()
        runtime.sleep(1)
        return verdict, down.done()

    assert sim.run(one, scenario) == (False, is_linked)


def test_a_cancelled_far_spawn_is_no_failure_to_report(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        return runtime.spawn_nowait(Slow, sp_dest=two.address).cancel()

    assert sim.run(one, scenario) is True
    gc.collect()
    assert [r.getMessage() for r in caplog.records] == []


def test_a_cancelled_spawn_fails_with_cancelled_near_and_far(
    sim: Simulation, dest: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Asker(Process):
        def ask(self) -> Any:
            made = runtime.spawn_nowait(Slow, sp_id="born", sp_dest=dest)
            forgotten = runtime.spawn_nowait(Slow, sp_dest=dest)
            again = runtime.spawn_nowait(Slow, sp_dest=dest)
            verdicts = made.cancel(), forgotten.cancel()
            return verdicts, made.exception(), again.get().is_well().get()

    verdicts, error, is_well = sim.run(
        sim.one,  # type: ignore[attr-defined]
        lambda: sync(runtime.spawn(Asker).ask()),
    )
    gc.collect()
    assert (verdicts, type(error), is_well) == ((True, True), Cancelled, True)
    assert str(error).endswith(" was cancelled")
    assert caplog.records == []


def test_a_spawn_from_a_thread_cannot_be_cancelled_once_its_constructor_runs() -> None:
    begun, go_on = Event(), Event()

    class Waiting(Process):
        def __init__(self) -> None:
            begun.set()
            while not go_on.is_set():
                runtime.sleep(0.01)

        def is_well(self) -> bool:
            return True

    made = runtime.spawn_nowait(Waiting)
    assert begun.wait(10)
    assert made.cancel() is False
    go_on.set()
    assert sync(made.get(10).is_well())


def test_a_start_that_its_supervisor_has_not_begun_can_be_cancelled(
    sim: Simulation,
) -> None:
    one = sim.node()

    class Busy(Process):
        def __init__(self) -> None:
            runtime.sleep(3)

    def scenario() -> Any:
        sup = runtime.spawn(Supervisor)
        first = runtime.spawn_nowait(Busy, sp_super=sup)
        second = runtime.spawn_nowait(Slow, sp_super=sup)
        runtime.sleep(1)
        verdicts = first.cancel(), second.cancel()
        runtime.sleep(9)
        return verdicts, first.done(), sync(sup.count_children()).active

    assert sim.run(one, scenario) == ((False, True), True, 1)


def test_a_process_ends_when_the_node_of_its_parent_was_lost_while_it_was_made(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    class Slower(Slow):
        def __init__(self) -> None:
            runtime.sleep(100)

    class Mother(Parent):
        def bear(self, dest: Any) -> None:
            self.born = runtime.spawn_nowait(Slower, sp_dest=dest, sp_link=True)

        def what_came(self) -> Any:
            return type(self.born.exception())

    def scenario() -> Any:
        parent = runtime.spawn(Mother)
        sync(parent.bear(two.address))
        runtime.sleep(1)
        sim.network.cut(one.address, two.address)
        runtime.sleep(60)
        sim.network.heal(one.address, two.address)
        runtime.sleep(60)
        return sync(parent.what_came())

    assert sim.run(one, scenario) is NodeLost
    assert processes(two) == ["Agent"]


def test_a_making_that_takes_too_long_is_named(sim: Simulation, dest: Any) -> None:
    what = "Slow .*__init__" if dest is None else f"{dest}/node.spawn"

    def story() -> None:
        with pytest.raises(TimeoutError, match=f"no answer from {what} within 1"):
            runtime.spawn_nowait(Slow, sp_dest=dest).get(timeout=1)

    sim.run(sim.one, story)  # type: ignore[attr-defined]
