"""A wire between network namespaces that can be slow, lossy, narrow or cut, one way or both.

::

    python wire.py NAMESPACE=ADDRESS ...

It opens a TUN device ``eth0`` in each namespace and carries packets between them by their address:
the kernel that tests run on may have no netem.  A command is a line of JSON on its standard input,
``{"from": ADDRESS, "to": ADDRESS, "delay": 0.05, ...}``, with the attributes of `Way`; it gets in
return how many packets that way has lost so far.  It ends with its standard input.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass
from heapq import heappop, heappush

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
PACKET_BYTES = 65536

QUEUE_SECONDS = 0.4
"""What a slow link holds before it throws away, as a home router does."""


@dataclass
class Way:
    """How packets come from one address to another.

    Attributes:
        delay: seconds on the way.
        jitter: up to so many more, each packet by itself, so that they overtake each other.
        loss: share of packets that are lost.
        rate: bytes a second, or 0 for any number.
        is_cut: nothing passes.
        lost: packets that were lost so far.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    is_cut: bool = False
    lost: int = 0
    _free_at: float = 0.0

    def due(self, now: float, size_bytes: int) -> float | None:
        """When a packet of this size arrives; None when it is lost."""
        if self.is_cut or random.random() < self.loss:
            self.lost += 1
            return None
        start = max(now, self._free_at)
        if start - now > QUEUE_SECONDS:
            self.lost += 1
            return None
        if self.rate:
            self._free_at = start = start + size_bytes / self.rate
        return start + self.delay + random.uniform(0.0, self.jitter)


def tun_in(namespace: str) -> int:
    """Make ``eth0`` in a network namespace; whoever reads it gets what is sent there."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    try:
        enter(libc, there)
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TUN | IFF_NO_PI
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"eth0", flags))
        enter(libc, here)
    finally:
        os.close(here)
        os.close(there)
    return tun


def enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Wire:
    """Carries packets between TUN devices."""

    def __init__(self, tuns: dict[bytes, int]) -> None:
        self._tuns = tuns
        self._ways: dict[tuple[bytes, bytes], Way] = {}
        self._due: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def run(self) -> None:
        """Carry until the end of standard input."""
        selector = selectors.DefaultSelector()
        for tun in (*self._tuns.values(), 0):
            selector.register(tun, selectors.EVENT_READ)
        while True:
            wait = max(self._due[0][0] - time.monotonic(), 0) if self._due else None
            for key, _ in selector.select(wait):
                if key.fd:
                    self._take(key.fd)
                elif not self._obey():
                    return
            self._deliver()

    def _take(self, tun: int) -> None:
        try:
            packet = os.read(tun, PACKET_BYTES)
        except BlockingIOError:
            return
        source, target = packet[12:16], packet[16:20]
        if packet[0] >> 4 != 4 or target not in self._tuns:
            return  # IPv6 looking for routers
        due = self._way(source, target).due(time.monotonic(), len(packet))
        if due is not None:
            self._count += 1
            heappush(self._due, (due, self._count, self._tuns[target], packet))

    def _deliver(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, tun, packet = heappop(self._due)
            try:
                os.write(tun, packet)
            except BlockingIOError:  # its queue is full: as on any wire
                continue

    def _obey(self) -> bool:
        line = sys.stdin.buffer.readline()
        if not line:
            return False
        wish = json.loads(line)
        way = self._way(*(socket.inet_aton(wish.pop(end)) for end in ("from", "to")))
        for name, value in wish.items():
            setattr(way, name, value)
        say(way.lost)
        return True

    def _way(self, source: bytes, target: bytes) -> Way:
        return self._ways.setdefault((source, target), Way())


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    tuns = {}
    for argument in arguments:
        namespace, address = argument.split("=")
        tuns[socket.inet_aton(address)] = tun_in(namespace)
    say("ready")
    Wire(tuns).run()


if __name__ == "__main__":
    main(sys.argv[1:])
