"""Sources: what an import on a worker means at the client; the answer, and the unit behind it.

::

    name -> spec, found without importing anything -> distribution with RECORD | tree | archive
         -> Absent | Namespace | Refused | Offer(id of a unit)

A unit is pinned at the files it had when it was first asked for: all workers of a session run the
same code.  Client's side; one thread at a time.
"""

from __future__ import annotations

import sys
import zipimport
from collections.abc import Collection
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from splice.shipping.answers import (
    MAX_UNIT_BYTES,
    Absent,
    Answer,
    Namespace,
    Offer,
    Refused,
)
from splice.shipping.contents import Content, InMemory, Unit, make_unit
from splice.shipping.distributions import (
    Distribution,
    editable_owner_of,
    owner_of,
)
from splice.shipping.tags import Facts, facts_here, obstacle
from splice.shipping.trees import archive_tree, module_file, package_tree


class Sources:
    """What the client can give to the workers of one session.

    Args:
        deny: names of modules or distributions that are never given; those below them neither.
        max_unit_bytes: see `MAX_UNIT_BYTES`.
    """

    def __init__(
        self, deny: Collection[str] = (), max_unit_bytes: int = MAX_UNIT_BYTES
    ) -> None:
        self._deny = frozenset(_plain(name) for name in deny)
        self._max_unit_bytes = max_unit_bytes
        self._facts = facts_here()
        self._found: dict[str, Absent | Namespace | Refused | Unit] = {}
        self._distributions: dict[str, Unit] = {}
        self._doubted: set[str] = set()
        self.units: dict[str, Unit] = {}

    def resolve(self, name: str, worker: Facts) -> Answer:
        """Say what there is for a worker that misses module `name`."""
        found = self._found.get(name)
        if found is None or isinstance(found, Absent):  # installed since, perhaps
            found = self._found[name] = self._find(name)
        if not isinstance(found, Unit):
            return found
        why = obstacle(found.manifest.files, found.wheel_tags, self._facts, worker)
        if why is not None:
            return Refused(
                f"{found.manifest} cannot run on the worker: {why}; install it there"
            )
        manifest = found.manifest
        return Offer(found.ident, manifest.name, manifest.version, manifest.size)

    def renew(self, ident: str) -> None:
        """Forget a unit whose files were changed while it was sent."""
        self.units.pop(ident, None)
        for table in (self._found, self._distributions):
            for name, unit in list(table.items()):
                if isinstance(unit, Unit) and unit.ident == ident:
                    del table[name]
                    # installers that edit files, and leave time and size alone, do exist
                    self._doubted.add(name)

    def _find(self, name: str) -> Absent | Namespace | Refused | Unit:
        if self._is_denied(name):
            return Refused(f"module {name} is denied by the session (deny=)")
        is_ours = name.partition(".")[0] not in sys.stdlib_module_names
        spec = find_spec(name) if is_ours else None
        if spec is None:
            return Absent()
        if is_namespace(spec):
            return Namespace()
        try:
            unit = self._unit_of(name, spec)
        except Unreadable as error:
            return Refused(f"module {name} cannot be shipped: {error}")
        return self._checked(unit)

    def _checked(self, unit: Unit) -> Refused | Unit:
        if self._is_denied(unit.manifest.name):
            return Refused(f"{unit.manifest} is denied by the session (deny=)")
        if unit.manifest.size > self._max_unit_bytes:
            return Refused(
                f"{unit.manifest} has {unit.manifest.size:,} bytes, more than the "
                f"{self._max_unit_bytes:,} of max_unit_bytes; install it on the worker or "
                "raise the limit"
            )
        self.units[unit.ident] = unit
        return unit

    def _is_denied(self, name: str) -> bool:
        parts = _plain(name).split(".")
        return any(
            ".".join(parts[:end]) in self._deny for end in range(1, len(parts) + 1)
        )

    def _unit_of(self, name: str, spec: ModuleSpec) -> Unit:
        loader: Any = spec.loader
        if isinstance(loader, zipimport.zipimporter):
            return _archive_unit(name, spec, loader)
        if not spec.has_location or spec.origin is None:
            return _source_unit(name, spec)
        place = Path(spec.origin).absolute()
        if not place.exists():
            return _source_unit(name, spec)
        owner = owner_of(place, sys.path)
        if owner is None:
            return _tree_unit(name, spec, place)
        return self._distribution_unit(owner)

    def _distribution_unit(self, owner: Distribution) -> Unit:
        """Return the unit of a distribution, one for all its modules."""
        key = str(owner.folder)
        unit = self._distributions.get(key)
        if unit is None:
            unit = owner.unit(trusts_record=key not in self._doubted)
            self._distributions[key] = unit
        return unit


class Unreadable(Exception):
    """A module whose code cannot be got at."""


def find_spec(name: str) -> ModuleSpec | None:
    """Find a module without executing anything, not even the packages above it."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    parent_name = name.rpartition(".")[0]
    if not parent_name:
        return _ask_finders(name, None)
    parent = find_spec(parent_name)
    if parent is None or parent.submodule_search_locations is None:
        return None
    return _ask_finders(name, list(parent.submodule_search_locations))


def _ask_finders(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        look = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if look is None else look(name, path)
        if spec is not None:
            return spec
    return None


def is_namespace(spec: ModuleSpec) -> bool:
    """Tell whether a package has no code of its own, only portions."""
    return spec.submodule_search_locations is not None and not spec.has_location


def _tree_unit(name: str, spec: ModuleSpec, place: Path) -> Unit:
    contents: dict[str, Content]
    if spec.submodule_search_locations is None:
        contents, origin = module_file(name, str(place)), str(place)
    else:
        origin = str(place.parent)
        contents = package_tree(name, origin)
    owner = editable_owner_of(place, sys.path)
    if owner is None:
        return make_unit(name, "", contents, origin)
    return make_unit(owner.name, owner.version, contents | owner.metadata(), origin)


def _archive_unit(name: str, spec: ModuleSpec, loader: zipimport.zipimporter) -> Unit:
    last = name.rpartition(".")[2]
    is_package = spec.submodule_search_locations is not None
    file = Path(spec.origin or "").name
    place = f"{loader.prefix}{last if is_package else file}".replace("\\", "/")
    return make_unit(
        name, "", archive_tree(name, loader.archive, place), loader.archive
    )


def _source_unit(name: str, spec: ModuleSpec) -> Unit:
    """Make a unit of a module that only its loader can read."""
    loader: Any = spec.loader
    read = getattr(loader, "get_source", None)
    source = None if read is None else read(name)
    if source is None:
        raise Unreadable(f"its loader, {type(loader).__name__}, has no source of it")
    if spec.submodule_search_locations is not None:
        raise Unreadable(
            f"it is a package that only {type(loader).__name__} can read, file by file"
        )
    path = f"{name.replace('.', '/')}.py"
    return make_unit(name, "", {path: InMemory(source.encode())}, str(spec.origin))


def _plain(name: str) -> str:
    """Return the form in which names of distributions are compared."""
    return name.lower().replace("-", "_")
