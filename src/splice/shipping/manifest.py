"""Manifest: what a unit consists of, and how it is cut into chunks; pure.

A *unit* is what is shipped in one piece: a distribution, or a tree of loose code.  Its files
stand below one folder, as in ``site-packages``, and travel as one stream, in this order::

    files    | a.py | b.so ............................. | c.txt |
    chunks   |--------- 0 ---------|--------- 1 ---------|-- 2 --|

Its id is computed from paths, sizes, contents and modes, so nobody can give a unit another's id.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

CHUNK_BYTES: Final = 2**20
"""One answer of the supplier: large enough to travel uncopied at full speed, small enough that
eight of them in flight are no burden."""

MAX_FILES: Final = 200_000
"""Files of a unit that a worker accepts; the largest distributions have a tenth of that."""


_NO_NAMES: Final = frozenset({"", ".", ".."})


class BadManifest(ValueError):
    """A manifest that no honest supplier sends."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a unit.

    Attributes:
        path: below the unit's folder, with slashes.
        size: bytes.
        digest: SHA-256 of the content, in hex digits.
        is_executable: whether its user may execute it.
    """

    path: str
    size: int
    digest: str
    is_executable: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a unit.

    Attributes:
        name: of the distribution, or of the module.
        version: of the distribution; empty for loose code.
        files: in the order in which they travel.
    """

    name: str
    version: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """How many bytes its files have."""
        return sum(file.size for file in self.files)

    @property
    def ident(self) -> str:
        """The id of the unit, 64 hex digits."""
        lines = sorted(
            f"{file.path}\0{file.size}\0{file.digest}\0{file.is_executable:d}\n"
            for file in self.files
        )
        return hashlib.sha256(
            "".join(lines).encode(errors="surrogateescape")
        ).hexdigest()

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one file: what a chunk takes from it.

    Attributes:
        index: of the file in the manifest.
        offset: where in the file it begins.
        size: bytes.
    """

    index: int
    offset: int
    size: int


class Cut:
    """How the files of a manifest are cut into chunks."""

    def __init__(self, manifest: Manifest) -> None:
        self._starts = [0, *accumulate(file.size for file in manifest.files)]
        self.size = self._starts[-1]

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-self.size // CHUNK_BYTES)

    def length(self, chunk: int) -> int:
        """Return how many bytes a chunk has."""
        return min(CHUNK_BYTES, self.size - chunk * CHUNK_BYTES)

    def pieces(self, chunk: int) -> Iterator[Piece]:
        """Yield what a chunk consists of; empty files have no piece."""
        position = chunk * CHUNK_BYTES
        end = min(position + CHUNK_BYTES, self.size)
        index = bisect_right(self._starts, position) - 1
        while position < end:
            stop = min(self._starts[index + 1], end)
            if stop > position:
                yield Piece(index, position - self._starts[index], stop - position)
            position = stop
            index += 1


def check_manifest(manifest: Manifest, ident: str) -> None:
    """Make sure that a manifest is that of unit `ident`, and leads nowhere else.

    Raises:
        BadManifest: it is not, or it does; the text says which.
    """
    if len(manifest.files) > MAX_FILES:
        raise BadManifest(f"{len(manifest.files)} files, more than {MAX_FILES}")
    for file in manifest.files:
        if not is_safe_path(file.path) or file.size < 0:
            raise BadManifest(f"a file named {file.path!r} of {file.size} bytes")
    _check_places(file.path for file in manifest.files)
    if (found := manifest.ident) != ident:
        raise BadManifest(f"files of unit {found}, not of {ident}")


def is_safe_path(path: str) -> bool:
    """Tell whether a path stays below the folder it is joined to."""
    return (
        "\\" not in path and "\0" not in path and _NO_NAMES.isdisjoint(path.split("/"))
    )


def _check_places(paths: Iterable[str]) -> None:
    """Refuse two files in one place, and a file in the place of a folder."""
    seen = set[str]()
    folders = set[str]()
    for path in paths:
        if path in seen:
            raise BadManifest(f"two files named {path!r}")
        seen.add(path)
        while (path := path.rpartition("/")[0]) and path not in folders:
            folders.add(path)
    if clash := seen & folders:
        raise BadManifest(f"{min(clash)!r} as a file and as a folder")
