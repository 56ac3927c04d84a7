"""WorkerDied, apart from the other errors because its base class is slow to load."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from splice.errors import SpliceError


class WorkerDied(SpliceError, BrokenProcessPool):
    """The OS process of a worker ended while it had work.

    It is also the standard library's ``BrokenProcessPool``, so that code written for a
    ``ProcessPoolExecutor`` understands it.
    """
