"""A callback belongs to the process that has given it, whoever settles the promise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from splice import (
    CannotWait,
    Deferred,
    Down,
    Exit,
    Process,
    ProcessStopped,
    Supervisor,
    child,
    runtime,
    sync,
)
from splice.testing.simulation import Simulation


class Worker(Process):
    """Answers at once, or later from whatever handler it is told in."""

    def __init__(self) -> None:
        self.promised: list[Any] = []
        self.notes: list[Any] = []

    def work(self) -> str:
        return "done"

    def work_later(self) -> Any:
        self.promised.append(Deferred())
        return self.promised[-1]

    def finish(self) -> None:
        self.promised.pop().set("done")

    async def finish_async(self) -> None:
        await asyncio.sleep(1)
        self.promised.pop().set("done")

    def note(self, what: Any) -> list[Any]:
        self.notes.append(what)
        return self.notes

    def leave(self, reason: Any) -> None:
        raise Exit(reason)

    def sp_down(self, down: Down) -> None:
        self.notes.append("down")


class Giver(Worker):
    """Gives callbacks to the answer of a worker."""

    def when(self, worker: Any, how: str, what: str, whom: Any) -> None:
        answer = getattr(worker, how)()
        self.answer = answer.then(lambda _: getattr(self, f"_{what}")(whom))

    async def when_async(self, worker: Any, how: str, what: str, whom: Any) -> None:
        self.when(worker, how, what, whom)

    def when_done(self, worker: Any, how: str, what: str, whom: Any) -> None:
        answer = getattr(worker, how)()
        answer.add_done_callback(lambda _: getattr(self, f"_{what}")(whom))

    def _time(self, whom: Any) -> None:
        runtime.send_after(5, whom.note, "time")

    def _watch(self, whom: Any) -> None:
        runtime.monitor(whom)

    def _bear(self, whom: Any) -> None:
        runtime.spawn_nowait(Worker, sp_id="born", sp_link=True)

    def _kill(self, whom: Any) -> None:
        runtime.kill(whom)

    def _sleep(self, whom: Any) -> None:
        with pytest.raises(CannotWait, match="would stop the node"):
            runtime.sleep(5)
        self.notes.append("awake")


HOWS = ["work", "work_later", "finish_async"]
GIVEN = ["when", "when_async", "when_done"]


def settle(
    given: str, how: str, what: str, *, far: Any = None, whom: Any = None
) -> Any:
    """Have a callback of a giver run on behalf of an answer of a worker; both of them."""
    worker, giver = runtime.spawn(Worker, sp_dest=far), runtime.spawn(Giver)
    ask = "work" if how == "work" else "work_later"
    sync(getattr(giver, given)(worker, ask, what, whom or worker))
    if how == "work_later":
        worker.finish().exception()  # it may be killed for it
    elif how == "finish_async":
        worker.finish_async().exception()
    runtime.sleep(0.1)
    return worker, giver


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("who", ["worker", "giver"])
def test_a_timer_of_a_callback_dies_with_the_process_that_gave_it(
    sim: Simulation, given: str, how: str, who: str
) -> None:
    def scenario() -> Any:
        whom = runtime.spawn(Worker)
        worker, giver = settle(given, how, "time", whom=whom)
        runtime.stop({"worker": worker, "giver": giver}[who])
        runtime.sleep(10)
        return sync(whom.note("end"))

    wanted = ["time", "end"] if who == "worker" else ["end"]
    assert sim.run(sim.node(), scenario) == wanted


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("given", GIVEN)
def test_a_monitor_of_a_callback_tells_the_process_that_gave_it(
    sim: Simulation, given: str, how: str
) -> None:
    def scenario() -> Any:
        whom = runtime.spawn(Worker)
        worker, giver = settle(given, how, "watch", whom=whom)
        runtime.stop(whom)
        runtime.sleep(1)
        return sync(worker.note("end")), sync(giver.note("end"))

    assert sim.run(sim.node(), scenario) == (["end"], ["down", "end"])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("is_far", [False, True])
def test_what_a_callback_spawns_is_linked_to_the_process_that_gave_it(
    sim: Simulation, given: str, how: str, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        far = two.address if is_far else None
        worker, giver = settle(given, how, "bear", far=far)
        born = runtime.whereis("born")
        worker.leave("bad").exception()
        runtime.sleep(1)
        lives_on = sync(born.note("well"))
        giver.leave("bad").exception()
        return lives_on, runtime.monitor(born).get(5).reason

    assert sim.run(one, scenario) == (["well"], "bad")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("given", GIVEN)
def test_a_callback_can_kill_the_process_that_settled_its_promise(
    sim: Simulation, given: str, how: str
) -> None:
    def scenario() -> Any:
        worker, _ = settle(given, how, "kill")
        return runtime.monitor(worker).get(5).reason

    assert sim.run(sim.node(), scenario) == "noproc"


class Busy(Worker):
    """Goes on when it has kept its promise, over one wait after the other."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def finish_and_sleep(self) -> None:
        try:
            self._go_on(lambda: runtime.sleep(1))
        finally:
            runtime.sleep(1)
            self.seen.append("unwound")

    def finish_and_ask(self) -> None:
        asked = runtime.spawn(Worker)
        self._go_on(lambda: asked.note("asked").get())

    def finish_and_idle(self) -> None:
        self.promised.pop().set("done")

    def _go_on(self, wait: Any) -> None:
        self.promised.pop().set("done")
        for number in range(20):
            wait()
            self.seen.append(number)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("on", ["sleep", "ask", "idle"])
def test_one_that_is_killed_by_a_callback_on_its_own_stack_goes_on_no_further(
    sim: Simulation, given: str, on: str
) -> None:
    seen: list[Any] = []

    def scenario() -> Any:
        sup = runtime.spawn(Supervisor, children=[child(Busy, seen)])
        worker = sup.which_children().get()[0].proxy
        giver = runtime.spawn(Giver)
        sync(getattr(giver, given)(worker, "work_later", "kill", worker))
        went = getattr(worker, f"finish_and_{on}")().exception()
        return type(went), worker.note("in the next life").get(5)

    assert sim.run(sim.node(), scenario) == (ProcessStopped, ["in the next life"])
    assert seen == (["unwound"] if on == "sleep" else [])


@pytest.mark.parametrize("given", GIVEN)
def test_a_callback_can_kill_the_process_that_gave_it(
    sim: Simulation, given: str
) -> None:
    def scenario() -> Any:
        worker, giver = runtime.spawn(Worker), runtime.spawn(Giver)
        getattr(giver, given)(worker, "work", "kill", giver).exception()
        runtime.sleep(0.1)
        return runtime.monitor(giver).get(5).reason, sync(worker.note("well"))

    assert sim.run(sim.node(), scenario) == ("noproc", ["well"])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("given", GIVEN)
def test_a_callback_cannot_sleep_on_the_stack_of_another(
    sim: Simulation, given: str, how: str
) -> None:
    def scenario() -> Any:
        worker, giver = settle(given, how, "sleep")
        return worker.note("well").get(1), giver.note("well").get(1)

    assert sim.run(sim.node(), scenario) == (["well"], ["awake", "well"])


def test_a_callback_that_no_process_has_given_belongs_to_none(sim: Simulation) -> None:
    one = sim.node()
    worker = sim.run(one, runtime.spawn, Worker)
    seen: list[Any] = []

    def bear(_: Any) -> None:
        with pytest.raises(ValueError, match="no handler runs here"):
            runtime.spawn_nowait(Worker, sp_link=True)
        seen.append("refused")

    answer = worker.work_later()
    answer.add_done_callback(bear)
    sim.run(one, lambda: sync(worker.finish()))
    assert seen == ["refused"]


def test_a_callback_of_a_callback_gives_the_process_of_the_first_its_place_back(
    sim: Simulation,
) -> None:
    class Nested(Worker):
        def start(self, worker: Any) -> Any:
            inner = Deferred()
            seen = self.notes

            def outer(_: Any) -> None:
                seen.append(runtime.info(self.sp_proxy).handler)
                inner.set(None)
                runtime.send_after(1, self.sp_proxy.note, "mine")

            self.inner = inner.then(lambda _: seen.append("inner"))
            worker.work().then(outer)

    def scenario() -> Any:
        nested, worker = runtime.spawn(Nested), runtime.spawn(Worker)
        sync(nested.start(worker))
        runtime.sleep(0.1)
        runtime.stop(worker)
        runtime.sleep(5)
        return sync(nested.note("end"))

    assert sim.run(sim.node(), scenario) == [None, "inner", "mine", "end"]


def test_a_task_of_an_async_handler_can_kill_its_process(sim: Simulation) -> None:
    class Tasked(Worker):
        async def start(self) -> None:
            async def end() -> None:
                runtime.kill(self.sp_proxy)

            task = asyncio.create_task(end())
            await asyncio.sleep(10)
            await task

    def scenario() -> Any:
        tasked = runtime.spawn(Tasked)
        error = tasked.start().exception(5)
        return getattr(error, "reason", error), runtime.monitor(tasked).get(1).reason

    assert sim.run(sim.node(), scenario) == ("killed", "noproc")


@pytest.mark.parametrize("given", GIVEN)
def test_a_callback_of_an_earlier_life_does_nothing_for_the_next_one(
    sim: Simulation, given: str
) -> None:
    def scenario() -> Any:
        sup = runtime.spawn(Supervisor, children=[child(Giver)])
        giver = sup.which_children().get()[0].proxy
        worker, whom = runtime.spawn(Worker), runtime.spawn(Worker)
        for what in ("time", "watch", "bear"):
            sync(getattr(giver, given)(worker, "work_later", what, whom))
        giver.leave("bad").exception()
        assert giver.note("restarted").get(5) == ["restarted"]
        for _ in range(3):
            worker.finish().get()
        runtime.stop(whom)
        runtime.sleep(10)
        links = runtime.info(giver).links
        return giver.note("end").get(1), links, runtime.whereis("born")

    assert sim.run(sim.node(), scenario) == (["restarted", "end"], (), None)
