"""Places: where nodes listen, and how a node of this machine is found.

A node listens on tcp, and on ipc in a folder that only its user can enter.  The socket file
is named by network namespace, host and port, so whoever is given the tcp address of a node
finds the file by itself, and no file of another container or interface is taken for it::

    tcp://127.0.0.1:54321  ->  $XDG_RUNTIME_DIR/splice/f0000098-127.0.0.1-54321
                               /tmp/splice-<uid>/...  where there is no runtime folder

Functions without state; nothing here waits for another machine.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from splice.log import logger

WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - names them, listens on nothing
PATH_BYTES: Final = 104
"""The shortest limit of a socket's path among the systems we run on (macOS)."""

_log = logger("net")


def split_address(address: str) -> tuple[str, int]:
    """Return host (without brackets) and port of ``tcp://host:port``."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host.strip("[]"), int(port)


def join_address(host: str, port: int | str) -> str:
    """Return ``tcp://host:port``, with brackets around an IPv6 host."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def is_numeric(host: str) -> bool:
    """Return whether the host is an IP address, not a name to be looked up."""
    return _numeric(host) is not None


def look_up(host: str) -> str:
    """Return an IP address of a host, IPv4 first, as nodes listen on it by default.

    It may take seconds: never called on a node's loop, but before there is one.

    Raises:
        OSError: the name is unknown.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    families = {family: str(place[0]) for family, *_, place in reversed(found)}
    return families.get(socket.AF_INET) or families[socket.AF_INET6]


def is_own_host(host: str) -> bool:
    """Return whether an IP address is one of this machine's."""
    numeric = _numeric(host)
    if numeric is None:
        return False
    family, place = numeric
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(place)  # the kernel allows it for its own addresses only
        except OSError:
            return False
    return True


def primary_host() -> str:
    """Return the address under which other machines most likely reach this one."""
    # TEST-NET-1: any address beyond the default route does
    return _own_host_towards("192.0.2.1") or "127.0.0.1"


def host_towards(host: str) -> str:
    """Return the address under which those reach this machine who can reach `host`.

    Args:
        host: an IP address.  If it is a loopback one, the others are asked for.
    """
    own = _own_host_towards(host)
    if own is None or ipaddress.ip_address(own).is_loopback:
        return primary_host()
    return own


def _own_host_towards(host: str) -> str | None:
    numeric = _numeric(host)
    assert numeric is not None, host
    family, place = numeric
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # a datagram socket sends nothing when it connects, but has to choose an interface
            probe.connect((place[0], 9, *place[2:]))
        except OSError:  # no way there
            return None
        return str(probe.getsockname()[0])


def ipc_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of this user's ipc sockets, made if need be.

    Returns:
        None where no folder is safe: then there is only tcp, which is encrypted.
    """
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    fallback = Path("/tmp") / f"splice-{os.geteuid()}"  # noqa: S108 - checked below
    for folder in (Path(runtime) / "splice" if runtime else None, fallback):
        if folder is None or len(bytes(ipc_path(folder, "f" * 39, 65535))) > PATH_BYTES:
            continue
        problem = _make_private(folder)
        if problem is None:
            return folder
        _log.warning("no ipc in %s: %s; nodes of this machine use tcp", folder, problem)
    return None


def ipc_path(folder: Path, host: str, port: int) -> Path:
    """Return the socket file of the node that listens at a host and port."""
    return folder / f"{_network()}-{host}-{port}"


def find_ipc(folder: Path, host: str, port: int) -> Path | None:
    """Return the socket file of a living node of this machine, if it has one."""
    for listening in (host, *WILDCARDS):
        path = ipc_path(folder, listening, port)
        if is_alive(path) and is_own_host(host):
            return path
    return None


def is_alive(path: Path) -> bool:
    """Return whether somebody listens on a socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN: its queue is full, so somebody is there
        return probe.connect_ex(str(path)) in {0, errno.EAGAIN, errno.EINPROGRESS}


@contextmanager
def swept(folder: Path) -> Iterator[None]:
    """Remove the sockets of dead nodes; the folder stays locked for the `with` block.

    Bind in it: a file that is bound and not yet listened on looks like a dead one's.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for path in folder.iterdir():
            if path.is_socket() and not is_alive(path):
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def begin_probe(host: str, port: int) -> tuple[socket.socket, int]:
    """Begin a bare connect; returns the socket and 0, EINPROGRESS or another errno."""
    numeric = _numeric(host)
    assert numeric is not None, host
    family, place = numeric
    probe = socket.socket(family, socket.SOCK_STREAM)
    probe.setblocking(False)
    return probe, probe.connect_ex((place[0], port, *place[2:]))


def _numeric(host: str) -> tuple[int, tuple[str, int]] | None:
    try:
        found = socket.getaddrinfo(host, 0, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None
    family, _, _, _, place = found[0]
    return family, place  # type: ignore[return-value]  # IPv6 has two more items


def _network() -> str:
    """Name the network namespace: containers may share a folder, never an address."""
    try:
        return f"{Path('/proc/self/ns/net').stat().st_ino:x}"
    except OSError:  # no Linux
        return "0"


def _make_private(folder: Path) -> str | None:
    """Make a folder for this user only; returns what is wrong with it, if anything."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        return str(error)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return "somebody else made it"
    if stat.S_IMODE(found.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return f"others can enter it (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
