"""MapRun: one map as its caller sees it: cuts, packs and supplies, and takes what comes.

::

    caller's thread:  items ─► Cutter ─► pack ─► hub.supply      ┐ whenever the hub
                      results ◄─ unpack ◄─ MapWork.take          ┘ has news

The caller's own code (the iterable, what its items do when they are pickled or unpickled) runs on
its own thread or loop, and never on the node's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from splice.cluster.batches import Batch, Cutter, Part
from splice.cluster.orders import Outcome
from splice.cluster.packed import pack_error, pack_items
from splice.errors import SpliceError, TimeoutError

if TYPE_CHECKING:
    from splice.actor.promise import Promise
    from splice.cluster.hub import Hub
    from splice.cluster.progress import Progress
    from splice.cluster.work import MapWork
    from splice.node.node import Node

STEP_SECONDS = 0.1
"""Seconds between two looks at the progress: as often as a person can see."""


class MapRun:
    """One map, from its first batch to its last outcome; for one thread at a time.

    Args:
        node: the client's.
        hub: that of the session.
        work: the map as the hub knows it.
        cutter: cuts its items.
        progress: what is told how far it is, or None.
    """

    def __init__(
        self,
        node: Node,
        hub: Hub,
        work: MapWork,
        cutter: Cutter,
        progress: Progress | None = None,
    ) -> None:
        self._node = node
        self._hub = hub
        self.work = work
        self.cutter = cutter
        self._progress = progress
        self._error: Exception | None = None
        try:
            node.on_thread(hub.begin, work)
        except BaseException:  # Ctrl-C: nobody would ever supply it
            node.soon(hub.cancel, work)
            raise

    @property
    def input_error(self) -> Exception | None:
        """What the iterable of the items has raised."""
        return self._error

    def news(self) -> Promise:
        """Do what the hub wants; return the promise of what comes next, to be taken first."""
        news = self.work.news
        self._supply()
        return news

    def wait(self, news: Promise) -> None:
        """Wait for news, and show the progress meanwhile."""
        if self._progress is None:
            news.get()
            return
        self.show()
        try:
            news.get(timeout=STEP_SECONDS)
        except TimeoutError:
            self.show()

    def show(self) -> None:
        """Tell how far the map is."""
        if self._progress is not None:
            total = self.cutter.length
            if self.cutter.is_exhausted:
                total = self.cutter.position
            self._progress.show(self.work.done, total)

    def close(self) -> None:
        """Stop the map unless it is over.  Thread-safe."""
        if self._progress is not None:
            self._progress.close()
        if not self.work.is_over:
            self._node.soon(self._hub.cancel, self.work)

    def take(self) -> list[Part]:
        """Return the outcomes that have come since the last call."""
        parts: list[Part] = []
        while self.work.parts:
            parts.append(self.work.parts.popleft())
        if parts:
            self._node.soon(self._hub.have_read, self.work, len(parts))
        return parts

    def collect(self) -> list[Part]:
        """Wait for all outcomes; return them in no order.

        Raises:
            BaseException: what the iterable raised, or what interrupted the waiting; the work is
                stopped.
        """
        try:
            while not self.work.is_over:
                news = self.news()
                if self._error is not None:
                    raise self._error
                if not self.work.is_over:
                    self.wait(news)
            self.show()
            if self.work.error is not None:
                raise self.work.error
            return list(self.work.parts)
        finally:
            self.close()

    def _supply(self) -> None:
        """Cut and pack as many batches as the hub wants."""
        wanted, self.work.wanted = self.work.wanted, 0
        if not wanted or self.work.is_over:
            return
        batches: list[Batch] = []
        is_fed = False
        while len(batches) < wanted and not is_fed:
            start = self.cutter.position
            items = self._next_items()
            if items:
                batches += self._packed(start, items)
            is_fed = self._error is not None or self.cutter.is_exhausted
        uncut = 0 if is_fed else self.cutter.remaining
        self._node.soon(self._give, batches, uncut, is_fed)

    def _give(self, batches: list[Batch], uncut: int | None, is_fed: bool) -> None:
        good = [batch for batch in batches if not isinstance(batch.items, Outcome)]
        for batch in batches:
            if isinstance(batch.items, Outcome):
                self.work.settle(batch, batch.items)
        self._hub.supply(self.work, good, uncut, is_fed=is_fed)

    def _next_items(self) -> Sequence[Any]:
        try:
            return self.cutter.next_items()
        except Exception as error:
            self._error = error
            return ()

    def _packed(self, start: int, items: Sequence[Any]) -> Iterator[Batch]:
        """Yield the batch of `items`, or one for each if one of them cannot travel."""
        try:
            packed = pack_items(items)
            size = packed.size_bytes
            yield Batch(start, len(items), packed, size_bytes=size)
        except SpliceError as error:
            if len(items) == 1:
                failed = Outcome(0, 0, failures=[(-1, pack_error(error))])
                yield Batch(start, 1, failed)
                return
            for offset in range(len(items)):
                yield from self._packed(start + offset, items[offset : offset + 1])
