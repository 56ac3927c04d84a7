"""Sessions for programs written for `concurrent.futures` and `multiprocessing.Pool`."""

from splice.cluster.futures import Executor
from splice.cluster.pool import Pool

__all__ = ["Executor", "Pool"]
