"""The map family: lazy, asynchronous, in any order, with options; and what stops it."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import splice
from splice import Process
from splice.cluster import Session, session
from splice.errors import WorkerDied


def double(value: int) -> int:
    return value * 2


def odd_fails(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


# ---- iterators


def test_imap_gives_the_answers_in_order(c: Session) -> None:
    assert list(c.imap(double, range(1000))) == [2 * n for n in range(1000)]


def test_imap_unordered_gives_every_answer_once(c: Session) -> None:
    answers = list(c.imap_unordered(double, range(1000), chunksize=3))
    assert sorted(answers) == [2 * n for n in range(1000)]


def test_imap_reads_an_endless_input_only_so_far_as_is_needed(c: Session) -> None:
    numbers = itertools.count()
    answers = c.imap(double, numbers, chunksize=1)
    assert [next(answers) for _ in range(50)] == [2 * n for n in range(50)]
    answers.close()
    assert next(answers, None) is None
    assert next(numbers) < 2000


def test_imap_reads_its_input_in_the_thread_that_iterates(c: Session) -> None:
    threads = set()

    def items() -> Iterator[int]:
        for n in range(100):
            threads.add(threading.get_ident())
            yield n

    assert list(c.imap(double, items())) == [2 * n for n in range(100)]
    assert threads == {threading.get_ident()}


def test_an_error_of_the_input_comes_out_as_itself_behind_the_answers(
    c: Session,
) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise LookupError("no more")

    answers = c.imap(double, items())
    assert [next(answers) for _ in range(5)] == [0, 2, 4, 6, 8]
    with pytest.raises(LookupError, match="no more"):
        next(answers)
    assert next(answers, "over") == "over"


def test_a_failed_item_raises_in_its_place_and_the_others_follow(c: Session) -> None:
    answers = c.imap(odd_fails, range(4))
    assert next(answers) == 0
    with pytest.raises(ValueError, match="1 is odd"):
        next(answers)
    assert next(answers) == 2


def test_imap_gives_errors_where_that_is_asked_for(c: Session) -> None:
    answers = list(c.imap(odd_fails, range(4), on_error="return"))
    assert [type(answer) for answer in answers] == [int, ValueError, int, ValueError]


def test_two_iterators_and_a_map_go_on_side_by_side(c: Session) -> None:
    one = c.imap(double, range(100), chunksize=1)
    other = c.imap(double, range(100, 200), chunksize=1)
    pairs = list(zip(one, other, strict=True))
    assert c.map(double, range(5)) == [0, 2, 4, 6, 8]
    assert pairs == [(2 * n, 2 * n + 200) for n in range(100)]


def test_starmap_spreads_each_item(c: Session) -> None:
    assert c.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert c.starmap(pow, [(2, 3), (3, 2)], 5) == [3, 4]


# ---- asynchronous


def test_map_async_is_a_promise_of_the_list(c: Session) -> None:
    promise = c.map_async(double, (n for n in range(100)))
    assert promise.get(timeout=20) == [2 * n for n in range(100)]
    with pytest.raises(splice.CompositeError, match="1 of 2 items failed"):
        c.map_async(odd_fails, range(2)).get(timeout=20)


def test_map_async_can_be_cancelled(c: Session) -> None:
    promise = c.map_async(time.sleep, [1000] * 10)
    assert promise.cancel()
    with pytest.raises(splice.Cancelled):
        promise.get(timeout=20)
    assert c.map(double, range(3)) == [0, 2, 4]


def test_a_session_works_under_asyncio() -> None:
    async def main() -> tuple[list[int], list[int], int]:
        async with session(worker_count=1) as c:
            mapped = await c.map_async(double, range(3))
            streamed = [answer async for answer in c.imap(double, range(3))]
            return mapped, streamed, await c.submit(double, 4)

    assert asyncio.run(main()) == ([0, 2, 4], [0, 2, 4], 8)


# ---- options


def test_an_item_is_tried_again_after_an_error_that_says_so(
    c: Session, tmp_path: Path
) -> None:
    def fail_twice(n: int, folder: str) -> int:
        tries = len(os.listdir(folder))  # noqa: PTH208 - it travels by value
        os.mkdir(f"{folder}/{tries}")  # noqa: PTH102
        if tries < 2:
            raise ConnectionError("not now")
        return tries

    folder = str(tmp_path)
    assert c.map(fail_twice, [0], folder, retry_on=(ConnectionError,)) == [2]
    with pytest.raises(splice.CompositeError, match="1 of 1 items failed"):
        c.map(odd_fails, [1], retry_on=(ConnectionError,))


def test_items_that_take_too_long_fail_alone(c: Session) -> None:
    answers = c.map(time.sleep, [0, 1000, 0], timeout=0.2, on_error="return")
    assert answers[0] is answers[2] is None
    assert isinstance(answers[1], splice.TimeoutError)
    assert "item 1 of a map took longer than 0.2 s" in str(answers[1])


def test_a_chunksize_and_a_timeout_exclude_each_other(c: Session) -> None:
    with pytest.raises(ValueError, match="travel singly"):
        c.map(double, [1], chunksize=2, timeout=1)


def test_an_item_that_kills_its_workers_is_given_up_and_named(c: Session) -> None:
    def fatal(n: int) -> int:
        if n == 7:
            os._exit(3)
        return n

    answers = c.map(fatal, range(20), retries=1, on_error="return")
    died = answers.pop(7)
    assert answers == [n for n in range(20) if n != 7]
    assert isinstance(died, WorkerDied)
    assert "exited with code 3; it had item 7 of a map in work" in str(died)


def test_progress_is_told_to_a_function(c: Session) -> None:
    told: list[tuple[int, int | None]] = []
    c.map(double, range(30), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (30, 30)
    assert list(c.imap(double, range(30), progress=lambda *told_: told.append(told_)))
    assert told[-1] == (30, 30)


def test_progress_of_no_known_kind_is_refused(c: Session) -> None:
    with pytest.raises(TypeError, match="progress is True, False or a function"):
        c.map(double, [1], progress="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [3, "x", (ValueError, 3), (int,)])
def test_what_is_retried_on_are_classes_of_errors(c: Session, wrong: object) -> None:
    with pytest.raises(TypeError, match="retry_on is a tuple of classes of errors"):
        c.map(double, [1], retry_on=wrong)  # type: ignore[arg-type]


def test_one_class_of_errors_may_stand_alone(c: Session) -> None:
    assert c.map(double, [1], retry_on=ValueError) == [2]  # type: ignore[arg-type]


def test_a_chunksize_is_a_number(c: Session) -> None:
    with pytest.raises(TypeError, match="chunksize is a number of items, not 'x'"):
        c.map(double, [1], chunksize="x")  # type: ignore[arg-type]


def test_what_every_worker_is_to_call_is_a_function(c: Session) -> None:
    with pytest.raises(TypeError, match="apply wants a function, not 3"):
        c.apply(3)  # type: ignore[arg-type]


# ---- workers


class Counter(Process):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def address(self) -> str:
        from splice import runtime

        return str(runtime.address)


def test_processes_are_made_on_the_workers_in_turn(c: Session) -> None:
    proxies = [c.spawn(Counter, 1), c.spawn(Counter, start=2)]
    where = {proxy.address().get(timeout=20) for proxy in proxies}
    assert where == set(c.workers)


def test_a_process_can_be_made_on_each_worker(c: Session) -> None:
    view = c.spawn_scatter(Counter)
    assert splice.syncmany(view.address(), timeout=20) == list(c.workers)


def test_a_map_may_open_a_session_of_its_own_on_a_worker(c: Session) -> None:
    def nested(n: int) -> list[int]:
        from splice.cluster import session

        with session(worker_count=1) as inner:
            return inner.map(lambda v: v + n, range(2))

    assert c.map(nested, [10, 20]) == [[10, 11], [20, 21]]


# ---- the end


def test_the_end_of_a_block_waits_for_what_was_begun() -> None:
    with session(worker_count=1) as c:
        calls = [c.submit(double, n) for n in range(20)]
        mapped = c.map_async(double, range(20))
    assert splice.syncmany(calls) == mapped.get() == [2 * n for n in range(20)]


def test_an_iterator_that_nobody_reads_does_not_hold_up_the_end() -> None:
    with session(worker_count=1) as c:
        answers = c.imap(double, itertools.count())
        assert next(answers) == 0
    with pytest.raises(splice.SpliceError, match="shut down"):
        list(answers)


def test_a_block_that_fails_stops_what_was_begun() -> None:
    calls: list[splice.Promise] = []

    def fail() -> None:
        with session(worker_count=1) as c:
            calls.append(c.submit(time.sleep, 1000))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with pytest.raises(splice.SpliceError, match="shut down"):
        calls[0].get(timeout=20)
