"""Versions: the distributions of both sides, and a warning where they are not the same.

::

    worker:  import numpy ─► Watch (first on sys.meta_path): the worker's own, another version?
    client:                    └─ differs("numpy", ...) ─► a warning, once for each distribution

What the worker has wins; the user is told when it is not what the client has.  The names of the
metadata folders tell the versions, so that nothing but folders is read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

_METADATA: Final = (".dist-info", ".egg-info")


@dataclass(frozen=True, slots=True)
class Difference:
    """A distribution that both sides have, in two versions.

    Attributes:
        name: of the distribution.
        worker: the version of the worker, which it uses.
        client: that of the client.
    """

    name: str
    worker: str
    client: str

    def __str__(self) -> str:
        return (
            f"workers use {self.name} {self.worker}, which they have themselves; this program "
            f"has {self.client}: install one version on both, or open the session with "
            'ship="client"'
        )


class Watch:
    """Sees which modules the worker has itself; for ``sys.meta_path``.  Thread-safe.

    Args:
        versions: of the client's distributions, see `versions_in`.
        tell: is told of each difference once, on the thread that imports.
    """

    def __init__(
        self, versions: Mapping[str, str], tell: Callable[[Difference], None]
    ) -> None:
        self._versions = versions
        self._tell = tell
        self._differences: dict[str, Difference] | None = None

    def install(self) -> None:
        """Stand first on ``sys.meta_path`` from now on."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> None:
        """Find nothing; tell if the module is one that the client has in another version."""
        if path is not None or name in sys.stdlib_module_names:
            return
        if (
            self._differences is None
        ):  # with the first import, before anything was shipped
            self._differences = differences(self._versions, sys.path)
        found = self._differences.get(name)
        if found is not None:
            for top in tops_of_same(self._differences, found):
                self._differences.pop(top, None)
            self._tell(found)


def tops_of_same(found: Mapping[str, Difference], one: Difference) -> list[str]:
    """Return the modules of one distribution."""
    return [top for top, difference in list(found.items()) if difference is one]


def differences(
    versions: Mapping[str, str], paths: Iterable[str]
) -> dict[str, Difference]:
    """Return what differs between some versions and those below `paths`, by top-level module."""
    found: dict[str, Difference] = {}
    seen: set[str] = set()
    for folder in folders_of(paths):
        name, version = _name_and_version(folder)
        other = versions.get(name, version)
        # a second one is shadowed by the first; a checkout's own folder tells no version
        if other != version and version and name not in seen:
            difference = Difference(name, version, other)
            for top in _tops(folder):
                found.setdefault(top, difference)
        if version:
            seen.add(name)
    return found


def folders_of(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the metadata folders that stand in the folders of a ``sys.path``."""
    for path in paths:
        try:
            with os.scandir(path or ".") as entries:
                names = sorted(e.name for e in entries if e.name.endswith(_METADATA))
        except OSError:
            continue  # an archive, or not there
        base = Path(path or ".").absolute()
        yield from (base / name for name in names)


def versions_in(paths: Iterable[str]) -> dict[str, str]:
    """Return versions of distributions, as the names of their metadata folders tell them."""
    versions: dict[str, str] = {}
    for folder in folders_of(paths):
        name, version = _name_and_version(folder)
        if version:
            versions.setdefault(name, version)
    return versions


def _name_and_version(folder: Path) -> tuple[str, str]:
    name, _, version = folder.stem.partition("-")
    return name.lower(), version.partition("-")[0]


def _tops(folder: Path) -> set[str]:
    """Return the top-level modules of a distribution that is installed as files."""
    try:
        lines = (folder / "RECORD").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return set()
    first = {line.lstrip('"').partition(",")[0].partition("/")[0] for line in lines}
    tops = (name.partition(".")[0] for name in first if not name.endswith(_METADATA))
    return {top for top in tops if top.isidentifier()}
