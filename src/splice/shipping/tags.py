"""Tags: whether compiled code of the client can run on a worker; pure but for `facts_here`.

Asked before anything is downloaded.  Pure Python runs everywhere; an extension module belongs to
one Python and one platform, and its file name and the tags of its wheel say to which.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splice.shipping.manifest import File

Glibc = tuple[int, int]

_LEGACY = {"1": (2, 5), "2010": (2, 12), "2014": (2, 17)}
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_")
_LEGACY_MANYLINUX = re.compile(r"manylinux(1|2010|2014)_")
_LIBRARY = re.compile(r"\.(so|dylib|pyd|dll)(\.[\d.]+)?$")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an interpreter can run.

    Attributes:
        python: its version, ``3.11.7``.
        soabi: the tag of its extension modules, ``cpython-311-x86_64-linux-gnu``.
        magic: of its bytecode, in hex digits.
        system: ``linux``, ``darwin``.
        machine: ``x86_64``, ``aarch64``.
        glibc: version of the C library; None where it is another one.
    """

    python: str
    soabi: str
    magic: str
    system: str
    machine: str
    glibc: Glibc | None

    @property
    def minor(self) -> int:
        """The 11 of 3.11.7."""
        return int(self.python.split(".")[1])

    @property
    def tag(self) -> str:
        """The part of `soabi` that names the interpreter, ``cpython-311``."""
        return "-".join(self.soabi.split("-")[:2])


def facts_here() -> Facts:
    """Return the facts of this interpreter."""
    return Facts(
        python=platform.python_version(),
        soabi=str(sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag),
        magic=importlib.util.MAGIC_NUMBER.hex(),
        system=sys.platform,
        machine=platform.machine(),
        glibc=_glibc_here(),
    )


def _glibc_here() -> Glibc | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError, OSError):  # another C library
        return None
    if name != "glibc":
        return None
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def obstacle(
    files: Iterable[File], wheel_tags: Sequence[str], client: Facts, worker: Facts
) -> str | None:
    """Say why a unit cannot run on a worker; None if it can.

    Args:
        files: of the unit.
        wheel_tags: ``Tag`` lines of its ``WHEEL`` file, none for what was not installed from one.
        client: where it comes from.
        worker: where it is to run.
    """
    libraries = [file.path for file in files if _LIBRARY.search(file.path)]
    if not libraries:
        return None
    if (client.system, client.machine) != (worker.system, worker.machine):
        return (
            f"{libraries[0]} was built for {client.system} on {client.machine}, the worker "
            f"is {worker.system} on {worker.machine}"
        )
    return _wrong_python(libraries, wheel_tags, client, worker) or _wrong_c_library(
        wheel_tags, client, worker
    )


def _wrong_python(
    libraries: Iterable[str], wheel_tags: Sequence[str], client: Facts, worker: Facts
) -> str | None:
    for path in libraries:
        tag = extension_tag(path)
        if tag.startswith("abi3") or (tag and f"{tag}-".startswith(f"{worker.tag}-")):
            continue
        # no tag: a plain library that any Python loads, if its wheel says so, or else a module
        # for the Python that it was built with
        if not tag and (
            client.tag == worker.tag or any(_is_for_any(t) for t in wheel_tags)
        ):
            continue
        return (
            f"{path} was built for Python {client.python} ({tag or client.tag}), the worker "
            f"has Python {worker.python} ({worker.tag})"
        )
    return _too_old(wheel_tags, worker)


def _too_old(wheel_tags: Sequence[str], worker: Facts) -> str | None:
    """Say that a wheel for the stable ABI needs a later Python."""
    needed = [
        int(python.removeprefix("cp3"))
        for python, abi, _ in (tag.split("-", 2) for tag in wheel_tags)
        if abi == "abi3" and python.startswith("cp3") and python[3:].isdigit()
    ]
    if not needed or min(needed) <= worker.minor:
        return None
    return (
        f"it was built for Python 3.{min(needed)} and later, the worker has Python "
        f"{worker.python}"
    )


def extension_tag(path: str) -> str:
    """Return the interpreter in the name of a library: ``cpython-311-…``, ``abi3``, or nothing.

    The tag stands between the first dot and the end: comparing ends alone would take
    ``x.cpython-311-x86_64-linux-gnu.so`` for ``x.so``.
    """
    name = path.rpartition("/")[2]
    for part in name.split(".")[1:-1]:
        if part == "abi3" or part.startswith(("cpython-", "pypy", "graalpy")):
            return part
    return ""


def _is_for_any(tag: str) -> bool:
    python, abi, _ = tag.split("-", 2)
    return (abi in {"none", "abi3"} and not python.startswith(("cp3", "pp"))) or (
        abi == "abi3"
    )


def _wrong_c_library(
    wheel_tags: Sequence[str], client: Facts, worker: Facts
) -> str | None:
    if client.system != "linux":
        return None
    needed = _needed_glibc(wheel_tags, client)
    if needed is None:
        if worker.glibc is None:
            return None
        return f"it was built for another C library than glibc {_text(worker.glibc)}"
    if worker.glibc is None:
        return (
            f"it was built for glibc {_text(needed)}, the worker has another C library"
        )
    if needed <= worker.glibc:
        return None
    return (
        f"it was built for glibc {_text(needed)} and later, the worker has "
        f"{_text(worker.glibc)}"
    )


def _needed_glibc(wheel_tags: Sequence[str], client: Facts) -> Glibc | None:
    """Return the least glibc that runs it; one that was built here wants the client's."""
    found: list[Glibc] = []
    for tag in wheel_tags:
        found += [(int(a), int(b)) for a, b in _MANYLINUX.findall(tag)]
        found += [_LEGACY[year] for year in _LEGACY_MANYLINUX.findall(tag)]
    return min(found) if found else client.glibc


def _text(version: Glibc) -> str:
    return f"{version[0]}.{version[1]}"
