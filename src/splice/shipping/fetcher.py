"""Fetcher: the worker's side of shipping: asks the supplier, fetches into the store.

Called by the finder, on whatever thread imports, one import at a time (see `splice.shipping.gate`).
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from splice.errors import (
    DeliveryError,
    DependencyRefused,
    DependencyTransferError,
    SpliceError,
)
from splice.shipping.answers import Absent, Answer, Catalogue, Namespace, Offer, Refused
from splice.shipping.manifest import BadManifest, Cut, Manifest, check_manifest
from splice.shipping.tags import facts_here
from splice.shipping.unpacking import Spoiled, Unpacking

if TYPE_CHECKING:
    from splice.actor.proxy import Proxy
    from splice.shipping.patience import Patience
    from splice.shipping.store import Store

IN_FLIGHT: Final = 8
"""Chunks that are asked for ahead: enough to fill a fast line over a long way."""

SLOW_BYTES: Final = 40 * 2**20
"""Bytes a second below which chunks are compressed: zlib at its fastest makes 70 MB a second of
them, so above this it would be the slower part."""


class Fetcher:
    """Brings units from one client into the store of this machine.

    Args:
        supplier: the client's.
        store: made at first need, so that a worker that misses nothing leaves nothing.
        patience: how to wait here.
    """

    def __init__(self, supplier: Proxy, store: Any, patience: Patience) -> None:
        self._supplier: Any = supplier
        self._make_store = store
        self._made_store: Store | None = None
        self._patience = patience
        self._facts = facts_here()
        self._arrived: set[str] = set()

    @property
    def _store(self) -> Store:
        if self._made_store is None:
            self._made_store = self._make_store()
        return self._made_store

    def catalogue(self, known: str | None) -> Catalogue | None:
        """Return what the client has, None if it is still generation `known`.

        Raises:
            DependencyTransferError: the client does not answer.
        """
        catalogue: Catalogue | None
        catalogue = self._ask("the client's catalogue", "catalogue", known)
        return catalogue

    def folder_of(self, name: str) -> Path | None:
        """Return the folder to search for a module, fetched if need be; None: nobody has it.

        Raises:
            DependencyRefused: the client has it, and it may not or cannot run here.
            DependencyTransferError: the client has it, and it could not be fetched.
        """
        try:
            return self._attempt(name)
        except Spoiled:  # its files change meanwhile: an editor saves once
            return self._attempt(name)

    def _attempt(self, name: str) -> Path | None:
        answer: Answer = self._ask(name, "resolve", name, self._facts)
        if isinstance(answer, Absent):
            return None
        if isinstance(answer, Refused):
            raise DependencyRefused(answer.reason, name=name)
        if isinstance(answer, Namespace):
            return self._store.namespace(name)
        try:
            return self._unit(answer)
        except Spoiled:
            self._ask(name, "renew", answer.ident)
            raise

    def _unit(self, offer: Offer) -> Path:
        began = time.monotonic()

        def fetch(folder: Path) -> Manifest:
            return self._fetch(offer, folder)

        has_fetched = self._store.lease(offer.ident, fetch, self._patience.pause)
        seconds = time.monotonic() - began if has_fetched else None
        if has_fetched or offer.ident not in self._arrived:
            self._ask(str(offer), "arrived", offer, seconds)
            self._arrived.add(offer.ident)
        return self._store.place(offer.ident)

    def _fetch(self, offer: Offer, folder: Path) -> Manifest:
        """Unpack a unit into an empty folder."""
        manifest: Manifest = self._ask(str(offer), "manifest", offer.ident)
        try:
            check_manifest(manifest, offer.ident)
        except BadManifest as error:
            raise DependencyTransferError(f"{offer} came with {error}") from error
        self._store.check_room(manifest)
        unpacking = Unpacking(manifest, folder)
        try:
            self._fetch_chunks(offer, Cut(manifest), unpacking)
            unpacking.close()
        finally:
            unpacking.abort()
        return manifest

    def _fetch_chunks(self, offer: Offer, cut: Cut, unpacking: Unpacking) -> None:
        """Feed all chunks, in order; some are asked for ahead."""
        asked: deque[tuple[Any, bool]] = deque()
        rate = Rate()
        for number in range(cut.count + IN_FLIGHT):
            if number >= IN_FLIGHT and asked:
                data = self._take(offer, *asked.popleft())
                rate.add(len(data), time.monotonic())
                unpacking.feed(memoryview(data))
            if number < cut.count:
                is_slow = rate.is_below(SLOW_BYTES)
                chunk = self._patience.ask(
                    self._supplier.chunk, offer.ident, number, is_slow
                )
                asked.append((chunk, is_slow))

    def _take(self, offer: Offer, chunk: Any, is_compressed: bool) -> Any:
        data = self._answer(str(offer), chunk)
        if not is_compressed:
            return data
        try:
            return zlib.decompress(data)
        except zlib.error as error:
            raise DependencyTransferError(f"{offer} arrived broken: {error}") from error

    def _ask(self, what: str, handler: str, *args: Any) -> Any:
        return self._answer(
            what, self._patience.ask(getattr(self._supplier, handler), *args)
        )

    def _answer(self, what: str, promise: Any) -> Any:
        try:
            return self._patience.get(promise)
        except DependencyTransferError:
            raise
        except OSError as error:
            if isinstance(error, DeliveryError):
                raise _failed(what, error) from error
            raise Spoiled(f"{what} could not be read: {error}") from error
        except SpliceError as error:
            raise _failed(what, error) from error


def _failed(what: str, error: BaseException) -> DependencyTransferError:
    return DependencyTransferError(
        f"{what} could not be fetched from the client: {error}"
    )


class Rate:
    """How fast chunks come."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._bytes = 0
        self._seconds = 0.0

    def add(self, size: int, now: float) -> None:
        """Take in a chunk; the clock runs from the first one on."""
        if self._began is None:
            self._began = now
            return
        self._bytes += size
        self._seconds = now - self._began

    def is_below(self, bytes_per_second: float) -> bool:
        """Tell whether it is known to be slower than that."""
        return self._bytes > 0 and self._bytes < bytes_per_second * self._seconds
