"""Machine: which machine this is, and which addresses mean the same on another one."""

from __future__ import annotations

import platform
from ipaddress import ip_address
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")


def this_machine() -> str:
    """Return what tells this machine, and the network it sees, from all others.

    Two containers of one machine have loopback addresses of their own, so its name alone
    would not do.
    """
    try:
        return f"{_BOOT.read_text().strip()} {_NETWORK.readlink()}"
    except OSError:  # not Linux
        return platform.node()


def is_only_local(address: str) -> bool:
    """Tell whether an address means another node, or none, on every other machine."""
    if not address.startswith("tcp://"):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        number = ip_address(host)
    except ValueError:
        return host == "localhost"
    return number.is_loopback or number.is_unspecified
