"""What real workers print and log appears at the client, in order, to the last line."""

# ruff: noqa: T201 - the workers here print

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

import pytest

from splice.cluster import session
from splice.cluster.output import Line
from splice.errors import CompositeError

pytestmark = pytest.mark.system

GIGANTIC = 200 << 20
"""Bytes that a worker prints while the client looks away: more than the client may keep."""


def said(item: int) -> int:
    print("item", item)
    print("careful", item, file=sys.stderr)
    os.system(f"echo child {item}")
    return item


def test_what_workers_print_appears_in_order_with_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with session(worker_count=1) as c:
        assert c.map(said, range(3)) == [0, 1, 2]
    out, err = capsys.readouterr()
    lines = [f"[worker 1] {what} {i}\n" for i in range(3) for what in ("item", "child")]
    assert out == "".join(lines)
    assert err == "".join(f"[worker 1] careful {i}\n" for i in range(3))


def test_a_line_for_each_of_many_items_is_lost_nowhere() -> None:
    found: list[Line] = []

    def tell(item: int) -> None:
        vars(sys)["count"] = vars(sys).get("count", -1) + 1
        print(item, vars(sys)["count"])

    with session(worker_count=2, output=found.append) as c:
        c.map(tell, range(5000))
    items = [int(line.text.split()[0]) for line in found]
    assert sorted(items) == list(range(5000))
    for worker in ("worker 1", "worker 2"):
        own = [int(each.text.split()[1]) for each in found if each.worker == worker]
        assert own == list(range(len(own)))


def test_a_worker_that_prints_without_end_fills_no_memory() -> None:
    import threading

    gate, looked = threading.Event(), threading.Event()
    sizes = [0]

    def look(line: Line) -> None:
        looked.set()
        assert gate.wait(60)
        sizes[0] += len(line.text) + 1

    def flood() -> None:
        text = "x" * 99 + "\n"
        for _ in range(GIGANTIC // 100):
            sys.stdout.write(text)

    before = resident()
    with session(worker_count=1, output=look) as c:
        answer = c.submit(flood)
        assert looked.wait(60)
        assert not answer.done()
        gate.set()
        answer.get(timeout=60)
        assert resident() - before < GIGANTIC / 2
    assert sizes == [GIGANTIC]


def resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def test_log_records_of_workers_come_to_the_loggers_of_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mine")

    def work() -> None:
        logging.getLogger("mine").info("of %s", "interest")
        logging.getLogger("mine").debug("of none")
        logging.getLogger("mine.too").info("as well")

    with session(worker_count=1) as c:
        c.apply(work)
    mine = [each for each in caplog.records if each.name.startswith("mine")]
    assert [each.getMessage() for each in mine] == ["of interest", "as well"]
    assert {each.processName for each in mine} == {"worker 1"}


def test_the_last_words_of_a_worker_stand_in_the_error_of_its_item() -> None:
    def fatal(item: int) -> None:
        print("my last words")
        os._exit(3)

    with (
        session(worker_count=1, output="off") as c,
        pytest.raises(CompositeError) as caught,
    ):
        c.map(fatal, [7], retries=0)
    error: Any = caught.value.errors[0]
    assert re.fullmatch(
        r"a worker \(OS process \d+\) exited with code 3; it had item 0 of a map in work;"
        r" it had \d+ MiB in memory at most\nits last output:\n  my last words",
        str(error),
    )
    assert (error.exit_code, error.signal) == (3, None)
    assert error.last_lines == ("my last words",)


def test_init_may_print(capsys: pytest.CaptureFixture[str]) -> None:
    with session(worker_count=1, init=lambda: print("begun"), output="plain"):
        pass
    assert capsys.readouterr().out == "begun\n"


ABROAD = """
import logging
from splice.cluster import session
def work(i):
    print("item", i)
    logging.getLogger("mine").warning("careful %s", i)
    if i == 3:
        import os; os._exit(5)
with session(worker_count=1, master_address=ADDRESS) as c:
    print(c.map(work, range(4), retries=0, on_error="return")[3])
"""


def test_what_workers_of_an_instance_print_appears_at_the_client(cluster: Any) -> None:
    cluster.master()
    instance = cluster.instance("one")
    program = cluster.client(ABROAD)
    assert program.ends() == 0
    for item in range(4):
        assert f"[worker 1 of one] item {item}\n" in program.output
        assert f"careful {item}\n" in program.output
    assert re.search(
        r"exited with code 5; .*\nits last output:\n(  .*\n)*  item 3", program.output
    )
    assert "item" not in instance.output


FORGOTTEN = """
from splice.cluster import session
c = session(worker_count=1)
c.submit(print, "forgotten").get()
"""


def test_a_session_that_nobody_closes_shows_all_the_same(cluster: Any) -> None:
    program = cluster.client(FORGOTTEN)
    assert program.ends() == 0
    assert "[worker 1] forgotten\n" in program.output
