"""Several machines on one: network namespaces, on a switch or on a wire that goes wrong.

::

    Network   a bridge in a namespace of its own; a machine's plug can be pulled
    Hosts     wire.py between them: delay, loss, a narrow link, cuts one way

Every machine has its own network, its own copy of the key and its own folders; nothing is shared
but Python itself.  Namespaces bear the number of the OS process that made them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

WIRE = Path(__file__).with_name("wire.py")
TUN = Path("/dev/net/tun")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def remove(namespace: str) -> None:
    """Remove a namespace, if it is there."""
    subprocess.run(
        ["ip", "netns", "del", namespace], check=False, capture_output=True, timeout=20
    )


def why_not() -> str | None:
    """Why there can be no namespaces here, if so."""
    if shutil.which("ip") is None:
        return "needs the program ip (Debian: apt-get install iproute2)"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    name = f"splice-{os.getpid()}-probe"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "sw0", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.decode().strip()}"
    finally:
        remove(name)
    return None


def why_no_wire() -> str | None:
    """Why there can be no wire between namespaces here, if so."""
    if (reason := why_not()) is not None:
        return reason
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f"needs {TUN}: {error}"
    return None


def sweep() -> None:
    """Remove namespaces of runs that were killed."""
    listed = subprocess.run(
        ["ip", "netns", "list"], check=True, capture_output=True, text=True, timeout=20
    )
    for name, number in re.findall(r"^(splice-(\d+)-\w+)", listed.stdout, re.MULTILINE):
        if not psutil.pid_exists(int(number)):
            remove(name)


class Machines:
    """Namespaces and what is run in them.

    Args:
        folder: for the machines' own folders.
        machines: their names.
    """

    def __init__(self, folder: Path, machines: Sequence[str]) -> None:
        self.folder = folder
        self.machines = tuple(machines)
        sweep()

    def namespace(self, machine: str) -> str:
        return f"splice-{os.getpid()}-{machine}"

    def add(self, machine: str) -> str:
        """Make the namespace of a machine."""
        name = self.namespace(machine)
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    def on(self, machine: str) -> tuple[str, ...]:
        """What stands before a command that runs on a machine."""
        home = self.folder / machine
        for each in ("splice", "run"):
            (home / each).mkdir(mode=0o700, parents=True, exist_ok=True)
        key = home / "splice" / "key"
        first = self.machines[0]
        if not key.exists() and machine != first:
            key.touch(mode=0o600)
            key.write_bytes((self.folder / first / "splice/key").read_bytes())
        folders = (f"XDG_CONFIG_HOME={home}", f"XDG_RUNTIME_DIR={home / 'run'}")
        return ("ip", "netns", "exec", self.namespace(machine), "env", *folders)

    def tear_down(self) -> None:
        for machine in self.machines:
            remove(self.namespace(machine))


class Network(Machines):
    """Machines on a switch."""

    def set_up(self) -> None:
        switch = self.add("switch")
        ip("-n", switch, "link", "add", "sw0", "type", "bridge")
        ip("-n", switch, "link", "set", "sw0", "up")
        for number, machine in enumerate(self.machines, 1):
            self._plug_in(machine, f"10.83.0.{number}/24")

    def _plug_in(self, machine: str, address: str) -> None:
        name, switch = self.add(machine), self.namespace("switch")
        cable = ("type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", switch, "link", "add", port(machine), *cable)
        ip("-n", switch, "link", "set", port(machine), "master", "sw0", "up")
        ip("-n", name, "addr", "add", address, "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")

    def cut(self, machine: str) -> None:
        """Pull the plug of a machine."""
        ip("-n", self.namespace("switch"), "link", "set", port(machine), "down")

    def heal(self, machine: str) -> None:
        ip("-n", self.namespace("switch"), "link", "set", port(machine), "up")

    def tear_down(self) -> None:
        super().tear_down()
        remove(self.namespace("switch"))


def port(machine: str) -> str:
    """The name of a machine's port at the switch; "master" is a word of the program ip."""
    return f"to-{machine}"


class Hosts(Machines):
    """Machines on a wire of which each way can be shaped."""

    wire: subprocess.Popen[str] | None = None

    def set_up(self) -> None:
        pairs = [f"{self.add(each)}={self.host(each)}" for each in self.machines]
        self.wire = subprocess.Popen(
            [sys.executable, str(WIRE), *pairs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._heard() == "ready"
        for machine in self.machines:
            name, address = self.namespace(machine), f"{self.host(machine)}/24"
            ip("-n", name, "addr", "add", address, "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def host(self, machine: str) -> str:
        """The address of a machine."""
        return f"10.83.1.{self.machines.index(machine) + 1}"

    def shape(self, source: str, target: str, **changes: Any) -> int:
        """Change how packets come from one machine to another; see `Way` in wire.py.

        Returns:
            How many were lost on that way so far.
        """
        assert self.wire is not None
        assert self.wire.stdin is not None
        wish = {"from": self.host(source), "to": self.host(target), **changes}
        self.wire.stdin.write(json.dumps(wish) + "\n")
        self.wire.stdin.flush()
        return int(self._heard())

    def shape_all(self, **changes: Any) -> int:
        """Change all ways; returns how many packets were lost so far."""
        return sum(
            self.shape(source, target, **changes)
            for source in self.machines
            for target in self.machines
            if source != target
        )

    def _heard(self) -> str:
        assert self.wire is not None
        assert self.wire.stdout is not None
        return self.wire.stdout.readline().strip()

    def tear_down(self) -> None:
        if self.wire is not None:
            self.wire.kill()
            self.wire.communicate()
        super().tear_down()
