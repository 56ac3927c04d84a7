"""What real machines and real signals do to nodes under load; they keep their promises.

The workload and the rules are those of the simulator.  Each node writes its own history; they are
put together by the machine's clock and checked as one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.system.conftest import PATIENCE, free_port
from tests.system.field import LOSS_SECONDS, Cast
from tests.system.network import Hosts, why_no_wire

from splice.testing.history import History, What, node_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

SHORT = LOSS_SECONDS / 3
LONG = LOSS_SECONDS * 2
STORM_SECONDS = 25.0
PORT = 5000

Casting = Callable[..., Cast]


@pytest.fixture
def cast(tmp_path: Path) -> Iterator[Casting]:
    """Nodes of one machine, which talk over ipc."""
    made: list[Cast] = []

    def make(count: int, **options: Any) -> Cast:
        addresses = [("127.0.0.1", free_port()) for _ in range(count)]
        made.append(Cast(tmp_path, addresses, **options))
        made[-1].begin()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def hosts(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    """Two machines on a wire, or as many as the test is given."""
    reason = why_no_wire()
    if reason is not None:
        pytest.skip(reason)
    count = getattr(request, "param", 2)
    made = Hosts(tmp_path, [f"host{number + 1}" for number in range(count)])
    try:
        made.set_up()
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def far_cast(hosts: Hosts, tmp_path: Path) -> Iterator[Casting]:
    """A node on each machine."""
    made: list[Cast] = []

    def make(**options: Any) -> Cast:
        addresses = [(hosts.host(each), PORT) for each in hosts.machines]
        made.append(
            Cast(tmp_path, addresses, lambda i: hosts.on(hosts.machines[i]), **options)
        )
        made[-1].begin()
        return made[-1]

    yield make
    for each in made:
        each.close()


def passed(history: History, after: float = 0.0) -> int:
    """How many messages of one node another one has handled since."""
    senders = {e.message: node_of(e.place) for e in history if e.what is What.SENT}
    return sum(
        event.what is What.HANDLED
        and event.at > after
        and senders.get(event.message) not in {None, "driver", node_of(event.place)}
        for event in history
    )


def losses(history: History) -> int:
    """How often a sender was told that a node is lost."""
    return sum(e.what is What.VERDICT and e.text == "NodeLost" for e in history)


def goes_on(cast: Cast, seconds: float = 1.0) -> History:
    """Let it act for a while and come to rest; messages get through, and promises are kept."""
    now = time.monotonic()
    time.sleep(seconds)
    history = cast.comes_to_rest()
    assert passed(history, now) > 0
    return history


# ---- one machine, signals


def test_a_node_that_is_killed_under_load_and_comes_back_harms_nobody(
    cast: Casting,
) -> None:
    nodes = cast(3)
    time.sleep(0.7)
    nodes.dies(1)
    time.sleep(0.3)
    nodes.is_born_again(1)
    time.sleep(0.5)
    nodes.dies(1)
    nodes.is_born_again(1)
    assert losses(goes_on(nodes)) > 0


def test_a_node_that_stands_still_for_a_moment_is_not_lost(cast: Casting) -> None:
    nodes = cast(2)
    time.sleep(0.3)
    for _ in range(2):
        nodes.freezes(1, SHORT)
        time.sleep(0.2)
    assert losses(goes_on(nodes)) == 0


def test_a_node_that_stands_still_for_long_is_lost_and_comes_back(
    cast: Casting,
) -> None:
    nodes = cast(2)
    time.sleep(0.3)
    nodes.freezes(1, LONG)
    assert losses(goes_on(nodes, LOSS_SECONDS)) > 0


# ---- several machines, and the wire between them


@pytest.mark.parametrize("ways", [1, 2])
def test_a_cut_that_heals_in_time_loses_nothing(
    hosts: Hosts, far_cast: Casting, ways: int
) -> None:
    nodes = far_cast()
    time.sleep(0.3)
    cut(hosts, nodes, ways, SHORT)
    assert losses(goes_on(nodes)) == 0


@pytest.mark.parametrize("ways", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_a_long_cut_both_sides_agree_and_go_on(
    hosts: Hosts, far_cast: Casting, ways: int
) -> None:
    nodes = far_cast()
    time.sleep(0.3)
    cut(hosts, nodes, ways, LONG)
    assert losses(goes_on(nodes, LOSS_SECONDS)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_a_cut_between_two_of_three_machines_is_no_matter_of_the_third(
    hosts: Hosts, far_cast: Casting
) -> None:
    nodes = far_cast()
    time.sleep(0.3)
    cut(hosts, nodes, 2, LONG)
    assert losses(goes_on(nodes, LOSS_SECONDS)) > 0


def test_nothing_is_lost_or_late_on_a_wire_that_loses_and_disorders(
    hosts: Hosts, far_cast: Casting
) -> None:
    hosts.shape_all(loss=0.1, delay=0.01, jitter=0.02)
    nodes = far_cast(is_lossy=True)
    goes_on(nodes, 2.0)
    assert hosts.shape_all() > 0


def test_a_narrow_link_loses_nobody(hosts: Hosts, far_cast: Casting) -> None:
    hosts.shape_all(rate=60_000, delay=0.02)
    assert losses(goes_on(far_cast(), 2.0)) == 0


@pytest.mark.slow
def test_messages_that_are_handled_twice_are_found(
    hosts: Hosts, far_cast: Casting
) -> None:
    nodes = far_cast(plant="skip-deduplication")
    deadline = time.monotonic() + PATIENCE
    while not nodes.breaks("handled once"):
        assert time.monotonic() < deadline, "a known defect was not found"
        # what comes back is cut, so it is sent again on the next connection
        cut(hosts, nodes, 1, SHORT * 2, (1, 0))
        time.sleep(0.5)


def test_mail_that_comes_to_a_successor_is_found(cast: Casting) -> None:
    nodes = cast(2, plant="resend-after-loss")
    deadline = time.monotonic() + PATIENCE
    while not nodes.breaks("no impostor"):
        assert time.monotonic() < deadline, "a known defect was not found"
        nodes.dies(1)
        nodes.is_born_again(1)
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_all_that_goes_wrong_goes_wrong_on_three_machines(
    hosts: Hosts, far_cast: Casting
) -> None:
    random = Random(os.environ.get("SPLICE_SEED", "1"))
    hosts.shape_all(delay=0.002, jitter=0.005)
    nodes = far_cast(seed=random.getrandbits(32))
    end = time.monotonic() + STORM_SECONDS
    while time.monotonic() < end:
        seconds = random.uniform(0.1, random.choice([SHORT, LONG]))
        kind = random.choice(["cut", "one way", "freeze", "kill", "quiet"])
        if kind == "freeze":
            nodes.freezes(random.randrange(3), seconds)
        elif kind == "kill":
            place = random.randrange(3)
            nodes.dies(place)
            time.sleep(min(seconds, SHORT))
            nodes.is_born_again(place)
        elif kind == "quiet":
            time.sleep(seconds)
        else:
            pair = random.sample(range(3), 2)
            cut(hosts, nodes, 1 if kind == "one way" else 2, seconds, pair)
    goes_on(nodes, LOSS_SECONDS)


def cut(
    hosts: Hosts, nodes: Cast, ways: int, seconds: float, places: Sequence[int] = (0, 1)
) -> None:
    """Cut two machines off each other for a while, one way or both."""
    one, other = (hosts.machines[place] for place in places)
    pairs = [(one, other), (other, one)][:ways]
    with nodes.fault("cut" if ways == 2 else "cut one way", *places):
        before = sum(hosts.shape(*pair, is_cut=True) for pair in pairs)
        time.sleep(seconds)
        lost = sum(hosts.shape(*pair, is_cut=False) for pair in pairs)
    assert lost > before or seconds < SHORT, "the cut cut nothing"
