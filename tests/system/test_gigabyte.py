"""An array of a gigabyte travels between OS processes, and others go on asking meanwhile."""

import json
import subprocess
import sys

import psutil
import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300)]

NEEDED_BYTES = 6 * 2**30
"""The array, the copy that is taken when it is sent, what is put together; and some air."""

PROGRAM = """
import json, resource
import numpy as np
from splice import Process, runtime, sync

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

class Sink(Process):
    def take(self, array):
        return [array.nbytes, int(array[::4096].sum(dtype=np.int64)), peak()]

class Echo(Process):
    def echo(self, x):
        return x

node = runtime.fork(1)[0]
sink = runtime.spawn(Sink, sp_dest=node)
echo = runtime.spawn(Echo, sp_dest=node)
array = np.arange(2**30, dtype=np.uint8)
expected = int(array[::4096].sum(dtype=np.int64))
taken = sink.take(array)
array[:] = 0  # what was sent is what it was
pings = 0
while not taken.done():
    assert sync(echo.echo(pings)) == pings
    pings += 1
print(json.dumps([*taken.get(), expected, pings, peak()]))
"""


def test_a_gigabyte_travels_while_others_are_answered() -> None:
    free = psutil.virtual_memory().available
    if free < NEEDED_BYTES:
        pytest.skip(f"{free / 2**30:.1f} GiB of memory are free, and 6 are needed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )

    size, found, peak_there, expected, pings, peak_here = json.loads(done.stdout)

    assert (size, found) == (2**30, expected)
    # eight pieces of a mebibyte are on the way at most, so each ping has a few before it
    assert pings > 20
    assert peak_there < 1.3 * 2**30  # what is put together, and nothing besides
    assert peak_here < 2.4 * 2**30  # the array and the copy that was taken
