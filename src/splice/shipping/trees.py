"""Trees: units of code that no installer has put there.

A package folder or a module of a project, on ``PYTHONPATH``, beside a script, installed as
editable, or in a zip archive.  Client's side, on any thread.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from splice.shipping.answers import Changed
from splice.shipping.contents import Content, InArchive, OnDisk


def package_tree(name: str, folder: str) -> dict[str, Content]:
    """Return the files of package `name`, dotted, that stands in `folder`."""
    top = name.replace(".", "/")
    return {
        f"{top}/{path}": OnDisk(f"{folder}/{path}") for path in _walk(folder, "", ())
    }


def module_file(name: str, place: str) -> dict[str, Content]:
    """Return the file of module `name`, dotted."""
    path = f"{name.replace('.', '/')}{_suffix(name, place)}"
    return {path: OnDisk(place)}


def archive_tree(name: str, archive: str, place: str) -> dict[str, Content]:
    """Return the files of a package or module in a zip archive.

    Args:
        name: dotted.
        archive: its path.
        place: the package's folder or the module's file in it, with slashes.

    Raises:
        Changed: it was there when the archive was looked into first, and is not any more.
    """
    with zipfile.ZipFile(archive) as members:
        names = [member for member in members.namelist() if not _is_left_out(member)]
    top = name.replace(".", "/")
    if place in names:  # a module
        return {f"{top}{_suffix(name, place)}": InArchive(archive, place)}
    found: dict[str, Content] = {
        f"{top}/{member.removeprefix(f'{place}/')}": InArchive(archive, member)
        for member in names
        if member.startswith(f"{place}/")
    }
    if not found:
        raise Changed(f"{name} is not in {archive} any more")
    return found


def _suffix(name: str, place: str) -> str:
    """Return what follows the module's name in its file's: ``.py``, ``.cpython-311-….so``."""
    last = name.rpartition(".")[2]
    return Path(place).name.removeprefix(last)


def _walk(root: str, below: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yield the files below a folder; a ring of symbolic links is walked once."""
    folder = os.path.join(root, below)
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{below}{entry.name}"
        if entry.is_dir():
            if not _is_left_out(f"{entry.name}/"):
                yield from _walk(root, f"{path}/", (*above, real))
        elif entry.is_file() and not _is_left_out(entry.name):
            yield path


def _is_left_out(path: str) -> bool:
    """Tell whether something is no part of the code: bytecode, hidden folders, folders as such."""
    *folders, name = path.split("/")
    is_hidden = any(
        folder.startswith(".") or folder == "__pycache__" for folder in folders
    )
    return is_hidden or name.endswith(".pyc") or (not name and len(folders) > 1)
