"""Supervised children on other nodes when real OS processes are killed."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from splice import NodeLost, Process, Supervisor, runtime, sync

pytestmark = pytest.mark.system

PATIENCE = 30.0
"""Seconds after which a test fails; a killed OS process is known to be lost in one or two."""


class Clerk(Process):
    """Counts, and tells where it lives."""

    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def fail(self):
        raise ValueError("broken")

    def os_process(self):
        return os.getpid()


@pytest.fixture
def nodes() -> Iterator[Any]:
    yield runtime.fork(2)
    runtime.shutdown()


def test_a_child_is_restarted_where_it_was_and_elsewhere_when_its_node_is_killed(nodes):
    sup = runtime.spawn(Supervisor, intensity=2)
    clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=nodes, sp_id="till")
    sync(clerk.add())
    failed, late = clerk.fail(), clerk.add()
    assert isinstance(failed.exception(PATIENCE), ValueError)
    assert late.get(PATIENCE) == 1

    first = clerk.os_process().get(PATIENCE)
    down = runtime.monitor(clerk)
    os.kill(first, signal.SIGKILL)
    down.get(PATIENCE)
    # behind the restart in the mailbox of the supervisor, or before: then it is under way
    while (info := sup.which_children().get(PATIENCE)[0]).proxy == clerk:
        runtime.sleep(0.01)
    assert info.proxy.sp_url.address == nodes[1]
    assert info.proxy.add().get(PATIENCE) == 1
    assert info.proxy.os_process().get(PATIENCE) not in {first, os.getpid()}


def test_a_child_ends_when_the_node_of_its_supervisor_is_killed(nodes):
    sup = runtime.spawn(Supervisor, sp_dest=nodes[0])
    owner = runtime.spawn(Clerk, sp_dest=nodes[0]).os_process().get(PATIENCE)
    clerk = runtime.spawn(Clerk, sp_super=sup, sp_dest=nodes[1])
    sync(clerk.add())
    down = runtime.monitor(clerk)
    os.kill(owner, signal.SIGKILL)
    assert down.get(PATIENCE).reason == "shutdown"


def test_nobody_is_waited_for_where_a_forked_node_has_been_killed(nodes):
    first = runtime.spawn(Clerk, sp_dest=nodes[0]).os_process().get(PATIENCE)
    os.kill(first, signal.SIGKILL)
    made = runtime.spawn_nowait(Clerk, sp_dest=nodes[0])  # on its way, or too late
    with pytest.raises(NodeLost):
        made.get(PATIENCE / 2)
    with pytest.raises(NodeLost, match="was killed by SIGKILL"):
        runtime.spawn_nowait(Clerk, sp_dest=nodes[0]).get(PATIENCE / 2)
