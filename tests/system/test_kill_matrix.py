"""The kill matrix: client, master, instance and worker, killed, frozen or ended cleanly.

Each at rest and in the middle of a map, with real OS processes: what comes of it is right, within
a bound, and no OS process is left.  SIGKILL of all of them under a master is in
`test_managed_cluster`.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.system

LOSS_SECONDS = 3
"""Without a sign of life: short, for tests that freeze somebody."""

PATIENT_SECONDS = 60
"""The same of somebody who notices nothing by himself: the other side has to tell him."""

WORK = """
import os, signal, sys, time
import splice
splice.runtime.config(loss_timeout={loss})
from splice.cluster import session
c = session(worker_count=2{where})
print("open with", *sorted(c.apply(os.getpid)), flush=True)

def work(n):
    time.sleep(0.02)
    return n

def rest():
    while not os.path.exists({gate!r}):
        time.sleep(0.02)

def answer():
    assert c.map(work, range({items}), chunksize=1) == list(range({items}))
    print("done", flush=True)

{then}
c.shutdown()
"""

MANAGED = ", master_address=ADDRESS"
RESTS_AND_WORKS = 'print("begins", flush=True)\nrest()\nanswer()'
RESTING = 'print("begins", flush=True)\ntime.sleep(600)'
AT_WORK = 'print("begins", flush=True)\nanswer()'


def client(
    cluster: Any,
    then: str,
    *,
    where: str = "",
    items: int = 150,
    loss: int = LOSS_SECONDS,
) -> Any:
    options = {"loss": loss, "where": where, "items": items, "then": then}
    script = WORK.format(gate=str(gate(cluster)), **options)
    program = cluster.client(script)
    program.says("begins")
    return program


def gate(cluster: Any) -> Path:
    """What a client that rests waits for."""
    return Path(cluster.folder, "gate")


def check_slots(cluster: Any, count: int) -> None:
    """Check that another session gets `count` workers, and that they work."""
    script = f"""
from splice.cluster import session
with session(worker_count={count}, master_address=ADDRESS) as c:
    assert c.map(abs, range(-9, 0)) == list(range(9, 0, -1))
    print("got", len(c.workers), flush=True)
"""
    another = cluster.client(script)
    another.says(f"got {count}\n")
    assert another.ends() == 0


def workers(program: Any) -> list[psutil.Process]:
    numbers = program.says(r"open with ([\d ]+)\n")[1].split()
    return [psutil.Process(int(number)) for number in numbers]


def managed(cluster: Any, loss: int = LOSS_SECONDS) -> tuple[Any, Any]:
    """A master and an instance that lose patience soon."""
    patience = ("-t", str(loss))
    master, instance = cluster.master(*patience), cluster.instance("one", *patience)
    instance.says("is registered at the master")
    return master, instance


at_rest_or_work = pytest.mark.parametrize(
    "then", [RESTING, AT_WORK], ids=["rest", "work"]
)
local_or_managed = pytest.mark.parametrize(
    "where", ["", MANAGED], ids=["local", "managed"]
)


# ---- the client


@pytest.mark.parametrize("how", ["os._exit(3)", "sys.exit(3)", "os.kill(0, 9)"])
@pytest.mark.parametrize("moment", ["rest", "work"])
def test_workers_end_with_their_client_however_it_ends(
    cluster: Any, how: str, moment: str
) -> None:
    how = how.replace("os.kill(0, 9)", "os.kill(os.getpid(), signal.SIGKILL)")
    begin = "c.map_async(work, range(3000), chunksize=1)\n" if moment == "work" else ""
    script = f'{begin}print("begins", flush=True)\nsys.stdin.read()\n{how}'
    program = client(cluster, script)
    below = workers(program)
    assert program.ends() == (-signal.SIGKILL if "kill" in how else 3)
    cluster.wait_until_gone(below)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["os._exit(3)", "sys.exit(3)"])
@pytest.mark.parametrize("moment", ["rest", "work"])
def test_the_slots_of_a_client_that_ends_are_free_again(
    cluster: Any, how: str, moment: str
) -> None:
    managed(cluster)
    begin = "c.map_async(work, range(3000), chunksize=1)\n" if moment == "work" else ""
    script = f'{begin}print("begins", flush=True)\nsys.stdin.read()\n{how}'
    program = client(cluster, script, where=MANAGED)
    below = workers(program)
    assert program.ends() == 3
    cluster.wait_until_gone(below)
    check_slots(cluster, 2)


@pytest.mark.slow
@pytest.mark.parametrize("then", [RESTS_AND_WORKS, AT_WORK], ids=["rest", "work"])
def test_a_frozen_client_goes_on_when_it_thaws(cluster: Any, then: str) -> None:
    program = client(cluster, then, items=400)
    below = workers(program)
    program.signal(signal.SIGSTOP)
    # its workers lose it, and have nobody to tell
    thaws = time.monotonic() + LOSS_SECONDS + 2
    cluster.until(lambda: time.monotonic() > thaws, "the time of the loss")
    program.signal(signal.SIGCONT)
    gate(cluster).touch()
    program.says("done")
    assert program.ends() == 0
    cluster.wait_until_gone(below)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [LOSS_SECONDS, PATIENT_SECONDS])
@pytest.mark.parametrize("then", [RESTS_AND_WORKS, AT_WORK], ids=["rest", "work"])
def test_a_frozen_client_loses_its_workers_and_gets_others_when_it_thaws(
    cluster: Any, then: str, loss: int
) -> None:
    _, instance = managed(cluster)
    program = client(cluster, then, where=MANAGED, items=400, loss=loss)
    below = workers(program)
    program.signal(signal.SIGSTOP)
    cluster.wait_until_gone(below)
    instance.says("its 2 workers are ended")
    cluster.until(lambda: not instance.below(), "an instance without workers")
    check_slots(cluster, 2)
    program.signal(signal.SIGCONT)
    gate(cluster).touch()
    program.says("done")
    assert program.ends() == 0
    cluster.until(lambda: not instance.below(), "an instance without workers")


WITHOUT_RETRIES = """
print("begins", flush=True)
answers = c.map(work, range(400), chunksize=1, retries=0, on_error="return")
errors = [each for each in answers if not isinstance(each, int)]
assert [n for n in answers if isinstance(n, int)] == [
    n for n, each in enumerate(answers) if each not in errors]
print("errors", len(errors), *(type(each).__name__ for each in errors), flush=True)
print(errors[0], flush=True)
answer()
"""


@pytest.mark.slow
def test_a_frozen_client_is_told_what_it_has_lost(cluster: Any) -> None:
    managed(cluster)
    program = client(cluster, WITHOUT_RETRIES, where=MANAGED, items=20)
    below = workers(program)
    program.signal(signal.SIGSTOP)
    cluster.wait_until_gone(below)
    program.signal(signal.SIGCONT)
    program.says(r"errors 2 WorkerDied WorkerDied\n")
    program.says(r"a worker \(OS process \d+\) was lost with its instance: ")
    program.says("done")
    assert program.ends() == 0


# ---- the master


@pytest.mark.slow
@at_rest_or_work
def test_a_frozen_master_ends_no_session(cluster: Any, then: str) -> None:
    master, instance = managed(cluster)
    program = client(cluster, then, where=MANAGED, items=400)
    below = workers(program)
    master.signal(signal.SIGSTOP)
    instance.says("does not reach the master")
    if then == RESTING:
        assert cluster.all_live(below)
    else:
        program.says("done")
        assert program.ends() == 0
    master.signal(signal.SIGCONT)
    cluster.until(
        lambda: len(re.findall("is registered at the master", instance.output)) > 1,
        "the return of the instance",
    )


@pytest.mark.slow
@pytest.mark.parametrize("then", [RESTS_AND_WORKS, AT_WORK], ids=["rest", "work"])
def test_a_master_that_ends_cleanly_ends_no_session(cluster: Any, then: str) -> None:
    master, instance = managed(cluster)
    program = client(cluster, then, where=MANAGED, items=200)
    master.signal(signal.SIGTERM)
    assert master.ends() == 0
    instance.says("does not reach the master")
    gate(cluster).touch()
    program.says("done")
    assert program.ends() == 0


# ---- the instance


def test_the_batches_of_an_instance_that_ends_cleanly_are_given_out_again(
    cluster: Any,
) -> None:
    _, one = managed(cluster)
    other = cluster.instance("other", "-t", str(LOSS_SECONDS))
    other.says("is registered at the master")
    program = client(cluster, AT_WORK, where=MANAGED, items=200)
    left = one if one.below() else other
    below = left.below()
    left.signal(signal.SIGTERM)
    assert left.ends() == 0
    cluster.wait_until_gone(below)
    program.says("done")
    assert program.ends() == 0


@pytest.mark.slow
def test_the_workers_of_an_instance_that_ends_cleanly_at_rest_are_replaced(
    cluster: Any,
) -> None:
    _, one = managed(cluster)
    program = client(cluster, RESTS_AND_WORKS, where=MANAGED, items=50)
    below = workers(program)
    one.signal(signal.SIGTERM)
    assert one.ends() == 0
    cluster.wait_until_gone(below)
    program.says(r"a worker \(OS process \d+\) ")
    cluster.instance("other", "-t", str(LOSS_SECONDS))
    gate(cluster).touch()
    program.says("done")
    assert program.ends() == 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", [LOSS_SECONDS, PATIENT_SECONDS])
@pytest.mark.parametrize("then", [RESTS_AND_WORKS, AT_WORK], ids=["rest", "work"])
def test_the_workers_of_a_frozen_instance_end_when_it_thaws_and_are_replaced(
    cluster: Any, then: str, loss: int
) -> None:
    _, one = managed(cluster, loss)
    items = 50 if then == RESTS_AND_WORKS else 800  # longer than the loss takes
    program = client(cluster, then, where=MANAGED, items=items)
    below = workers(program)
    one.signal(signal.SIGSTOP)
    program.says("was lost with its instance")
    one.signal(signal.SIGCONT)
    cluster.wait_until_gone(below)
    # it comes again, and the session gets its slots
    gate(cluster).touch()
    program.says("done", patience=60)
    assert program.ends() == 0
    cluster.until(lambda: not one.below(), "an instance without workers")


# ---- a worker


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os._exit(3)", "exited with code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
    ],
)
@pytest.mark.parametrize(
    "where",
    ["", pytest.param(MANAGED, marks=pytest.mark.slow)],
    ids=["local", "managed"],
)
def test_an_item_that_kills_every_worker_is_given_up_and_named(
    cluster: Any, how: str, told: str, where: str
) -> None:
    if where:
        managed(cluster)
    then = f"""
print("begins", flush=True)
def poison(n):
    if n == 7:
        print("I am poison", flush=True)
        {how}
    return n
answers = c.map(poison, range(20), on_error="return")
died = answers.pop(7)
assert answers == [n for n in range(20) if n != 7], answers
print("THE ERROR", died, "END", flush=True)
assert died.item == "item 7 of a map", died.item
answer()
"""
    program = client(cluster, then, where=where, items=10)
    program.says("done")
    assert program.ends() == 0
    error = re.search(r"THE ERROR (.*?) END", program.output, re.DOTALL)
    assert error is not None
    assert told in error[1]
    assert "it had item 7 of a map in work" in error[1]
    assert "MiB in memory at most" in error[1]
    assert "its last output:\n" in error[1]
    assert "I am poison" in error[1]


def test_sys_exit_in_an_item_is_the_error_of_that_item(cluster: Any) -> None:
    then = """
print("begins", flush=True)
answers = c.map(lambda n: sys.exit(3) if n == 1 else n, range(3), on_error="return")
print(answers, flush=True)
"""
    program = client(cluster, then)
    below = workers(program)
    program.says(r"\[0, SystemExit\(3\), 2\]")
    assert program.ends() == 0
    cluster.wait_until_gone(below)


@pytest.mark.slow
@local_or_managed
@at_rest_or_work
def test_a_frozen_worker_is_killed_and_replaced(
    cluster: Any, then: str, where: str
) -> None:
    if where:
        managed(cluster)
    program = client(cluster, then, where=where, items=400)
    below = workers(program)
    below[0].suspend()
    cluster.wait_until_gone(below[:1])
    program.says(r"was killed by SIGKILL by its session: .*no sign of life")
    if then == AT_WORK:
        program.says("done")
        assert program.ends() == 0
        cluster.wait_until_gone(below)


@pytest.mark.slow
@local_or_managed
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os._exit(0)", "exited with code 0"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was killed by SIGTERM"),
    ],
)
def test_a_worker_that_ends_at_rest_is_replaced(
    cluster: Any, how: str, told: str, where: str
) -> None:
    if where:
        managed(cluster)
    then = f"""
import threading
def end_soon():
    threading.Timer(0.1, lambda: {how}).start()
print("begins", flush=True)
deadline = time.monotonic() + 30
first = set(c.workers)
c.submit(end_soon).get()
while len(set(c.workers) - first) < 1:
    assert time.monotonic() < deadline
    time.sleep(0.02)
answer()
"""
    program = client(cluster, then, where=where, items=20)
    program.says("done")
    assert program.ends() == 0
    assert told in program.output
