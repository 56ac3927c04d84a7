"""What a session is asked to be, and how it opens: in a thread, on a loop, in a handler."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from splice import CannotWait, Process, SpliceError, runtime
from splice.cluster import Session, session
from splice.cluster.terms import Terms


def test_the_parameters_stand_in_their_historical_order() -> None:
    code = session.__code__
    assert code.co_varnames[: code.co_argcount] == (
        "name",
        "owner",
        "worker_count",
        "work_dir",
        "master_address",
        "init",
    )


def test_a_number_in_the_place_of_the_name_is_told_where_it_belongs() -> None:
    with pytest.raises(TypeError, match=r"text, not 4; .* is worker_count="):
        session(4)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [True, "2", 1.5])
def test_a_count_of_workers_is_a_whole_number(count: Any) -> None:
    with pytest.raises(TypeError, match=f"a whole number, not {count!r} of type"):
        Terms(worker_count=count)


@pytest.mark.parametrize("count", [0, -1])
def test_a_session_of_no_worker_is_refused(count: Any) -> None:
    with pytest.raises(ValueError, match=f"at least 1 worker, not {count!r}"):
        Terms(worker_count=count)


def test_a_work_dir_that_does_not_exist_is_refused_here(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="work_dir is a folder that exists"):
        session(worker_count=1, work_dir=tmp_path / "none")
    Terms(work_dir=tmp_path / "none", master_address="tcp://127.0.0.1:1")


def die() -> None:
    os._exit(5)


@pytest.mark.system
def test_workers_live_in_the_work_dir_and_those_that_replace_them_too(
    tmp_path: Path,
) -> None:
    def begin() -> None:
        open("begun", "a").write(".")  # noqa: PTH123, SIM115 - it travels by value

    with session(worker_count=1, work_dir=tmp_path, init=begin) as c:
        assert c.apply(os.getcwd) == [str(tmp_path)]
        assert (tmp_path / "begun").read_text() == "."
        with pytest.raises(SpliceError):
            c.submit(die, sp_retries=0).get(timeout=20)
        assert c.submit(os.getcwd).get(timeout=20) == str(tmp_path)
        assert (tmp_path / "begun").read_text() == ".."
        assert all(map(os.path.isabs, c.submit(lambda: sys.path).get(timeout=20)))


@pytest.mark.system
def test_async_with_opens_a_session_beside_the_loop() -> None:
    async def main() -> tuple[int, list[int]]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async with session(worker_count=1) as c:
            # a loop that stands still while an interpreter starts counts no further than this
            begun = turns
            answers = await c.map_async(abs, [-1, -2])
        counting.cancel()
        return begun, answers

    turns, answers = asyncio.run(main())
    assert turns > 3
    assert answers == [1, 2]


class Asynchronous(Process):
    """A process whose handlers live on the node's loop."""

    async def opens_badly(self) -> list[Any]:
        return session(worker_count=1).map(abs, [-1])

    async def opens_well(self) -> Any:
        async with session(worker_count=1) as c:
            return await c.map_async(abs, [-1])

    async def opens_by_with(self) -> None:
        with session(worker_count=1):
            pass


@pytest.mark.system
def test_an_async_handler_opens_a_session_by_async_with_only() -> None:
    with runtime.spawn(Asynchronous) as proc:
        for handler in (proc.opens_badly, proc.opens_by_with):
            with pytest.raises(CannotWait, match=r"`async with session\(\) as c:`"):
                handler().get(timeout=20)
        assert proc.opens_well().get(timeout=20) == [1]


@pytest.mark.system
def test_a_loop_that_waits_without_a_handler_opens_it_by_the_first_use() -> None:
    async def cell() -> list[int]:  # as in a notebook
        c = session(worker_count=1)
        assert repr(c) == "<Session, not open yet>"
        with c:
            return c.map(abs, [-3])

    assert asyncio.run(cell()) == [3]


@pytest.mark.system
def test_a_session_that_was_never_used_is_shut_down_without_a_worker() -> None:
    async def main() -> Session:
        c = session(worker_count=1)
        c.shutdown()
        async with session(worker_count=1) as other:
            other.shutdown()
        return c

    c = asyncio.run(main())
    with pytest.raises(SpliceError, match="was shut down"):
        c.map(abs, [1])


@pytest.mark.system
def test_who_is_tired_of_waiting_for_workers_leaves_none_behind() -> None:
    async def main() -> None:
        c = session(worker_count=1)
        opening = asyncio.create_task(c.__aenter__())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert repr(c) == "<Session, shut down>"

    before = len(runtime.node.children)
    asyncio.run(main())
    assert len(runtime.node.children) == before


def test_an_init_that_is_no_function_is_refused_before_a_worker_is_started() -> None:
    with pytest.raises(TypeError, match="init wants a function, not 3"):
        session(init=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="init wants a function, not 3"):
        runtime.fork(1, init=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("deny", [3, "numpy", None])
def test_what_is_denied_is_a_collection_of_names(deny: Any) -> None:
    with pytest.raises(TypeError, match="deny is a collection of names, not"):
        session(deny=deny)
