"""info, processes and dump: what is told of processes that are idle, busy, waiting, ended."""

import asyncio
import io
import os
import re
import signal
import threading

import pytest

from splice import (
    Deferred,
    Process,
    ProcessNotFound,
    Supervisor,
    blocking,
    runtime,
    sync,
)
from splice.actor.cell import Cell
from splice.actor.handlers import NamedHandler
from splice.actor.info import _whom
from splice.actor.promise import Promise
from splice.node.dump import TIED_LINES, dump_of
from splice.node.node import Node

LATE = threading.Event()


class Clerk(Process):
    """Waits in each of the ways there are."""

    def __init__(self):
        self.gate = None

    def hold(self):
        self.gate = Deferred()
        return self.gate

    def let_go(self):
        self.gate.set("done")

    def ask(self, other):
        return sync(other.hold())

    def ask_through(self, other, third):
        return sync(other.ask(third))

    async def ask_async(self, other):
        return await other.hold()

    async def doze(self):
        await asyncio.sleep(5)

    def nap(self):
        runtime.sleep(5)

    @blocking
    def block(self, started, end):
        started.set()
        end.wait(30)

    def echo(self, value):
        return value

    @blocking
    def got_before(self, other, started, end):
        assert other.echo(1).get() == 1
        self.block(started, end)

    @blocking
    def awaited_before(self, other, started, end):
        async def main():
            return await other.echo(1)

        assert asyncio.run(main()) == 1
        self.block(started, end)

    def ask_late(self, other):
        runtime.sleep(3)
        return self.ask(other)

    async def ask_async_late(self, other):
        await asyncio.sleep(3)
        return await other.hold()

    @blocking
    def ask_block_late(self, other):
        LATE.wait(30)
        return other.hold().get()

    def me(self):
        return runtime.info(self)


class Watcher(Clerk):
    def watch(self, proc):
        runtime.monitor(proc)


def test_an_idle_process_is_idle(sim, one, other):
    def scenario():
        clerk = runtime.spawn(Clerk, sp_dest=other.address)
        return clerk.sp_url, runtime.info(clerk)

    where, info = sim.run(one, scenario)
    assert (info.url, info.id) == (where, where.resource)
    assert (info.class_name, info.state, info.mailbox) == ("Clerk", "idle", 0)
    assert (info.handler, info.seconds, info.line) == (None, None, "")


def test_a_waiting_process_says_in_which_handler_since_when_for_whom_and_where(
    sim, one, other
):
    def scenario():
        till = runtime.spawn(Clerk, sp_dest=other.address)
        clerk = runtime.spawn(Clerk, sp_dest=other.address)
        asked = clerk.ask(till)
        clerk.hold()
        runtime.sleep(4)
        info = runtime.info(clerk)
        sync(till.let_go())
        sync(asked)
        return till.sp_url, info

    till, info = sim.run(one, scenario)
    assert (info.state, info.handler, info.mailbox) == ("waiting", "ask", 1)
    assert info.seconds == pytest.approx(4, abs=0.1)
    assert re.fullmatch(r"test_insight.py:\d+ in ask", info.line)
    assert info.waiting_for == (
        f"Clerk {till.resource}.hold at {till.address}/{till.resource}",
    )


def test_a_process_under_a_direct_call_waits_for_the_one_it_has_called(sim, one):
    def scenario():
        first, second, third = (runtime.spawn(Clerk) for _ in range(3))
        asked = first.ask_through(second, third)
        runtime.sleep(1)
        infos = runtime.info(first), runtime.info(second)
        sync(third.let_go())
        sync(asked)
        return infos

    first, second = sim.run(one, scenario)
    assert first.state == second.state == "waiting"
    assert re.search(r"\.ask at ", first.waiting_for[0])
    assert re.search(r"\.hold at ", second.waiting_for[0])
    assert first.line.endswith(" in ask_through")
    assert second.line.endswith(" in ask")


def test_a_process_that_looks_at_itself_is_running(sim, one):
    info = sim.run(one, lambda: sync(runtime.spawn(Clerk).me()))
    assert (info.state, info.handler) == ("running", "me")
    assert info.line.endswith(" in me")


def test_an_async_handler_waits_for_a_process_at_its_own_line(sim, one, other):
    def scenario():
        till = runtime.spawn(Clerk, sp_dest=other.address)
        clerk = runtime.spawn(Clerk, sp_dest=other.address)
        asked = clerk.ask_async(till)
        runtime.sleep(1)
        info = runtime.info(clerk)
        sync(till.let_go())
        sync(asked)
        return info

    info = sim.run(one, scenario)
    assert (info.state, info.handler) == ("waiting", "ask_async")
    assert re.search(r"\.hold at ", info.waiting_for[0])
    assert info.line.endswith(" in ask_async")


@pytest.mark.parametrize("handler", ["ask_late", "ask_async_late", "ask_block_late"])
def test_a_handler_that_has_worked_before_tells_since_when_it_waits(
    sim, one, other, handler
):
    def scenario():
        LATE.clear()
        till = runtime.spawn(Clerk, sp_dest=other.address)
        clerk = runtime.spawn(Clerk, sp_dest=other.address)
        asked = getattr(clerk, handler)(till)
        runtime.sleep(3)
        LATE.set()
        while not runtime.info(clerk).waiting_for:
            runtime.sleep(0)
        runtime.sleep(4)
        info = runtime.info(clerk)
        sync(till.let_go())
        sync(asked)
        return info

    info = sim.run(one, scenario)
    assert (info.state, info.handler) == ("waiting", handler)
    assert info.seconds == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("handler", ["doze", "nap"])
def test_a_handler_that_sleeps_waits_for_nobody(sim, one, handler):
    def scenario():
        clerk = runtime.spawn(Clerk)
        asked = getattr(clerk, handler)()
        runtime.sleep(1)
        info = runtime.info(clerk)
        sync(asked)
        return info

    info = sim.run(one, scenario)
    assert (info.state, info.handler, info.waiting_for) == ("waiting", handler, ())
    assert info.line.endswith(f" in {handler}")


def test_a_blocking_handler_is_running_on_its_thread(sim, one):
    started, end = threading.Event(), threading.Event()

    def scenario():
        clerk = runtime.spawn(Clerk)
        asked = clerk.block(started, end)
        runtime.sleep(0)
        started.wait(30)
        info = runtime.info(clerk)
        end.set()
        asked.cancel()
        return info

    info = sim.run(one, scenario)
    assert (info.state, info.handler) == ("running", "block")
    assert re.fullmatch(r"threading.py:\d+ in wait", info.line)


@pytest.mark.parametrize("how", ["got", "awaited"])
def test_a_blocking_handler_that_has_waited_is_running_again(sim, one, how):
    started, end = threading.Event(), threading.Event()

    def scenario():
        clerk, other = runtime.spawn(Clerk), runtime.spawn(Clerk)
        asked = getattr(clerk, f"{how}_before")(other, started, end)
        while not started.is_set():
            runtime.sleep(0.01)  # virtual seconds
        info = runtime.info(clerk)
        end.set()
        sync(asked)
        return info

    info = sim.run(one, scenario)
    assert (info.state, info.waiting_for) == ("running", ())


def named(proc, kind="Clerk"):
    return f"{kind} {proc.sp_id} at {proc.sp_url.address}/{proc.sp_id}"


def test_links_monitors_and_the_supervisor_are_told(sim, one, other):
    def scenario():
        sup = runtime.spawn(Supervisor, sp_dest=other.address)
        clerk = runtime.spawn(Watcher, sp_super=sup)
        neighbour = runtime.spawn(Clerk, sp_dest=other.address)
        runtime.link(clerk, neighbour)
        sync(clerk.watch(neighbour))
        runtime.sleep(1)
        expected = ((named(neighbour),), (named(neighbour),), named(sup, "Supervisor"))
        return runtime.info(clerk), expected

    info, expected = sim.run(one, scenario)
    assert (info.links, info.monitors, info.supervisor) == expected


def test_a_link_monitor_or_supervisor_on_another_node_is_told_by_its_url(sim, one):
    two = sim.node()

    def scenario():
        sup, far = runtime.spawn(Supervisor), runtime.spawn(Clerk)
        clerk = runtime.spawn(Watcher, sp_super=sup, sp_dest=two.address)
        runtime.link(clerk, far)
        sync(clerk.watch(far))
        runtime.sleep(1)
        return runtime.info(clerk), str(far.sp_url), str(sup.sp_url)

    info, far, sup = sim.run(one, scenario)
    assert (info.links, info.monitors, info.supervisor) == ((far,), (far,), sup)


def test_a_process_without_ties_has_none(sim, one):
    info = sim.run(one, lambda: runtime.info(runtime.spawn(Clerk)))
    assert (info.links, info.monitors, info.supervisor) == ((), (), "")


def test_a_dump_tells_who_is_tied_to_whom(sim, one):
    def scenario():
        sup = runtime.spawn(Supervisor, sp_id="sup")
        for _ in range(2):
            runtime.spawn(Clerk, sp_super=sup)
        hub = runtime.spawn(Watcher, sp_id="hub")
        for _ in range(12):
            runtime.link(hub, runtime.spawn(Clerk))
        sync(hub.watch(sup))
        return dump_of(one)

    text = sim.run(one, scenario)
    here = re.escape(one.address)
    assert re.search(
        rf"  Watcher hub: idle\n"
        rf"    linked to (Clerk \d+ at {here}/\d+, ){{9}}Clerk \d+ at {here}/\d+ and 2 more\n"
        rf"    monitors Supervisor sup at {here}/sup\n"
        rf"  Clerk \d+: idle\n"
        rf"    linked to Watcher hub at {here}/hub\n",
        text,
    )
    assert f"2 Clerk of Supervisor sup at {one.address}/sup" in text


def test_a_dump_of_many_that_are_linked_stays_short(sim, one):
    def scenario():
        hub = runtime.spawn(Clerk)
        for clerk in runtime.spawn_many(1000, Clerk):
            runtime.link(hub, clerk)
        return dump_of(one)

    text = sim.run(one, scenario)
    assert text.count("linked to") == TIED_LINES
    assert f", {1001 - TIED_LINES} Clerk: idle" in text


def test_mail_that_waits_is_counted_and_the_process_is_queued(sim, one):
    def scenario():
        clerk = runtime.spawn(Clerk)
        for _ in range(3):
            clerk.hold()
        return runtime.info(clerk)

    info = sim.run(one, scenario)
    assert (info.state, info.mailbox) == ("queued", 3)


def test_an_ended_process_has_ended(sim, one, other):
    def scenario():
        clerk = runtime.spawn(Clerk, sp_dest=other.address)
        runtime.stop(clerk)
        return runtime.info(clerk)

    assert sim.run(one, scenario).state == "ended"


def test_an_ended_process_of_this_node_says_why(sim, one):
    def scenario():
        clerk = runtime.spawn(Clerk)
        runtime.stop(clerk, "enough")
        return runtime.info(clerk)

    assert sim.run(one, scenario).reason == "'enough'"


def test_a_process_that_never_was_is_not_found(sim, one, other):
    nobody = f"{other.address}/nobody"
    with pytest.raises(ProcessNotFound):
        sim.run(one, lambda: runtime.info(runtime.connect(nobody)))


def test_what_is_no_process_has_no_info(sim, one):
    with pytest.raises(TypeError, match="is no process"):
        sim.run(one, lambda: runtime.info("clerk"))


def test_the_processes_of_a_node_are_told_in_the_order_they_were_made(sim, one):
    def scenario():
        runtime.spawn(Clerk, sp_id="a")
        runtime.spawn(Clerk, sp_id="b")
        return [info.id for info in runtime.processes()]

    assert sim.run(one, scenario)[-2:] == ["a", "b"]


def test_a_dump_shows_processes_timers_other_nodes_and_children(sim, one):
    def scenario():
        (child,) = runtime.fork(1)
        far = runtime.spawn(Clerk, sp_dest=child)
        runtime.spawn_many(2, Clerk)
        till, clerk = runtime.spawn(Clerk, sp_id="till"), runtime.spawn(Clerk)
        runtime.send_every(3, far.hold)
        asked = clerk.ask(till)
        clerk.hold()
        runtime.sleep(1)
        file = io.StringIO()
        runtime.dump(file)
        sync(till.let_go())
        sync(asked)
        return child, clerk.sp_id, far.sp_url, file.getvalue()

    child, clerk, far, text = sim.run(one, scenario)
    here = re.escape(one.address)
    assert re.fullmatch(
        rf"node {here}, incarnation [0-9a-f]+, OS process {os.getpid()}: 6 processes\n"
        rf"  Actor \d+: running \d.\d s in run at test_insight.py:\d+ in scenario\n"
        rf"  Clerk {clerk}: waiting 1.0 s in ask at test_insight.py:\d+ in ask, 1 message\n"
        rf"    for Clerk till.hold at {here}/till\n"
        rf"  1 Agent, 3 Clerk: idle\n"
        rf"timers\n"
        rf"  in 2.0 s, every 3 s: {re.escape(str(far))}.hold\n"
        rf"nodes it talks with\n"
        rf"  {re.escape(child)}: connected, \d+ bytes not acknowledged\n"
        rf"children\n"
        rf"  {re.escape(child)}, OS process \d+\n",
        text,
    )


def test_a_dump_of_a_node_that_nobody_has_asked_for_its_address_opens_nothing(sim):
    node = Node(sim.loop, sim.config)
    assert dump_of(node).startswith("node without an address, ")
    assert node.peers is None
    node.close()


class Told(io.StringIO):
    """A file that says when it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed = threading.Event()

    def flush(self) -> None:
        self.flushed.set()


def test_a_signal_has_the_node_dumped(sim, one):
    before = signal.getsignal(signal.SIGUSR2)
    file = Told()
    try:
        sim.run(one, lambda: runtime.dump_on_signal(signal.SIGUSR2, file))
        os.kill(os.getpid(), signal.SIGUSR2)
        assert file.flushed.wait(30)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert file.getvalue().startswith(f"node {one.address}, ")


def test_whom_a_process_waits_for_is_found_over_any_number_of_promises(sim, one):
    owed = last = Promise(one.scheduler)
    for _ in range(5000):
        follower = Promise(one.scheduler)
        follower.value = owed  # as `then` and an answer that is a promise leave it
        owed = follower
    cell = Cell(one.scheduler, "clerk")
    last.target, last.handler = cell, NamedHandler("hold")
    assert list(_whom(owed)) == [f"process clerk.hold at {one.address}/clerk"]


def test_an_answer_that_is_just_coming_does_not_upset_a_dump(sim, one):
    coming = Promise(one.scheduler)
    coming.value = [1, 2]  # the state is written last
    assert list(_whom(coming)) == []
