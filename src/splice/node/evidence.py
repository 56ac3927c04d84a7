"""Evidence: what is known of the death of an OS process, beside its exit status.

It is gathered by who started it, since the dead can tell nothing: the greatest memory it had, what
it wrote last, and whether the system's out-of-memory killer was at work while it lived.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUP: Final = Path("/proc/self/cgroup")
_SYSTEM: Final = Path("/proc/vmstat")
_KERNEL_LOG: Final = "/dev/kmsg"

KERNEL_LINES: Final = 20_000
"""Lines of the kernel's log that are looked through: more than its buffer usually holds."""

MEGABYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of an end.

    Attributes:
        peak_memory_bytes: the most that was in memory at once, 0 where nobody knows; on Linux at
            least what its parent had had when it was started.
        out_of_memory: what speaks for a want of memory, in words; or empty.
        last_lines: what it wrote last.
        is_ours: we have killed it ourselves.
    """

    peak_memory_bytes: int = 0
    out_of_memory: str = ""
    last_lines: tuple[str, ...] = ()
    is_ours: bool = False

    @property
    def text(self) -> str:
        """What to tell people, to stand behind how it ended."""
        told = ""
        if self.peak_memory_bytes:
            told += (
                f"; it had {self.peak_memory_bytes // MEGABYTE} MiB in memory at most"
            )
        if self.out_of_memory:
            told += f"; {self.out_of_memory}"
        return told


@dataclass(frozen=True, slots=True)
class OomKills:
    """How often the out-of-memory killer has struck.

    Attributes:
        group: in the control group of this OS process, None where that is not counted.
        system: on the whole machine; the same.
    """

    group: int | None = None
    system: int | None = None

    def since(self, earlier: OomKills) -> str:
        """Tell in words what has happened since `earlier`, or nothing."""
        if self.group is not None and self.group > (earlier.group or 0):
            count = self.group - (earlier.group or 0)
            return f"out of memory: {_kills(count)} in its control group meanwhile"
        if self.system is not None and self.system > (earlier.system or 0):
            count = self.system - (earlier.system or 0)
            return f"perhaps out of memory: {_kills(count)} on its machine meanwhile"
        return ""


def count_oom_kills() -> OomKills:
    """Return what the kernel counts, as far as it may be read."""
    return OomKills(_group_kills(), _counted(_SYSTEM))


def named_by_kernel(number: int) -> str:
    """Return what the kernel's log says of the out-of-memory death of an OS process, or nothing."""
    with contextlib.suppress(OSError):
        log = os.open(_KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return _find_death(log, number)
        finally:
            os.close(log)
    return ""


def _find_death(log: int, number: int) -> str:
    found = ""
    with contextlib.suppress(BlockingIOError):
        for _ in range(KERNEL_LINES):
            line = os.read(log, 8192).decode("utf-8", "replace")
            if re.search(rf"Killed process {number}\b", line):
                found = "out of memory: the kernel's log says so"
    return found


def _group_kills() -> int | None:
    with contextlib.suppress(OSError):
        for line in _OWN_GROUP.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            where = path.lstrip("/")
            if not controllers:
                found = _counted(_GROUPS / where / "memory.events")
            elif "memory" in controllers.split(","):
                found = _counted(_GROUPS / "memory" / where / "memory.oom_control")
            else:
                continue
            if found is not None:
                return found
    return None


def _counted(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        match = re.search(r"^oom_kill (\d+)$", path.read_text("utf-8"), re.MULTILINE)
        return int(match[1]) if match else None
    return None


def _kills(count: int) -> str:
    return f"the kernel killed {count} OS process{'es' if count > 1 else ''}"
