"""A local session: map, apply, errors, deaths, and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

import splice
from splice import runtime
from splice.cluster import Session, session


def double(value: int) -> int:
    return value * 2


def odd_fails(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


def exit_at_seven(value: int) -> int:
    if value == 7:
        os._exit(3)
    return value


def test_map_answers_in_the_order_of_the_items(c: Session) -> None:
    assert c.map(double, range(1000)) == [2 * n for n in range(1000)]


def test_map_gives_extra_arguments_to_every_call(c: Session) -> None:
    assert c.map(lambda v, a: v**a, range(100), 5) == [v**5 for v in range(100)]


def test_map_takes_closures(c: Session) -> None:
    closed = 5
    assert c.map(lambda v: v * closed, range(10)) == [v * 5 for v in range(10)]


def test_map_takes_any_iterable_and_any_chunksize(c: Session) -> None:
    items = (n for n in range(50))
    assert c.map(double, items, chunksize=7) == [2 * n for n in range(50)]


def test_map_of_nothing_is_an_empty_list(c: Session) -> None:
    assert c.map(double, []) == []


def test_what_the_iterable_raises_comes_out_as_itself(c: Session) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        c.map(double, items())


def test_apply_runs_once_on_every_worker(c: Session) -> None:
    pids = c.apply(os.getpid)
    assert len(set(pids)) == 2
    assert os.getpid() not in pids


def test_user_code_runs_on_the_main_thread_of_its_os_process(c: Session) -> None:
    def is_main() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert c.apply(is_main) == [True, True]


def test_errors_come_with_their_index_type_and_far_traceback(c: Session) -> None:
    with pytest.raises(splice.CompositeError, match="5 of 10 items failed") as caught:
        c.map(odd_fails, range(10))
    assert caught.value.results == {n: n for n in range(0, 10, 2)}
    error = caught.value.errors[3]
    assert isinstance(error, ValueError)
    assert "odd_fails" in str(error.__cause__)


def test_errors_can_be_returned_in_place_of_answers(c: Session) -> None:
    answers = c.map(odd_fails, range(3), on_error="return")
    assert answers[0] == 0
    assert answers[2] == 2
    assert str(answers[1]) == "1 is odd"


def test_sys_exit_in_an_item_is_that_items_error(c: Session) -> None:
    answers = c.map(lambda n: sys.exit(n) if n == 1 else n, range(3), on_error="return")
    assert isinstance(answers[1], SystemExit)
    assert answers[::2] == [0, 2]


def test_an_answer_that_cannot_travel_fails_its_item_only(c: Session) -> None:
    def lock_at_one(n: int) -> object:
        import threading

        return threading.Lock() if n == 1 else n

    answers = c.map(lock_at_one, range(3), chunksize=3, on_error="return")
    assert isinstance(answers[1], splice.UnpicklableError)
    assert answers[::2] == [0, 2]


def test_an_item_that_cannot_travel_fails_by_name(c: Session) -> None:
    with pytest.raises(splice.CompositeError, match="cannot travel"):
        c.map(double, [1, threading.Lock()], chunksize=1)
    assert c.map(double, [1]) == [2]


def test_a_function_that_cannot_travel_is_named_at_the_call(c: Session) -> None:
    lock = threading.Lock()
    with pytest.raises(splice.UnpicklableError):
        c.map(lambda n: lock.locked(), [1])


def test_a_worker_that_exits_in_a_map_fails_its_item_by_name_and_is_replaced() -> None:
    with session(worker_count=2) as c:
        answers = c.map(exit_at_seven, range(20), on_error="return")
        died = answers[7]
        assert isinstance(died, splice.errors.WorkerDied)
        assert "exited with code 3" in str(died)
        assert [a for i, a in enumerate(answers) if i != 7] == [
            i for i in range(20) if i != 7
        ]
        assert c.map(double, range(5)) == [0, 2, 4, 6, 8]


def test_workers_and_their_files_are_gone_after_the_session() -> None:
    with session(worker_count=2) as c:
        processes = [psutil.Process(pid) for pid in c.apply(os.getpid)]
    assert not any(p.is_running() and p.status() != "zombie" for p in processes)


def test_a_closed_session_says_so() -> None:
    with session(worker_count=1) as c:
        pass
    with pytest.raises(splice.SpliceError, match="shut down"):
        c.map(double, [1])


def test_init_runs_on_each_worker_before_its_work() -> None:
    def init() -> None:
        import builtins

        builtins.splice_test_value = 7  # type: ignore[attr-defined]

    def value() -> int:
        import builtins

        return builtins.splice_test_value  # type: ignore[attr-defined,no-any-return]

    with session(worker_count=2, init=init) as c:
        assert c.apply(value) == [7, 7]


def test_what_init_raises_is_told_when_the_session_is_opened() -> None:
    def init() -> None:
        raise RuntimeError("no licence")

    with pytest.raises(splice.NodeLost, match="no licence"):
        session(worker_count=1, init=init)


@pytest.mark.parametrize("count", [0, -1])
def test_a_session_wants_a_positive_number_of_workers(count: object) -> None:
    with pytest.raises(ValueError, match="at least 1 worker"):
        session(worker_count=count)  # type: ignore[arg-type]


def test_a_session_that_is_sent_along_is_refused_with_the_remedy() -> None:
    with (
        session(worker_count=1) as c,
        pytest.raises(splice.UnpicklableError, match="opens one of its own there"),
    ):
        c.map(lambda x: c.map(abs, [x]), [1])


def test_a_session_can_be_opened_inside_a_handler() -> None:
    class Boss(splice.Process):
        def work(self) -> list[int]:
            with session(worker_count=1) as c:
                return c.map(lambda n: n + 1, range(3))

    with runtime.spawn(Boss) as boss:
        assert boss.work().get(timeout=30) == [1, 2, 3]


CTRL_C = """
import os, signal, threading, time
import psutil
from splice.cluster import session

def forever(n):
    while True:
        time.sleep(0.01)

with session(worker_count=2) as c:
    pids = c.apply(os.getpid)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        c.map(forever, range(100))
    except KeyboardInterrupt:
        began = time.monotonic()
        assert c.map(lambda n: n + 1, range(3)) == [1, 2, 3]
        assert c.apply(os.getpid) == pids
        print("stopped", time.monotonic() - began < 1.0)
print("gone", not any(psutil.pid_exists(pid) for pid in pids))
"""


@pytest.mark.system
def test_ctrl_c_stops_the_work_and_not_only_the_waiting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.split() == ["stopped", "True", "gone", "True"], done.stderr


@pytest.mark.system
def test_a_killed_client_leaves_no_worker_behind() -> None:
    script = (
        "import os, sys, time\n"
        "from splice.cluster import session\n"
        "c = session(worker_count=2)\n"
        "print(*c.apply(os.getpid), flush=True)\n"
        "time.sleep(60)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    with client.stdout:
        pids = [int(pid) for pid in client.stdout.readline().split()]
    workers = [psutil.Process(pid) for pid in pids]
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert len(gone) == 2
    assert not alive
