"""What a program sends right before its end arrives, and nothing is said about it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

HOST = """
import sys
from splice import Process, runtime

class Sink(Process):
    def __init__(self):
        self.taken = 0

    def take(self, data):
        self.taken += 1

    def total(self):
        return self.taken

sink = runtime.spawn(Sink, sp_id="sink")
print(sink.sp_url, flush=True)
sys.stdin.readline()
print(sink.total().get(), flush=True)
"""

GUEST = """
import sys
from splice import runtime, tell

sink = runtime.connect(sys.argv[1])
for number in range(COUNT):
    tell(sink.take, bytes_of(number))
"""


@pytest.mark.parametrize(
    ("count", "data"),
    [
        (100, "number"),
        (40, "numpy.full(2**20, number)"),
        (10, "numpy.full(3 * 2**20, number)"),
    ],
    ids=["small", "large", "in pieces"],
)
def test_what_a_program_tells_right_before_its_end_arrives(
    tmp_path: Path, count: int, data: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        where = host.stdout.readline().strip()
        program = GUEST.replace("COUNT", str(count)).replace("bytes_of(number)", data)
        guest = subprocess.run(
            [sys.executable, "-c", f"import numpy\n{program}", where],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        host.stdin.write("\n")
        host.stdin.flush()
        assert (guest.returncode, guest.stderr) == (0, "")
        assert int(host.stdout.readline()) == count
