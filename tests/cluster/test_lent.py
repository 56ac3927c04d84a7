"""Large common arguments lie once in the memory of a machine, and are gone with their map."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splice import RemoteError
from splice.cluster import session
from splice.cluster.lent import LEAST_BYTES, Lent, lend
from splice.cluster.packed import pack

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="this system has no memfd"
)


def test_what_is_lent_is_the_same_behind_and_before_small_things() -> None:
    large = np.arange(LEAST_BYTES)
    strange = np.asfortranarray(np.arange(2 * LEAST_BYTES).reshape(2, -1))
    value = ["a", np.arange(9), large, b"x" * (LEAST_BYTES + 1), strange]
    value += [large[:7], b"y" * (LEAST_BYTES + 3)]
    lent = lend(pack(value))
    assert isinstance(lent, Lent)
    found = pack(lent).unpack().unpack()
    for before, behind in zip(value, found, strict=True):
        assert np.array_equal(before, behind)


def test_small_things_travel_as_ever() -> None:
    packed = pack([np.arange(1000), "a"])
    assert lend(packed) is packed


def test_what_one_writes_to_nobody_else_sees() -> None:
    lent = lend(pack(np.zeros(LEAST_BYTES)))
    first, second = lent.unpack(), lent.unpack()
    first[0] = 1
    assert second[0] == 0
    assert lent.unpack()[0] == 0


def test_memory_is_given_back_with_what_was_lent_and_no_sooner(
    memfds: Callable[[], int],
) -> None:
    before = memfds()
    lent = lend(pack(np.ones(LEAST_BYTES)))
    assert memfds() == before + 1
    far = pack(lent).unpack()
    value = lent.unpack()
    del lent
    gc.collect()
    with pytest.raises(RemoteError, match=r"lent arguments of a call"):
        far.unpack()
    assert value.sum() == LEAST_BYTES
    del value
    assert memfds() == before


def address(_: int, array: Any) -> tuple[int, str]:
    begin = array.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= begin < high:
            return os.getpid(), line.split(maxsplit=5)[-1]
    raise LookupError(begin)


@pytest.mark.system
def test_workers_of_one_machine_share_what_a_map_has_in_common(
    memfds: Callable[[], int],
) -> None:
    array = np.ones(LEAST_BYTES)
    before = memfds()
    with session(worker_count=2) as c:
        where = set(c.map(address, range(50), array, chunksize=1))
        enclosed = c.map(lambda _: address(0, array), range(3))
        assert memfds() == before
    assert {name for _, name in (*where, *enclosed)} == {"/memfd:splice (deleted)"}


@pytest.mark.system
def test_a_worker_that_takes_the_place_of_another_has_it_too(tmp_path: Path) -> None:
    def die_once(item: int, path: str, array: Any) -> float:
        if item == 3 and not Path(path).exists():
            Path(path).touch()
            os._exit(2)
        return float(array[item])

    with session(worker_count=1) as c:
        path = str(tmp_path / "died")
        found = c.map(die_once, range(6), path, np.arange(float(LEAST_BYTES)))
    assert found == [0, 1, 2, 3, 4, 5]


KILLED = """
import os, signal
import numpy as np
from splice.cluster import session
c = session(worker_count=1)
for answer in c.imap(lambda n, a: n + a[0], range(100000), np.ones(2**20)):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.system
def test_nothing_is_left_of_a_client_that_is_killed(tmp_path: Path) -> None:
    folders = [folder for folder in (Path("/dev/shm"), tmp_path) if folder.is_dir()]
    before = [sorted(folder.iterdir()) for folder in folders]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], timeout=60, check=False, env=environment
    )
    assert killed.returncode == -9
    assert [sorted(folder.iterdir()) for folder in folders] == before
