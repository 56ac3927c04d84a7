"""What sessions of one machine share: one store, one download, one disk; real workers each."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading

import pytest
from tests.shipping.trees import forget, install, lay_out, use, write

from splice import runtime
from splice.cluster.sessions import Session
from splice.cluster.terms import Terms
from splice.config import Config
from splice.errors import CompositeError, DependencyTransferError
from splice.node import current
from splice.node.hosting import NodeThread
from splice.node.launch import OsLauncher
from splice.shipping import progress
from splice.shipping.store import Store, store_folder

pytestmark = pytest.mark.system

MIB = 2**20


def stored() -> set[str]:
    """Return the names of the units in the store."""
    return {unit.name for unit in Store(store_folder()).units()}


def test_workers_of_two_sessions_at_once_have_one_download(
    far_session, project, chunks
):
    lay_out(project, "wanted", 4 * MIB)
    sessions = [far_session(2, hide=(project,)) for _ in range(2)]
    answers = [c.submit(use("wanted")) for c in sessions for _ in range(2)]
    assert [answer.get(timeout=40) for answer in answers] == ["wanted"] * 4
    found = [found for c in sessions for found in c.dependencies()]
    assert sum(each.transfers for each in found) == 1
    assert max(each.seconds for each in found) > 0
    assert chunks.sent == found[0].size == found[1].size
    assert found[0].size > 4 * MIB


@pytest.mark.parametrize("harm", ["truncated", "other bytes", "removed"])
def test_a_file_that_was_damaged_in_the_store_is_fetched_again_at_its_next_use(
    far_session, project, harm
):
    lay_out(project, "damaged")
    first = far_session(hide=(project,))
    assert first.apply(use("damaged")) == ["damaged"]
    first.shutdown()
    (code,) = store_folder().glob("units/*/damaged/__init__.py")
    if harm == "removed":
        code.unlink()
    else:
        code.write_text("NAME" if harm == "truncated" else "NAME = 'DAMAGED'")
    second = far_session(hide=(project,))
    assert second.apply(use("damaged")) == ["damaged"]
    assert second.dependencies()[0].transfers == 1


def test_over_the_limit_the_least_recently_used_go_but_for_what_a_worker_uses(
    far_session, project
):
    for name in ("one", "two", "three"):
        lay_out(project, name, 300_000)

    def small():
        from splice.shipping.store import Store

        Store.__init__.__kwdefaults__["limit_bytes"] = 700_000

    def read():
        import importlib.resources

        return len(importlib.resources.files("one").joinpath("data.bin").read_bytes())

    holder = far_session(init=small, hide=(project,))
    assert holder.apply(use("one")) == ["one"]
    for name in ("two", "three"):
        c = far_session(init=small, hide=(project,))
        assert c.apply(use(name)) == [name]
        c.shutdown()
    assert stored() == {"one", "three"}  # two was used after one, but by nobody now
    assert holder.apply(read) == [300_000]
    holder.shutdown()
    last = far_session(init=small, hide=(project,))
    assert last.apply(use("two")) == ["two"]
    assert stored() == {"two", "three"}


def test_the_store_is_closed_to_others_whatever_the_umask(far_session, project):
    lay_out(project, "private")
    before = os.umask(0)
    try:
        assert far_session(hide=(project,)).apply(use("private")) == ["private"]
    finally:
        os.umask(before)
    assert stat.S_IMODE(store_folder().stat().st_mode) == 0o700


def cache(*arguments: str) -> str:
    """Run ``splice cache`` as a user does."""
    command = [sys.executable, "-m", "splice", "cache", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_splice_cache_shows_what_a_session_has_and_clears_it_afterwards(
    far_session, project
):
    install(project, "kept", "1.2", {"kept/__init__.py": "NAME = 'kept'"})
    c = far_session(hide=(project,))
    assert c.apply(use("kept")) == ["kept"]
    assert "kept 1.2, in use\n" in cache()
    assert "removed 0 units" in cache("--clear")
    assert stored() == {"kept"}
    c.shutdown()
    assert "kept 1.2, last used 20" in cache()
    assert "removed 1 units" in cache("--clear")
    assert stored() == set()


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A disk of 32 MiB for the store."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(place)]
    if (
        os.geteuid()
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs root, to mount a small disk")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_gets_full_is_no_import_error_and_the_session_goes_on(
    far_session, small_disk, project, chunks
):
    lay_out(project, "large", 8 * MIB)
    full = small_disk / "of others"

    def fill(number):
        if number == 2 and not full.exists():
            with contextlib.suppress(OSError), full.open("wb") as file:
                for _ in range(64):  # twice what there is
                    file.write(bytes(MIB))

    def fall_back():
        try:
            import large
        except ImportError:
            return "the slow way"
        return large.NAME

    c = far_session(hide=(project,))  # the namespace of its workers has the disk
    chunks.at = fill
    with pytest.raises(CompositeError) as raised:
        c.apply(fall_back)
    error = raised.value.errors[0]
    assert isinstance(error, DependencyTransferError)
    assert "No space left on device" in str(error)
    assert list((small_disk / "splice/store/partial").iterdir()) == []
    full.write_bytes(b"")
    assert c.apply(fall_back) == ["large"]


def test_what_a_small_disk_has_no_room_for_is_refused_before_the_first_byte(
    far_session, small_disk, project, chunks
):
    lay_out(project, "large", 40 * MIB)
    c = far_session(hide=(project,))
    with pytest.raises(CompositeError, match="no room for large") as raised:
        c.apply(use("large"))
    assert isinstance(raised.value.errors[0], DependencyTransferError)
    assert chunks.sent == 0


@pytest.mark.slow
def test_nobody_is_taken_for_lost_though_a_transfer_stands_still_for_longer(
    bare_path, project, tmp_path, monkeypatch, chunks
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lay_out(project, "large", 8 * MIB)
    silence = 2.0
    held = threading.Event()  # never set: it only lets time pass

    def hold(number):
        if number == 4:
            held.wait(2 * silence)

    chunks.at = hold
    thread = NodeThread(Config(loss_timeout=silence, beat_interval=silence / 10))
    node = thread.start()
    node.children._launcher = OsLauncher(
        command=[sys._base_executable], path=list(bare_path)
    )
    token = current.decoding.set(node)
    session = Session(Terms(worker_count=1))
    try:
        assert session.apply(use("large")) == ["large"]
        (found,) = session.dependencies()
        assert found.seconds > silence
        assert session.statistics().deaths == 0
    finally:
        session.shutdown()
        current.decoding.reset(token)
        node.begin_shut_down()
        thread.join(20)


def test_a_terminal_shows_the_progress_of_a_long_transfer(
    far_session, project, monkeypatch
):
    lay_out(project, "large", 8 * MIB)
    master, slave = os.openpty()
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.001)
    with os.fdopen(slave, "w") as terminal, os.fdopen(master, "rb", 0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert far_session(hide=(project,)).apply(use("large")) == ["large"]
        monkeypatch.undo()
        seen = screen.read(4096).decode()
    assert seen.startswith("\rshipping large: ")
    assert "\rshipping large: 8 of 8 MB\033[K\r\n" in seen


def test_a_forked_copy_of_a_worker_imports_what_was_shipped(far_session, project):
    write(project, {"parts/__init__.py": "", "parts/late.py": "N = 6"})

    def in_a_copy():
        import parts  # noqa: F401

        read, write = os.pipe()
        if os.fork() == 0:
            try:
                from parts.late import N

                os.write(write, str(N).encode())
            finally:
                os._exit(0)
        os.close(write)
        os.wait()
        return os.read(read, 100)

    assert far_session(hide=(project,)).apply(in_a_copy) == [b"6"]


def test_a_callback_of_a_far_answer_cannot_fetch_and_says_so(far_session, project):
    write(
        project,
        {
            "for_callback.py": "N = 7",
            "for_loop.py": "N = 8",
            "calling.py": (
                "import asyncio, importlib\n"
                "from splice import Process\n"
                "class Far(Process):\n"
                "    def answer(self): return 1\n"
                "class Calling(Process):\n"
                "    def attempt(self, name):\n"
                "        try:\n"
                "            self.seen.set_result(importlib.import_module(name).N)\n"
                "        except BaseException as error:\n"
                "            self.seen.set_result(repr(error))\n"
                "    async def when_answered(self, far, name):\n"
                "        self.seen = asyncio.get_running_loop().create_future()\n"
                "        far.answer().add_done_callback(lambda _: self.attempt(name))\n"
                "        return await self.seen\n"
                "    async def on_the_loop(self, name):\n"
                "        loop = asyncio.get_running_loop()\n"
                "        self.seen = loop.create_future()\n"
                "        loop.call_soon(self.attempt, name)\n"
                "        return await self.seen\n"
                "    def in_handler(self, name):\n"
                "        return importlib.import_module(name).N\n"
            ),
        },
    )
    import calling

    c = far_session(hide=(project,))
    proc = runtime.spawn(calling.Calling, sp_dest=c.workers[0])
    far = runtime.spawn(calling.Far)
    said = proc.when_answered(far, "for_callback").get(timeout=20)
    assert "DependencyTransferError" in str(said)
    assert "cannot be fetched from the client in a callback" in str(said)
    assert proc.in_handler("for_callback").get(timeout=20) == 7
    assert proc.on_the_loop("for_loop").get(timeout=20) == 8
    forget("calling")
