"""`splice.run`: a program whose main function is a process in the main thread; and Ctrl-C there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import splice

PROGRAM = """
import asyncio, os, signal, sys, threading
import splice
from splice import Process, runtime

def press():
    os.kill(os.getpid(), signal.SIGINT)

class Other(Process):
    def work(self, then):
        press()
        for _ in range(1000):
            pass
        print("other is done")
        return then

def waits():
    asyncio.get_running_loop().call_soon(press)
    runtime.sleep(60)

def computes():
    press()
    while True:
        pass

def asks_another():
    other = runtime.spawn(Other)
    print(other.work(7).get())
    runtime.sleep(60)

def maps():
    from splice.cluster import session
    with session(worker_count=1) as c:
        threading.Timer(0.3, press).start()
        c.map(lambda _: threading.Event().wait(), range(3))

async def awaits():
    asyncio.get_running_loop().call_soon(press)
    await asyncio.sleep(60)

async def awaits_another_press():
    for _ in range(2):
        asyncio.get_running_loop().call_soon(press)
    await asyncio.sleep(60)

def goes_on():
    try:
        waits()
    except KeyboardInterrupt:
        return "went on"

def exits():
    sys.exit(3)

async def exits_async():
    sys.exit(3)

def plain(function):
    try:
        return function()
    except KeyboardInterrupt:
        print("main is interrupted")
        raise

main = globals()[sys.argv[1]]
try:
    if asyncio.iscoroutinefunction(main):
        answer = splice.run(main)
    else:
        answer = splice.run(plain, main)
except BaseException as error:
    answer = repr(error)
print(answer)
"""


def run(main: str) -> tuple[list[str], str]:
    """Run the program with one of its functions: the lines it printed, and its complaints."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, main],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("main", ["waits", "computes", "maps"])
def test_ctrl_c_is_raised_in_main(main: str) -> None:
    assert run(main) == (["main is interrupted", "KeyboardInterrupt()"], "")


def test_ctrl_c_while_another_process_computes_interrupts_main_and_not_the_other() -> (
    None
):
    printed, complaint = run("asks_another")
    assert printed == [
        "other is done",
        "7",
        "main is interrupted",
        "KeyboardInterrupt()",
    ]
    assert complaint == ""


def test_ctrl_c_cancels_an_async_main() -> None:
    assert run("awaits") == (["KeyboardInterrupt()"], "")


def test_ctrl_c_once_more_before_that_ends_the_node() -> None:
    printed, _ = run("awaits_another_press")
    assert printed == ["KeyboardInterrupt()"]


def test_a_main_that_catches_ctrl_c_goes_on() -> None:
    assert run("goes_on") == (["went on"], "")


@pytest.mark.parametrize("main", ["exits", "exits_async"])
def test_sys_exit_in_main_ends_the_program_with_its_code(main: str) -> None:
    assert run(main) == (["SystemExit(3)"], "")


def test_main_runs_as_a_process_and_its_answer_comes_back() -> None:
    def main(cents: int) -> Any:
        class Till(splice.Process):
            def add(self, more: int) -> int:
                return cents + more

        return splice.runtime.spawn(Till).add(2).get()

    splice.runtime.shutdown()
    assert splice.run(main, 5) == 7


def test_what_main_raises_run_raises() -> None:
    def main() -> None:
        raise LookupError("nothing there")

    splice.runtime.shutdown()
    with pytest.raises(LookupError, match="nothing there"):
        splice.run(main)
