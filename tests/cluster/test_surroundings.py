"""Sessions work wherever their program runs: in scripts, shells, threads and other sessions."""

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

import jupyter_client
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


AT_WORK = """
import os, time
from splice.cluster import session

def work(number, gate):
    if number == 0:
        with open(gate, "w"):
            pass
    time.sleep(600)

c = session(worker_count=1)
print("open", flush=True)
"""


def test_ctrl_c_in_a_shell_stops_the_work_and_leaves_the_session(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    shell = subprocess.Popen(
        [sys.executable, "-i", "-q"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert shell.stdin is not None
    shell.stdin.write(f"{AT_WORK}\nc.map(work, range(3), {str(gate)!r})\n")
    shell.stdin.flush()
    gate.read_text()  # it is at work
    shell.send_signal(signal.SIGINT)
    then = 'print("then", c.map(abs, [-1]))\nc.shutdown()\n'
    out, err = shell.communicate(then, timeout=30)
    assert out == "open\nthen [1]\n", err
    assert "\nKeyboardInterrupt\n" in err
    assert shell.returncode == 0


def test_an_interrupted_cell_stops_the_work_and_leaves_the_session(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    manager = jupyter_client.manager.KernelManager(kernel_name="python3")
    manager.start_kernel()
    kernel = manager.blocking_client()
    kernel.start_channels()
    try:
        kernel.wait_for_ready(timeout=30)
        kernel.execute_interactive(AT_WORK, timeout=30)
        # else the kernel may abort the next cell, too, which comes right after the error
        code = f"c.map(work, range(3), {str(gate)!r})"
        asked = kernel.execute(code, stop_on_error=False)
        gate.read_text()  # it is at work
        manager.interrupt_kernel()
        shown = kernel.get_shell_msg(timeout=30)
        while shown["parent_header"].get("msg_id") != asked:
            shown = kernel.get_shell_msg(timeout=30)
        assert shown["content"]["ename"] == "KeyboardInterrupt"
        then = kernel.execute_interactive(
            "assert c.map(abs, [-1]) == [1]; c.shutdown()", timeout=30
        )
        assert then["content"]["status"] == "ok", then["content"]
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)


TALKING = """
with session(worker_count=1) as c:
    c.apply(print, "from a worker")
"""


def test_what_workers_print_is_in_the_cell_that_has_them_print() -> None:
    cells = [
        nbformat.v4.new_code_cell("from splice.cluster import session"),
        nbformat.v4.new_code_cell(TALKING),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert notebook.cells[1].outputs[0]["text"] == "[worker 1] from a worker\n"


def test_pytest_captures_what_workers_print(capsys: pytest.CaptureFixture[str]) -> None:
    with session(worker_count=1) as c:
        c.apply(print, "from a worker")
    assert capsys.readouterr().out == "[worker 1] from a worker\n"


SCRIPT = """
from splice.cluster import session

def square(value):
    return Number(value * value)

class Number:
    def __init__(self, value):
        self.value = value

with session(worker_count=2) as c:
    print([each.value for each in c.map(square, range(4))])
"""


@pytest.mark.parametrize("how", ["file", "module", "-c", "stdin", "folder"])
def test_a_program_needs_no_guard_however_it_is_run(how: str, tmp_path: Path) -> None:
    for name in ("program.py", "__main__.py"):
        (tmp_path / name).write_text(SCRIPT)
    arguments = {
        "file": ["program.py"],
        "module": ["-m", "program"],
        "-c": ["-c", SCRIPT],
        "stdin": ["-"],
        "folder": ["."],
    }[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=SCRIPT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 4, 9]\n", "")


def begin_and_sleep(_: int, gate: str) -> None:
    with open(gate, "w"):  # noqa: PTH123
        pass
    time.sleep(600)


def test_a_cancelled_coroutine_can_stop_the_map_that_it_awaits(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    async def main() -> tuple[bool, list[int], list[int]]:
        async with session(worker_count=1) as c:
            before = await asyncio.to_thread(c.apply, os.getpid)
            mapping = c.map_async(begin_and_sleep, range(3), str(gate))
            waiting = asyncio.ensure_future(wait_for(mapping))
            await asyncio.to_thread(gate.read_text)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert await c.map_async(abs, [-1]) == [1]
            return (
                waiting.cancelled(),
                before,
                await asyncio.to_thread(c.apply, os.getpid),
            )

    was_cancelled, before, behind = asyncio.run(main())
    assert was_cancelled
    assert before == behind, "its worker had to be killed"


async def wait_for(mapping: Any) -> Any:
    try:
        return await mapping
    except asyncio.CancelledError:  # others might wait for it too, so we have to say so
        await mapping.cancel_nowait()
        raise


def test_an_async_for_that_is_left_stops_the_work(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    async def main() -> list[int]:
        async with session(worker_count=1) as c:
            answers = c.imap(begin_and_sleep, range(3), str(gate), chunksize=1)

            async def read() -> None:
                async for _ in answers:
                    raise AssertionError("none is answered")

            reading = asyncio.ensure_future(read())
            await asyncio.to_thread(gate.read_text)
            reading.cancel()
            await asyncio.wait([reading])
            answers.close()
            return list(await c.map_async(abs, [-1]))

    assert asyncio.run(main()) == [1]
