"""Store: the units of one machine and user, each in a folder named by its id.

::

    $XDG_CACHE_HOME/splice/store/    0700, on a local disk
        units/<id>/                  the files, as in site-packages; whole, or not there
        indexes/<id>                 name, version, and size, time and digest of each file
        locks/<id>                   locked: being fetched or removed
        leases/<id>                  shared lock: in use; its time: when it was used last
        partial/<id>.<number>/       being unpacked
        namespaces/<name>/           an empty portion of a namespace package

A unit is unpacked beside its place, verified and then renamed, so that it is never there by half;
the lock makes it one download for the machine, and falls when its holder dies.  While an OS process
has a lease the unit stays, but for one that was changed: it is replaced under all who use it.

Workers call it, on any thread; `splice cache` does too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from splice.errors import DependencyTransferError
from splice.log import logger
from splice.shipping.manifest import Manifest

STORE_BYTES: Final = 10 * 2**30
"""Size of all units over which the least recently used are removed: forty times numpy, pandas and
scikit-learn together, and still a small part of a disk."""

SPARE_BYTES: Final = 16 * 2**20
"""What must stay free on the disk besides a unit: bytecode and indexes are written, too."""

POLL_SECONDS: Final = 0.02
"""Between two looks whether another OS process has finished a download; a person feels nothing."""

_log = logger("shipping")

Pause = Callable[[float], None]
"""Waits so many seconds; on a node's own loop it moves messages meanwhile."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A unit in the store.

    Attributes:
        ident: its id.
        name: of the distribution or module.
        version: of the distribution; empty for loose code.
        size: bytes.
        used: when it was last used, in seconds since 1970.
        is_in_use: whether an OS process holds it.
    """

    ident: str
    name: str
    version: str
    size: int
    used: float
    is_in_use: bool


def store_folder() -> Path:
    """Return where the store of this user is.

    Raises:
        DependencyTransferError: the user has no home, as some in containers.
    """
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DependencyTransferError(
            "there is no folder for a store of shipped modules: this user has no home; set "
            "XDG_CACHE_HOME"
        ) from error
    return Path(cache) / "splice" / "store"


class Store:
    """The store in one folder; several OS processes and threads may use it at once.

    Args:
        folder: made if it is not there.
        limit_bytes: see `STORE_BYTES`.

    Raises:
        DependencyTransferError: the folder cannot be made, or belongs to somebody else.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = STORE_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._leases: dict[str, int] = {}
        try:
            self._make_folders()
        except OSError as error:
            raise DependencyTransferError(
                f"there is no store for shipped modules at {folder}: {error}; set "
                "XDG_CACHE_HOME to a folder of your own"
            ) from error

    def _make_folders(self) -> None:
        for name in ("units", "indexes", "locks", "leases", "partial"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(self.folder)

    def place(self, ident: str) -> Path:
        """Return the folder of a unit, whether it is there or not."""
        return self.folder / "units" / ident

    def lease(
        self, ident: str, fetch: Callable[[Path], Manifest], pause: Pause
    ) -> bool:
        """Have a unit in its place and keep it there until this OS process ends.

        Args:
            ident: of the unit.
            fetch: unpacks it into an empty folder and returns its manifest, verified.
            pause: see `Pause`.

        Returns:
            Whether it had to be fetched.

        Raises:
            DependencyTransferError: what `fetch` raised, or the disk is full.
        """
        if ident in self._leases:
            if self.place(ident).is_dir():
                return False
            os.close(self._leases.pop(ident))  # somebody has deleted the store
        try:
            has_fetched = self._lease(ident, fetch, pause)
        except OSError as error:
            raise self._failed(f"unit {ident[:12]}", error) from error
        if has_fetched:
            self._evict_if_possible()
        return has_fetched

    def namespace(self, name: str) -> Path:
        """Return a folder that holds an empty portion of a namespace package.

        Raises:
            DependencyTransferError: it cannot be made.
        """
        folder = self.folder / "namespaces" / name
        try:
            self._make_folders()  # or what a deleted store had closed is open
            portion = folder / name.replace(".", "/")
            portion.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(f"namespace package {name}", error) from error
        return folder

    def _failed(self, what: str, error: OSError) -> DependencyTransferError:
        return DependencyTransferError(
            f"{what} cannot be stored at {self.folder}: {error}"
        )

    def _lease(
        self, ident: str, fetch: Callable[[Path], Manifest], pause: Pause
    ) -> bool:
        self._make_folders()
        with contextlib.ExitStack() as on_failure:
            lease = self._open("leases", ident)
            on_failure.callback(os.close, lease)
            while not _try_lock(lease, fcntl.LOCK_SH):  # evicted just now
                pause(POLL_SECONDS)
            has_fetched = self._ensure(ident, fetch, pause)
            os.utime(lease)
            on_failure.pop_all()
        self._leases[ident] = lease
        return has_fetched

    def _evict_if_possible(self) -> None:
        """Make room; the unit that was wanted is there, whatever becomes of the others."""
        try:
            self.evict()
        except OSError as error:
            _log.warning("no room could be made in the store: %s", error)

    def _ensure(
        self, ident: str, fetch: Callable[[Path], Manifest], pause: Pause
    ) -> bool:
        """Have a unit in its place, fetched by whoever gets the lock first."""
        with self._opened("locks", ident) as lock:
            while not self.is_sound(ident):
                if not _try_lock(lock, fcntl.LOCK_EX):
                    pause(POLL_SECONDS)
                elif not self.is_sound(ident):
                    self._unpack(ident, fetch)
                    return True
        return False

    def _unpack(self, ident: str, fetch: Callable[[Path], Manifest]) -> None:
        """Fetch a unit; the exclusive lock is held."""
        self._remove(ident)
        partial = self.folder / "partial" / f"{ident}.{os.getpid()}"
        partial.mkdir(mode=0o700)
        try:
            manifest = fetch(partial)
            index = self.folder / "indexes" / ident
            index.write_text(json.dumps(_index_of(partial, manifest)))
            partial.rename(self.place(ident))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def check_room(self, manifest: Manifest) -> None:
        """Refuse before the first byte what the disk has no room for.

        Raises:
            DependencyTransferError: with the numbers.
        """
        free = shutil.disk_usage(self.folder).free
        if free < manifest.size + SPARE_BYTES:
            raise DependencyTransferError(
                f"no room for {manifest}: it has {manifest.size:,} bytes, "
                f"{free:,} are free at {self.folder}; make room or set XDG_CACHE_HOME"
            )

    # ---- what is there

    def is_sound(self, ident: str) -> bool:
        """Tell whether a unit is there and as it was unpacked.

        Files with the same size and time are taken as they are, others read again.
        """
        place = self.place(ident)
        index = self._read_index(ident)
        if index is None or not place.is_dir():
            return False
        for path, (size, time, digest) in index["files"].items():
            try:
                status = os.stat(f"{place}/{path}")
                if (status.st_size, status.st_mtime_ns) == (size, time):
                    continue
                is_same = status.st_size == size and _digest(place / path) == digest
            except OSError:
                is_same = False
            if not is_same:
                _log.warning("%s was changed in the store: fetched again", place / path)
                return False
        return True

    def _read_index(self, ident: str) -> dict[str, Any] | None:
        """Return the index of a unit; None when there is none that can be read."""
        try:
            index = json.loads((self.folder / "indexes" / ident).read_bytes())
        except (OSError, ValueError):
            return None
        return index if _is_index(index) else None

    def units(self) -> list[Stored]:
        """Return all units, the least recently used first."""
        found: list[Stored] = []
        for place in (self.folder / "units").iterdir():
            index = self._read_index(place.name) or {}
            with self._opened("leases", place.name) as lease:
                found.append(
                    Stored(
                        place.name,
                        index.get("name", "?"),
                        index.get("version", ""),
                        index.get("size", 0),
                        os.fstat(lease).st_mtime,
                        not _try_lock(lease, fcntl.LOCK_EX),
                    )
                )
        return sorted(found, key=lambda unit: unit.used)

    # ---- making room

    def evict(self) -> None:
        """Remove the units that were used least recently, until the rest is below the limit.

        What an OS process uses stays.
        """
        self._sweep()
        units = self.units()
        excess = sum(unit.size for unit in units) - self._limit_bytes
        for unit in units:
            if excess <= 0:
                return
            if not unit.is_in_use and self._remove_idle(unit.ident):
                excess -= unit.size

    def clear(self) -> list[Stored]:
        """Remove all units that nobody uses; returns them."""
        self._sweep()
        return [unit for unit in self.units() if self._remove_idle(unit.ident)]

    def _remove_idle(self, ident: str) -> bool:
        with (
            self._opened("locks", ident) as lock,
            self._opened("leases", ident) as lease,
        ):
            if not _try_lock(lease, fcntl.LOCK_EX) or not _try_lock(
                lock, fcntl.LOCK_EX
            ):
                return False
            self._remove(ident)
        # the files of the locks stay: two OS processes must never have two of them
        return True

    def _remove(self, ident: str) -> None:
        """Remove a unit and what the dead have left of it; the exclusive lock is held."""
        (self.folder / "indexes" / ident).unlink(missing_ok=True)
        place = self.place(ident)
        if place.exists():  # out of the way at once; it takes a while
            place.rename(self.folder / "partial" / f"{ident}.old.{os.getpid()}")
        for left in (self.folder / "partial").glob(f"{ident}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what OS processes have left that were killed while they fetched a unit."""
        for left in (self.folder / "partial").iterdir():
            with self._opened("locks", left.name.partition(".")[0]) as lock:
                if _try_lock(lock, fcntl.LOCK_EX):
                    shutil.rmtree(left, ignore_errors=True)

    def _open(self, kind: str, ident: str) -> int:
        return os.open(self.folder / kind / ident, os.O_RDWR | os.O_CREAT, 0o600)

    @contextlib.contextmanager
    def _opened(self, kind: str, ident: str) -> Iterator[int]:
        descriptor = self._open(kind, ident)
        try:
            yield descriptor
        finally:
            # closing is not enough: a copy that was forked meanwhile has the same lock
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _make_private(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_index(index: Any) -> bool:
    """Tell whether something has the form of what `_index_of` makes."""
    if not isinstance(index, dict):
        return False
    files = index.get("files")
    return (
        isinstance(files, dict)
        and isinstance(index.get("size"), int)
        and all(isinstance(facts, list) and len(facts) == 3 for facts in files.values())
    )


def _index_of(folder: Path, manifest: Manifest) -> dict[str, Any]:
    files = {
        file.path: (
            file.size,
            os.stat(f"{folder}/{file.path}").st_mtime_ns,
            file.digest,
        )
        for file in manifest.files
    }
    return {
        "name": manifest.name,
        "version": manifest.version,
        "size": manifest.size,
        "files": files,
    }


def _digest(place: Path) -> str:
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
