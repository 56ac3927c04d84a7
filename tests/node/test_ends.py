"""Whatever ends, and whenever: nobody is left waiting, and nothing is left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

import splice
from splice import Process, runtime
from splice.testing.simulation import Simulation
from splice.uri import url


class Till(Process):
    """A process that counts."""

    def __init__(self, cents: int = 0) -> None:
        self.cents = cents

    def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents


class Leaver(Process):
    """Stops itself, through whatever proxy."""

    def leave(self, proxy: Any) -> str:
        runtime.stop(proxy, "left")
        return "the handler at hand finishes"


class Trap(Process):
    """Lives on when what it is linked to ends."""

    sp_trap_exit = True


def test_a_process_may_stop_itself_by_its_name(sim: Simulation) -> None:
    def scenario() -> None:
        leaver = runtime.spawn(Leaver, sp_id="leaver")
        down = runtime.monitor(leaver)
        named = runtime.connect(f"{runtime.address}/leaver")
        assert leaver.leave(named).get() == "the handler at hand finishes"
        assert down.get().reason == "left"

    sim.run(sim.node(), scenario)


def run_program(script: str) -> tuple[str, str]:
    """Run a program of its own; what it wrote to standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout, done.stderr


def in_a_thread(function: Callable[[], Any]) -> Any:
    """Call `function` in a thread of its own, which may hang, and return what it returned."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()), daemon=True)
    thread.start()
    thread.join(20)
    assert answers, "it never returned"
    return answers[0]


# ---- errors of what other threads want done on the loop


def test_a_malformed_name_is_an_error_for_the_thread_that_spawns() -> None:
    made = runtime.spawn_nowait(Till, sp_id="a b")
    with pytest.raises(ValueError, match="malformed"):
        made.get(timeout=10)


def test_a_wrong_number_of_processes_is_an_error_for_the_thread_that_spawns() -> None:
    with pytest.raises(TypeError):
        runtime.node.spawn_many("3", Till, (), {}).get(timeout=10)  # type: ignore[arg-type]


def test_sockets_that_cannot_be_opened_fail_the_ask_of_another_thread() -> None:
    script = """
import os, tempfile
folder = tempfile.mkdtemp()
key = os.path.join(folder, "key")
with open(key, "w") as file:
    file.write("no key")
os.chmod(key, 0o600)
os.environ["SPLICE_KEY_FILE"] = key
import splice
nobody = splice.runtime.connect("tcp://127.0.0.1:9/counter")
try:
    nobody.add(1).get(timeout=10)
except ValueError as error:
    print("ValueError")
"""
    assert run_program(script) == ("ValueError\n", "")


# ---- clean-up hooks


class Cashier(Process):
    """Pays in what is left when it ends, and waits for the till."""

    def __init__(self, till: Any) -> None:
        self.till = till

    async def go_home(self) -> None:
        raise splice.Exit("tired", answer="bye")

    def sp_terminate(self, reason: Any) -> None:
        self.till.add(2).get()
        self.till.add(3).get()


@pytest.mark.parametrize("is_far", [False, True])
def test_a_plain_hook_waits_for_another_node_when_an_async_handler_ends_its_process(
    sim: Simulation, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        till = runtime.spawn(Till, sp_dest=None if is_far else two.address)
        cashier = runtime.spawn(Cashier, till, sp_dest=two.address if is_far else None)
        down = runtime.monitor(cashier)
        assert cashier.go_home().get() == "bye"
        assert till.add(0).get() == 5
        assert down.get().reason == "tired"

    sim.run(one, scenario)


class Tidy(Cashier):
    """Takes its time to clean up."""

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(1)
        await self.till.add(7)


def test_who_lives_on_a_node_that_is_shut_down_from_afar_cleans_up(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        till = runtime.spawn(Till)
        for cls in (Cashier, Tidy):
            runtime.spawn(cls, till, sp_dest=two.address)
        runtime.shutdown(two.address)
        assert till.add(0).get() == 12

    sim.run(one, scenario)


def test_who_lives_on_a_node_that_shuts_itself_down_cleans_up(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> url:
        till = runtime.spawn(Till, sp_dest=two.address)
        for cls in (Cashier, Tidy):
            runtime.spawn(cls, till)
        return till.sp_url

    async def end() -> None:
        # twice, as when a program ends that has begun it
        await asyncio.gather(one.shut_down(), one.shut_down())

    where = sim.run(one, scenario)
    sim.loop.run_until_complete(end())
    assert sim.run(two, lambda: runtime.connect(where).add(0).get()) == 12


class Sleepy(Process):
    """Is never done with cleaning up."""

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(60)


class Brisk(Process):
    """Cleans up in less than half a second."""

    done: ClassVar[list[Any]] = []

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(0.4)
        self.done.append(reason)


class Forker(Process):
    """Forks a node of its own."""

    def fork(self, *classes: Any) -> str:
        (address,) = runtime.fork(1)
        for cls in classes:
            runtime.spawn(cls, sp_dest=address)
        return address


def end_of(sim: Simulation, node: Any) -> float:
    """Have a node shut down; how long that took."""
    before = sim.loop.time()
    sim.loop.run_until_complete(node.shut_down())
    return float(sim.loop.time() - before)


def test_nodes_that_take_all_their_time_to_clean_up_are_not_killed(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one = sim.node()

    def scenario() -> None:
        (child,) = runtime.fork(1)
        runtime.spawn(Sleepy, sp_dest=child)
        forker = runtime.spawn(Forker, sp_dest=child)
        below = forker.fork(Sleepy).get()
        runtime.spawn(Forker, sp_dest=below).fork(Sleepy).get()

    sim.run(one, scenario)
    assert end_of(sim, one) < one.config.shutdown_timeout
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if "not cleaned up" in text]) == 3
    assert [text for text in texts if "killed" in text] == []


def test_a_node_whose_child_hangs_still_cleans_up_before_it_would_be_killed(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    one = sim.node()
    Brisk.done.clear()

    def scenario() -> str:
        (child,) = runtime.fork(1)
        runtime.spawn(Brisk, sp_dest=child)
        return str(runtime.spawn(Forker, sp_dest=child).fork().get())

    below = sim.run(one, scenario)
    sim.freeze(next(node for node in sim.nodes if node.address == below))
    assert end_of(sim, one) < one.config.shutdown_timeout
    (text,) = [r.getMessage() for r in caplog.records if "is killed" in r.getMessage()]
    assert below in text
    assert Brisk.done == ["shutdown"]


def test_the_end_of_a_program_has_time_for_every_part_of_it(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> str:
        (child,) = runtime.fork(1)
        till = runtime.spawn(Till, sp_dest=two.address)
        runtime.spawn(Sleepy)
        sim.freeze(two, is_reachable=True)
        splice.tell(till.add, 1)
        return str(child)

    child = sim.run(one, scenario)
    sim.freeze(next(node for node in sim.nodes if node.address == child))
    linger = 1.0
    assert end_of(sim, one) < one.config.end_seconds - linger


class Asker(Process):
    """Looks a name up on another node."""

    def look(self, node: str, name: str) -> Any:
        return runtime.connect(url("node", node)).whereis(name).get()


class Curious(Process):
    """Needs somebody for its clean-up who needs its own node."""

    answers: ClassVar[list[Any]] = []

    def __init__(self, asker: Any) -> None:
        self.asker = asker

    def sp_terminate(self, reason: Any) -> None:
        answer = self.asker.look(runtime.address, "nobody")
        self.answers.append(answer.get())


def test_a_node_that_is_shut_down_from_afar_still_answers_for_the_hooks(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    Curious.answers.clear()

    def scenario() -> float:
        asker = runtime.spawn(Asker)
        runtime.spawn(Curious, asker, sp_dest=two.address)
        before = sim.loop.time()
        runtime.shutdown(two.address)
        return float(sim.loop.time() - before)

    assert sim.run(one, scenario) < 1
    assert Curious.answers == [None]


def test_a_shutdown_that_is_asked_for_from_everywhere_is_answered_to_all(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    asked: list[Any] = []

    class Asking(Process):
        def ask(self) -> None:
            runtime.shutdown(two.address)

    def scenario() -> None:
        runtime.spawn(Tidy, runtime.spawn(Till), sp_dest=two.address)
        asked.extend(runtime.spawn(Asking).ask() for _ in range(3))
        two.begin_shut_down()
        assert [promise.get() for promise in asked] == [None] * 3

    before = sim.loop.time()
    sim.run(one, scenario)
    assert sim.loop.time() - before < 2
    assert two.is_closed


def test_a_defect_in_the_clean_up_is_logged_and_the_node_ends_in_order(
    sim: Simulation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(cell: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("splice.actor.retiring._retire", fail)
    one = sim.node()
    sim.run(one, lambda: runtime.spawn(Brisk))
    end_of(sim, one)
    assert one.is_closed
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert "a defect" in str(record.exc_info)


class Needy(Process):
    """Fails when it is told to."""

    made: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.made.append(runtime.address)

    def fail(self) -> None:
        raise ValueError("needy")


class Blunt(Process):
    """Ruins others when it cleans up."""

    def __init__(self, *victims: Any) -> None:
        self.victims = victims

    def sp_terminate(self, reason: Any) -> None:
        for victim in self.victims:
            victim.fail().exception()
        runtime.sleep(1)


def test_a_far_child_that_fails_while_its_node_is_shut_down_is_restarted_elsewhere(
    sim: Simulation,
) -> None:
    one, two = sim.node(), sim.node()
    Needy.made.clear()

    def scenario() -> list[str]:
        sup = runtime.spawn(splice.Supervisor)
        needy = runtime.spawn(Needy, sp_super=sup, sp_dest=two.address)
        runtime.spawn(Blunt, needy, sp_dest=two.address)
        runtime.shutdown(two.address)
        runtime.sleep(1)
        return [info.state for info in sup.which_children().get()]

    assert sim.run(one, scenario) == ["running"]
    assert Needy.made == [two.address, one.address]


@pytest.mark.parametrize("last", ["", "runtime.shutdown()"])
def test_a_program_does_not_end_before_its_processes_have_cleaned_up(last: str) -> None:
    script = f"""
import asyncio
from splice import Process, blocking, runtime, sync

class Disk(Process):
    def write(self, text):
        print(text)

class Plain(Process):
    def __init__(self, disk):
        self.disk = disk
    def sp_terminate(self, reason):
        sync(self.disk.write("plain"))
        sync(self.disk.write("still plain"))

class Async(Plain):
    async def sp_terminate(self, reason):
        await asyncio.sleep(0.05)
        await self.disk.write("async")

class Blocking(Plain):
    @blocking
    def sp_terminate(self, reason):
        print("blocking")

async def count():
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0.05)
        print("generator")

disk = runtime.spawn(Disk)
for cls in (Plain, Async, Blocking):
    runtime.spawn(cls, disk)
sync(runtime.spawn(count).next())
{last}
"""
    output, errors = run_program(script)
    assert errors == ""
    assert sorted(output.splitlines()) == [
        "async",
        "blocking",
        "generator",
        "plain",
        "still plain",
    ]


# ---- nodes that are gone


@pytest.mark.parametrize("how", ["ask", "monitor", "link"])
def test_what_is_wanted_of_a_node_that_is_gone_leaves_nothing_behind(
    sim: Simulation, how: str
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> None:
        near = runtime.spawn(Trap)
        where = runtime.spawn(Till, sp_dest=two.address).sp_url
        runtime.shutdown(two.address)
        runtime.sleep(1)
        for _ in range(10):
            far = runtime.connect(where)
            if how == "ask":
                far.add(1).exception()
            elif how == "monitor":
                runtime.monitor(far).get()
            else:
                runtime.link(near, far)
        runtime.sleep(1)
        assert runtime.info(near).links == ()

    sim.run(one, scenario)
    assert (one.exchange.signals.peers, one.exchange._dialogues) == ([], {})


# ---- after the shutdown


def test_a_far_proxy_fails_when_its_own_node_was_shut_down(sim: Simulation) -> None:
    one, two = sim.node(), sim.node()
    till = sim.run(one, lambda: runtime.spawn(Till, sp_dest=two.address))
    one.close()
    error = in_a_thread(lambda: till.add(1).exception(timeout=10))
    assert isinstance(error, splice.NodeLost)
    assert error.verdict == "not delivered"


def test_what_a_closed_node_is_to_run_is_cancelled(sim: Simulation) -> None:
    one = sim.node()
    one.close()
    error = in_a_thread(lambda: one.run_coroutine(one.shut_down).exception(10))
    assert isinstance(error, splice.Cancelled)


def test_many_processes_for_a_closed_node_are_refused(sim: Simulation) -> None:
    one = sim.node()
    one.close()
    error = in_a_thread(lambda: one.spawn_many(3, Till, (), {}).exception(10))
    assert isinstance(error, splice.SpliceError)


def test_a_shutdown_from_two_threads_returns_in_both_when_the_node_is_gone() -> None:
    script = """
import threading
import splice
(node,) = splice.runtime.fork(1)
here = splice.runtime.node
gone = []
def shut_down():
    splice.runtime.shutdown()
    gone.append(here.is_closed)
threads = [threading.Thread(target=shut_down) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(gone)
"""
    assert run_program(script) == ("[True, True]\n", "")


def test_the_settings_may_be_changed_after_a_handler_shut_the_node_down() -> None:
    script = """
import splice

class Last(splice.Process):
    def out(self):
        splice.runtime.shutdown()

last = splice.runtime.spawn(Last)
thread = splice.runtime._thread
last.out().get()
thread.join()
splice.runtime.config(isolate=True)
print("changed")
"""
    assert run_program(script) == ("changed\n", "")


def test_a_program_ends_though_a_handler_never_does() -> None:
    script = """
import threading
import splice
splice.runtime.config(shutdown_timeout=0.2)

class Busy(splice.Process):
    def work(self, begun):
        begun.set()
        threading.Event().wait()

begun = threading.Event()
splice.tell(splice.runtime.spawn(Busy).work, begun)
begun.wait()
"""
    _, complaint = run_program(script)
    assert "is a handler still computing?" in complaint


def test_a_handler_that_never_ends_is_waited_for_only_once() -> None:
    script = """
import threading
import splice
splice.runtime.config(shutdown_timeout=0.2)

class Busy(splice.Process):
    def work(self, begun):
        begun.set()
        threading.Event().wait()

begun = threading.Event()
splice.runtime.address  # its sockets are open: there is more than one hook
splice.tell(splice.runtime.spawn(Busy).work, begun)
begun.wait()
"""
    _, complaint = run_program(script)
    assert complaint.count("is a handler still computing?") == 1


# ---- children


class Refusing:
    """A launcher on a machine that is full."""

    def start(self, boot: bytes, **_: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")


def test_an_os_process_that_cannot_be_started_fails_the_fork_and_is_no_child(
    sim: Simulation,
) -> None:
    one = sim.node()
    one.children._launcher = Refusing()

    def scenario() -> None:
        with pytest.raises(splice.SpliceError, match="Resource temporarily"):
            runtime.fork(2)

    sim.run(one, scenario)
    assert len(one.children) == 0
    sim.loop.run_until_complete(one.shut_down())  # waits for no child that never was
    assert one.is_closed


STARTED: list[int] = []


def fail_the_second() -> None:
    STARTED.append(1)
    if len(STARTED) == 2:
        raise RuntimeError("no licence")


def test_when_one_forked_node_fails_the_others_are_ended(sim: Simulation) -> None:
    one = sim.node()
    STARTED.clear()

    def scenario() -> None:
        with pytest.raises(splice.NodeLost, match="no licence"):
            runtime.fork(3, fail_the_second)

    sim.run(one, scenario)
    sim.advance(20.0)
    assert len(STARTED) == 3
    assert len(one.children) == 0


def test_a_node_leaves_even_if_its_children_cannot_be_ended(sim: Simulation) -> None:
    one = sim.node()

    async def fail(**_: Any) -> None:
        raise RuntimeError("a defect")

    one.children.shut_down = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="a defect"):
        sim.loop.run_until_complete(one.shut_down())
    assert one.is_closed


# ---- where code runs outside of handlers


def test_a_thread_on_a_forked_node_uses_that_node() -> None:
    class Here(Process):
        def addresses(self) -> list[str]:
            import threading

            found = [runtime.address]
            thread = threading.Thread(target=lambda: found.append(runtime.address))
            thread.start()
            thread.join()
            return found

    (node,) = runtime.fork(1)
    try:
        addresses = runtime.spawn(Here, sp_dest=node).addresses().get(timeout=20)
        assert addresses == [node, node]
    finally:
        runtime.shutdown(remote_node=node)


# ---- os.fork


FORKED = """
import os, threading
import splice
from splice.cluster import session

class Till(splice.Process):
    def add(self, cents):
        return cents

till = splice.runtime.spawn(Till)
c = session(worker_count=1)
splice.tell(till.add, 1)  # its wake-up of the loop may be on its way now
pid = os.fork()
if pid == 0:
    error = till.add(1).exception()
    print(type(error).__name__, flush=True)
    try:
        c.map(abs, [-1])
    except splice.SpliceError:
        print("no map", flush=True)
    c.shutdown()
    print(splice.runtime.spawn(Till).add(2).get(), flush=True)
    splice.runtime.shutdown()
    os._exit(0)
os.waitpid(pid, 0)
print(till.add(3).get(), c.map(abs, [-4]))
c.shutdown()
"""


@pytest.mark.system
def test_a_copy_made_by_os_fork_owns_nothing_and_waits_for_nothing() -> None:
    printed, _ = run_program(FORKED)
    assert printed.splitlines() == ["ProcessStopped", "no map", "2", "3 [4]"]


COPIES = """
import multiprocessing, os
from splice import Deferred, Process, as_completed, gather, runtime

class Clerk(Process):
    def __init__(self):
        self.held = []

    def hold(self):
        self.held.append(Deferred())
        return self.held[-1]

    def release(self):
        for held in self.held:
            held.set()

    def count(self, n):
        return n

    def in_copy(self, far):
        return in_copy(far, runtime.spawn(Clerk))

def name_of(wait):
    try:
        return repr(wait())
    except BaseException as error:
        return type(error).__name__

def look(*asked, far, near):
    first, second, third, fourth, fifth, sixth = asked
    print(
        name_of(first.get),
        name_of(lambda: second.get(timeout=30)),
        name_of(third.cancel),
        name_of(gather([fourth]).get),
        name_of(lambda: [p.get() for p in as_completed([fifth])]),
        name_of(sixth.then(str).as_future().result),
        name_of(lambda: near.hold().get()),
        name_of(lambda: far.hold().get()),
        name_of(runtime.spawn(Clerk).count(7).get),
        name_of(runtime.connect(str(far.sp_url)).count(8).get),
        flush=True,
    )
    runtime.sleep(0)
    runtime.shutdown()

def in_copy(far, near):
    asked = [far.hold() for _ in range(5)] + [near.hold()]
    pid = os.fork()
    if pid == 0:
        look(*asked, far=far, near=near)
        os._exit(0)
    os.waitpid(pid, 0)
    far.release(), near.release()
    return [promise.get() for promise in asked]

(node,) = runtime.fork(1)
far, near = runtime.spawn(Clerk, sp_dest=node), runtime.spawn(Clerk)
in_copy(far, near)
near.in_copy(far).get()
context = multiprocessing.get_context("fork")
child = context.Process(
    target=look, args=[far.hold() for _ in range(6)], kwargs=dict(far=far, near=near)
)
child.start()
child.join()
far.release().get()
print(far.count(1).get(), near.count(2).get())
runtime.shutdown()
"""


@pytest.mark.system
def test_what_the_parent_was_asked_fails_by_name_in_a_copy_and_new_nodes_work() -> None:
    printed, _ = run_program(COPIES)
    lost = ["NodeLost"] * 2 + ["False"] + ["NodeLost"] * 2
    ends = ["ProcessStopped", "NodeLost", "7", "8"]
    by_fork = " ".join([*lost, "ProcessStopped", *ends])
    by_multiprocessing = " ".join([*lost, "NodeLost", *ends])
    assert printed.splitlines() == [by_fork, by_fork, by_multiprocessing, "1 2"]


def test_a_node_may_end_while_the_collector_is_frozen() -> None:
    script = """
import gc
from splice import Process, runtime

class Echo(Process):
    def ask(self):
        return 1

nodes = []
for _ in range(100):
    nodes.append(runtime.node)
    runtime.spawn(Echo).ask().get()
    gc.freeze()  # as servers do before they fork
    runtime.shutdown()
gc.unfreeze()
heap = [[object() for _ in range(1000)] for _ in range(100)]
gc.collect()
print("alive")
"""
    assert run_program(script) == ("alive\n", "")
