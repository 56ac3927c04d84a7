"""A pool does what a `multiprocessing.Pool` does; the cases are those of CPython's own tests."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

import pytest

import splice
from splice.errors import WorkerDied
from splice.futures import Pool


@pytest.fixture(scope="module")
def p() -> Iterator[Pool]:
    """A pool of two workers that the tests of this module share."""
    with Pool(2) as opened:
        yield opened


@pytest.fixture
def gate(tmp_path: Path) -> str:
    """A named pipe: whoever opens it waits until the other end is opened too."""
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    return path


def pass_gate(gate: str) -> str:
    open(gate).close()  # noqa: PTH123 - it travels by value
    return "passed"


def let_on(gate: str) -> None:
    Path(gate).write_text("")


def capture(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def reciprocal(n: int) -> float:
    return 1 / n


def test_a_call_is_answered(p: Pool) -> None:
    assert p.apply(pow, (2, 8)) == 256
    assert p.apply(capture, (1,), {"self": 2}) == ((1,), {"self": 2})
    with pytest.raises(ZeroDivisionError):
        p.apply(reciprocal, (0,))


@pytest.mark.parametrize("size", [None, 1, 7, 1000])
def test_a_map_answers_in_order_in_whatever_chunks(p: Pool, size: int | None) -> None:
    items = range(100)
    assert p.map(lambda n: n * n, items, size) == [n * n for n in items]
    assert p.starmap(pow, zip(items, items, strict=True), size) == [n**n for n in items]
    assert p.map(abs, [], size) == []


def test_a_map_of_which_an_item_fails_raises_its_error(p: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        p.map(reciprocal, [1, 0, 2])
    with pytest.raises(ValueError, match="chunksize must be at least 1, not 0"):
        p.map(abs, [1], 0)


def test_an_answer_is_waited_for_and_looked_at(p: Pool, gate: str) -> None:
    answer = p.apply_async(pass_gate, (gate,))
    assert not answer.ready()
    with pytest.raises(ValueError, match="not ready"):
        answer.successful()
    answer.wait(0)
    with pytest.raises(multiprocessing.TimeoutError):
        answer.get(timeout=0)
    let_on(gate)
    assert answer.get(timeout=20) == "passed"
    assert answer.successful()
    failed = p.map_async(reciprocal, [0])
    failed.wait(20)
    assert not failed.successful()


def test_callbacks_are_told_of_answers_and_errors(p: Pool) -> None:
    told: list[Any] = []
    p.apply_async(abs, (-1,), callback=told.append).get(20)
    p.map_async(abs, [-1, -2], callback=told.append).get(20)
    p.starmap_async(pow, [(2, 3)], callback=told.append).get(20)
    answer = p.apply_async(reciprocal, (0,), error_callback=told.append)
    answer.wait(20)
    assert told[:3] == [1, [1, 2], [8]]
    assert isinstance(told[3], ZeroDivisionError)


@pytest.mark.parametrize("size", [1, 7])
def test_answers_are_iterated_over_as_they_come(p: Pool, size: int) -> None:
    items = list(range(60))
    assert list(p.imap(abs, items, size)) == items
    assert sorted(p.imap_unordered(abs, items, size)) == items
    assert list(islice(p.imap(abs, count(), size), 100)) == list(range(100))


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_an_iteration_goes_on_behind_an_error(p: Pool, name: str) -> None:
    answers = getattr(p, name)(reciprocal, [0])
    with pytest.raises(ZeroDivisionError):
        next(answers)
    with pytest.raises(StopIteration):
        next(answers)


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_the_next_answer_may_be_waited_for_for_a_time(
    p: Pool, name: str, gate: str
) -> None:
    answers = getattr(p, name)(pass_gate, [gate])
    with pytest.raises(multiprocessing.TimeoutError):
        answers.next(timeout=0.01)
    let_on(gate)
    assert answers.next(timeout=20) == "passed"


def test_a_worker_that_dies_fails_its_call_and_is_replaced(p: Pool) -> None:
    with pytest.raises(WorkerDied):
        p.apply(os._exit, (1,))
    assert p.map(abs, [-1, -2]) == [1, 2]


def test_to_close_lets_the_work_end() -> None:
    pool = Pool(1, os.putenv, ("LEVEL", "set"))
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    answer = pool.map_async(time.sleep, [0.01] * 5, chunksize=1)
    pool.close()
    pool.join()
    assert answer.ready()
    assert answer.get() == [None] * 5
    for use in (pool.apply, pool.map, pool.imap):
        with pytest.raises(ValueError, match="Pool not running"):
            use(abs, [1])  # type: ignore[operator]


def test_to_terminate_stops_the_work(gate: str) -> None:
    def wait_for_ever(gate: str) -> None:
        open(gate, "w").close()  # noqa: PTH123
        threading.Event().wait()

    pool = Pool(1)
    answers = [pool.apply_async(wait_for_ever, (gate,)), pool.apply_async(abs, (1,))]
    Path(gate).read_text()
    pool.terminate()
    pool.join()
    for answer in answers:
        with pytest.raises(splice.SpliceError):
            answer.get(20)


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


@pytest.mark.slow
def test_workers_are_replaced_after_their_share_of_calls() -> None:
    with Pool(3, maxtasksperchild=10) as pool:
        first = {w.pid for w in pool._executor._session.statistics().workers}
        answers = [pool.apply_async(square, (n,)) for n in range(100)]
        found = [answer.get(60) for answer in answers]
        assert [value for value, _ in found] == [n * n for n in range(100)]
        calls = Counter(pid for _, pid in found)
        assert max(calls.values()) == 10
        assert pool.map(abs, [-1, -2]) == [1, 2]
        assert pool._executor._session.statistics().deaths == 0
        assert not first & {w.pid for w in pool._executor._session.statistics().workers}


@pytest.mark.slow
def test_a_chunk_of_a_map_counts_once_for_the_life_of_a_worker() -> None:
    with Pool(1, maxtasksperchild=2) as pool:
        found = pool.map(square, range(40), chunksize=10)
    pids = [pid for _, pid in found]
    assert [len(list(same)) for _, same in groupby(pids)] == [20, 20]


@pytest.mark.slow
def test_to_close_lets_workers_be_replaced_until_all_is_done() -> None:
    pool = Pool(3, maxtasksperchild=1)
    answers = [pool.apply_async(square, (n,)) for n in range(6)]
    pool.close()
    pool.join()
    found = [answer.get(0) for answer in answers]
    assert [value for value, _ in found] == [n * n for n in range(6)]
    assert len({pid for _, pid in found}) == 6


def set_level(level: str) -> None:
    os.environ["LEVEL"] = level


def level_and_mark(mark: str) -> tuple[str, int]:
    """What the initializer has set; what ends with its worker is written down behind it."""
    atexit.register(Path(mark).write_text, f"{os.getpid()}", encoding="ascii")
    return os.environ["LEVEL"], os.getpid()


@pytest.mark.slow
def test_the_next_worker_is_initialized_and_the_last_one_has_ended_in_order(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    with Pool(1, set_level, ("high",), 1) as pool:
        level, before = pool.apply(level_and_mark, (str(mark),))
        again, behind = pool.apply(level_and_mark, (os.devnull,))
    assert (level, again) == ("high", "high")
    assert before != behind
    assert mark.read_text("ascii") == str(before)


@pytest.mark.parametrize("life", [0, -1, 0.5, "12"])
def test_a_worker_does_at_least_one_call(life: Any) -> None:
    with pytest.raises(ValueError, match="maxtasksperchild is at least 1 or None"):
        Pool(3, maxtasksperchild=life)


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="at least 1 process, not 0"):
        Pool(0)
