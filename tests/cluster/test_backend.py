"""joblib and scikit-learn on sessions: as with joblib's own backends."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, effective_n_jobs, parallel_config

import splice.joblib
from splice.cluster import Session
from splice.errors import UnpicklableError, WorkerDied

pytestmark = pytest.mark.system


@pytest.fixture
def on_c(c: Session) -> Iterator[None]:
    """Parallel runs on the shared session."""
    with parallel_config(backend="splice", session=c):
        yield


def kind_of_nested_backend() -> str:
    return type(joblib.parallel.get_active_backend()[0]).__name__


@pytest.mark.usefixtures("on_c")
def test_answers_come_in_order_from_the_workers_of_the_session(c: Session) -> None:
    pids = set(c.apply(os.getpid))
    answers = Parallel()(delayed(lambda n: (n * n, os.getpid()))(n) for n in range(100))
    assert [square for square, _ in answers] == [n * n for n in range(100)]
    assert {pid for _, pid in answers} <= pids


@pytest.mark.usefixtures("on_c")
def test_the_number_of_jobs_is_that_of_the_workers() -> None:
    assert effective_n_jobs(-1) == 2
    assert effective_n_jobs(-2) == 2  # joblib would do a single one at home
    assert effective_n_jobs(64) == 2
    assert effective_n_jobs(1) == 1
    with pytest.raises(ValueError, match="has no meaning"):
        effective_n_jobs(0)


@pytest.mark.usefixtures("on_c")
def test_one_job_runs_at_home() -> None:
    assert (
        Parallel(n_jobs=1)(delayed(os.getpid)() for _ in range(3)) == [os.getpid()] * 3
    )


@pytest.mark.usefixtures("on_c")
def test_quick_calls_are_put_into_batches() -> None:
    parallel = Parallel(n_jobs=2)
    answers = parallel(delayed(abs)(-n) for n in range(2000))
    assert answers == list(range(2000))
    assert parallel.n_dispatched_tasks == 2000
    assert parallel.n_dispatched_batches < 1000


@pytest.mark.usefixtures("on_c")
@pytest.mark.parametrize("order", ["generator", "generator_unordered"])
def test_answers_can_be_generated(order: str) -> None:
    answers = Parallel(n_jobs=2, return_as=order)(delayed(abs)(-n) for n in range(50))
    assert sorted(answers) == list(range(50))


@pytest.mark.usefixtures("on_c")
def test_parallel_can_be_used_again_in_its_block() -> None:
    with Parallel(n_jobs=2) as parallel:
        for _ in range(3):
            assert parallel(delayed(abs)(-n) for n in range(5)) == list(range(5))


@pytest.mark.usefixtures("on_c")
def test_an_error_stops_what_is_at_work(c: Session, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    pids = c.apply(os.getpid)

    def fail_beside(n: int, gate: str) -> None:
        if n == 0:
            open(gate).close()  # noqa: PTH123 - the other one has begun
            raise ZeroDivisionError
        open(gate, "w").close()  # noqa: PTH123
        while True:
            time.sleep(1)

    with Parallel(n_jobs=2, batch_size=1) as parallel:
        with pytest.raises(ZeroDivisionError):
            parallel(delayed(fail_beside)(n, gate) for n in range(2))
        assert parallel(delayed(abs)(-n) for n in range(5)) == list(range(5))
    assert c.apply(os.getpid) == pids


@pytest.mark.usefixtures("on_c")
def test_a_call_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(n_jobs=2, timeout=0.1)(delayed(time.sleep)(60) for _ in range(2))
    assert Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(5)) == list(range(5))


@pytest.mark.usefixtures("on_c")
def test_a_worker_that_dies_has_its_batch_done_by_another(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")

    def die_once(n: int, mark: str) -> int:
        if n == 3:
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return n
            os._exit(1)
        return n

    calls = (delayed(die_once)(n, mark) for n in range(10))
    assert Parallel(n_jobs=2)(calls) == list(range(10))
    with pytest.raises(
        WorkerDied, match=r"exited with code 1; it had .* of joblib, 1 times _exit"
    ):
        Parallel(n_jobs=2)(delayed(os._exit)(1) for _ in range(2))


@pytest.mark.usefixtures("on_c")
def test_calls_inside_of_calls_run_on_threads_as_with_loky() -> None:
    def nested(n: int) -> tuple[str, list[int]]:
        squares = Parallel(n_jobs=2)(delayed(pow)(m, 2) for m in range(n))
        return kind_of_nested_backend(), squares

    answers = Parallel(n_jobs=2)(delayed(nested)(n) for n in (3, 4))
    assert answers == [
        ("ThreadingBackend", [0, 1, 4]),
        ("ThreadingBackend", [0, 1, 4, 9]),
    ]


@pytest.mark.usefixtures("on_c")
def test_the_backend_is_registered_on_the_workers_too() -> None:
    def nested(n: int) -> list[int]:
        return list(
            Parallel(n_jobs=2, backend="splice")(delayed(pow)(m, 2) for m in range(n))
        )

    assert Parallel(n_jobs=2)(delayed(nested)(n) for n in (3, 4)) == [
        [0, 1, 4],
        [0, 1, 4, 9],
    ]


def file_behind(array: Any) -> str:
    """What an array is mapped from, in this OS process."""
    begin = array.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= begin < high:
            return line.split(maxsplit=5)[-1]
    raise LookupError(begin)


def look_at(array: Any) -> tuple[int, str, bool, float]:
    return os.getpid(), file_behind(array), array.flags.writeable, float(array[-1])


needs_memfd = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="this system has no memfd"
)


@needs_memfd
@pytest.mark.usefixtures("on_c")
def test_large_arrays_are_lent_to_the_workers_and_sent_to_none(c: Session) -> None:
    array = np.ones(1 << 18)
    before = c.statistics().done.sent_bytes
    found = Parallel(batch_size=1)(delayed(look_at)(array) for _ in range(20))
    assert {each[1:] for each in found} == {("/memfd:splice (deleted)", False, 1.0)}
    assert c.statistics().done.sent_bytes - before < array.nbytes / 4


@needs_memfd
@pytest.mark.usefixtures("on_c")
def test_an_array_that_changes_between_two_calls_is_seen_as_it_is() -> None:
    array = np.zeros(1 << 18)
    with Parallel(n_jobs=2) as parallel:
        for number in range(3):
            array[-1] = number
            found = parallel(delayed(look_at)(array) for _ in range(4))
            assert {each[-1] for each in found} == {number}


@pytest.mark.usefixtures("on_c")
@pytest.mark.parametrize(
    ("options", "file", "is_writable"),
    [
        ({"mmap_mode": "c"}, True, True),
        ({"mmap_mode": "r+"}, True, True),
        ({"mmap_mode": None}, False, True),
        ({"max_nbytes": None}, False, True),
        ({"max_nbytes": "3M"}, False, True),
        ({"max_nbytes": 1000}, True, False),
    ],
)
@needs_memfd
def test_joblib_says_what_is_lent_and_whether_it_may_be_written_to(
    options: dict[str, Any], file: bool, is_writable: bool
) -> None:
    array = np.ones(1 << 18)
    ((_, name, found, _),) = Parallel(**options)([delayed(look_at)(array)])
    assert ("memfd:splice" in name) == file
    assert found == is_writable


@needs_memfd
@pytest.mark.usefixtures("on_c")
def test_what_was_lent_is_given_back_when_the_call_is_over(
    memfds: Callable[[], int],
) -> None:
    array = np.ones(1 << 18)
    before = memfds()
    Parallel()(delayed(look_at)(array) for _ in range(4))
    assert memfds() == before
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(lambda a: 1 // int(a[0] - 1))(array) for _ in range(4))
    assert memfds() == before


def sum_row(data: Any, sums: Any, row: int) -> str:
    sums[row] = data[row].sum()
    return str(data.filename)


@pytest.mark.usefixtures("on_c")
@pytest.mark.parametrize("options", [{}, {"max_nbytes": None}])
def test_workers_write_to_the_files_of_arrays_that_lie_in_some(
    options: dict[str, Any], tmp_path: Path
) -> None:
    data = np.memmap(tmp_path / "data", "f8", "w+", shape=(20, 1000))
    data[:] = np.arange(20_000.0).reshape(20, 1000)
    sums = np.memmap(tmp_path / "sums", "f8", "w+", shape=20)
    calls = (delayed(sum_row)(data, sums=sums, row=row) for row in range(20))
    assert set(Parallel(**options)(calls)) == {str(tmp_path / "data")}
    assert np.array_equal(sums, data.sum(axis=1))


@pytest.mark.usefixtures("on_c")
def test_an_argument_that_cannot_travel_is_the_error_of_the_call() -> None:
    with pytest.raises(UnpicklableError, match="generator"):
        Parallel()(delayed(type)(n for n in range(3)) for _ in range(4))


def test_workers_are_kept_for_the_next_call() -> None:
    with parallel_config(backend="splice", n_jobs=2):
        first = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
        second = set(Parallel()(delayed(os.getpid)() for _ in range(20)))
        threads = Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(2))
    assert os.getpid() not in first
    assert len(first | second) <= 2
    assert threads == [str(max(joblib.cpu_count() // 2, 1))] * 2
    with parallel_config(backend="splice", n_jobs=2, inner_max_num_threads=3):
        assert not first & set(Parallel()(delayed(os.getpid)() for _ in range(4)))
        threads = Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(2))
    assert threads == ["3", "3"]


def test_options_beside_a_given_session_are_refused(c: Session) -> None:
    with pytest.raises(ValueError, match="a given session has its options"):
        splice.joblib.SpliceBackend(session=c, inner_max_num_threads=2)


def test_a_program_ends_and_leaves_no_worker() -> None:
    script = """
import os
import splice.joblib
from joblib import Parallel, delayed
print(*set(Parallel(n_jobs=2, backend="splice")(delayed(os.getpid)() for _ in range(9))))
"""
    for pid in run_program(script).split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


SCIKIT_LEARN = """
import sys
import splice.joblib
from joblib import parallel_config
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.tree import DecisionTreeClassifier

data, target = load_iris(return_X_y=True)
tree = DecisionTreeClassifier(random_state=0)

def results():
    scores = cross_val_score(tree, data, target, cv=5, n_jobs=2)
    search = GridSearchCV(tree, {"max_depth": [1, 2, 3]}, cv=3, n_jobs=2)
    search.fit(data, target)
    means = search.cv_results_["mean_test_score"].tolist()
    return scores.tolist(), means, search.best_params_

with parallel_config(backend=sys.argv[1]):
    print(results())
"""


@pytest.mark.slow
@pytest.mark.timeout(150)  # two programs that load scikit-learn three times each
def test_scikit_learn_gets_the_results_of_loky() -> None:
    # programs of their own: loky leaves OS processes behind
    here = run_program(SCIKIT_LEARN, "splice")
    assert here == run_program(SCIKIT_LEARN, "loky")
    assert here.startswith("([0.9")


def run_program(script: str, *arguments: str) -> str:
    """Run a program of its own; what it wrote to standard output."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout
