"""Sessions for programs written for `concurrent.futures`."""

from splice.cluster.futures import Executor

__all__ = ["Executor"]
