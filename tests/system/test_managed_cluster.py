"""Master, instances and clients as OS processes: who may die, when, and what is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.system

SQUARES = """
from splice.cluster import session
with session(worker_count=4, master_address=ADDRESS) as c:
    print("open with", len(c.workers))
    print(c.map(lambda x: x * x, range(10)))
"""

HOLDING = """
import os, sys, time
{setup}
from splice.cluster import session
c = session(worker_count={count}, master_address=ADDRESS)
print("open with", *sorted(c.apply(os.getpid)))
{then}
print("done", flush=True)
c.shutdown()
"""

IMPATIENT = "import splice; splice.runtime.config(loss_timeout=3)"

RESTING = "time.sleep(600)"

AT_WORK = """
def work(n):
    time.sleep(0.05)
    return n
print("begins", flush=True)
assert c.map(work, range({items}), chunksize=1) == list(range({items}))
"""

REGISTERED = r"is registered at the master"


def client(cluster: Any, then: str, count: int = 2, setup: str = "") -> Any:
    return cluster.client(HOLDING.format(count=count, then=then, setup=setup))


def workers(program: Any) -> list[psutil.Process]:
    """The OS processes that a client has been given as workers."""
    numbers = program.says(r"open with ([\d ]+)\n")[1].split()
    return [psutil.Process(int(number)) for number in numbers]


# ---- coming and going


def test_a_session_gets_its_workers_from_a_master(cluster: Any) -> None:
    cluster.instance("late", slots=3).says("does not reach|INFO splice.net|registered")
    cluster.master()
    program = cluster.client(SQUARES)
    program.says(r"open with 3\n")
    assert program.ends() == 0
    assert "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]" in program.output
    assert re.search(
        r"begins with 3 of 4 workers: .* 3 slots on 1 inst", program.output
    )


SLOW_START = """
import time, splice
splice.runtime.config(connect_timeout=1)
from splice.cluster import session
with session(worker_count=2, master_address=ADDRESS, init=lambda: time.sleep(3)) as c:
    print("open with", len(c.workers))
"""


@pytest.mark.slow
def test_workers_that_are_started_are_waited_for_as_long_as_it_takes(
    cluster: Any,
) -> None:
    cluster.master()
    cluster.instance("one").says(REGISTERED)
    program = cluster.client(SLOW_START)
    program.says(r"open with 2\n")
    assert program.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_daemons_end_on_a_signal_with_everything_below_them(
    cluster: Any, number: signal.Signals
) -> None:
    master = cluster.master()
    instance = cluster.instance("one")
    instance.says(REGISTERED)
    program = client(cluster, RESTING)
    below = workers(program)
    assert [each.ppid() for each in below] == [instance.popen.pid] * 2
    instance.signal(number)
    assert instance.ends() == 0
    cluster.wait_until_gone(below)
    master.signal(number)
    assert master.ends() == 0


def test_a_worker_is_in_a_process_group_of_its_own(cluster: Any) -> None:
    cluster.master()
    instance = cluster.instance("one")
    below = workers(client(cluster, RESTING))
    groups = {os.getpgid(each.pid) for each in below}
    assert groups == {each.pid for each in below}
    assert os.getpgid(instance.popen.pid) not in groups


def in_groups_of(leaders: list[psutil.Process]) -> list[psutil.Process]:
    """All OS processes in the process groups of `leaders`."""
    groups = {each.pid for each in leaders}
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(each.pid) in groups:
                found.append(each)
    return found


def test_what_a_worker_has_started_ends_with_it(cluster: Any) -> None:
    cluster.master()
    cluster.instance("one").says(REGISTERED)
    then = f'c.apply(os.system, "sleep 600 & sleep 600 &")\nprint("begins")\n{RESTING}'
    program = client(cluster, then)
    below = workers(program)
    program.says("begins")
    everything = in_groups_of(below)
    assert len(everything) == 2 * 3
    program.signal(signal.SIGKILL)
    cluster.wait_until_gone(everything)


# ---- sharing


SHARING = """
def work(n):
    time.sleep(0.02)
    return n
assert c.map(work, range(1500), retries=0) == list(range(1500))
"""


@pytest.mark.slow
def test_two_sessions_share_the_slots_and_lose_no_item(cluster: Any) -> None:
    master = cluster.master()
    cluster.instance("one", slots=2).says(REGISTERED)
    first = client(cluster, SHARING)
    workers(first)
    second = cluster.client(SQUARES)
    second.says(r"open with 1\n")
    assert second.ends() == 0
    first.says("done")
    assert first.ends() == 0
    assert "WARNING" not in master.output


# ---- kill -9, at rest and in the middle of a map


@pytest.mark.parametrize("then", [RESTING, AT_WORK.format(items=4000)])
def test_the_workers_of_a_killed_client_end(cluster: Any, then: str) -> None:
    cluster.master()
    instance = cluster.instance("one")
    program = client(cluster, then)
    below = workers(program)
    program.signal(signal.SIGKILL)
    cluster.wait_until_gone(below)
    cluster.until(lambda: not instance.below(), "an instance without workers")
    again = cluster.client(SQUARES)
    again.says(r"open with 2\n")
    assert again.ends() == 0


def test_the_workers_of_a_killed_instance_end_with_it_at_rest(cluster: Any) -> None:
    cluster.master()
    instance = cluster.instance("one")
    program = client(cluster, RESTING)
    below = workers(program)
    instance.signal(signal.SIGKILL)
    cluster.wait_until_gone(below)
    program.says("was lost with its instance")


def test_a_map_survives_a_killed_instance(cluster: Any) -> None:
    cluster.master()
    one, other = cluster.instance("one"), cluster.instance("other")
    one.says(REGISTERED)
    other.says(REGISTERED)
    program = client(cluster, AT_WORK.format(items=200), count=4)
    below = workers(program)
    program.says("begins")
    one.signal(signal.SIGKILL)
    program.says("done")
    assert program.ends() == 0
    cluster.wait_until_gone(below)


@pytest.mark.slow
def test_a_map_survives_a_frozen_instance_whose_workers_end_when_it_thaws(
    cluster: Any,
) -> None:
    cluster.master()
    one = cluster.instance("one", "-t", "3")
    other = cluster.instance("other", "-t", "3")
    one.says(REGISTERED)
    other.says(REGISTERED)
    program = client(cluster, AT_WORK.format(items=400), count=4, setup=IMPATIENT)
    program.says("begins")
    below = one.below()
    assert len(below) == 2
    one.signal(signal.SIGSTOP)
    program.says("was lost with its instance")
    program.says("done")
    assert program.ends() == 0
    one.signal(signal.SIGCONT)
    cluster.wait_until_gone(below)


def test_a_map_survives_a_killed_worker(cluster: Any) -> None:
    cluster.master()
    instance = cluster.instance("one")
    program = client(cluster, AT_WORK.format(items=100))
    below = workers(program)
    program.says("begins")
    below[0].kill()
    program.says("done")
    assert program.ends() == 0
    assert "was killed by SIGKILL" in program.output
    cluster.until(lambda: not instance.below(), "an instance without workers")


def test_a_map_survives_a_killed_master_and_its_successor_finds_all(
    cluster: Any, tmp_path: Path
) -> None:
    may_end = tmp_path / "may end"
    stay = f"while not os.path.exists({str(may_end)!r}):\n    time.sleep(0.05)\n"
    master = cluster.master()
    instance = cluster.instance("one", slots=4)
    instance.says(REGISTERED)
    program = client(cluster, AT_WORK.format(items=100) + stay)
    below = workers(program)
    program.says("begins")
    master.signal(signal.SIGKILL)
    master.ends()
    cluster.master()
    second = cluster.client(SQUARES)
    # of four slots the first session has two, also in the eyes of the new master
    second.says(r"open with 2\n")
    assert second.ends() == 0
    assert cluster.all_live(below)
    may_end.touch()
    program.says("done")
    assert program.ends() == 0


def test_a_killed_master_at_rest_leaves_sessions_and_instances_running(
    cluster: Any,
) -> None:
    master = cluster.master()
    instance = cluster.instance("one")
    below = workers(client(cluster, RESTING))
    master.signal(signal.SIGKILL)
    instance.says("does not reach the master")
    assert cluster.all_live(below)
    cluster.master()
    cluster.until(
        lambda: len(re.findall(REGISTERED, instance.output)) == 2, "its return"
    )
    assert cluster.all_live(below)


def test_nothing_is_left_in_the_folder_of_sockets(cluster: Any) -> None:
    from splice.net.places import ipc_folder

    folder = ipc_folder()
    assert folder is not None
    master, instance = cluster.master(), cluster.instance("one")
    assert cluster.client(SQUARES).ends() == 0
    for daemon in (instance, master):
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert not list(folder.glob(f"*-{cluster.port}"))


# ---- keys, ports and words


def test_a_wrong_key_says_what_to_copy_where(cluster: Any, tmp_path: Path) -> None:
    cluster.master().says("is in .*/config/splice/key; each instance")
    other = tmp_path / "other"
    other.write_text("ab" * 32, encoding="ascii")
    other.chmod(0o600)
    wrong = f"SPLICE_KEY_FILE={other}"
    instance = cluster.instance("one", prefix=("env", wrong))
    assert instance.ends() == os.EX_CONFIG
    program = cluster.client(SQUARES, prefix=("env", wrong))
    assert program.ends() == 1
    for each in (instance, program):
        assert f"from {other}); copy the key file" in each.output
        assert "ab" * 8 not in each.output


def test_an_instance_that_cannot_find_its_master_says_which(cluster: Any) -> None:
    cluster.master().says("listens at")  # so that there is a key
    cluster.address = "tcp://no-such-name.invalid:50000"
    instance = cluster.instance("one")
    assert instance.ends() == os.EX_UNAVAILABLE
    assert (
        "the master's name no-such-name.invalid cannot be looked up" in instance.output
    )


def test_a_master_whose_port_is_taken_says_so(cluster: Any) -> None:
    cluster.master().says("listens at")
    second = cluster.master()
    assert second.ends() == os.EX_UNAVAILABLE
    assert f"cannot listen on tcp://0.0.0.0:{cluster.port}" in second.output


def test_the_status_of_a_cluster_is_a_table(cluster: Any) -> None:
    cluster.master()
    cluster.instance("one").says(REGISTERED)
    workers(client(cluster, RESTING))
    command = ("-m", "splice", "status", "-m", cluster.address)

    def shown() -> bool:
        program = cluster.run("status", *command)
        assert program.ends() == 0
        return bool(re.search(r"one .*│ 2 +│ 2 ", program.output))

    cluster.until(shown, "two workers of two slots")
