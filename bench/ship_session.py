"""A program whose one worker imports numpy, pandas and scikit-learn; prints figures as JSON.

Arguments: ``cold`` or ``warm`` (shipped), or ``plain`` (the worker has them); the folder of the
packages; the folder of what the worker has.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import time
from typing import Any

from splice import Process, runtime
from splice.cluster import session
from splice.node.launch import OsLauncher

how, packages, bare = sys.argv[1:]
library = sysconfig.get_path("stdlib")
path = [library, f"{library}/lib-dynload", bare]


class Echo(Process):
    """What else there is on the worker."""

    def ask(self) -> None:
        """Answer."""


def imports() -> dict[str, Any]:
    """Import them, and then a thousand modules that nobody has."""
    import time

    start = time.perf_counter()
    import numpy as np  # noqa: F401 - what is measured
    import pandas as pd  # noqa: F401
    from sklearn.linear_model import LinearRegression  # noqa: F401

    seconds = time.perf_counter() - start
    costs = []
    for number in range(1000):
        start = time.perf_counter()
        try:
            __import__(f"never_heard_of_{number}")
        except ModuleNotFoundError:
            costs.append(time.perf_counter() - start)
    return {"seconds": seconds, "miss_us": sorted(costs)[500] * 1e6}


if how == "plain":
    path.append(packages)
else:
    sys.path.append(packages)
command = [getattr(sys, "_base_executable", sys.executable)]
runtime.node.children._launcher = OsLauncher(command=command, path=path)
with session(worker_count=1, ship="off" if how == "plain" else "missing") as c:
    echo: Any = runtime.spawn(Echo, sp_dest=c.workers[0])
    echo.ask().get()
    done = c.submit(imports)
    pause = 0.0
    while not done.done():
        asked = time.perf_counter()
        echo.ask().get()
        pause = max(pause, time.perf_counter() - asked)
        time.sleep(0.01)
    found = {
        **done.result(),
        "pause_ms": pause * 1000,
        "transfer": sum(each.seconds for each in c.dependencies()),
        "bytes": sum(each.size for each in c.dependencies()),
    }
print(json.dumps(found))
