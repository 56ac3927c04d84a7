"""The loop of a node outlives `SystemExit` of what runs on it, and ends by a signal handler."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from splice.node.loop import run_loop

ESCAPES = [SystemExit, KeyboardInterrupt]


@pytest.fixture(autouse=True)
def no_failure_left() -> Iterator[None]:
    """A task that failed is reported here, not in another test."""
    yield
    gc.collect()


@pytest.fixture
def restored() -> Iterator[None]:
    """Signal handlers as they were before."""
    numbers = (signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def fail(error: type[BaseException]) -> None:
    raise error("of the user")


async def fail_async(error: type[BaseException]) -> None:
    fail(error)


async def by_task(error: type[BaseException]) -> str:
    task = asyncio.get_running_loop().create_task(fail_async(error))
    await asyncio.wait([task])
    return repr(task.exception())


async def by_callback(error: type[BaseException]) -> str:
    loop, passed = asyncio.get_running_loop(), asyncio.Event()
    loop.call_soon(fail, error)
    loop.call_soon(passed.set)
    await passed.wait()
    return f"{error.__name__}('of the user')"


def on_thread(function: Callable[[], Any]) -> Any:
    """Call `function` on a thread of its own, as `NodeThread` does."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join(30)
    return answers.pop()


@pytest.mark.parametrize("error", ESCAPES)
@pytest.mark.parametrize("main", [by_task, by_callback])
def test_what_runs_on_a_loop_on_a_thread_cannot_end_it(
    main: Any, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = on_thread(lambda: run_loop(main(error)))

    assert answer == f"{error.__name__}('of the user')"
    (line,) = [record for record in caplog.records if record.name == "splice.node"]
    assert line.levelno == logging.WARNING
    assert line.getMessage() == (
        f"{answer} in a task or a callback ended that, and the node goes on; "
        "a process ends by what its handler raises"
    )
    assert line.exc_info is not None


@pytest.mark.parametrize("main", [by_task, by_callback])
def test_what_runs_on_a_loop_on_the_main_thread_cannot_end_it(main: Any) -> None:
    assert run_loop(main(SystemExit)) == "SystemExit('of the user')"


def test_a_builtin_function_as_a_callback_cannot_end_the_loop() -> None:
    async def main() -> str:
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(0)
        return "went on"

    assert run_loop(main()) == "went on"


def test_all_that_was_due_is_done_after_it() -> None:
    done: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(6):
            loop.call_soon(done.append, number)
            loop.call_soon(fail, SystemExit)
        await asyncio.sleep(0)

    run_loop(main())
    assert done == list(range(6))


@pytest.mark.parametrize("error", [*ESCAPES, LookupError])
def test_what_main_itself_raises_is_raised(error: Any) -> None:
    with pytest.raises(error, match="of the user"):
        run_loop(fail_async(error))


def press(number: int = signal.SIGUSR1) -> None:
    os.kill(os.getpid(), number)


async def waits(press: Callable[[], None]) -> None:
    """Wait in the loop itself when the signal comes."""
    threading.Timer(0.02, press).start()
    await asyncio.Event().wait()


async def calls(press: Callable[[], None]) -> None:
    """Be in a callback of the user when it comes."""
    asyncio.get_running_loop().call_soon(press)
    await asyncio.Event().wait()


def leave(number: int, frame: Any) -> None:
    sys.exit("by signal")


@pytest.mark.parametrize("main", [waits, calls])
def test_a_signal_handler_ends_the_loop(main: Any, restored: None) -> None:
    signal.signal(signal.SIGUSR1, leave)
    with pytest.raises(SystemExit, match="by signal"):
        run_loop(main(press))


def test_a_signal_handler_of_the_loop_ends_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, sys.exit, "by signal")
        await waits(press)

    with pytest.raises(SystemExit, match="by signal"):
        run_loop(main())


@pytest.mark.parametrize("main", [waits, calls])
def test_ctrl_c_ends_the_loop(main: Any, restored: None) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        run_loop(main(partial(press, signal.SIGINT)))


def test_what_main_has_open_is_closed_when_a_signal_ends_the_loop(
    restored: None,
) -> None:
    closed: list[str] = []

    async def main() -> None:
        try:
            await waits(press)
        finally:
            await asyncio.sleep(0)
            closed.append("in order")

    signal.signal(signal.SIGUSR1, leave)
    with pytest.raises(SystemExit):
        run_loop(main())
    assert closed == ["in order"]


PROGRAM = """
import asyncio, logging, sys, threading
import splice
from splice import Process, runtime

class P(Process):
    async def fails(self):
        await self.task()
    async def starts(self):
        self.kept = self.task()
        return "started"
    def task(self):
        async def inner():
            sys.exit(3)
        return asyncio.create_task(inner())
    async def calls_back(self):
        asyncio.get_running_loop().call_soon(sys.exit, 4)
        return "called back"
    def alive(self):
        return "alive"

def hear(dest):
    heard = threading.Event()
    def hearer(event):
        heard.set()
        sys.exit(5)
    for listen in (runtime.on_dead_letter, runtime.on_node):
        listen(hearer)
    gone = runtime.spawn(P)
    runtime.kill(gone)
    gone.alive().exception(20)
    return heard.wait

def try_out(dest):
    bystander = runtime.spawn(P, sp_dest=dest)
    print(type(runtime.spawn(P, sp_dest=dest).fails().exception(20).reason).__name__)
    for how in ("starts", "calls_back"):
        print(getattr(runtime.spawn(P, sp_dest=dest), how)().get(20))
        print(bystander.alive().get(20))

def main():
    hear(None)
    try_out(None)
    try_out(runtime.fork(1)[0])

logging.disable()
splice.run(main) if sys.argv[1] == "run" else main()
"""

LINES = ["SystemExit", "started", "alive", "called back", "alive"]


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize("how", ["script", "run"])
def test_sys_exit_beside_a_handler_ends_no_node_near_or_far(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.stdout.splitlines() == LINES * 2, done.stderr
    assert done.returncode == 0
