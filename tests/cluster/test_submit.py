"""Single calls: spread over the workers, cancelled, stopped, given out again, beside maps."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import splice
from splice.cluster import Session, session
from splice.errors import WorkerDied


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


def wait_for_ever(begun: str) -> None:
    open(begun, "w").close()  # noqa: PTH123
    while True:
        time.sleep(1)


def obey_never(begun: str) -> None:
    """Swallow whatever comes, as a library may."""
    while True:
        try:
            open(begun, "w").close()  # noqa: PTH123
            while True:
                time.sleep(1)
        except BaseException:
            begun = os.devnull


def opened(path: str) -> None:
    Path(path).read_text()


def let_on(path: str) -> None:
    Path(path).write_text("")


def test_a_call_answers_what_the_function_returns(c: Session) -> None:
    assert c.submit(divmod, 7, 2).get(timeout=20) == (3, 1)
    assert c.submit(lambda a, b=0: a - b, 1, b=3).get(timeout=20) == -2


def test_a_call_fails_as_the_function_does(c: Session) -> None:
    with pytest.raises(ZeroDivisionError):
        c.submit(divmod, 1, 0).get(timeout=20)
    with pytest.raises(SystemExit):
        c.submit(exit, 3).get(timeout=20)


def test_an_argument_that_cannot_travel_is_told_at_the_call(c: Session) -> None:
    with pytest.raises(splice.UnpicklableError):
        c.submit(abs, threading.Lock())


def test_what_is_no_function_or_no_option_is_told_at_the_call(c: Session) -> None:
    with pytest.raises(TypeError, match="wants a function, not 3"):
        c.submit(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retries is at least 0, got -1"):
        c.submit(abs, 1, sp_retries=-1)
    with pytest.raises(ValueError, match="timeout is more than 0 seconds"):
        c.submit(abs, 1, sp_timeout=0)


def test_calls_run_on_different_workers_at_the_same_time(
    c: Session, gates: list[str]
) -> None:
    calls = [c.submit(pass_gate, *gates[:2]), c.submit(pass_gate, *gates[2:])]
    opened(gates[0])
    opened(gates[2])
    let_on(gates[1])
    let_on(gates[3])
    assert len(set(splice.syncmany(calls, timeout=20))) == 2


def test_a_call_waits_in_no_stock_while_a_worker_is_idle(
    c: Session, gates: list[str]
) -> None:
    splice.syncmany([c.submit(abs, -n) for n in range(500)])  # all very quick
    blocked = c.submit(pass_gate, *gates[:2])
    others = [c.submit(abs, -n) for n in range(300)]
    opened(gates[0])
    assert splice.syncmany(others, timeout=20) == list(range(300))
    let_on(gates[1])
    blocked.get(timeout=20)


def test_many_calls_from_many_threads_are_all_answered(c: Session) -> None:
    answers: dict[int, list[int]] = {}

    def submit_some(base: int) -> None:
        calls = [c.submit(abs, -n) for n in range(base, base + 200)]
        answers[base] = splice.syncmany(calls, timeout=30)

    threads = [
        threading.Thread(target=submit_some, args=(n,)) for n in range(0, 800, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert sorted(n for some in answers.values() for n in some) == list(range(800))


def test_calls_go_on_beside_a_map(c: Session) -> None:
    stopped: list[Any] = []
    thread = threading.Thread(
        target=lambda: stopped.append(c.map(time.sleep, [0.01] * 200, chunksize=1))
    )
    thread.start()
    assert c.submit(abs, -1).get(timeout=20) == 1
    assert not stopped
    thread.join(30)
    assert stopped == [[None] * 200]


# ---- cancelling


def test_a_call_that_waits_can_be_cancelled(c: Session, gates: list[str]) -> None:
    blocking = [c.submit(pass_gate, *gates[:2]), c.submit(pass_gate, *gates[2:])]
    opened(gates[0])
    opened(gates[2])
    waiting = [c.submit(os._exit, 1) for _ in range(20)]
    assert [call.cancel() for call in waiting] == [True] * 20
    let_on(gates[1])
    let_on(gates[3])
    splice.syncmany(blocking, timeout=20)
    with pytest.raises(splice.Cancelled):
        waiting[0].get(timeout=20)


def test_a_running_call_is_stopped_by_cancel(c: Session, gates: list[str]) -> None:
    pids = c.apply(os.getpid)
    call = c.submit(wait_for_ever, gates[0])
    opened(gates[0])
    assert call.cancel()
    with pytest.raises(splice.Cancelled):
        call.get(timeout=20)
    assert c.apply(os.getpid) == pids


def test_a_call_that_is_done_cannot_be_cancelled(c: Session) -> None:
    call = c.submit(abs, -1)
    call.get(timeout=20)
    assert not call.cancel()


def test_a_call_that_does_not_obey_is_ended_with_its_worker(gates: list[str]) -> None:
    with session(worker_count=1) as c:
        pids = c.apply(os.getpid)
        call = c.submit(obey_never, gates[0], sp_retries=0)
        opened(gates[0])
        behind = c.submit(os.getpid, sp_retries=0)
        assert call.cancel()
        assert behind.get(timeout=20) not in pids


# ---- deaths and time


def test_a_call_is_given_out_again_when_its_worker_dies(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")

    def die_once(mark: str) -> str:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return "done"
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    with session(worker_count=1) as c:
        assert c.submit(die_once, mark).get(timeout=30) == "done"


def test_a_call_that_is_not_to_run_twice_says_what_killed_its_worker(
    c: Session,
) -> None:
    with pytest.raises(WorkerDied, match=r"exited with code 3; it had a call of _exit"):
        c.submit(os._exit, 3, sp_retries=0).get(timeout=30)
    assert c.submit(abs, -1).get(timeout=20) == 1


def test_a_call_that_takes_too_long_fails_and_its_worker_is_free(c: Session) -> None:
    pids = c.apply(os.getpid)
    with pytest.raises(splice.TimeoutError, match="a call of sleep took longer than 0"):
        c.submit(time.sleep, 1000, sp_timeout=0.1).get(timeout=20)
    assert c.apply(os.getpid) == pids


def test_a_call_that_takes_too_long_and_does_not_obey_is_ended() -> None:
    with session(worker_count=1) as c:
        pids = c.apply(os.getpid)
        c.submit(lambda: None).get(timeout=20)  # loads what takes functions by value
        call = c.submit(obey_never, os.devnull, sp_timeout=2)  # begins in time
        with pytest.raises(splice.TimeoutError, match=r"took longer than 2 s"):
            call.get(timeout=20)
        assert c.submit(os.getpid).get(timeout=20) not in pids


class SlowToArrive:
    """Takes ages to be unpickled."""

    def __reduce__(self) -> Any:
        return time.sleep, (600,)


class SlowToLeave:
    """Takes ages to be pickled."""

    def __reduce__(self) -> Any:
        time.sleep(600)
        return int, ()


@pytest.mark.slow
def test_what_takes_too_long_to_travel_takes_too_long() -> None:
    with session(worker_count=1) as c:
        pids = c.apply(os.getpid)
        c.submit(lambda: None).get(timeout=20)  # loads what takes functions by value
        for call in (
            c.submit(id, SlowToArrive(), sp_timeout=0.5),
            c.submit(SlowToLeave, sp_timeout=0.5),
        ):
            with pytest.raises(splice.TimeoutError, match=r"took longer than 0.5 s"):
                call.get(timeout=20)
        kinds = [
            c.map(function, [item], timeout=0.5, on_error="return")
            for function, item in ((id, SlowToArrive()), (make, SlowToLeave))
        ]
        assert [type(each) for (each,) in kinds] == [splice.TimeoutError] * 2
        assert c.apply(os.getpid) == pids


def make(kind: type) -> Any:
    return kind()


# ---- the end


def test_a_shutdown_fails_the_calls_that_are_not_done(gates: list[str]) -> None:
    c = session(worker_count=1)
    calls = [c.submit(wait_for_ever, gates[0]), c.submit(abs, -1)]
    opened(gates[0])
    c.shutdown(cancel=True)
    for call in calls:
        with pytest.raises(splice.SpliceError, match="shut down"):
            call.get(timeout=20)
    with pytest.raises(splice.SpliceError, match="shut down"):
        c.submit(abs, -1)
