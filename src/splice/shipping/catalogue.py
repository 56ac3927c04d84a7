"""Catalogue: the top-level names that the client can import.

A worker gets it once, and knows from then on without a question which missing imports are in vain::

    import lzma_faster     not in the catalogue -> ModuleNotFoundError at once
    import numpy           in it -> ask the client

It is made by looking into folders; nothing is imported.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
import zipimport
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from typing import Final

from splice.shipping.answers import Catalogue

_WELL_KNOWN: Final = frozenset(
    {"DistutilsMetaFinder", "_SixMetaPathImporter", "AssertionRewritingHook"}
)
"""Finders that find nothing which folders do not show: of setuptools, six and pytest."""


def catalogue_here() -> Catalogue:
    """Make the catalogue of this interpreter."""
    generation = (
        generation_here()
    )  # first: what changes meanwhile is seen the next time
    names = {name for path in sys.path for name in names_in(path or ".")}
    names.update(name.partition(".")[0] for name in list(sys.modules))
    names -= sys.stdlib_module_names | {"__main__", "__mp_main__"}
    return Catalogue(generation, frozenset(names), has_foreign_finders())


def names_in(path: str) -> Iterator[str]:
    """Yield the names that a folder or archive of ``sys.path`` offers.

    A folder without ``__init__.py`` counts: it is a portion of a namespace package.  One that
    cannot be read offers nothing, as to Python itself.
    """
    try:
        found = _entries_of(path)
    except (OSError, zipfile.BadZipFile):
        return
    for name, is_folder in found:
        top, _, suffix = name.partition(".")
        if top.isidentifier() and ((is_folder and not suffix) or _is_module(suffix)):
            yield top


def _entries_of(path: str) -> list[tuple[str, bool]]:
    """Return names and whether they are folders, of a folder or at the top of an archive."""
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            return [(entry.name, entry.is_dir()) for entry in entries]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return [(member.split("/", 1)[0], "/" in member) for member in names]
    return []


def _is_module(suffix: str) -> bool:
    return suffix.endswith(("py", "pyc", "so", "pyd"))


def has_foreign_finders() -> bool:
    """Tell whether this interpreter finds modules that no folder shows."""
    usual = (BuiltinImporter, FrozenImporter, PathFinder)
    for finder in sys.meta_path:
        kind = finder if isinstance(finder, type) else type(finder)
        if finder not in usual and kind.__name__ not in _WELL_KNOWN:
            return True
    return any(
        hook is not zipimport.zipimporter
        and getattr(hook, "__qualname__", "")
        != "FileFinder.path_hook.<locals>.path_hook_for_FileFinder"
        for hook in sys.path_hooks
    )


def generation_here() -> str:
    """Return a text that is another one when something may have been installed or imported."""
    times: list[object] = [len(sys.modules), len(sys.meta_path)]
    for path in sys.path:
        try:
            times.append((path, os.stat(path or ".").st_mtime_ns))
        except OSError:
            times.append((path, None))
    return hashlib.sha256(repr(times).encode()).hexdigest()
