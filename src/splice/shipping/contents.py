"""Contents: where the bytes of a unit's files come from, and their digests.

A file on disk, a member of an archive, or what was made here.  Used on threads of the client only,
never on a node's loop.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from splice.shipping.answers import Changed
from splice.shipping.manifest import Cut, File, Manifest

SETTLED_SECONDS: Final = 2.0
"""After a change of a file its next one shows in its times; no file system has coarser ones."""


class Content(Protocol):
    """The bytes of one file."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on."""

    def describe(self, path: str) -> File:
        """Return what the manifest says of it when it stands at `path`."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file of the client.

    Attributes:
        place: its path.
        known: what a manifest says of it, where that is known without reading it.
    """

    place: str
    known: File | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on."""
        with open(self.place, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    def describe(self, path: str) -> File:
        """Return size, digest and mode; the content is read unless its digest is known."""
        if self.known is not None:
            return self.known
        status = os.stat(self.place)
        return file_of(path, status, _digest_of(self.place, status))


def file_of(path: str, status: os.stat_result, digest: str) -> File:
    """Return what a manifest says of a file that has `status` and stands at `path`."""
    return File(path, status.st_size, digest, bool(status.st_mode & stat.S_IXUSR))


@dataclass(frozen=True, slots=True)
class InArchive:
    """A member of a zip archive."""

    archive: str
    member: str

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on."""
        return self._whole()[offset : offset + size]

    def describe(self, path: str) -> File:
        """Return size and digest."""
        return InMemory(self._whole()).describe(path)

    def _whole(self) -> bytes:
        try:
            with zipfile.ZipFile(self.archive) as archive:
                return archive.read(self.member)
        except (KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise Changed(f"{self.member} of {self.archive}: {error}") from error


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes that were made here."""

    data: bytes

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on."""
        return self.data[offset : offset + size]

    def describe(self, path: str) -> File:
        """Return size and digest."""
        return File(path, len(self.data), hashlib.sha256(self.data).hexdigest())


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as the client has it.

    Attributes:
        manifest: of its files.
        contents: where their bytes are, in the same order.
        origin: the folder or archive it comes from, for people.
        wheel_tags: ``Tag`` lines of its ``WHEEL`` file.
        ident: its id, which takes milliseconds to compute.
    """

    manifest: Manifest
    contents: tuple[Content, ...]
    origin: str
    wheel_tags: tuple[str, ...]
    ident: str

    def chunk(self, number: int) -> bytes:
        """Return one chunk of its stream.

        Raises:
            Changed: a file has another size than the manifest says.
        """
        parts: list[bytes] = []
        for piece in Cut(self.manifest).pieces(number):
            data = self.contents[piece.index].read(piece.offset, piece.size)
            if len(data) != piece.size:
                path = self.manifest.files[piece.index].path
                raise Changed(
                    f"{path} of {self.manifest} was changed while it was sent"
                )
            parts.append(data)
        return b"".join(parts)


def make_unit(
    name: str,
    version: str,
    contents: dict[str, Content],
    origin: str,
    wheel_tags: Sequence[str] = (),
) -> Unit:
    """Make a unit of contents by path."""
    paths = sorted(contents)
    files = tuple(contents[path].describe(path) for path in paths)
    ordered = tuple(contents[path] for path in paths)
    manifest = Manifest(name, version, files)
    return Unit(manifest, ordered, origin, tuple(wheel_tags), manifest.ident)


_digests: dict[tuple[str, int, int, int, int], str] = {}
# Module state: a cache for all sessions of this OS process.  A file that was changed has another
# key: nobody can set the time of its last change (ctime) back.


def _digest_of(place: str, status: os.stat_result) -> str:
    times = status.st_mtime_ns, status.st_ctime_ns
    key = place, *times, status.st_size, status.st_ino
    digest = _digests.get(key)
    if digest is None:
        with open(place, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # of two changes in one tick of the file system's clock, the second would not be seen
        if time.time_ns() - max(times) > SETTLED_SECONDS * 1e9:
            _digests[key] = digest
    return digest
