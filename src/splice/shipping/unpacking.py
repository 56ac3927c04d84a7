"""Unpacking: the stream of a unit becomes files, each verified when it is whole.

The fetcher feeds it, on the thread that imports; the store gives it the folder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from splice.errors import DependencyTransferError
from splice.shipping.manifest import Manifest


class Spoiled(DependencyTransferError):
    """A unit did not arrive as it was offered; its files may have been changed meanwhile."""


class Unpacking:
    """Takes in the stream of a unit and writes its files, each verified when it is whole.

    Args:
        manifest: checked before.
        folder: empty.
    """

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._files = iter(manifest.files)
        self._folder = folder
        self._name = str(manifest)
        self._made = {""}
        self._open: Any = None
        self._left = 0
        self._next()

    def feed(self, data: memoryview) -> None:
        """Take in the next bytes of the stream.

        Raises:
            Spoiled: they are not what the manifest says.
            OSError: they cannot be written.
        """
        while data:
            if self._open is None:
                raise Spoiled(f"{self._name} is longer than it should be")
            # a disk that is nearly full takes a part, and refuses only what comes after it
            written = self._open.write(data[: self._left])
            part, data = data[:written], data[written:]
            self._hash.update(part)
            self._left -= written
            if not self._left:
                self._finish()
                self._next()

    def close(self) -> None:
        """Make sure that everything has come.

        Raises:
            Spoiled: it has not.
        """
        if self._open is not None:
            self.abort()
            raise Spoiled(f"{self._name} is shorter than it should be")

    def abort(self) -> None:
        """Let go of the file at hand."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _next(self) -> None:
        """Begin the next file; empty ones are done at once."""
        for file in self._files:
            self._file = file
            self._left = file.size
            self._hash = hashlib.sha256()
            self._open = open(self._place_for(file.path), "xb", buffering=0)  # noqa: SIM115
            if self._left:
                return
            self._finish()

    def _place_for(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        if folder not in self._made:
            os.makedirs(self._folder / folder, mode=0o700, exist_ok=True)
            self._made.add(folder)
        return f"{self._folder}/{path}"

    def _finish(self) -> None:
        if self._file.is_executable:
            os.fchmod(self._open.fileno(), 0o700)
        self.abort()
        if self._hash.hexdigest() != self._file.digest:
            raise Spoiled(
                f"{self._file.path} of {self._name} arrived with another content than the "
                "client announced: it was changed meanwhile, or the transfer is broken"
            )
