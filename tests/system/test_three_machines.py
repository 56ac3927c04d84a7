"""Four machines on one: network namespaces on a switch, each with an address of its own.

::

    master 10.83.0.1 ──┐                         every machine: its own network, its own copy
    one    10.83.0.2 ──┤  a bridge, in a         of the key, its own folders; nothing is shared
    other  10.83.0.3 ──┤  namespace of its own   but Python itself
    client 10.83.0.4 ──┘
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import splice

MACHINES = ("master", "one", "other", "client")
CENSUS = Path(splice.__file__).parent / "cluster" / "__main__.py"

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


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
        subprocess.run(
            ["ip", "netns", "del", name], check=False, capture_output=True, timeout=20
        )
    return None


class Network:
    """Machines on a switch."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.switch = self._namespace("switch")
        sweep()

    def _namespace(self, machine: str) -> str:
        return f"splice-{os.getpid()}-{machine}"

    def set_up(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "sw0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "sw0", "up")
        for number, machine in enumerate(MACHINES, 1):
            self._plug_in(machine, f"10.83.0.{number}/24")

    def _plug_in(self, machine: str, address: str) -> None:
        name = self._namespace(machine)
        ip("netns", "add", name)
        cable = ("type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", self.switch, "link", "add", port(machine), *cable)
        ip("-n", self.switch, "link", "set", port(machine), "master", "sw0", "up")
        ip("-n", name, "addr", "add", address, "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", name, "link", "set", link, "up")

    def cut(self, machine: str) -> None:
        """Pull the plug of a machine."""
        ip("-n", self.switch, "link", "set", port(machine), "down")

    def heal(self, machine: str) -> None:
        ip("-n", self.switch, "link", "set", port(machine), "up")

    def on(self, machine: str) -> tuple[str, ...]:
        """What stands before a command that runs on a machine."""
        home = self.folder / machine
        for each in ("splice", "run"):
            (home / each).mkdir(mode=0o700, parents=True, exist_ok=True)
        key = home / "splice" / "key"
        if not key.exists() and machine != "master":
            key.touch(mode=0o600)
            key.write_bytes((self.folder / "master/splice/key").read_bytes())
        folders = (f"XDG_CONFIG_HOME={home}", f"XDG_RUNTIME_DIR={home / 'run'}")
        return ("ip", "netns", "exec", self._namespace(machine), "env", *folders)

    def tear_down(self) -> None:
        self.cluster.close()
        for machine in (*MACHINES, "switch"):
            name = self._namespace(machine)
            subprocess.run(
                ["ip", "netns", "del", name],
                check=False,
                capture_output=True,
                timeout=20,
            )


def port(machine: str) -> str:
    """The name of a machine's port at the switch; "master" is a word of the program ip."""
    return f"to-{machine}"


def sweep() -> None:
    """Remove namespaces of runs that were killed."""
    listed = subprocess.run(
        ["ip", "netns", "list"], check=True, capture_output=True, text=True, timeout=20
    )
    for name, number in re.findall(r"^(splice-(\d+)-\w+)", listed.stdout, re.MULTILINE):
        if not psutil.pid_exists(int(number)):
            ip("netns", "del", name)


@pytest.fixture
def network(cluster: Any, tmp_path: Path) -> Iterator[Network]:
    """Four machines on a switch; gone after the test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    made = Network(cluster, tmp_path)
    try:
        made.set_up()
        yield made
    finally:
        made.tear_down()


def census() -> str:
    """The program of the demo, taken on a cluster; a part of the library is enough here."""
    source = CENSUS.read_text(encoding="utf-8")
    for old, new in [
        ("with session() as c:", "with session(4, master_address=ADDRESS) as c:"),
        (
            "    surveys = c.map(",
            '    print("begins", *c.workers)\n    surveys = c.map(',
        ),
        ("\nstart = perf", "\nfiles = files[:500]\nstart = perf"),
    ]:
        assert old in source
        source = source.replace(old, new, 1)
    return f"import splice\nsplice.runtime.config(loss_timeout=4)\n{source}"


def test_a_census_on_two_machines_is_complete_though_one_is_cut_off(
    cluster: Any, network: Network
) -> None:
    cluster.address = f"tcp://10.83.0.1:{cluster.port}"
    cluster.master("-t", "4", prefix=network.on("master")).says("each instance")
    machines = {
        name: cluster.instance(name, "-t", "4", prefix=network.on(name))
        for name in ("one", "other")
    }
    for instance in machines.values():
        instance.says("is registered at the master")
    client = cluster.client(census(), prefix=network.on("client"))
    addresses = client.says(r"begins (.*)\n")[1].split()
    there = sorted(address.rpartition(":")[0] for address in addresses)
    assert there == ["tcp://10.83.0.2"] * 2 + ["tcp://10.83.0.3"] * 2
    network.cut("other")
    client.says("the results are\\s+the same", 150)
    assert client.ends() == 0
    assert client.output.count("was lost with its instance") == 2
    # nobody works on there for a client that is not there any more
    below = machines["other"].below()
    cluster.until(lambda: not machines["other"].below(), f"the end of {below}")
    network.heal("other")
    cluster.until(
        lambda: machines["other"].output.count("is registered at the master") == 2,
        "that the machine comes back",
    )
