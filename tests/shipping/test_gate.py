"""The gate: one thread imports at a time, and the loop's thread never waits for good."""

import builtins
import importlib
import subprocess
import sys
import threading
import types

import pytest
from tests.shipping.trees import forget, write

from splice.errors import DependencyTransferError
from splice.shipping.gate import Gate, is_ready


def no_pause(_):
    raise AssertionError("this is not the loop's thread")


@pytest.fixture
def modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    forget("ring_a", "ring_b", "gated", "other_gated")


def installed(thread=0, pause=no_pause):
    gate = Gate(thread, pause)
    gate.install()
    return gate


def test_two_packages_with_a_ring_are_imported_by_two_threads(modules):
    write(
        modules,
        {
            "ring_a.py": "import ring_b\ndef f(): return ring_b.g",
            "ring_b.py": "import ring_a\ndef g(): return ring_a.f",
        },
    )
    gate, failures = installed(), []
    start = threading.Barrier(2)

    def work(name, attribute):
        start.wait(10)
        try:
            getattr(importlib.import_module(name), attribute)
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=pair)
        for pair in (("ring_a", "f"), ("ring_b", "g"))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        gate.remove()
    assert failures == []


def held_elsewhere(gate):
    """Have another thread hold the gate; returns what lets it go."""
    may_go, is_in = threading.Event(), threading.Event()

    def hold():
        lock = gate._enter()
        is_in.set()
        may_go.wait(30)
        lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_in.wait(30)

    def let_go():
        may_go.set()
        thread.join(30)

    return let_go


def test_the_loops_thread_moves_messages_while_it_waits(modules):
    write(modules, {"gated.py": "N = 1"})
    let_go = None
    gate = installed(threading.get_ident(), lambda _: let_go())
    try:
        let_go = held_elsewhere(gate)
        assert importlib.import_module("gated").N == 1
    finally:
        gate.remove()


def test_the_loops_thread_goes_on_where_it_may_not_wait(modules):
    write(modules, {"gated.py": "N = 1"})

    def pause(_):
        raise DependencyTransferError("in a callback")

    gate = installed(threading.get_ident(), pause)
    let_go = held_elsewhere(gate)
    try:
        assert importlib.import_module("gated").N == 1
    finally:
        gate.remove()
        let_go()


def test_a_module_that_is_ready_passes_the_gate_by():
    gate = installed(threading.get_ident(), no_pause)
    let_go = held_elsewhere(gate)
    try:
        import json  # noqa: F401
        from json import dumps  # noqa: F401
    finally:
        gate.remove()
        let_go()


def test_the_gate_is_gone_when_it_is_removed():
    before = builtins.__import__, importlib.import_module
    installed().remove()
    assert (builtins.__import__, importlib.import_module) == before


def test_a_module_under_construction_and_one_with_a_missing_child_are_not_ready(
    monkeypatch,
):
    assert is_ready("json", None)
    assert is_ready("json", ("dumps",))
    assert not is_ready("json", ("no_such_child",))
    assert not is_ready("never_heard_of", None)
    made = types.ModuleType("half_made")
    made.__spec__ = types.SimpleNamespace(_initializing=True)
    monkeypatch.setitem(sys.modules, "half_made", made)
    assert not is_ready("half_made", None)
    made.__spec__ = None
    assert is_ready("half_made", None)


@pytest.mark.system
def test_a_forked_copy_imports_though_another_thread_held_the_gate(tmp_path):
    script = """
import os, threading, warnings
warnings.simplefilter("ignore")
from splice.shipping.gate import Gate
gate = Gate(0, None)
gate.install()
is_in = threading.Event()
def hold():
    gate._enter()
    is_in.set()
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
is_in.wait()
child = os.fork()
if not child:
    import csv
    os._exit(7)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=20, check=False)
    assert done.returncode == 7
