"""WorkerDied, apart from the other errors because its base class is slow to load."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from splice.errors import SpliceError


class WorkerDied(SpliceError, BrokenProcessPool):
    """The OS process of a worker ended while it had work.

    It is also the standard library's ``BrokenProcessPool``, so that code written for a
    ``ProcessPoolExecutor`` understands it.

    Args:
        how: which worker, and how it ended.
        details: what else is known, to stand behind that.

    Attributes:
        item: what it had in work, in words.
        exit_code: None when a signal ended it, or nobody knows.
        signal: number of the signal that ended it, or None.
        peak_memory_bytes: the most that it had in memory, 0 where nobody knows; on Linux at least
            what its client or machine had had when it was started.
        last_lines: what it wrote last.
    """

    def __init__(
        self,
        how: str,
        *,
        item: str = "",
        details: str = "",
        exit_code: int | None = None,
        signal: int | None = None,
        peak_memory_bytes: int = 0,
        last_lines: tuple[str, ...] = (),
    ) -> None:
        held = f"; it had {item} in work" if item else ""
        lines = "".join(f"\n  {line}" for line in last_lines)
        wrote = f"\nits last output:{lines}" if lines else ""
        super().__init__(f"{how}{held}{details}{wrote}")
        self._how = how
        self._details = details
        self.item = item
        self.exit_code = exit_code
        self.signal = signal
        self.peak_memory_bytes = peak_memory_bytes
        self.last_lines = last_lines

    @property
    def summary(self) -> str:
        """Its text without the item and the last lines."""
        return f"{self._how}{self._details}"

    def with_item(self, item: str) -> WorkerDied:
        """Return this error as that of an item, named in words."""
        return WorkerDied(
            self._how,
            item=item,
            details=self._details,
            exit_code=self.exit_code,
            signal=self.signal,
            peak_memory_bytes=self.peak_memory_bytes,
            last_lines=self.last_lines,
        )
