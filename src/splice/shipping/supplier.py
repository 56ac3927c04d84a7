"""Supplier: the client's side of shipping, a process of its node.

::

    worker:  catalogue()                 -> Catalogue            once
             resolve(name, facts)        -> Absent | Namespace | Refused | Offer
             manifest(id), chunk(id, n)  -> what the store unpacks, eight chunks in flight
             arrived(id, seconds)        for `Session.dependencies`

It reads files, so its handlers run on a thread and never hold the loop of the client's node.  What
they raise is made of classes that every worker has loaded: while a worker imports, it can import
nothing else to understand an answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from splice.actor.handlers import blocking
from splice.actor.process import Process
from splice.errors import DependencyTransferError, SpliceError
from splice.log import logger
from splice.shipping.answers import (
    MAX_UNIT_BYTES,
    Answer,
    Catalogue,
    Changed,
    Dependency,
    Offer,
)
from splice.shipping.catalogue import catalogue_here, generation_here
from splice.shipping.contents import Unit
from splice.shipping.manifest import Manifest
from splice.shipping.progress import Progress
from splice.shipping.sources import Sources
from splice.shipping.tags import Facts
from splice.shipping.versions import Difference

P = ParamSpec("P")
T = TypeVar("T")

_log = logger("shipping")


@dataclass(slots=True)
class _Use:
    """What became of one unit."""

    unit: Unit
    workers: int = 0
    transfers: int = 0
    seconds: float = 0.0


def _telling(
    handler: Callable[Concatenate[Supplier, P], T],
) -> Callable[Concatenate[Supplier, P], T]:
    """Have a handler raise nothing but `Changed` for files, and errors of ours."""

    @wraps(handler)
    def tell(self: Supplier, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(self, *args, **kwargs)
        except (Changed, SpliceError):
            raise
        except OSError as error:
            raise Changed(str(error)) from error
        except Exception as error:  # of an importer, for instance
            raise DependencyTransferError(
                f"the client cannot give {args[0]}: {error!r}"
            ) from error

    return tell


class Supplier(Process):
    """Gives the workers of one session what they miss.

    Args:
        deny: names of modules and distributions that are never given.
        max_unit_bytes: size of the largest unit that is given.
    """

    def __init__(
        self, deny: Collection[str] = (), max_unit_bytes: int = MAX_UNIT_BYTES
    ) -> None:
        self._sources = Sources(deny, max_unit_bytes)
        self._uses: dict[str, _Use] = {}
        self._progress = Progress()
        self._differences: set[Difference] = set()

    @blocking
    @_telling
    def catalogue(self, known: str | None) -> Catalogue | None:
        """Return what can be imported here now, None if it is still generation `known`."""
        return None if known == generation_here() else catalogue_here()

    @blocking
    @_telling
    def resolve(self, name: str, worker: Facts) -> Answer:
        """Say what there is for a worker that misses module `name`."""
        return self._sources.resolve(name, worker)

    @blocking
    @_telling
    def manifest(self, ident: str) -> Manifest:
        """Return the files of a unit that was offered."""
        return self._unit(ident).manifest

    @blocking
    @_telling
    def chunk(self, ident: str, number: int, is_compressed: bool) -> bytes:
        """Return one chunk of a unit.

        Raises:
            Changed: a file has another size than the manifest says.
        """
        unit = self._unit(ident)
        data = unit.chunk(number)
        self._progress.sent(unit.manifest, number)
        # level 1: more saves a tenth, and takes three times as long
        return zlib.compress(data, 1) if is_compressed else data

    @blocking
    @_telling
    def renew(self, ident: str) -> None:
        """Forget a unit whose files were changed; the next question makes it anew."""
        self._sources.renew(ident)

    def arrived(self, offer: Offer, seconds: float | None) -> None:
        """Note that a worker uses a unit, and how long its transfer took, if there was one."""
        use = self._uses.get(offer.ident)
        if use is None:
            unit = self._sources.units.get(offer.ident)
            if unit is None:
                return  # it was renewed for another worker meanwhile; this one has it
            use = self._uses[offer.ident] = _Use(unit)
        use.workers += 1
        if seconds is not None:
            use.transfers += 1
            use.seconds = max(use.seconds, seconds)

    def differs(self, difference: Difference) -> None:
        """Warn of a distribution of which workers use a version of their own, once."""
        if difference not in self._differences:
            self._differences.add(difference)
            _log.warning("%s", difference)

    def dependencies(self) -> list[Dependency]:
        """Return what workers have used so far, in the order it was first used."""
        return [
            Dependency(
                use.unit.manifest.name,
                use.unit.manifest.version,
                use.unit.origin,
                use.unit.manifest.size,
                len(use.unit.manifest.files),
                use.workers,
                use.transfers,
                use.seconds,
            )
            for use in self._uses.values()
        ]

    def _unit(self, ident: str) -> Unit:
        unit = self._sources.units.get(ident)
        if unit is None:
            # for another worker: who fetches it begins again, as if it had seen that itself
            raise Changed(
                f"unit {ident[:12]} is not offered any more: its files were changed"
            )
        return unit
