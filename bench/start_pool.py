"""The floor of `bench.start_session`: a `multiprocessing.Pool` of two."""

from __future__ import annotations

import time

started = time.perf_counter()

import json  # noqa: E402 - the clock runs before anything else is loaded
from multiprocessing import Pool  # noqa: E402

from bench.items import number_of_process  # noqa: E402

pool = Pool(2)
workers: set[int] = set()
while len(workers) < 2:
    workers.update(pool.map(number_of_process, range(2), 1))
answered = time.perf_counter()
pool.close()
pool.join()
print(json.dumps([answered - started, time.perf_counter() - answered]))
