"""A program that prints the seconds until each of two workers has answered, and to close."""

from __future__ import annotations

import time

started = time.perf_counter()

import json  # noqa: E402 - the clock runs before anything else is loaded

from bench.items import number_of_process  # noqa: E402
from splice.cluster import session  # noqa: E402

with session(worker_count=2) as cluster:
    assert len(set(cluster.apply(number_of_process))) == 2
    answered = time.perf_counter()
print(json.dumps([answered - started, time.perf_counter() - answered]))
