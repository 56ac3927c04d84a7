"""A program that prints the seconds to start two workers, hear from each, and close them again.

From its first line on, the library's import included; the interpreter's own start is the same for
all.
"""

from __future__ import annotations

import time

started = time.perf_counter()

import sys  # noqa: E402 - the clock runs before anything else is loaded

from bench.items import number_of_process  # noqa: E402


def main(name: str) -> None:
    """Start, use and close the workers of a library; print the seconds."""
    pool = _start(name)
    heard: set[int] = set()
    while len(heard) < 2:
        heard.update(pool.each(number_of_process, range(2)))
    pool.close()
    print(time.perf_counter() - started)


def _start(name: str):
    # Each is imported by itself: its import is among what is measured.
    if name == "splice":
        from bench.peers.on_session import OfSplice

        return OfSplice()
    if name == "Ray":
        from bench.peers.on_ray import OfRay

        return OfRay()
    if name == "Dask":
        from bench.peers.on_dask import OfDask

        return OfDask()
    from bench.peers import on_pools

    return {
        "mp.Pool": on_pools.OfMultiprocessing,
        "futures": on_pools.OfFutures,
        "joblib": on_pools.OfJoblib,
        "mpire": on_pools.OfMpire,
    }[name]()


if __name__ == "__main__":
    main(sys.argv[1])
