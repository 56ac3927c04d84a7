"""A session grows and shrinks while it works, and counts what was done."""

from __future__ import annotations

import atexit
import os
import pickle
import socket
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from splice import Process, SpliceError, runtime
from splice.cluster import Session, session
from splice.cluster.statistics import (
    Past,
    Statistics,
    Tally,
    WorkerAddress,
    WorkerStatistics,
)
from splice.errors import WorkerDied

pytestmark = pytest.mark.system


@pytest.mark.parametrize("count", [0, -1])
def test_no_session_is_scaled_to_nothing(count: Any) -> None:
    with (
        session(worker_count=1) as c,
        pytest.raises(ValueError, match=f"at least 1 worker, not {count!r}"),
    ):
        c.scale(count)


def number_of_process(_: int) -> int:
    time.sleep(0.01)  # so that no worker does all of them
    return os.getpid()


def test_new_workers_join_a_map_that_runs() -> None:
    with session(worker_count=1) as c:
        answers = c.imap(number_of_process, range(1_000_000), chunksize=1)
        first = next(answers)
        c.scale(2)
        assert next(pid for pid in answers if pid != first)
        assert len(c.workers) == 2


def test_those_that_are_too_many_end_their_batch_and_go() -> None:
    with session(worker_count=3) as c:
        pids = set(c.apply(os.getpid))
        answers = c.imap(number_of_process, range(60), chunksize=1)
        first = next(answers)
        c.scale(1).get(timeout=20)
        assert len(c.workers) == 1
        assert {first, *answers} <= pids
        assert sum(map(psutil.pid_exists, pids)) == 1
        assert c.statistics().done.items >= 63
        assert c.statistics().deaths == 0


def write_at_the_end(folder: str) -> None:
    atexit.register(lambda: Path(folder, str(os.getpid())).touch())


def test_those_that_go_end_as_every_program_does(tmp_path: Path) -> None:
    with session(worker_count=3) as c:
        pids = set(c.apply(os.getpid))
        c.apply(write_at_the_end, str(tmp_path))
        c.scale(1).get(timeout=20)
        stay = set(c.apply(os.getpid))
        assert {int(path.name) for path in tmp_path.iterdir()} == pids - stay


def test_the_session_can_shrink_to_grow_again_at_once() -> None:
    with session(worker_count=2) as c:
        c.scale(1)
        c.scale(2).get(timeout=20)
        assert len(c.workers) == 2
        assert sorted(c.map(abs, range(-9, 0))) == list(range(1, 10))


def test_a_shrunk_session_replaces_a_worker_that_dies_and_no_more() -> None:
    with session(worker_count=2) as c:
        c.scale(1).get(timeout=20)
        with pytest.raises(WorkerDied):
            c.submit(os._exit, 3, sp_retries=0).get(timeout=20)
        assert c.submit(abs, -1).get(timeout=20) == 1
        assert len(c.workers) == 1
        assert c.statistics().deaths == 1


def test_a_session_is_at_its_size_when_who_was_lost_is_replaced() -> None:
    with session(worker_count=2) as c:
        with pytest.raises(WorkerDied):
            c.submit(os._exit, 3, sp_retries=0).get(timeout=20)
        c.scale(2).get(timeout=20)
        assert len(c.workers) == 2


def test_a_session_that_shrinks_while_it_grows_settles_both() -> None:
    with session(worker_count=1) as c:
        growing = [c.scale(3), c.scale(3)]
        c.scale(1).get(timeout=20)
        assert [each.exception(20) for each in growing] == [None, None]
        assert len(c.workers) == 1


class Resident(Process):
    def address(self) -> str:
        return str(runtime.address)


def test_a_new_worker_has_the_next_turn_at_processes() -> None:
    with session(worker_count=1) as c:
        old = {c.spawn(Resident).address().get(timeout=20) for _ in range(2)}
        c.scale(2).get(timeout=20)
        new = {c.spawn(Resident).address().get(timeout=20)}
        assert old | new == set(c.workers)
        assert old.isdisjoint(new)


def test_a_session_that_was_shut_down_is_not_scaled() -> None:
    with session(worker_count=1) as c:
        pass
    with pytest.raises(SpliceError, match="was shut down"):
        c.scale(2)


def test_statistics_tell_what_each_worker_has_done() -> None:
    with session(worker_count=2) as c:
        pids = c.apply(os.getpid)
        c.map(bytes, [1000] * 50, chunksize=10)
        found = c.statistics()
    assert [worker.pid for worker in found.workers] == pids
    assert sum(worker.done.items for worker in found.workers) == found.done.items == 52
    assert found.done.batches == 7
    assert found.done.received_bytes > 50_000
    assert 0 < found.done.sent_bytes < found.done.received_bytes
    assert found.done.seconds > 0


def wait_behind_gates(first: str, second: str) -> int:
    """Tell that it is at work, and wait to be let on."""
    Path(first).write_text("")
    Path(second).read_text()
    return os.getpid()


def test_workers_tell_where_they_are_and_what_they_do(tmp_path: Path) -> None:
    gates = [str(tmp_path / name) for name in ("first", "second")]
    for gate in gates:
        os.mkfifo(gate)
    with session(worker_count=2) as c:
        pids = c.apply(os.getpid)
        found = list(c.workers)
        assert [each.pid for each in found] == pids
        assert {each.machine for each in found} == {socket.gethostname()}
        assert [(each.instance, each.state) for each in found] == [("", "idle")] * 2
        call = c.submit(wait_behind_gates, *gates)
        Path(gates[0]).read_text()
        states = {each.pid: each.address.state for each in c.statistics().workers}
        Path(gates[1]).write_text("")
        at_work = call.get(timeout=20)
        assert states == {pid: "busy" if pid == at_work else "idle" for pid in pids}
        assert c.apply(runtime_address) == found


def runtime_address() -> str:
    return runtime.address


def test_the_address_of_a_worker_is_text_that_knows_more() -> None:
    address = WorkerAddress("tcp://x:1", "node7", "one", 7, "busy")
    assert address == "tcp://x:1"
    assert f"{address}" == "tcp://x:1"
    assert {address: 1}["tcp://x:1"] == 1
    shown = "<worker tcp://x:1, OS process 7 of instance one on node7, busy>"
    assert repr(address) == repr(pickle.loads(pickle.dumps(address))) == shown
    here = WorkerAddress("tcp://x:1", "node7", "", 7, "idle")
    assert repr(here) == "<worker tcp://x:1, OS process 7 of node7, idle>"


def test_what_workers_did_that_are_gone_is_counted() -> None:
    past = Past()
    past.done.add(Tally(1, 1, 10, 20, 0.5))
    past.deaths += 1
    address = WorkerAddress("tcp://x:1", "here", "", 7, "idle")
    worker = WorkerStatistics(address, 7, Tally(2, 1, 30, 40, 1.5))
    assert past.statistics([worker], [Tally(1, 1, 0, 0, 0.0)]) == Statistics(
        Tally(4, 3, 40, 60, 2.0), 1, (worker,)
    )


class Watched:
    """Tells which thread has unpickled it."""

    def __setstate__(self, state: Any) -> None:
        self.thread = threading.get_ident()

    def __getstate__(self) -> int:
        return 1


def test_answers_of_apply_are_unpickled_where_they_are_wanted() -> None:
    with session(worker_count=1) as c:
        (answer,) = c.apply(Watched)
    assert answer.thread == threading.get_ident()
    assert runtime.node.scheduler.thread != answer.thread


def die_when_released(path: str) -> None:
    with open(path, "w"):  # noqa: PTH123 - it travels by value
        pass
    os._exit(4)


@pytest.fixture
def c() -> Any:
    """A session of one worker."""
    with session(worker_count=1) as opened:
        yield opened


def test_a_call_that_is_cancelled_as_its_worker_dies_is_cancelled(
    c: Session, tmp_path: Any
) -> None:
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    calls = [c.submit(die_when_released, path, sp_retries=0)]
    calls += [c.submit(abs, -n) for n in range(3)]
    verdicts = [call.cancel_nowait() for call in calls[1:]]
    with open(path):  # noqa: PTH123
        pass
    with pytest.raises(WorkerDied):
        calls[0].get(timeout=20)
    assert [verdict.get(timeout=20) for verdict in verdicts] == [True] * 3
