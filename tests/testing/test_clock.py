import asyncio
import threading
from collections.abc import Iterator

import pytest

from splice.testing import clock
from splice.testing.clock import START, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    it = VirtualLoop()
    yield it
    it.close()


def test_sleeping_takes_virtual_time_only(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() == pytest.approx(START + 3600)


def test_advance_runs_what_is_due_and_nothing_later(loop: VirtualLoop) -> None:
    ran: list[float] = []
    for seconds in (3, 1, 2):
        loop.call_later(seconds, ran.append, seconds)
    loop.advance(2)
    assert ran == [1, 2]
    assert loop.time() == START + 2


def test_advance_runs_what_follows_from_what_was_due(loop: VirtualLoop) -> None:
    ran: list[str] = []
    loop.call_later(1, loop.call_soon, loop.call_soon, ran.append, "late")
    loop.advance(1)
    assert ran == ["late"]


def test_a_jump_runs_nothing(loop: VirtualLoop) -> None:
    ran: list[int] = []
    loop.call_later(1, ran.append, 1)
    loop.jump(5)
    assert ran == []
    loop.advance(0)
    assert ran == [1]


def test_another_thread_can_wake_the_loop(loop: VirtualLoop) -> None:
    future = loop.create_future()
    thread = threading.Thread(
        target=loop.call_soon_threadsafe, args=(future.set_result, 5)
    )
    loop.call_soon(thread.start)
    assert loop.run_until_complete(future) == 5
    thread.join()


def test_work_in_a_thread_can_be_awaited(loop: VirtualLoop) -> None:
    assert loop.run_until_complete(asyncio.to_thread(lambda: 7)) == 7
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_loop_that_nobody_can_wake_says_so(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "PATIENCE", 0.01)
    with pytest.raises(RuntimeError, match=r"nothing is left to do, .* a deadlock"):
        loop.run_until_complete(loop.create_future())
