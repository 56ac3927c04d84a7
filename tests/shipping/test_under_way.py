"""What happens while a unit is under way: to other messages, and to its files."""

from __future__ import annotations

import importlib
import threading

import pytest
from tests.shipping.trees import forget, lay_out, use, write

from splice import runtime
from splice.errors import TimeoutError

pytestmark = pytest.mark.system

MIB = 2**20


def test_processes_of_the_worker_answer_in_the_middle_of_a_transfer(
    far_session, project, chunks
):
    lay_out(project, "large", 8 * MIB)
    write(
        project,
        {
            "beside.py": (
                "from splice import Process\n"
                "class Beside(Process):\n"
                "    def twice(self, n): return 2 * n\n"
            )
        },
    )
    import beside

    begun, finished = threading.Event(), threading.Event()
    c = far_session(hide=(project,))
    proc = runtime.spawn(beside.Beside, sp_dest=c.workers[0])
    assert proc.twice(1).get(timeout=20) == 2

    def hold(number):
        if number == 4:
            begun.set()
            assert finished.wait(40)

    chunks.at = hold
    answer = c.submit(use("large"))
    try:
        assert begun.wait(20)
        assert [proc.twice(n).get(timeout=20) for n in range(50)] == [*range(0, 100, 2)]
        assert not answer.done()
    finally:
        finished.set()
    assert answer.get(timeout=40) == "large"
    forget("beside")


@pytest.mark.parametrize("needed", ["meanwhile", "outer"])
def test_what_comes_while_the_loop_itself_waits_for_a_module_is_held(
    far_session, project, chunks, needed
):
    lay_out(project, "large", 8 * MIB)
    write(
        project,
        {
            "meanwhile.py": "class Value:\n    n = 3\n",
            "outer.py": "import large\nclass Value:\n    n = 3\n",
            "waiting.py": (
                "from splice import Process\n"
                "class Waiting(Process):\n"
                "    async def load(self):\n"
                "        import outer\n"
                "        return outer.large.NAME\n"
                "class Beside(Process):\n"
                "    def take(self, value): return value.n\n"
            ),
        },
    )
    import waiting

    begun, finished = threading.Event(), threading.Event()
    c = far_session(hide=(project,))
    proc = runtime.spawn(waiting.Waiting, sp_dest=c.workers[0])
    beside = runtime.spawn(waiting.Beside, sp_dest=c.workers[0])

    def hold(number):
        if number == 4:
            begun.set()
            assert finished.wait(40)

    chunks.at = hold
    loaded = proc.load()
    try:
        assert begun.wait(20)
        taken = beside.take(importlib.import_module(needed).Value())
        with pytest.raises(TimeoutError):
            taken.get(timeout=0.5)  # it has arrived by then
    finally:
        finished.set()
    assert taken.get(timeout=20) == 3
    assert loaded.get(timeout=20) == "large"
    forget("meanwhile", "outer", "large", "waiting")


@pytest.mark.parametrize("is_handler", [False, True])
def test_a_file_that_shrinks_in_the_middle_of_its_transfer_is_sent_anew_at_once(
    far_session, project, chunks, is_handler
):
    lay_out(project, "large", 8 * MIB)
    write(
        project,
        {
            "shrinking.py": (
                "from splice import Process\n"
                "class Shrinking(Process):\n"
                "    def load(self):\n"
                "        import large\n"
                "        return large.NAME\n"
            )
        },
    )
    import shrinking

    def shrink(number):
        if number == 4:
            (project / "large/data.bin").write_bytes(bytes(3 * MIB))

    c = far_session(hide=(project,))
    proc = runtime.spawn(shrinking.Shrinking, sp_dest=c.workers[0])
    chunks.at = shrink
    answer = proc.load() if is_handler else c.submit(use("large"))
    # long before a thread gives up at the gate
    assert answer.get(timeout=15) == "large"
    assert [d.size < 4 * MIB for d in c.dependencies() if d.name == "large"] == [True]
    forget("shrinking")
