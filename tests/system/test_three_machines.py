"""Four machines on one: network namespaces on a switch, each with an address of its own.

::

    master 10.83.0.1 ──┐                         every machine: its own network, its own copy
    one    10.83.0.2 ──┤  a bridge, in a         of the key, its own folders; nothing is shared
    other  10.83.0.3 ──┤  namespace of its own   but Python itself
    client 10.83.0.4 ──┘
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.network import Network, why_not

import splice

MACHINES = ("master", "one", "other", "client")
CENSUS = Path(splice.__file__).parent / "cluster" / "__main__.py"

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


@pytest.fixture
def network(cluster: Any, tmp_path: Path) -> Iterator[Network]:
    """Four machines on a switch; gone after the test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    made = Network(tmp_path, MACHINES)
    try:
        made.set_up()
        yield made
    finally:
        cluster.close()
        made.tear_down()


def census() -> str:
    """The program of the demo, taken on a cluster; a part of the library is enough here."""
    source = CENSUS.read_text(encoding="utf-8")
    for old, new in [
        (
            "with session() as c:",
            "with session(worker_count=4, master_address=ADDRESS) as c:",
        ),
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


ONLY_HERE = """
import sys
sys.path.insert(0, FOLDER)
from splice.cluster import session
def init():
    import only_here
    only_here.seen.append("init")
def fail():
    import only_here
    raise KeyError(*only_here.seen)
def look():
    import only_here
    return only_here.seen
try:
    session(worker_count=1, master_address=ADDRESS, init=fail)
except Exception as error:
    print("fails by", repr(error))
with session(worker_count=2, master_address=ADDRESS, init=init) as c:
    print("workers have", c.apply(look))
"""


def test_init_imports_from_a_client_that_only_itself_can_dial(
    cluster: Any, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "only_here.py").write_text("seen = ['imported']\n")
    cluster.address = f"tcp://10.83.0.1:{cluster.port}"
    cluster.master(prefix=network.on("master")).says("each instance")
    instance = cluster.instance("one", prefix=network.on("one"))
    instance.says("is registered at the master")
    script = f"FOLDER = {str(tmp_path / 'code')!r}\n{ONLY_HERE}"
    client = cluster.client(script, prefix=network.on("client"))
    failure = (
        r"NodeLost\(.* exited with code 1 before it was ready.*KeyError: .'imported"
    )
    client.says(f"fails by {failure}", 90)
    client.says(r"workers have \[(\['imported', 'init'\](, )?){2}\]", 90)
    assert client.ends() == 0
