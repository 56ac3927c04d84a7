"""Descriptors: how near the OS process is to the limit of open files.

libzmq 4.3.5 aborts the OS process when it has to accept an ipc connection and no descriptor is
left (``src/ipc_listener.cpp:297``); for tcp it waits.  So `net.endpoint` takes its ipc socket
out of sight while there still are some.  Functions without state.
"""

from __future__ import annotations

import os
import resource
from typing import Final

SHARE: Final = 0.75
"""Of all descriptors: with the fourth quarter the node has time to notice.  A flood of
connections takes a thousand in a tenth of a second."""

LOOK_SECONDS: Final = 1.0
"""Between two looks: the program's own files count as well, and nobody tells of them."""


def next_one() -> int:
    """Return the descriptor that would be given out next, or the limit when none is left."""
    try:
        number = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return _limit()
    os.close(number)
    return number


def are_short(number: int) -> bool:
    """Tell whether few are left when `number` is given out; the lowest free one always is."""
    return number >= SHARE * _limit()


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
