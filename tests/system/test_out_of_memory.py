"""Workers for which the memory does not suffice: really killed by the kernel, or refused some.

The first needs a memory control group of our own, so it wants root; elsewhere it is skipped.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

GROUPS = Path("/sys/fs/cgroup")
LIMIT_BYTES = 400 << 20
"""A client and two workers take 150 MB of it."""

GREEDY = """
import os
from splice.errors import WorkerDied
from splice.cluster import session

def choose_me():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")

def work(n):
    if n == 7:
        choose_me()
        print("I am greedy", flush=True)
        held = [os.urandom(1 << 20) for _ in range(1000)]
    return n

with session(worker_count=2{options}) as c:
    answers = c.map(work, range(20), chunksize=1, retries=1, on_error="return")
    died = answers.pop(7)
    assert answers == [n for n in range(20) if n != 7], answers
    assert isinstance(died, WorkerDied), repr(died)
    print("THE ERROR", died, "END", flush=True)
    assert died.item == "item 7 of a map"
    assert died.peak_memory_bytes > 200 << 20, died.peak_memory_bytes
    assert c.map(abs, range(-4, 0)) == [4, 3, 2, 1]
print("done", flush=True)
"""


def limited_group() -> Path:
    """Make a control group whose memory is limited, without swap; or tell why that cannot be."""
    is_new = (GROUPS / "cgroup.controllers").exists()
    if not is_new and not (GROUPS / "memory").is_dir():
        pytest.skip("no memory control groups are mounted on this system")
    group = GROUPS / ("" if is_new else "memory") / f"splice-test-{os.getpid()}"
    limits = ["memory.max", "memory.swap.max"]
    if not is_new:
        limits = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
    try:
        group.mkdir()
        (group / limits[0]).write_text(str(LIMIT_BYTES), encoding="ascii")
        with contextlib.suppress(FileNotFoundError):  # swap is not counted here
            (group / limits[1]).write_text(
                "0" if is_new else str(LIMIT_BYTES), encoding="ascii"
            )
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory control group can be made here: {error}")
    return group


@pytest.fixture
def group(cluster: Any) -> Iterator[Path]:
    """A control group in which programs of the cluster may run."""
    made = limited_group()
    yield made
    cluster.close()
    cluster.until(lambda: is_removed(made), "a control group without OS processes")


def is_removed(group: Path) -> bool:
    """Remove a control group, which works as soon as nothing is in it."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def in_group(group: Path, *, has_kernel_log: bool = True) -> tuple[str, ...]:
    """What runs a program in a control group, and perhaps without the kernel's log."""
    script = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    if has_kernel_log:
        return "sh", "-c", script, "sh"
    hidden = f"mount --bind /dev/null /dev/kmsg && {script}"
    return "unshare", "--mount", "sh", "-c", hidden, "sh"


def error_of(program: Any) -> str:
    program.says("done")
    assert program.ends() == 0
    found = re.search(r"THE ERROR (.*?) END", program.output, re.DOTALL)
    assert found is not None
    assert "was killed by SIGKILL; it had " in found[1]
    assert "it had item 7 of a map in work" in found[1]
    assert "I am greedy" in found[1]
    return found[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/kmsg").exists(), reason="no log of the kernel here")
def test_a_worker_that_the_kernel_kills_for_its_memory_says_so(
    cluster: Any, group: Path
) -> None:
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        pytest.skip(f"the kernel's log cannot be read: {error}")
    program = cluster.client(GREEDY.format(options=""), prefix=in_group(group))
    assert "; out of memory: the kernel's log says so" in error_of(program)


def can_hide_kernel_log() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = in_group(Path("/proc/self"), has_kernel_log=False)
    hide = (*command[:-2], "mount --bind /dev/null /dev/kmsg", "sh")
    return subprocess.run(hide, check=False, capture_output=True).returncode == 0


@pytest.mark.slow
def test_where_nobody_reads_the_kernels_log_its_counters_tell(
    cluster: Any, group: Path
) -> None:
    if not can_hide_kernel_log():
        pytest.skip("the kernel's log cannot be hidden from a program here")
    prefix = in_group(group, has_kernel_log=False)
    program = cluster.client(GREEDY.format(options=""), prefix=prefix)
    told = r"; out of memory: the kernel killed [12] OS process(es)? in its control gr"
    assert re.search(told, error_of(program))


@pytest.mark.slow
def test_a_worker_of_an_instance_that_the_kernel_kills_says_so_too(
    cluster: Any, group: Path
) -> None:
    cluster.master()
    instance = cluster.instance("one", prefix=in_group(group))
    instance.says("is registered at the master")
    program = cluster.client(GREEDY.format(options=", master_address=ADDRESS"))
    assert "; out of memory: the kernel" in error_of(program)
    assert instance.popen.poll() is None


@pytest.mark.slow
def test_a_worker_that_is_alone_in_its_control_group_says_so_too(
    cluster: Any, group: Path
) -> None:
    init = f'lambda: open("{group}/cgroup.procs", "w").write(str(os.getpid()))'
    program = cluster.client(GREEDY.format(options=f", init={init}"))
    assert "; out of memory: the kernel" in error_of(program)


REFUSED = """
import os, resource
from splice.cluster import session

def limit():
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)

def work(n):
    if n == 7:
        held = bytearray(1 << 30)
    return n

with session(worker_count=1, init=limit{where}) as c:
    before = c.apply(os.getpid)
    answers = c.map(work, range(20), on_error="return")
    assert isinstance(answers[7], MemoryError), answers
    assert answers[:7] + answers[8:] == [n for n in range(20) if n != 7], answers
    assert c.apply(os.getpid) == before
    assert c.statistics().deaths == 0
print("done", flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this is no Linux")
@pytest.mark.parametrize("where", ["", ", master_address=ADDRESS"])
def test_an_item_that_is_refused_memory_fails_and_its_worker_lives(
    cluster: Any, where: str
) -> None:
    if where:
        cluster.master()
        cluster.instance("one")
    program = cluster.client(REFUSED.format(where=where))
    program.says("done")
    assert program.ends() == 0
