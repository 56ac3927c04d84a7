"""The cases of CPython's own tests of executors, and what holds for ours beyond them.

`docs/reference/executor.md` says which case is which test here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from itertools import count, islice
from pathlib import Path
from typing import Any

import psutil
import pytest

import splice
from splice.cluster import Session, session
from splice.errors import WorkerDied
from splice.futures import Executor


@pytest.fixture(scope="module")
def e() -> Iterator[Executor]:
    """An executor of two workers that the tests of this module share."""
    with Executor(2) as opened:
        yield opened


@pytest.fixture
def gates(tmp_path: Path) -> list[str]:
    """Named pipes: whoever opens one waits until the other end is opened too."""
    paths = [str(tmp_path / f"gate{n}") for n in range(4)]
    for path in paths:
        os.mkfifo(path)
    return paths


def pass_gate(begun: str, go_on: str) -> int:
    """Tell that it has begun, and wait to be let on."""
    open(begun, "w").close()  # noqa: PTH123 - it travels by value
    open(go_on).close()  # noqa: PTH123
    return os.getpid()


def opened(path: str) -> None:
    Path(path).read_text()


def let_on(path: str) -> None:
    Path(path).write_text("")


def capture(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def gone(pids: list[int]) -> bool:
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20
    )
    return not alive


def run_program(script: str) -> tuple[str, str]:
    """Run a program of its own; what it wrote to standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.stdout, done.stderr


class Thing:
    """Something that can be watched."""

    def method(self) -> int:
        return 1


# ---- submit and map


def test_a_call_is_answered(e: Executor) -> None:
    assert e.submit(pow, 2, 8).result(20) == 256
    assert e.submit(lambda x, y: x * y, 2, y=8).result(20) == 16


def test_any_name_may_be_the_keyword_of_a_call(e: Executor) -> None:
    answer = e.submit(capture, 1, self=2, fn=3).result(20)
    assert answer == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        e.submit(fn=capture, arg=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        e.submit(arg=1)  # type: ignore[call-arg]


def test_a_map_answers_in_order_in_whatever_chunks(e: Executor) -> None:
    expected = list(map(pow, range(40), range(40)))
    assert list(e.map(pow, range(40), range(40))) == expected
    for size in (3, 6, 40, 50):
        assert list(e.map(pow, range(40), range(40), chunksize=size)) == expected


@pytest.mark.parametrize("option", ["chunksize", "buffersize"])
def test_a_size_below_one_is_told_at_the_call(e: Executor, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be at least 1, not -1"):
        e.map(pow, range(4), range(4), **{option: -1})  # type: ignore[arg-type]


def test_a_map_raises_the_error_of_an_item_in_its_place(e: Executor) -> None:
    answers = e.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(answers) == (0, 1)
    assert next(answers) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_a_map_gives_what_comes_before_its_timeout(
    e: Executor, gates: list[str]
) -> None:
    waits = [None, gates]

    def pass_or_not(gates: list[str] | None) -> None:
        if gates is not None:
            open(gates[0], "w").close()  # noqa: PTH123
            open(gates[1]).close()  # noqa: PTH123

    answers = e.map(pass_or_not, waits, timeout=2)
    assert next(answers) is None
    with pytest.raises(futures.TimeoutError):
        next(answers)
    opened(gates[0])
    let_on(gates[1])


def test_a_map_that_is_closed_cancels_what_has_not_begun(
    e: Executor, gates: list[str]
) -> None:
    held = [e.submit(pass_gate, *gates[:2]), e.submit(pass_gate, *gates[2:])]
    opened(gates[0])
    opened(gates[2])
    answers = e.map(os._exit, range(20), timeout=0)
    with pytest.raises(futures.TimeoutError):
        next(answers)
    let_on(gates[1])
    let_on(gates[3])
    pids = {one.result(20) for one in held}
    assert len(pids) == 2
    assert {e.submit(os.getpid).result(20) for _ in range(6)} <= pids


def test_a_map_with_a_buffer_reads_an_endless_input(e: Executor) -> None:
    answers = e.map(abs, count(), buffersize=4)
    assert list(islice(answers, 10)) == list(range(10))
    answers.close()  # type: ignore[attr-defined]


def test_a_map_keeps_no_answer_longer_than_its_taker(e: Executor) -> None:
    for thing in e.map(lambda _: Thing(), range(5), chunksize=2):
        watched = weakref.ref(thing)
        del thing
        gc.collect()
        assert watched() is None


def test_an_argument_is_not_kept(e: Executor) -> None:
    thing = Thing()
    collected = threading.Event()
    watched = weakref.ref(thing, lambda _: collected.set())
    e.submit(thing.method)
    del thing
    assert collected.wait(20)
    assert watched() is None


@pytest.mark.parametrize("number", [0, -1])
def test_there_is_at_least_one_worker(number: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Executor(max_workers=number)


def test_options_that_have_another_name_are_told() -> None:
    with pytest.raises(TypeError, match="takes initializer= and max_workers= instead"):
        Executor(worker_count=2)
    with pytest.raises(TypeError, match="must be a callable, not 3"):
        Executor(1, 3)  # type: ignore[arg-type]


# ---- futures


def test_futures_are_waited_for_as_those_of_the_standard_library(e: Executor) -> None:
    calls = [e.submit(abs, -n) for n in range(6)]
    done = futures.wait(calls, timeout=20)
    assert done.not_done == set()
    assert sorted(c.result() for c in futures.as_completed(calls)) == list(range(6))


def test_a_future_runs_from_when_a_worker_has_it(e: Executor, gates: list[str]) -> None:
    first, second = e.submit(pass_gate, *gates[:2]), e.submit(pass_gate, *gates[2:])
    opened(gates[0])
    opened(gates[2])
    waiting = e.submit(abs, -1)
    assert first.running()
    assert not first.cancel()
    assert not waiting.running()
    let_on(gates[1])
    let_on(gates[3])
    assert waiting.result(20) == 1
    assert first.result(20) != second.result(20)
    assert waiting.done()
    assert not waiting.running()


def test_a_future_that_waits_can_be_cancelled_and_never_runs(
    e: Executor, gates: list[str]
) -> None:
    held = [e.submit(pass_gate, *gates[:2]), e.submit(pass_gate, *gates[2:])]
    opened(gates[0])
    opened(gates[2])
    told: list[Any] = []
    waiting = [e.submit(os._exit, 1) for _ in range(20)]
    waiting[0].add_done_callback(told.append)
    assert [one.cancel() for one in waiting] == [True] * 20
    assert waiting[0].cancel()
    assert told == [waiting[0]]
    # told while the workers are still busy
    assert futures.wait(waiting, timeout=20).not_done == set()
    with pytest.raises(futures.CancelledError):
        waiting[1].result(20)
    let_on(gates[1])
    let_on(gates[3])
    assert len({one.result(20) for one in held}) == 2


def test_a_callback_may_submit_and_wait_for_promises(e: Executor, c: Session) -> None:
    answers: list[Any] = []
    is_done = threading.Event()

    def go_on(done: futures.Future[int]) -> None:
        answers.append(c.submit(abs, -done.result()).get(timeout=20))
        e.submit(abs, -3).add_done_callback(end)

    def end(done: futures.Future[int]) -> None:
        answers.append(done.result())
        is_done.set()

    e.submit(abs, -2).add_done_callback(go_on)
    assert is_done.wait(20)
    assert answers == [2, 3]


def test_a_callback_that_exits_does_no_harm(
    e: Executor, gates: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    call = e.submit(pass_gate, *gates[:2])
    call.add_done_callback(lambda _: sys.exit(3))
    opened(gates[0])
    behind = e.submit(pass_gate, *gates[2:])
    let_on(gates[1])
    call.result(20)
    opened(gates[2])
    let_on(gates[3])
    assert behind.result(20) > 0
    assert "a callback of a future of the call of pass_gate failed" in caplog.text


def test_a_future_can_be_awaited(e: Executor) -> None:
    async def ask() -> int:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(e, abs, -5)

    assert asyncio.run(ask()) == 5


def test_to_wait_on_a_nodes_loop_is_refused(e: Executor, gates: list[str]) -> None:
    call = e.submit(pass_gate, *gates[:2])
    opened(gates[0])

    class Waiter(splice.Process):
        def wait(self) -> Any:
            return call.result()

    with splice.runtime.spawn(Waiter) as waiter:
        with pytest.raises(splice.CannotWait, match="stop the node's loop"):
            waiter.wait().get(timeout=20)
        let_on(gates[1])
        assert call.result(20) == waiter.wait().get(timeout=20)


# ---- errors and deaths


def test_an_error_has_the_traceback_of_the_worker(e: Executor) -> None:
    def fail() -> None:
        raise RuntimeError(123)  # some comment

    error = e.submit(fail).exception(20)
    assert type(error) is RuntimeError
    assert error.args == (123,)
    assert "raise RuntimeError(123)  # some comment" in str(error.__cause__)


def test_an_exit_reaches_the_caller(e: Executor) -> None:
    with pytest.raises(SystemExit):
        e.submit(sys.exit, 1).result(20)


class FailsToTravel:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("no")


class FailsToArrive:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return raise_one, (self.error,)


def raise_one(error: type[BaseException]) -> None:
    raise error("no")


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_what_cannot_travel_fails_its_call_and_no_other(
    e: Executor, error: type[BaseException]
) -> None:
    failing: list[Callable[[], futures.Future[Any]]] = [
        lambda: e.submit(id, FailsToArrive(error)),
        lambda: e.submit(FailsToTravel, error),
        lambda: e.submit(FailsToArrive, error),
    ]
    if error is ValueError:
        failing.append(lambda: e.submit(id, FailsToTravel(error)))
    for fail in failing:
        assert fail().exception(20) is not None
        assert e.submit(abs, -1).result(20) == 1


def test_a_worker_that_dies_fails_its_call_and_is_replaced(
    e: Executor, gates: list[str]
) -> None:
    other = e.submit(pass_gate, *gates[:2])
    opened(gates[0])
    died = e.submit(os._exit, 99).exception(20)
    assert isinstance(died, BrokenProcessPool)
    assert isinstance(died, WorkerDied)
    assert "exited with code 99; it had a call of _exit in work" in str(died)
    assert e.submit(abs, -1).result(20) == 1
    let_on(gates[1])
    assert other.result(20) > 0


def test_a_call_is_not_run_twice_unless_told_to(tmp_path: Path) -> None:
    def die_once(mark: str) -> str:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return "again"
        os._exit(1)

    with session(worker_count=1) as c:
        with c.executor() as once:
            mark = str(tmp_path / "once")
            assert isinstance(once.submit(die_once, mark).exception(20), WorkerDied)
        with c.executor(retries=1) as twice:
            mark = str(tmp_path / "twice")
            assert twice.submit(die_once, mark).result(20) == "again"


def test_large_arguments_of_calls_that_kill_their_worker_are_no_trouble() -> None:
    def crash(data: str) -> None:
        os._exit(1)

    with Executor(1) as e, pytest.raises(BrokenProcessPool):
        list(e.map(crash, ["a" * 2**20] * 3))


# ---- the initializer


def set_level(level: str) -> None:
    os.environ["LEVEL"] = level


def test_the_initializer_runs_on_replaced_workers_too() -> None:
    with Executor(1, set_level, ("set",)) as e:
        assert e.submit(os.getenv, "LEVEL").result(20) == "set"
        assert e.submit(os._exit, 1).exception(20) is not None
        assert e.submit(os.getenv, "LEVEL").result(20) == "set"


def test_an_initializer_that_fails_breaks_the_executor() -> None:
    e = Executor(2, int, ("no number",))
    calls = [e.submit(abs, -n) for n in range(5)]
    for call in calls:
        with pytest.raises(
            futures.BrokenExecutor, match=r"initializer failed: ValueError: .*number"
        ):
            call.result(20)
    with pytest.raises(futures.BrokenExecutor, match="initializer failed"):
        e.submit(abs, -1)
    e.shutdown()


# ---- a limited life of workers


@pytest.mark.slow
def test_workers_are_replaced_after_their_share_of_calls() -> None:
    with Executor(1, max_tasks_per_child=3) as e:
        pids = list(e.map(lambda _: os.getpid(), range(7)))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@pytest.mark.slow
def test_a_shutdown_that_does_not_wait_lets_workers_be_replaced() -> None:
    e = Executor(1, max_tasks_per_child=1)
    calls = [e.submit(abs, -n) for n in range(3)]
    e.shutdown(wait=False)
    del e
    assert [call.result(60) for call in calls] == [0, 1, 2]


@pytest.mark.parametrize(
    ("life", "kind"), [(0, ValueError), (-1, ValueError), (0.5, TypeError)]
)
def test_a_worker_does_at_least_one_call(life: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="max_tasks_per_child must be "):
        Executor(1, max_tasks_per_child=life)


# ---- the end


def test_nothing_is_taken_after_the_end() -> None:
    e = Executor(1)
    pids = [e.submit(os.getpid).result(20)]
    calls = [e.submit(time.sleep, 0.01) for _ in range(20)]
    e.shutdown()
    assert all(call.done() for call in calls)
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        e.submit(pow, 2, 5)
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        e.map(pow, [2], [5])
    assert gone(pids)
    e.shutdown()


def test_a_shutdown_cancels_what_waits_and_awaits_what_runs(gates: list[str]) -> None:
    e = Executor(1)
    running = e.submit(pass_gate, *gates[:2])
    opened(gates[0])
    waiting = [e.submit(os._exit, 1) for _ in range(20)]
    e.shutdown(wait=False, cancel_futures=True)
    assert [call.cancelled() for call in waiting] == [True] * 20
    let_on(gates[1])
    assert running.result(20) > 0
    e.shutdown()


def test_a_shutdown_that_does_not_wait_ends_the_workers_later(gates: list[str]) -> None:
    e = Executor(1)
    pids = [e.submit(os.getpid).result(20)]
    calls = [e.submit(pass_gate, *gates[:2]), e.submit(abs, -1)]
    opened(gates[0])
    e.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        e.submit(abs, -1)
    let_on(gates[1])
    assert [call.result(20) for call in calls] == [*pids, 1]
    assert gone(pids)


def test_a_call_cancelled_just_before_the_end_does_not_hold_it_up() -> None:
    e = Executor(1)
    e.submit(int).result(20)
    e.submit(int).cancel()
    e.shutdown()


def test_an_executor_that_is_let_go_of_still_answers() -> None:
    e = Executor(1)
    pids = [e.submit(os.getpid).result(20)]
    answers = e.map(abs, range(-5, 5))
    del e
    gc.collect()
    assert list(answers) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert gone(pids)


def test_a_worker_that_dies_after_the_shutdown_does_not_hold_it_up(
    gates: list[str],
) -> None:
    def die(begun: str, go_on: str) -> None:
        open(begun, "w").close()  # noqa: PTH123
        open(go_on).close()  # noqa: PTH123
        os._exit(1)

    e = Executor(1)
    call = e.submit(die, *gates[:2])
    opened(gates[0])
    e.shutdown(wait=False)
    let_on(gates[1])
    e.shutdown()
    assert isinstance(call.exception(20), BrokenProcessPool)


def test_ctrl_c_in_the_block_stops_the_work(gates: list[str]) -> None:
    def interrupted(e: Executor) -> None:
        call = e.submit(pass_gate, *gates[:2])
        opened(gates[0])
        calls.append(call)
        raise KeyboardInterrupt

    calls: list[futures.Future[int]] = []
    with pytest.raises(KeyboardInterrupt), Executor(1) as e:
        interrupted(e)
    [call] = calls
    assert isinstance(call.exception(20), splice.Cancelled)


def test_the_node_that_ends_first_fails_the_calls() -> None:
    script = """
import time
from splice import runtime
from splice.futures import Executor
e = Executor(1)
call = e.submit(time.sleep, 60)
runtime.shutdown()
print(type(call.exception(20)).__name__)
try:
    e.submit(abs, 1)
except RuntimeError as error:
    print("RuntimeError")
e.shutdown()
"""
    assert run_program(script) == ("SpliceError\nRuntimeError\n", "")


SLEEP_AND_PRINT = """
import time
from splice.futures import Executor
def sleep_and_print(seconds, text):
    time.sleep(seconds)
    return text
e = Executor(2)
e.submit(sleep_and_print, 0.2, "apple").add_done_callback(
    lambda call: print(call.result())
)
"""


@pytest.mark.parametrize("last", ["", "e.shutdown(wait=False)", "del e"])
def test_what_was_submitted_is_done_before_the_program_ends(last: str) -> None:
    assert run_program(SLEEP_AND_PRINT + last) == ("apple\n", "")


def test_nothing_is_taken_at_the_end_of_the_program() -> None:
    script = """
import atexit
@atexit.register
def run_last():
    try:
        e.submit(id, None)
    except RuntimeError as error:
        print(error)
from splice.futures import Executor
e = Executor(1)
e.submit(id, 42).result()
"""
    assert run_program(script) == (
        "cannot schedule new futures after shutdown\n",
        "",
    )


# ---- over a given session


def test_an_executor_over_a_session_leaves_it_open(c: Session) -> None:
    pids = c.apply(os.getpid)
    with c.executor() as e:
        assert set(e.map(lambda _: os.getpid(), range(8))) <= set(pids)
    assert c.apply(os.getpid) == pids
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        e.submit(abs, -1)


def test_a_session_that_was_shut_down_is_told() -> None:
    with session(worker_count=1) as c:
        e = c.executor()
    with pytest.raises(RuntimeError, match="the session was shut down"):
        e.submit(abs, -1)


def test_executors_can_be_used_in_calls(e: Executor) -> None:
    def nested(n: int) -> int:
        from splice.futures import Executor

        with Executor(1) as inner:
            return inner.submit(abs, -n).result(20)

    assert e.submit(nested, 7).result(40) == 7
