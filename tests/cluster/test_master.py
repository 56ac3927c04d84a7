"""Master, instances and sessions in the simulation: whoever comes, goes, dies or is cut off."""

from __future__ import annotations

from typing import Any

import pytest

from splice.cluster.claim import MasterSource
from splice.cluster.granted import GrantedWorker
from splice.cluster.instance import NAME as INSTANCE
from splice.cluster.opening import _until_open
from splice.cluster.source import Place
from splice.errors import NodeLost, SpliceError
from splice.net.codec import encode
from splice.uri import url


def start(cluster: Any, source: MasterSource, count: int) -> list[GrantedWorker]:
    """Start workers, and wait until they are ready."""
    workers = list(source.start(count))
    for worker in workers:
        cluster.wait(worker.ready)
    return workers


# ---- coming


def test_a_session_gets_its_workers_wherever_there_is_room(cluster: Any) -> None:
    cluster.start_master()
    cluster.start_instance(2, "one")
    cluster.start_instance(2, "two")
    source = cluster.open_session()
    workers = start(cluster, source, 3)
    assert len({worker.address for worker in workers}) == 3
    assert len({worker.instance for worker in workers}) == 2


def test_workers_tell_on_which_machine_of_which_instance_they_are(
    cluster: Any,
) -> None:
    cluster.start_master()
    cluster.start_instance(1, "one")
    cluster.start_instance(1, "two")
    source = cluster.open_session()
    workers = start(cluster, source, 2)
    places = {source.place(worker) for worker in workers}
    assert places == {Place("machine of one", "one"), Place("machine of two", "two")}


def test_instances_may_come_before_their_master(cluster: Any) -> None:
    cluster.start_instance()
    cluster.sim.advance(40)
    cluster.start_master()
    cluster.sim.advance(5)
    assert [offer.slots for offer in cluster.status().offers.values()] == [2]


def test_workers_that_there_is_no_room_for_come_when_an_instance_does(
    cluster: Any,
) -> None:
    cluster.start_master()
    cluster.start_instance(1)
    source = cluster.open_session()
    one, other = source.start(2)
    cluster.wait(one.ready)
    cluster.sim.advance(60)
    assert not other.ready.done()
    cluster.start_instance(1)
    cluster.wait(other.ready)


# ---- leaving


def test_released_workers_end_and_their_slots_are_free_again(cluster: Any) -> None:
    cluster.start_master()
    cluster.start_instance()
    source = cluster.open_session()
    workers = start(cluster, source, 2)
    nodes = cluster.nodes_at(workers)
    cluster.wait(source.release(workers))
    assert [node.is_closed for node in nodes] == [True, True]
    start(cluster, source, 2)


def test_a_closed_session_is_forgotten_and_leaves_no_process(cluster: Any) -> None:
    cluster.start_master()
    cluster.start_instance()
    source = cluster.open_session()
    before = len(source.node.scheduler.directory)
    cluster.wait(source.release(start(cluster, source, 1)))
    cluster.wait(source.close())
    cluster.sim.advance(5)
    assert cluster.status().demands == {}
    assert len(source.node.scheduler.directory) == before - 1


def test_a_worker_that_is_waited_for_can_be_taken_back(cluster: Any) -> None:
    cluster.start_master()
    source = cluster.open_session()
    workers = source.start(2)
    cluster.wait(source.release(workers))
    cluster.start_instance()
    cluster.sim.advance(5)
    assert [worker.address for worker in workers] == ["", ""]
    assert cluster.busy() == 0


def test_a_worker_that_is_released_while_it_starts_ends_as_soon_as_it_is_there(
    cluster: Any,
) -> None:
    cluster.start_master()
    cluster.start_instance()
    source = cluster.open_session()
    (worker,) = source.start(1)
    while not worker.instance:
        cluster.sim.advance(0.001)
    cluster.wait(source.release([worker]))
    cluster.sim.advance(5)
    assert cluster.busy() == 0


def test_an_instance_that_leaves_is_forgotten_at_once(cluster: Any) -> None:
    cluster.start_master()
    node = cluster.start_instance()
    cluster.sim.advance(1)
    instance: Any = node.connect(url(INSTANCE, node.address))
    cluster.wait(instance.leave())
    assert cluster.status().offers == {}


def test_an_instance_that_drains_keeps_its_workers_and_takes_no_more(
    cluster: Any,
) -> None:
    cluster.start_master()
    cluster.start_instance(2, "machine")
    source = cluster.open_session()
    (first,) = start(cluster, source, 1)
    assert cluster.ask("drain", "another", True) == []
    address = first.instance.partition("/instance")[0]
    assert cluster.ask("drain", address, True) == [first.instance]
    cluster.sim.advance(1)
    (second,) = source.start(1)
    cluster.sim.advance(60)
    assert not first.ended.done()
    assert not second.ready.done()
    cluster.ask("drain", "machine", False)
    cluster.wait(second.ready)


def test_an_instance_that_is_full_says_so(cluster: Any) -> None:
    cluster.start_master()
    node = cluster.start_instance(1)
    source = cluster.open_session()
    start(cluster, source, 1)
    instance: Any = source.node.connect(url(INSTANCE, node.address))
    with pytest.raises(SpliceError, match="machine of 1 slots has 1 workers"):
        cluster.wait(instance.start("other", source._claim, (encode(None, []), [])))


# ---- how a session begins


def begin(cluster: Any, source: MasterSource, count: int) -> Any:
    workers = [worker.ready for worker in source.start(count)]
    return cluster.wait(_until_open(source, workers))


def test_a_session_begins_with_what_there_is_and_says_so(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.start_master()
    cluster.start_instance(2)
    begin(cluster, cluster.open_session(), 4)
    assert (
        f"the session begins with 2 of 4 workers: the cluster of {cluster.address} has"
        " 2 slots on 1 instances, 0 of them free, for 1 sessions"
    ) in caplog.text


def test_a_session_that_gets_no_worker_at_all_does_not_begin(cluster: Any) -> None:
    cluster.start_master()
    with pytest.raises(SpliceError, match=r"no worker within 30 s: .* has 0 slots"):
        begin(cluster, cluster.open_session(), 1)


def test_a_session_waits_for_an_init_that_takes_long(cluster: Any) -> None:
    cluster.start_master()
    cluster.start_instance(1)
    cluster.runs_init = False
    source = cluster.open_session()

    def end() -> None:
        for start in cluster.starts:
            start.has_ended()

    cluster.sim.loop.call_later(300, end)
    begin(cluster, source, 1)
    assert cluster.sim.loop.time() >= 300


def test_a_session_whose_worker_fails_at_the_start_says_why(cluster: Any) -> None:
    cluster.start_master()
    cluster.start_instance(2)
    source = cluster.open_session()
    source._init = encode(fail, []), []
    with pytest.raises(NodeLost, match=r"before it was ready(.|\n)*KeyError: 'lost'"):
        begin(cluster, source, 2)


def fail() -> None:
    raise KeyError("lost")


def test_a_worker_that_its_session_cannot_reach_is_ended_and_says_why(
    cluster: Any,
) -> None:
    cluster.start_master()
    instance = cluster.start_instance(1)
    source = cluster.open_session()
    (worker,) = source.start(1)

    def cut(node: Any) -> None:
        cluster._furnish(node)
        if instance.address != node.address != source.node.address:
            cluster.sim.network.cut(node.address, source.node.address)

    cluster.sim.on_node = cut
    with pytest.raises(NodeLost, match="before it was ready:\nits session cannot use"):
        cluster.wait(worker.ready)
    cluster.sim.advance(5)
    assert cluster.busy() == 0


# ---- sharing


def test_a_session_that_comes_later_gets_its_share_as_workers_become_free(
    cluster: Any,
) -> None:
    cluster.start_master()
    cluster.start_instance(4)
    cluster.sim.advance(20)
    first, second = cluster.open_session(), cluster.open_session()
    recalled: list[GrantedWorker] = []
    first.on_recall = recalled.append
    start(cluster, first, 4)
    others = list(second.start(4))
    cluster.sim.advance(60)
    assert len(recalled) == 2
    assert not any(worker.ready.done() for worker in others)
    cluster.wait(first.release(recalled))
    for worker in others[:2]:
        cluster.wait(worker.ready)
    cluster.sim.advance(60)
    assert len(recalled) == 2
    assert cluster.busy() == 4


def test_a_new_master_recalls_nothing_until_all_have_registered_again(
    cluster: Any,
) -> None:
    master = cluster.start_master()
    cluster.sim.advance(20)
    sources, instances = [], []
    recalled: list[GrantedWorker] = []
    for _ in range(2):
        instances.append(cluster.start_instance(2))
        sources.append(cluster.open_session())
        sources[-1].on_recall = recalled.append
        start(cluster, sources[-1], 2)
    # the first session is then seen to want a worker, and not to have any
    one = instances[0]
    cluster.sim.kill(master)
    cluster.start_master()
    cluster.sim.network.cut(one.address, cluster.address)
    waiting = sources[0].start(1)
    cluster.sim.advance(8)
    cluster.sim.network.heal(one.address, cluster.address)
    cluster.sim.advance(60)
    assert recalled == []
    assert not waiting[0].ready.done()


# ---- dying


def test_a_dead_worker_is_told_of_and_its_slot_is_free(cluster: Any) -> None:
    cluster.start_master()
    cluster.start_instance(1)
    source = cluster.open_session()
    (worker,) = start(cluster, source, 1)
    worker.kill()
    assert cluster.wait(worker.ended).text == "was killed by SIGKILL"
    start(cluster, source, 1)


def test_workers_of_a_dead_instance_are_given_up_and_others_come(
    cluster: Any,
) -> None:
    cluster.start_master()
    one = cluster.start_instance(2)
    source = cluster.open_session()
    workers = start(cluster, source, 2)
    cluster.sim.kill(one)
    for worker in workers:
        assert "was lost with its instance" in cluster.wait(worker.ended).text
    cluster.start_instance(2)
    start(cluster, source, 2)


def test_the_workers_of_a_dead_client_end_and_their_slots_are_free(
    cluster: Any,
) -> None:
    cluster.start_master()
    cluster.start_instance(2)
    source = cluster.open_session()
    nodes = cluster.nodes_at(start(cluster, source, 2))
    cluster.sim.kill(source.node)
    cluster.sim.advance(30)
    assert [node.is_closed for node in nodes] == [True, True]
    assert cluster.status().demands == {}
    start(cluster, cluster.open_session(), 2)


def test_a_dead_master_ends_nothing_and_its_successor_knows_all(
    cluster: Any,
) -> None:
    master = cluster.start_master()
    cluster.start_instance(2)
    source = cluster.open_session()
    (first,) = start(cluster, source, 1)
    cluster.sim.kill(master)
    cluster.sim.advance(60)
    assert not first.ended.done()
    second, third = source.start(2)
    cluster.sim.advance(60)
    assert not second.ready.done()
    cluster.start_master()
    cluster.wait(second.ready)
    cluster.sim.advance(5)
    assert not third.ready.done()
    assert not first.ended.done()
    assert cluster.busy() == 2
    (demand,) = cluster.status().demands.values()
    assert (sum(demand.workers.values()), demand.missing) == (2, 1)


def test_workers_die_without_a_master_too(cluster: Any) -> None:
    master = cluster.start_master()
    cluster.start_instance(2)
    source = cluster.open_session()
    nodes = cluster.nodes_at(start(cluster, source, 2))
    cluster.sim.kill(master)
    cluster.sim.kill(source.node)
    cluster.sim.advance(30)
    assert [node.is_closed for node in nodes] == [True, True]


def test_a_client_that_was_cut_off_from_an_instance_gets_workers_there_again(
    cluster: Any,
) -> None:
    cluster.start_master()
    node = cluster.start_instance(2)
    source = cluster.open_session()
    workers = start(cluster, source, 2)
    nodes = cluster.nodes_at(workers)
    cluster.sim.network.cut(source.node.address, node.address)
    for worker in workers:
        cluster.wait(worker.ended)
    cluster.sim.advance(30)
    assert [node.is_closed for node in nodes] == [True, True]
    others = source.start(2)
    cluster.sim.network.heal(source.node.address, node.address)
    for worker in others:
        cluster.wait(worker.ready)
    # and these end with the client as well
    nodes = cluster.nodes_at(list(others))
    cluster.sim.kill(source.node)
    cluster.sim.advance(30)
    assert [node.is_closed for node in nodes] == [True, True]


def test_an_instance_that_was_cut_off_from_its_master_registers_again(
    cluster: Any,
) -> None:
    cluster.start_master()
    node = cluster.start_instance()
    cluster.sim.advance(5)
    cluster.sim.network.cut(node.address, cluster.address)
    cluster.sim.advance(60)
    assert cluster.status().offers == {}
    cluster.sim.network.heal(node.address, cluster.address)
    cluster.sim.advance(60)
    assert len(cluster.status().offers) == 1
