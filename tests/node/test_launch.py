"""OS processes are started, watched and ended; none is left, whoever dies."""

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

import splice.node.child
from splice.errors import CannotWait, SpliceError
from splice.node.child import signal_name
from splice.node.launch import Child, Exit, OsLauncher, os_launcher

pytestmark = pytest.mark.system

PATIENCE = 30.0
"""Seconds after which a test fails instead of waiting; nothing here takes one."""

TARGETS = """
import os, signal, subprocess, sys, threading

def tell(boot, ready):
    ready({"boot": boot.decode(), "path": sys.path, "folder": os.getcwd(),
           "argv": sys.argv, "main": hasattr(sys.modules["__main__"], "__file__"),
           "size": len(boot), "parent": os.getppid()})

def live(boot, ready):
    ready({"session": os.getsid(0), "pid": os.getpid()})
    threading.Event().wait()

def be_busy(boot, ready):
    ready({})
    while True: pass

def end_with(boot, ready):
    ready({})
    sys.exit(int(boot))

def end_early(boot, ready):
    os._exit(7)

def fail(boot, ready):
    raise ValueError("no such planet")

def fail_late(boot, ready):
    ready({})
    sys.stderr = open(os.devnull, "w")
    raise ValueError("no such planet")

def read(boot, ready):
    ready({"text": sys.stdin.read(), "bytes": len(os.read(0, 1))})

def ignore_sigint(boot, ready):
    os.kill(os.getpid(), signal.SIGINT)
    deaf = subprocess.run([sys.executable, "-c",
        "import signal; raise SystemExit(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"])
    ready({"heirs_are_deaf": deaf.returncode})

def leave_heir(boot, ready):
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ready({"heir": heir.pid})
    threading.Event().wait()
"""

PARENT = """
import os, sys, threading
sys.path[:0] = {path!r}
from splice.node.launch import os_launcher
ready = threading.Event()
def on_ready(info):
    print(info["pid"], flush=True)
    ready.set()
child = os_launcher().start(
    b"", target="launch_targets:live", on_ready=on_ready, on_exit=lambda end: None)
{then}
"""

CUT = "ready.wait(); os.dup2(os.open(os.devnull, os.O_RDWR), child._lifeline)"
"""Ends the lifeline of a child whose parent lives, as if the system had no PDEATHSIG."""


class Witness:
    """Starts a child and notes what the launcher says about it."""

    def __init__(self, target: str, boot: bytes = b"", launcher=None) -> None:
        self.told: SimpleQueue[dict | Exit] = SimpleQueue()
        self.child: Child = (launcher or os_launcher()).start(
            boot,
            target=f"launch_targets:{target}",
            on_ready=self.told.put,
            on_exit=self.told.put,
        )

    def next(self) -> dict | Exit:
        return self.told.get(timeout=PATIENCE)


@pytest.fixture(autouse=True)
def targets(tmp_path, monkeypatch) -> Path:
    (tmp_path / "launch_targets.py").write_text(TARGETS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(params=["pidfd", "polled"])
def launcher(request, monkeypatch) -> OsLauncher:
    if request.param == "polled":
        monkeypatch.setattr(splice.node.child, "_open_pidfd", lambda pid: -1)
    return os_launcher()


def wait_until_gone(pid: int) -> None:
    """Wait for the end of an OS process that need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], PATIENCE)[0], f"{pid} still lives"
    finally:
        os.close(descriptor)


def test_the_boot_message_arrives_whole():
    boot = b"secret " * 100_000
    assert Witness("tell", boot).next()["size"] == len(boot)


def test_a_child_finds_modules_as_its_parent_does():
    told = Witness("tell").next()
    assert (told["path"], told["folder"]) == (sys.path, str(Path.cwd()))


def test_a_child_does_not_run_the_users_script():
    told = Witness("tell").next()
    assert (told["main"], told["argv"]) == (False, ["-c"])


def test_secrets_are_not_on_the_command_line():
    witness = Witness("live", b"the key")
    pid = witness.next()["pid"]
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    witness.child.kill()
    assert b"launch_targets:live" in line
    assert b"the key" not in line


def test_the_standard_input_of_a_child_is_empty():
    assert Witness("read").next() == {"text": "", "bytes": 0}


def test_nothing_is_written_to_the_standard_output(capfd):
    witness = Witness("end_with", b"0")
    assert [witness.next(), witness.next()][1].code == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("code", [0, 3, 255])
def test_an_exit_code_is_told(launcher, code):
    witness = Witness("end_with", str(code).encode(), launcher)
    assert witness.next() == {}
    end = witness.next()
    assert end == Exit(witness.child.pid, code, None)
    assert end.text == f"exited with code {code}"


def test_a_signal_is_named(launcher):
    witness = Witness("live", launcher=launcher)
    os.kill(witness.next()["pid"], signal.SIGSEGV)
    end = witness.next()
    assert (end.code, end.signal) == (None, signal.SIGSEGV)
    assert end.text == "was killed by SIGSEGV"


def test_a_signal_without_a_name_is_shown_as_a_number():
    assert (signal_name(9), signal_name(42)) == ("SIGKILL", "signal 42")


def test_kill_ends_a_busy_child(launcher):
    witness = Witness("be_busy", launcher=launcher)
    witness.next()
    witness.child.kill()
    assert witness.next().text == "was killed by SIGKILL"


def test_terminate_asks_a_child_to_end(launcher):
    witness = Witness("live", launcher=launcher)
    witness.next()
    witness.child.terminate()
    assert witness.next().text == "was killed by SIGTERM"


def test_ending_a_child_twice_or_after_its_end_does_nothing(launcher):
    witness = Witness("end_with", b"0", launcher)
    assert witness.child.wait(PATIENCE) is not None
    witness.child.kill()
    witness.child.terminate()
    assert Witness("end_with", b"0", launcher).child.wait(PATIENCE).code == 0


def test_a_child_that_ends_before_it_is_ready_is_told_once(launcher):
    witness = Witness("end_early", launcher=launcher)
    assert witness.next() == Exit(witness.child.pid, 7, None)
    assert witness.told.empty()


def test_what_a_child_raises_before_it_is_ready_is_told_with_its_end():
    end = Witness("fail").next()
    assert end.code == 1
    assert end.failure.endswith("ValueError: no such planet\n")


def test_a_target_that_does_not_exist_is_told():
    assert "has no attribute 'nothing'" in Witness("nothing").next().failure


def test_what_a_child_raises_after_it_was_ready_is_an_exit_code():
    witness = Witness("fail_late")
    assert witness.next() == {}
    assert witness.next() == Exit(witness.child.pid, 1, None)


def test_a_child_is_a_session_of_its_own():
    witness = Witness("live")
    told = witness.next()
    witness.child.kill()
    assert told["session"] == told["pid"] == witness.child.pid


def test_sigint_is_ignored_but_not_inherited():
    assert Witness("ignore_sigint").next() == {"heirs_are_deaf": 0}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_child_started_ends_with_it(number):
    witness = Witness("leave_heir", b"0")
    heir = witness.next()["heir"]
    os.kill(witness.child.pid, number)
    wait_until_gone(heir)


def test_a_collected_exit_status_is_no_mystery(launcher):
    witness = Witness("live", launcher=launcher)
    pid = witness.next()["pid"]
    # stopping the launcher's thread inside a callback leaves the status to this thread
    held, free = threading.Event(), threading.Event()
    launcher.post(lambda: (held.set(), free.wait(PATIENCE)))
    assert held.wait(PATIENCE)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    free.set()
    end = witness.next()
    assert end == Exit(pid, None, None)
    assert end.text == "ended (exit status collected by somebody else)"


def test_killing_what_somebody_else_has_collected_reaches_nobody(launcher):
    witness = Witness("live", launcher=launcher)
    pid = witness.next()["pid"]

    def steal() -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        witness.child._send_signal(signal.SIGKILL)

    launcher.post(steal)
    assert witness.next() == Exit(pid, None, None)


def test_wait_tells_that_a_child_still_lives():
    witness = Witness("live")
    assert witness.child.wait(0) is None
    witness.child.kill()
    assert witness.child.wait(PATIENCE).signal == signal.SIGKILL


def test_a_callback_may_not_wait_for_the_thread_it_runs_on():
    raised = SimpleQueue()
    child = Witness("end_with", b"0").child

    def wait() -> None:
        with pytest.raises(CannotWait, match="use on_exit") as caught:
            child.wait()
        raised.put(caught.value)

    os_launcher().post(wait)
    assert raised.get(timeout=PATIENCE)


def test_a_callback_may_start_the_next_child():
    second = SimpleQueue()
    os_launcher().post(lambda: second.put(Witness("tell", b"2")))
    assert second.get(timeout=PATIENCE).next()["boot"] == "2"


def test_a_callback_that_fails_is_logged_and_harms_nobody(caplog):
    def fail(info: dict) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, logger="splice.node"):
        child = os_launcher().start(
            b"0", target="launch_targets:end_with", on_ready=fail, on_exit=print
        )
        assert child.wait(PATIENCE).code == 0
    assert f"a callback about OS process {child.pid} failed" in caplog.text


def test_an_interpreter_that_does_not_exist_is_an_error_of_the_caller():
    launcher = OsLauncher(command=["/nowhere/python"])
    with pytest.raises(FileNotFoundError, match="/nowhere/python"):
        launcher.start(b"", target="a:b", on_ready=print, on_exit=print)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left():
    Witness("tell").child.wait(PATIENCE)
    before = count_descriptors()
    witnesses = [Witness("end_early") for _ in range(3)]
    assert all(witness.child.wait(PATIENCE) for witness in witnesses)
    assert count_descriptors() == before


@pytest.mark.slow
def test_twenty_children_start_at_once_from_as_many_threads():
    found: SimpleQueue[Witness] = SimpleQueue()
    threads = [
        threading.Thread(target=lambda: found.put(Witness("live"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    witnesses = [found.get(timeout=PATIENCE) for _ in threads]
    assert len({witness.next()["pid"] for witness in witnesses}) == 20
    for witness in witnesses:
        witness.child.kill()
    assert {witness.next().signal for witness in witnesses} == {signal.SIGKILL}


@contextlib.contextmanager
def parent_doing(then: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python that starts a child, prints its number when ready, and does `then`."""
    command = [sys.executable, "-c", PARENT.format(path=sys.path, then=then)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            yield parent
        finally:
            parent.kill()


def test_a_child_ends_when_its_parent_is_killed():
    with parent_doing("threading.Event().wait()") as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
        wait_until_gone(pid)


def test_a_child_ends_when_its_parent_ends_normally():
    with parent_doing("ready.wait()") as parent:
        pid = int(parent.stdout.readline())
        assert parent.wait(PATIENCE) == 0
        wait_until_gone(pid)


def test_a_child_ends_at_the_end_of_its_lifeline_alone():
    with parent_doing(f"{CUT}; print(child.wait().text)") as parent:
        assert int(parent.stdout.readline())
        assert parent.stdout.readline() == "was killed by SIGKILL\n"


def test_a_forked_copy_does_not_keep_the_lifeline():
    then = f"""
ready.wait()
copy = os.fork()
if copy == 0:
    threading.Event().wait()
{CUT}
end = child.wait()
os.kill(copy, 9)
os.waitpid(copy, 0)
print(end.text)
"""
    with parent_doing(then) as parent:
        assert int(parent.stdout.readline())
        assert parent.stdout.readline() == "was killed by SIGKILL\n"


def test_a_forked_copy_neither_keeps_nor_ends_the_children():
    witness = Witness("live")
    witness.next()
    told, tell = os.pipe()
    copy = os.fork()
    if copy == 0:
        try:
            with pytest.raises(SpliceError, match="forked copy") as caught:
                witness.child.kill()
            os.write(tell, json.dumps(str(caught.value)).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        assert str(os.getpid()) in json.load(pipe)
    os.waitpid(copy, 0)
    assert witness.child.wait(0) is None
    witness.child.kill()
    assert witness.next().signal == signal.SIGKILL


def test_a_forked_copy_starts_children_of_its_own():
    Witness("tell").next()
    told, tell = os.pipe()
    copy = os.fork()
    if copy == 0:
        try:
            info = Witness("tell").next()
            os.write(tell, json.dumps(info["parent"] == os.getpid()).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        assert json.load(pipe) is True
    os.waitpid(copy, 0)
