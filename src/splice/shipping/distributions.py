"""Distributions: units of what an installer has put there, from its ``RECORD``.

``RECORD`` names every file with its digest, so nothing is read that was not changed since: bundled
libraries (``numpy.libs``), data files and metadata included.  Client's side, on any thread.
"""

from __future__ import annotations

import binascii
import csv
import email
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from email.message import Message
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from splice.log import logger
from splice.shipping.contents import (
    Content,
    InMemory,
    OnDisk,
    Unit,
    file_of,
    make_unit,
)
from splice.shipping.manifest import is_safe_path
from splice.shipping.versions import folders_of

_NOT_FOR_TREES: Final = frozenset({"RECORD", "direct_url.json"})
"""Say where a distribution was installed from and with what files: not true of a copied tree."""

_log = logger("shipping")


class Distribution:
    """One ``.dist-info`` folder (or ``.egg-info``) of the client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def name(self) -> str:
        """Its name, as its authors write it."""
        return self._headers.get("Name") or self.folder.name.partition("-")[0]

    @cached_property
    def version(self) -> str:
        """Its version; empty if it says none."""
        return self._headers.get("Version") or ""

    @cached_property
    def _headers(self) -> Message:
        # not when made: to find one, all of a site-packages are made, and most never asked
        headers, _, _ = self._text("METADATA", "PKG-INFO").partition("\n\n")
        return email.message_from_string(headers)

    def _text(self, *names: str) -> str:
        for name in names:
            # not there, or closed to us, as it is to importlib.metadata
            with suppress(OSError):
                return (self.folder / name).read_text(
                    encoding="utf-8", errors="replace"
                )
        return ""

    def unit(self, *, trusts_record: bool = True) -> Unit:
        """Make the unit of all its files below ``site-packages``.

        Args:
            trusts_record: take the digest of a file that is not newer than ``RECORD`` from there.
        """
        base = str(self.folder.parent)
        return make_unit(
            self.name,
            self.version,
            dict(self._contents(base, trusts_record)),
            base,
            self._wheel_tags(),
        )

    def _wheel_tags(self) -> list[str]:
        headers = email.message_from_string(self._text("WHEEL"))
        return [tag for tag in headers.get_all("Tag", []) if tag.count("-") >= 2]

    def _contents(
        self, base: str, trusts_record: bool
    ) -> Iterator[tuple[str, Content]]:
        record = self.folder / "RECORD"
        written = record.stat().st_mtime_ns
        with record.open(
            encoding="utf-8", errors="surrogateescape", newline=""
        ) as lines:
            for path, recorded, size in _records(lines):
                # scripts and manual pages stand elsewhere; bytecode is made where it is used
                if path.endswith(".pyc") or not is_safe_path(path):
                    continue
                place = f"{base}/{path}"  # as text: a Path for each takes longer than the rest
                try:
                    status = os.stat(place)
                except FileNotFoundError:
                    _log.debug("%s of %s is not there any more", path, self.name)
                    continue
                is_as_installed = (
                    trusts_record
                    and status.st_mtime_ns <= written
                    and str(status.st_size) == size
                )
                digest = _hex_digest(recorded) if is_as_installed else ""
                yield (
                    path,
                    OnDisk(place, file_of(path, status, digest) if digest else None),
                )

    def holds(self, path: str) -> bool:
        """Tell whether its ``RECORD`` names a file."""
        try:
            text = b"\n" + (self.folder / "RECORD").read_bytes()
        except OSError:  # nobody's, an old egg's, or closed to us
            return False
        # as bytes: there are many to look at
        line = path.encode(errors="surrogateescape")
        return b"\n%b," % line in text or b'\n"%b",' % line in text

    @property
    def editable_folder(self) -> Path | None:
        """The folder it was installed from, if it is used from there."""
        try:
            origin = json.loads(self._text("direct_url.json") or "{}")
        except ValueError:
            return None
        if not origin.get("dir_info", {}).get("editable"):
            return None
        return Path(unquote(urlsplit(origin.get("url", "")).path))

    def metadata(self) -> dict[str, Content]:
        """Return its metadata for a unit that is a tree: version and entry points work there."""
        found: dict[str, Content] = {
            f"{self.folder.name}/{place.name}": OnDisk(str(place))
            for place in self.folder.iterdir()
            if place.is_file() and place.name not in _NOT_FOR_TREES
        }
        # or it looks as if it had been installed by nobody
        found[f"{self.folder.name}/INSTALLER"] = InMemory(b"splice\n")
        return found

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def _records(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield path, digest and size of each line of a ``RECORD``."""
    for row in csv.reader(lines):
        if not row:
            continue
        path, digest, size = row if len(row) == 3 else [*row, "", ""][:3]
        if "//" in path or "./" in path:
            path = PurePosixPath(path).as_posix()
        yield path, digest, size


def _hex_digest(text: str) -> str:
    """Return a digest of a ``RECORD`` in hex, or nothing if it is of another kind."""
    kind, _, digest = text.partition("=")
    if kind != "sha256":
        return ""
    try:
        # what base64 does in several steps; there are thousands of files
        plain = digest.replace("-", "+").replace("_", "/")
        return binascii.a2b_base64(f"{plain}==").hex()
    except ValueError:
        return ""


def owner_of(place: Path, paths: Iterable[str]) -> Distribution | None:
    """Return the distribution whose ``RECORD`` names the file at `place`."""
    above = [path for path in paths if place.is_relative_to(Path(path).absolute())]
    # most are named like what they hold, and then no other RECORD has to be read
    names = {part.partition(".")[0].lower() for part in place.parts}
    for folder in sorted(
        folders_of(above), key=lambda folder: not _is_named_like(folder, names)
    ):
        distribution = Distribution(folder)
        if distribution.holds(place.relative_to(folder.parent).as_posix()):
            return distribution
    return None


def _is_named_like(folder: Path, names: Collection[str]) -> bool:
    return folder.name.partition("-")[0].lower() in names


def editable_owner_of(place: Path, paths: Iterable[str]) -> Distribution | None:
    """Return the editable distribution whose code stands at `place`."""
    nearest, depth = None, 0
    for folder in folders_of(paths):
        distribution = Distribution(folder)
        above = distribution.editable_folder
        # one may stand in a folder of another
        if above and place.is_relative_to(above) and len(above.parts) > depth:
            nearest, depth = distribution, len(above.parts)
    return nearest
