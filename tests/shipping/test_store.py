"""The store: whole or not there, once for a machine, never larger than it may be."""

import errno
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from splice.errors import DependencyTransferError
from splice.shipping.manifest import File, Manifest
from splice.shipping.store import Store, store_folder
from splice.shipping.unpacking import Unpacking


def manifest_of(name, files):
    return Manifest(
        name,
        "1.0",
        tuple(
            File(path, len(data), hashlib.sha256(data).hexdigest(), path.endswith("sh"))
            for path, data in files.items()
        ),
    )


FILES = {"lib/a.py": b"content", "lib/empty.py": b"", "lib/run.sh": b"#!"}
LIB = manifest_of("lib", FILES)


class Client:
    """Unpacks units, and counts how often."""

    def __init__(self, files=FILES, name="lib"):
        self.manifest = manifest_of(name, files)
        self.stream = b"".join(files.values())
        self.fetched = 0

    def __call__(self, folder: Path) -> Manifest:
        self.fetched += 1
        unpacking = Unpacking(self.manifest, folder)
        try:
            unpacking.feed(memoryview(self.stream))
            unpacking.close()
        finally:
            unpacking.abort()
        return self.manifest


def no_pause(_: float) -> None:
    raise AssertionError("nothing to wait for")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def partial(folder):
    return [left.name for left in (folder / "partial").iterdir()]


def test_a_unit_is_fetched_once_and_whole(folder):
    client = Client()
    assert Store(folder).lease(LIB.ident, client, no_pause)
    place = Store(folder).place(LIB.ident)
    found = {path: (place / path).read_bytes() for path in FILES}
    assert found == FILES
    assert os.access(place / "lib/run.sh", os.X_OK)
    assert not os.access(place / "lib/a.py", os.X_OK)
    assert not Store(folder).lease(LIB.ident, client, no_pause)
    assert client.fetched == 1
    assert partial(folder) == []


def test_it_is_for_its_user_only(folder):
    folder.mkdir(mode=0o755)
    Store(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_store_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyTransferError, match="set XDG_CACHE_HOME"):
        Store(tmp_path / "file" / "store")


def test_it_is_in_the_cache_of_the_user(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert store_folder() == Path("/somewhere/splice/store")


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"CONTENT#!", r"lib/a\.py of lib 1\.0 arrived with another content"),
        (b"content", "shorter than it should be"),
        (b"content#!more", "longer than it should be"),
    ],
)
def test_a_broken_stream_leaves_nothing(folder, stream, what):
    client = Client()
    client.stream = stream
    with pytest.raises(DependencyTransferError, match=what):
        Store(folder).lease(LIB.ident, client, no_pause)
    assert partial(folder) == []
    assert Store(folder).units() == []
    assert Store(folder).lease(LIB.ident, Client(), no_pause)


def test_a_full_disk_leaves_nothing_and_says_so(folder):
    def full(place):
        (place / "half").write_text("written")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DependencyTransferError, match="No space left on device"):
        Store(folder).lease(LIB.ident, full, no_pause)
    assert partial(folder) == []


def test_what_does_not_fit_is_refused_before_the_first_byte(folder):
    giant = Manifest("giant", "1.0", (File("a", 2**62, ""),))
    with pytest.raises(
        DependencyTransferError, match=r"no room for giant 1\.0: it has 4,6"
    ):
        Store(folder).check_room(giant)


def test_what_a_killed_fetcher_left_is_removed(folder):
    Store(folder)
    (folder / "partial" / f"{LIB.ident}.12345").mkdir()
    (folder / "partial" / f"{'f' * 64}.12345").mkdir()
    Store(folder).lease(LIB.ident, Client(), no_pause)
    assert partial(folder) == []


def test_a_file_that_was_changed_is_noticed_and_the_unit_fetched_again(folder):
    Store(folder).lease(LIB.ident, Client(), no_pause)
    (Store(folder).place(LIB.ident) / "lib/a.py").write_bytes(b"Content")
    assert Store(folder).lease(LIB.ident, Client(), no_pause)
    assert (Store(folder).place(LIB.ident) / "lib/a.py").read_bytes() == b"content"


def test_a_unit_is_mended_under_those_who_use_it(folder):
    user = Store(folder)
    user.lease(LIB.ident, Client(), no_pause)
    (user.place(LIB.ident) / "lib/a.py").unlink()
    assert Store(folder).lease(LIB.ident, Client(), no_pause)
    assert user.is_sound(LIB.ident)


def test_a_file_that_was_only_touched_is_read_and_found_good(folder):
    Store(folder).lease(LIB.ident, Client(), no_pause)
    os.utime(Store(folder).place(LIB.ident) / "lib/a.py", ns=(1, 1))
    assert not Store(folder).lease(LIB.ident, Client(), no_pause)


def test_bytecode_that_workers_add_does_no_harm(folder):
    Store(folder).lease(LIB.ident, Client(), no_pause)
    cache = Store(folder).place(LIB.ident) / "lib/__pycache__"
    cache.mkdir()
    (cache / "a.cpython-311.pyc").write_bytes(b"x")
    assert not Store(folder).lease(LIB.ident, Client(), no_pause)


def test_two_at_once_fetch_once_and_the_other_waits(folder):
    client = Client()
    begun, may_end, waited = threading.Event(), threading.Event(), threading.Event()

    def slow(place):
        begun.set()
        assert may_end.wait(30)
        return client(place)

    def pause(_):
        waited.set()
        may_end.set()

    first = threading.Thread(
        target=Store(folder).lease, args=(LIB.ident, slow, no_pause)
    )
    first.start()
    assert begun.wait(30)
    assert not Store(folder).lease(LIB.ident, client, pause)
    first.join(30)
    assert waited.is_set()
    assert client.fetched == 1


def test_the_least_recently_used_go_when_there_is_too_much(folder):
    clients = [Client({"a.py": bytes([n]) * 100}, f"lib{n}") for n in range(4)]
    for age, client in enumerate(clients[:3]):
        store = Store(folder)
        store.lease(client.manifest.ident, client, no_pause)
        let_go(store)
        lease = folder / "leases" / client.manifest.ident
        os.utime(lease, (1000 - age, 1000 - age))
    Store(folder, limit_bytes=250).lease(
        clients[3].manifest.ident, clients[3], no_pause
    )
    assert {unit.name for unit in Store(folder).units()} == {"lib0", "lib3"}


def test_what_is_in_use_stays(folder):
    users = []
    for n in range(3):
        client = Client({"a.py": bytes([n]) * 100}, f"lib{n}")
        users.append(Store(folder, limit_bytes=150))
        users[-1].lease(client.manifest.ident, client, no_pause)
    units = Store(folder).units()
    assert len(units) == 3
    assert all(unit.is_in_use for unit in units)
    assert Store(folder).clear() == []
    for user in users:
        let_go(user)
    assert len(Store(folder).clear()) == 3
    assert Store(folder).units() == []


def test_the_units_are_shown_with_name_and_size(folder):
    Store(folder).lease(LIB.ident, Client(), no_pause)
    (unit,) = Store(folder).units()
    assert (unit.name, unit.version, unit.size) == ("lib", "1.0", LIB.size)


def let_go(store: Store) -> None:
    """As the end of its OS process does."""
    for lease in store._leases.values():
        os.close(lease)
    store._leases.clear()


@pytest.mark.system
def test_a_fetcher_that_is_killed_leaves_the_unit_to_the_next(folder):
    script = """
import sys
from pathlib import Path
from splice.shipping.store import Store
def fetch(place):
    (place / "half").write_text("written")
    print("begun", flush=True)
    sys.stdin.read()
Store(Path(sys.argv[1])).lease(sys.argv[2], fetch, None)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), LIB.ident],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout.readline() == b"begun\n"
        client = Client()

        def pause(_):
            child.kill()
            child.wait()

        assert Store(folder).lease(LIB.ident, client, pause)
    assert client.fetched == 1
    assert partial(folder) == []


@pytest.mark.parametrize(
    "index", ["", "[]", "{}", '{"size": 1, "files": {"lib/a.py": 3}}', '{"files": 1}']
)
def test_an_index_that_was_damaged_has_its_unit_fetched_again(folder, index):
    Store(folder).lease(LIB.ident, Client(), no_pause)
    (folder / "indexes" / LIB.ident).write_text(index)
    (unit,) = Store(folder).units()
    assert unit.size == 0
    assert Store(folder).lease(LIB.ident, Client(), no_pause)
    assert Store(folder).is_sound(LIB.ident)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if (
        os.geteuid()
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs root, to mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.system
def test_a_disk_that_gets_full_leaves_nothing_half_written(small_disk):
    store = Store(small_disk / "store")
    # as the last file, of which the disk takes a part without a word
    client = Client({"a.py": b"small", "z.bin": os.urandom(2**20)})
    with pytest.raises(DependencyTransferError, match="No space left on device"):
        store.lease(client.manifest.ident, client, no_pause)
    assert partial(small_disk / "store") == []
    assert store.units() == []
    assert store.lease(LIB.ident, Client(), no_pause)


@pytest.mark.system
def test_a_small_disk_is_seen_before_the_first_byte(small_disk):
    with pytest.raises(
        DependencyTransferError, match=r"no room for lib 1\.0: it has 9"
    ):
        Store(small_disk / "store").check_room(LIB)


@pytest.mark.system
def test_a_forked_copy_made_during_a_failed_fetch_keeps_no_lock(folder):
    read, write = os.pipe()
    copies = []

    def fork_and_fail(_: Path) -> Manifest:
        copies.append(os.fork())
        if copies == [0]:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        raise DependencyTransferError("the client is gone")

    try:
        with pytest.raises(DependencyTransferError, match="the client is gone"):
            Store(folder).lease(LIB.ident, fork_and_fail, no_pause)
        # while the copy lives
        assert Store(folder).lease(LIB.ident, Client(), no_pause)
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(copies[0], 0)


def test_a_store_that_was_deleted_meanwhile_is_made_anew(folder):
    store = Store(folder)
    store.lease(LIB.ident, Client(), no_pause)
    shutil.rmtree(folder)
    assert store.lease(LIB.ident, Client(), no_pause)
    other = Client({"other.py": b"other"}, "other")
    assert store.lease(other.manifest.ident, other, no_pause)
    assert store.is_sound(LIB.ident)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_store_that_cannot_be_written_any_more_is_a_failed_transfer(folder):
    store = Store(folder)
    (folder / "locks").rmdir()
    (folder / "locks").write_text("in the way")
    with pytest.raises(DependencyTransferError, match=r"cannot be stored at .*/store:"):
        store.lease(LIB.ident, Client(), no_pause)


def test_a_unit_is_used_though_no_room_could_be_made(folder, caplog):
    store = Store(folder)
    (folder / "locks" / ("f" * 64)).mkdir()
    (folder / "partial" / f"{'f' * 64}.12").mkdir()  # its lock cannot be had
    assert store.lease(LIB.ident, Client(), no_pause)
    assert "no room could be made in the store" in caplog.text


def test_a_namespace_of_a_store_that_was_deleted_is_closed_to_others(folder):
    store = Store(folder)
    shutil.rmtree(folder)
    before = os.umask(0)
    try:
        assert (store.namespace("a.b") / "a/b").is_dir()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_where_nobody_has_a_home_it_is_told_what_to_set(monkeypatch):
    def nobody(number):
        raise KeyError(number)

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)  # as in a container
    with pytest.raises(DependencyTransferError, match="set XDG_CACHE_HOME"):
        store_folder()
