"""Finder: what ``import`` asks when the worker itself does not have a module.

It stands last on ``sys.meta_path``, so what the worker has wins.  Only top-level names and children
of namespace packages are ever asked about: a missing submodule of a package that is here is really
missing.  What is fetched goes to the end of ``sys.path``, where importlib.metadata,
importlib.resources, pkgutil and the user's own OS processes find it, too::

    import numpy ─► PathFinder: no ─► Finder ─► Fetcher ─► sys.path += unit ─► PathFinder: yes

With ``prefer_client`` it stands first, and its folders before the worker's own: all but what the
worker had loaded before comes from the client.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Final

from splice.errors import DependencyRefused, DependencyTransferError
from splice.log import logger

if TYPE_CHECKING:
    from splice.shipping.answers import Catalogue
    from splice.shipping.fetcher import Fetcher

_NEVER: Final = sys.stdlib_module_names | {"splice", "__main__", "__mp_main__"}

_log = logger("shipping")


class Finder:
    """Finds modules at the client; for ``sys.meta_path``.  Thread-safe.

    Args:
        fetcher: how they come here.
        prefer_client: ask about what the worker has as well.
    """

    def __init__(self, fetcher: Fetcher, *, prefer_client: bool = False) -> None:
        self._fetcher = fetcher
        self._prefers_client = prefer_client
        # what runs the node is not replaced under it
        self._kept = {name.partition(".")[0] for name in list(sys.modules)}
        self._front = 0
        self._owner = os.getpid()
        self._catalogue: Catalogue | None = None
        self._is_fresh = False
        self._absent: set[str] = set()
        self._refused: dict[str, str] = {}
        self._here = threading.local()

    def install(self) -> None:
        """Stand on ``sys.meta_path`` from now on."""
        sys.meta_path.insert(0 if self._prefers_client else len(sys.meta_path), self)

    def look_again(self) -> None:
        """Ask before the next miss whether something was installed at the client."""
        self._is_fresh = False

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module as importlib's finders do.

        Raises:
            DependencyRefused: the client has it, and it may not or cannot run here.
            DependencyTransferError: the client has it, and it could not be fetched.
        """
        if not self._is_ours(name):
            return None
        # what fetching imports is not fetched
        if getattr(self._here, "is_busy", False):
            return None
        self._here.is_busy = True
        try:
            return self._find(name, path)
        finally:
            self._here.is_busy = False

    def _is_ours(self, name: str) -> bool:
        top, _, rest = name.partition(".")
        if top in _NEVER or (self._prefers_client and top in self._kept):
            return False
        return not rest or _is_namespace(sys.modules.get(name.rpartition(".")[0]))

    def _find(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        if os.getpid() != self._owner:
            raise DependencyTransferError(
                f"module {name} cannot be fetched in a forked copy of a worker's OS "
                "process; import it before the fork"
            )
        if not self._may_have(name):
            return None
        try:
            folder = self._fetcher.folder_of(name)
        except DependencyRefused as error:
            self._refused[name] = str(error)
            raise
        if folder is None:
            self._absent.add(name)
            return None
        self._add(str(folder))
        _log.info("module %s comes from %s", name, folder)
        return PathFinder.find_spec(name, path)

    def _may_have(self, name: str) -> bool:
        """Tell whether it is worth asking about a module; raises if that was refused before."""
        if not self._is_fresh:
            known = self._catalogue
            catalogue = self._fetcher.catalogue(known.generation if known else None)
            if catalogue is not None:
                self._catalogue = catalogue
                self._absent.clear()
                self._refused.clear()
            self._is_fresh = True
        if name in self._refused:
            raise DependencyRefused(self._refused[name], name=name)
        assert self._catalogue is not None
        return name not in self._absent and self._catalogue.may_have(name)

    def _add(self, folder: str) -> None:
        if folder in sys.path:
            return
        if self._prefers_client:
            sys.path.insert(self._front, folder)
            self._front += 1
        else:
            sys.path.append(folder)


def _is_namespace(module: ModuleType | None) -> bool:
    spec = getattr(module, "__spec__", None)
    return (
        spec is not None
        and spec.submodule_search_locations is not None
        and not spec.has_location
    )
