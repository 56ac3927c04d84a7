"""A session ends, or loses its workers, at any moment: every call returns, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import splice
from splice import Process, runtime
from splice.cluster import Session, session
from splice.node.node import Node
from splice.testing.simulation import Simulation


def wait_for_ever(begun: str) -> None:
    """Tell by a named pipe that it has begun, and never end."""
    with open(begun, "w"):  # noqa: PTH123 - it travels by value
        pass
    while True:
        time.sleep(1)


@pytest.fixture
def begun(tmp_path: Path) -> str:
    """A named pipe: whoever reads it waits until somebody writes."""
    path = str(tmp_path / "begun")
    os.mkfifo(path)
    return path


def in_a_thread(function: Any) -> tuple[threading.Thread, list[Any]]:
    """Begin `function` in a thread; what it returns or raises comes into the list."""
    outcomes: list[Any] = []

    def work() -> None:
        try:
            outcomes.append(function())
        except BaseException as error:
            outcomes.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, outcomes


def run_program(script: str, *arguments: str) -> tuple[str, str]:
    """Run a program of its own; what it wrote to standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.stdout, done.stderr


# ---- errors that are no Exception


class Bad(BaseException):
    """An error that no `except Exception` sees."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Bad])
def test_an_item_that_raises_no_exception_fails_alone(
    c: Session, error: type[BaseException]
) -> None:
    def fail_at_three(n: int) -> int:
        if n == 3:
            raise error
        return n

    answers = c.map(fail_at_three, range(6), chunksize=6, on_error="return")
    assert answers[:3] + answers[4:] == [0, 1, 2, 4, 5]
    assert isinstance(answers[3], error)


def test_an_apply_that_raises_no_exception_leaves_its_worker_alive(c: Session) -> None:
    pids = c.apply(os.getpid)

    def fail() -> None:
        raise GeneratorExit

    with pytest.raises(splice.CompositeError, match="2 of 2 workers failed"):
        c.apply(fail)
    assert c.apply(os.getpid) == pids


# ---- what user code on a worker finds


class Till(Process):
    def add(self, cents: int) -> int:
        return cents


def test_user_code_on_a_worker_is_on_the_workers_node(c: Session) -> None:
    def address() -> str:
        from splice import runtime

        return str(runtime.address)

    assert c.apply(address) == list(c.workers)


def test_a_worker_calls_a_process_of_a_client_with_a_key_of_its_own() -> None:
    script = """
import splice
from splice.cluster import session
splice.runtime.config(key="ab" * 32)

class Till(splice.Process):
    def add(self, cents):
        return cents

till = splice.runtime.spawn(Till)
with session(worker_count=1) as c:
    print(c.map(lambda till: till.add(5).get(timeout=10), [till]))
"""
    assert run_program(script) == ("[5]\n", "")


def test_a_map_leaves_its_function_on_no_worker(c: Session) -> None:
    class Heavy:
        def __call__(self, n: int) -> int:
            return n

    def kept() -> int:
        import gc

        return sum(type(thing).__name__ == "Heavy" for thing in gc.get_objects())

    c.map(Heavy(), range(4))
    assert c.apply(kept) == [0, 0]


def test_a_list_of_the_users_own_class_is_read_by_the_caller(c: Session) -> None:
    class Picky(list[int]):
        def __getitem__(self, index: Any) -> Any:
            raise LookupError("not by index")

    assert c.map(abs, Picky([-1, -2])) == [1, 2]


# ---- stopping


def test_a_shutdown_stops_a_map_of_another_thread(begun: str) -> None:
    c = session(worker_count=1)
    thread, outcomes = in_a_thread(lambda: c.map(wait_for_ever, [begun]))
    Path(begun).read_text()
    c.shutdown(cancel=True)
    thread.join(10)
    assert isinstance(outcomes[0], splice.SpliceError)
    assert "shut down" in str(outcomes[0])


def test_a_shutdown_stops_an_apply_and_does_not_wait_for_its_end(begun: str) -> None:
    c = session(worker_count=1)
    thread, outcomes = in_a_thread(lambda: c.apply(wait_for_ever, begun))
    Path(begun).read_text()
    began = time.monotonic()
    c.shutdown(cancel=True)
    assert time.monotonic() - began < 3  # and not the 5 s after which it is killed
    thread.join(10)
    assert isinstance(outcomes[0], splice.CompositeError)


def test_every_shutdown_of_a_session_returns_when_its_workers_are_gone() -> None:
    c = session(worker_count=2)
    workers = [psutil.Process(pid) for pid in c.apply(os.getpid)]
    first, _ = in_a_thread(c.shutdown)
    c.shutdown()
    assert not any(worker.is_running() for worker in workers)
    first.join(10)


CTRL_C = """
import os, signal, sys, threading, time
import splice
from splice.cluster import session

begun = sys.argv[1]

def wait_for_ever(begun):
    open(begun, 'w').close()
    while True:
        time.sleep(1)

def press():
    open(begun).read()
    os.kill(os.getpid(), signal.SIGINT)

with session(worker_count=1) as c:
    threading.Thread(target=press).start()
    try:
        c.apply(wait_for_ever, begun)
    except KeyboardInterrupt:
        print(c.map(abs, [-1]), c.apply(abs, -2))
"""


def test_ctrl_c_stops_an_apply_and_not_only_the_waiting(begun: str) -> None:
    assert run_program(CTRL_C, begun) == ("[1] [2]\n", "")


def interrupting(node: Node) -> Any:
    """Let Ctrl-C come when the node's thread has begun, and the caller has not heard of it."""
    hand_over = node.on_thread

    def interrupted(function: Any, *args: Any) -> Any:
        hand_over(function, *args)
        raise KeyboardInterrupt

    return interrupted


@pytest.mark.parametrize("way", ["apply", "map"])
def test_ctrl_c_while_work_is_handed_over_stops_it_too(way: str, begun: str) -> None:
    with session(worker_count=1) as c:
        assert c.map(abs, [-1]) == [1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(c._node, "on_thread", interrupting(c._node))
            work = begun if way == "apply" else [begun]
            with pytest.raises(KeyboardInterrupt):
                getattr(c, way)(wait_for_ever, work)
        assert (c.map(abs, [-1]), c.apply(abs, -2)) == ([1], [2])


def test_the_end_of_the_program_waits_for_the_end_of_a_session_that_has_begun() -> None:
    c = session(worker_count=1)
    [worker] = [psutil.Process(pid) for pid in c.apply(os.getpid)]
    ended = c._begin_end(cancel=False)
    assert ended is not None

    c._at_exit()

    assert ended.done()
    assert not worker.is_running()


CTRL_C_IN_INIT = """
import os, signal, sys, threading, time
from splice import runtime
from splice.cluster import session

begun = sys.argv[1]

def init(begun=begun):
    import time
    open(begun, "w").close()
    time.sleep(100)

def press():
    open(begun).read()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press).start()
try:
    session(worker_count=1, init=init)
except KeyboardInterrupt:
    print(len(runtime.node.children))
"""


def test_ctrl_c_while_a_session_opens_ends_its_workers(begun: str) -> None:
    assert run_program(CTRL_C_IN_INIT, begun)[0] == "0\n"


def test_a_program_that_leaves_a_session_open_ends_in_silence() -> None:
    script = """
from splice.cluster import session
c = session(worker_count=2)
print(c.map(abs, [-1]))
"""
    assert run_program(script) == ("[1]\n", "")


def test_a_session_whose_node_was_shut_down_refuses_and_closes() -> None:
    script = """
from splice import SpliceError, runtime
from splice.cluster import session
with session(worker_count=1) as c:
    runtime.shutdown()
    for call in (c.map, c.apply):
        try:
            call(abs, [-1])
        except SpliceError as error:
            print("shut down" in str(error))
"""
    assert run_program(script)[0] == "True\nTrue\n"


def test_a_shutdown_of_the_node_ends_a_map_of_another_thread(begun: str) -> None:
    script = """
import os, sys, threading, time
from splice import SpliceError, runtime
from splice.cluster import session

begun = sys.argv[1]

def wait_for_ever(begun):
    open(begun, 'w').close()
    while True:
        time.sleep(1)

def work():
    try:
        c.map(wait_for_ever, [begun])
    except SpliceError as error:
        print("shut down" in str(error))

c = session(worker_count=1)
thread = threading.Thread(target=work)
thread.start()
open(begun).read()
runtime.shutdown()
thread.join()
"""
    assert run_program(script, begun)[0] == "True\n"


# ---- workers that die, freeze or never come


class Refusing:
    """A launcher on a machine that is full."""

    def start(self, boot: bytes, **_: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_session_whose_workers_cannot_be_started_says_so() -> None:
    sim = Simulation(seed=1)
    one = sim.node()
    one.children._launcher = Refusing()

    def scenario() -> None:
        with pytest.raises(splice.SpliceError, match="Resource temporarily"):
            session(worker_count=2)

    sim.run(one, scenario)
    assert len(one.children) == 0
    sim.close()


def test_an_init_that_exits_is_told_with_its_exit_code() -> None:
    def init() -> None:
        os._exit(7)

    children = len(runtime.node.children)
    with pytest.raises(splice.NodeLost, match="exited with code 7"):
        session(worker_count=2, init=init)
    assert len(runtime.node.children) == children


def test_a_session_that_lost_all_workers_starts_new_ones_for_the_next_map(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"

    def init(broken: str = str(broken)) -> None:
        if os.path.exists(broken):  # noqa: PTH110 - it travels by value
            raise RuntimeError("no licence")

    with session(worker_count=1, init=init) as c:
        broken.touch()
        with pytest.raises(splice.SpliceError, match="no licence"):
            c.map(os._exit, [1], retries=5)
        broken.unlink()
        assert c.map(abs, [-1]) == [1]


def test_a_frozen_worker_is_replaced_and_its_items_done_by_another(
    tmp_path: Path,
) -> None:
    script = """
import os, signal, sys
import splice
from splice.cluster import session
splice.runtime.config(loss_timeout=1.0)

def freeze_once(n, mark):
    if n == 3:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return n
        os.kill(os.getpid(), signal.SIGSTOP)
    return n

with session(worker_count=2) as c:
    print(c.map(freeze_once, range(6), sys.argv[1]))
"""
    printed, complaint = run_program(script, str(tmp_path / "frozen"))
    assert printed == "[0, 1, 2, 3, 4, 5]\n"
    assert "was killed by SIGKILL" in complaint


def test_a_worker_killed_while_idle_is_replaced(c: Session) -> None:
    first, second = c.apply(os.getpid)
    children = {child.pid: child for child in runtime.node.children}
    os.kill(first, signal.SIGKILL)
    children[first].ended.get(timeout=10)
    assert c.map(abs, range(-4, 0)) == [4, 3, 2, 1]
    splice.syncmany([child.ready for child in runtime.node.children], timeout=20)
    pids = c.apply(os.getpid)
    assert len(pids) == 2
    assert second in pids
