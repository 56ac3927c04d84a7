"""Sessions work wherever their program runs: in scripts, shells, threads and other sessions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import psutil
import pytest

from splice.cluster import session

pytestmark = pytest.mark.system


def triple(value: int) -> int:
    """Travels as a name: pytest's module is found by the workers."""
    return 3 * value


def test_functions_of_a_test_module_travel_and_so_do_local_ones() -> None:
    def local(value: int) -> int:
        return triple(value) + 1

    with session(worker_count=1) as c:
        assert c.map(triple, range(3)) == [0, 3, 6]
        assert c.map(local, range(3)) == [1, 4, 7]


def map_on_workers_of_workers(value: int) -> list[int]:
    with session(worker_count=1) as inner:
        return inner.map(triple, range(value))


def test_a_session_inside_workers_has_workers_of_its_own_and_ends_them() -> None:
    with session(worker_count=2) as c:
        workers = [psutil.Process(pid) for pid in c.apply(os.getpid)]
        nested = c.map(map_on_workers_of_workers, [1, 2, 3], chunksize=1)
        assert nested == [[0], [0, 3], [0, 3, 6]]
        assert not any(worker.children() for worker in workers)


def test_threads_have_sessions_of_their_own_at_the_same_time() -> None:
    answers: dict[int, Any] = {}

    def work(number: int) -> None:
        with session(worker_count=1, name=str(number)) as c:
            both_open.wait(30)
            answers[number] = c.apply(os.getpid), c.map(pow, range(4), number)

    both_open = threading.Barrier(2)
    threads = [threading.Thread(target=work, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {number: mapped for number, (_, mapped) in answers.items()} == {
        2: [0, 1, 4, 9],
        3: [0, 1, 8, 27],
    }
    assert answers[2][0] != answers[3][0]


IMAP = """
import time
from splice.cluster import session

def work(number):
    if number == 3:
        with open({gate!r}, "w"):
            pass
        time.sleep(600)
    return number

with session(worker_count=1) as c:
    try:
        for answer in c.imap(work, range(100), chunksize=1):
            print(answer, flush=True)
    except KeyboardInterrupt:
        print("stopped")
    print(c.map(abs, [-1]))
"""


def test_ctrl_c_in_an_imap_stops_the_work_and_leaves_the_session(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = tmp_path / "script.py"
    script.write_text(IMAP.format(gate=str(gate)))
    program = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    )
    gate.read_text()  # item 3 is at work
    assert program.stdout is not None
    taken = [program.stdout.readline() for _ in range(3)]
    program.send_signal(signal.SIGINT)
    out, _ = program.communicate(timeout=30)
    assert taken == ["0\n", "1\n", "2\n"]
    assert out == "stopped\n[1]\n"
    assert program.returncode == 0


SHELL = """
from splice import Process, runtime
class Adder(Process):
    def add(self, a, b):
        return a + b

adder = runtime.spawn(Adder)
print("asked", adder.add(1, 2).get())
from splice.cluster import session
c = session(worker_count=1)
def power(v, a):
    return v ** a

print("mapped", c.map(power, range(4), 2), c.map(lambda v: -v, [1]))
c.shutdown()
"""


def test_a_shell_spawns_asks_and_maps() -> None:
    shell = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=SHELL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "asked 3" in shell.stdout, shell.stderr
    assert "mapped [0, 1, 4, 9] [-1]" in shell.stdout, shell.stderr


NOTEBOOK = [
    """
from splice import Process, runtime
from splice.cluster import session
class Adder(Process):
    def add(self, a, b):
        return a + b
adder = runtime.spawn(Adder)
print("asked", adder.add(1, 2).get(), await adder.add(3, 4))
""",
    """
c = session(worker_count=1)
print("mapped", c.map(lambda v: v ** 2, range(4)), await c.map_async(abs, [-5]))
""",
    """
async with session(worker_count=1) as other:
    print("both", other.map(abs, [-6]), c.map(abs, [-7]))
c.shutdown()
""",
]


def test_a_notebook_spawns_asks_and_maps() -> None:
    cells = [nbformat.v4.new_code_cell(cell) for cell in NOTEBOOK]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown = [cell.outputs[0]["text"] for cell in notebook.cells]
    assert shown == [
        "asked 3 7\n",
        "mapped [0, 1, 4, 9] [5]\n",
        "both [6] [7]\n",
    ]
