"""A proxy means its very process, and not the next one of that name; near and far."""

from contextlib import suppress
from typing import Any

import pytest

from splice import (
    NameTaken,
    NodeLost,
    Process,
    ProcessNotFound,
    ProcessStopped,
    Supervisor,
    child,
    ready,
    runtime,
    sync,
    tell,
    url,
)
from splice.message import SIGNAL
from splice.net.outgoing import Outgoing
from splice.testing.simulation import Simulation
from splice.uri import BoundName, addressee_of, ident_of


class Clerk(Process):
    """Bears a name, and counts what it was told."""

    def __init__(self, who: str = "") -> None:
        self.who = who
        self.count = 0

    def name(self) -> str:
        return self.who

    def add(self) -> None:
        self.count += 1

    def total(self) -> int:
        return self.count

    def fail(self) -> None:
        raise ValueError("broken")


class Keeper(Process):
    """Lives on another node than the clerks whose proxies it keeps."""

    sp_trap_exit = True

    def __init__(self) -> None:
        self.kept: Any = None
        self.notes: list[Any] = []

    def keep(self, proc: Any) -> None:
        self.kept = proc

    def give(self) -> Any:
        return self.kept

    def call(self) -> str:
        return sync(self.kept.name())

    def tie(self, proc: Any) -> None:
        runtime.link(self, proc)

    def untie(self, proc: Any) -> None:
        runtime.unlink(self, proc)

    def told(self) -> list[Any]:
        return self.notes

    def sp_exited(self, exited: Any) -> None:
        self.notes.append(exited.reason)


class Sharer(Keeper):
    """Ends with what it is linked to."""

    sp_trap_exit = False

    def leave(self) -> None:
        raise ValueError("left")


@pytest.fixture(params=["near", "far"])
def two(sim: Simulation, request: Any) -> Any:
    """The node that holds the proxies, and the one that the clerks live on."""
    here = sim.node()
    return here, here if request.param == "near" else sim.node()


def namesakes(where: Any) -> tuple[Any, Any]:
    """Make a clerk, stop it and make another one of its name."""
    old = runtime.spawn(Clerk, "old", sp_id="x", sp_dest=where.address)
    runtime.stop(old)
    return old, runtime.spawn(Clerk, "new", sp_id="x", sp_dest=where.address)


def test_a_call_to_one_that_has_ended_is_not_answered_by_its_namesake(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        return old.name().exception(), sync(new.name())

    error, answer = sim.run(here, scenario)
    assert isinstance(error, ProcessStopped)
    assert "has ended" in str(error)
    assert " x" in str(error)
    assert "#" not in str(error)
    assert answer == "new"


def test_a_tell_to_one_that_has_ended_is_not_delivered_to_its_namesake(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        return tell(old.add).exception(), sync(new.total())

    error, total = sim.run(here, scenario)
    assert isinstance(error, ProcessStopped)
    assert total == 0


def test_stopping_one_that_has_ended_leaves_its_namesake_alone(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        with suppress(ProcessStopped):  # as for one without a name, on another node
            runtime.stop(old)
        return sync(new.name())

    assert sim.run(here, scenario) == "new"


def test_killing_one_that_has_ended_leaves_its_namesake_alone(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        runtime.kill(old)
        return sync(new.name())

    assert sim.run(here, scenario) == "new"


def test_a_monitor_of_one_that_has_ended_says_noproc(sim, two):
    here, there = two

    def scenario():
        old, _ = namesakes(there)
        return runtime.monitor(old).get(5.0).reason

    assert sim.run(here, scenario) == "noproc"


def test_the_info_of_one_that_has_ended_says_so(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        return [(i.id, i.state, i.url) for i in map(runtime.info, (old, new))], new

    (old, new), proxy = sim.run(here, scenario)
    assert old == ("x", "ended", proxy.sp_url)
    assert new == ("x", "idle", proxy.sp_url)


def test_a_link_to_one_that_has_ended_does_not_tie_to_its_namesake(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        keeper = runtime.spawn(Keeper)
        sync(keeper.tie(old))
        runtime.sleep(1.0)
        runtime.kill(new)
        runtime.sleep(1.0)
        return sync(keeper.told())

    assert sim.run(here, scenario) == ["noproc"]


def test_a_link_to_one_that_has_ended_leaves_that_to_its_namesake(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        keeper = runtime.spawn(Keeper)
        sync(keeper.tie(new))
        sync(keeper.tie(old))
        runtime.sleep(1.0)
        runtime.kill(new)
        runtime.sleep(1.0)
        return sync(keeper.told())

    assert sim.run(here, scenario) == ["noproc", "killed"]


def test_unlinking_one_that_has_ended_leaves_the_link_to_its_namesake(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        keeper = runtime.spawn(Keeper)
        sync(keeper.tie(new))
        sync(keeper.untie(old))
        runtime.sleep(1.0)
        runtime.kill(new)
        runtime.sleep(1.0)
        return sync(keeper.told())

    assert sim.run(here, scenario) == ["killed"]


def test_the_end_of_one_that_was_linked_to_the_ended_one_does_not_end_its_namesake(
    sim, two
):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        sharer = runtime.spawn(Sharer)
        runtime.link(sharer, old)
        sharer.leave().exception()
        runtime.sleep(1.0)
        return sync(new.name())

    assert sim.run(here, scenario) == "new"


def test_two_far_processes_are_tied_by_their_very_selves(sim):
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario():
        old, new = namesakes(two)
        keeper = runtime.spawn(Keeper, sp_dest=three.address)
        runtime.link(old, keeper)
        runtime.sleep(1.0)
        runtime.link(new, keeper)
        runtime.sleep(1.0)
        runtime.unlink(keeper, old)
        runtime.sleep(1.0)
        runtime.kill(new)
        runtime.sleep(1.0)
        return sync(keeper.told())

    assert sim.run(one, scenario) == ["noproc", "killed"]


class Holding:
    """Exits that a node is not told of before that is asked for."""

    def __init__(self, node: Any) -> None:
        self.exits: list[Any] = []
        self.signals = node.exchange.signals
        self.receive = self.signals.receive
        self.signals.receive = self.hold

    def hold(self, peer: Any, entry: Any, reason: Any) -> None:
        if entry[1] == "exit":
            self.exits.append((peer, entry, reason))
        else:
            self.receive(peer, entry, reason)

    def let_go(self) -> int:
        self.signals.receive = self.receive
        for args in self.exits:
            self.receive(*args)
        runtime.sleep(1.0)
        return len(self.exits)


def test_a_new_link_to_a_namesake_stands_while_the_end_of_the_first_is_under_way(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        old = runtime.spawn(Clerk, "old", sp_id="x", sp_dest=two.address)
        keeper = runtime.spawn(Keeper)
        sync(keeper.tie(old))
        runtime.sleep(1.0)
        holding = Holding(one)
        runtime.kill(old)
        new = runtime.spawn(Clerk, "new", sp_id="x", sp_dest=two.address)
        sync(keeper.tie(new))
        runtime.sleep(1.0)
        before, held = list(sync(keeper.told())), holding.let_go()
        links = runtime.info(keeper).links
        runtime.kill(new)
        runtime.sleep(1.0)
        return before, held, len(links), sync(keeper.told())

    assert sim.run(one, scenario) == ([], 1, 1, ["killed", "killed"])


def test_a_normal_end_under_way_ends_no_one_that_is_linked_to_the_namesake_by_then(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        old = runtime.spawn(Clerk, "old", sp_id="x", sp_dest=two.address)
        sharer = runtime.spawn(Sharer)
        sync(sharer.tie(old))
        runtime.sleep(1.0)
        holding = Holding(one)
        runtime.stop(old)
        new = runtime.spawn(Clerk, "new", sp_id="x", sp_dest=two.address)
        sync(sharer.tie(new))
        runtime.sleep(1.0)
        states = [runtime.info(sharer).state]
        holding.let_go()
        states.append(runtime.info(sharer).state)
        runtime.kill(new)
        runtime.sleep(1.0)
        return [*states, runtime.info(sharer).state]

    assert sim.run(one, scenario) == ["idle", "idle", "ended"]


def test_the_ends_of_three_of_one_name_are_told_each_for_its_own_reason(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        keeper, holding = runtime.spawn(Keeper), Holding(one)
        for why in ("first", "second", "third"):
            clerk = runtime.spawn(Clerk, sp_id="x", sp_dest=two.address)
            sync(keeper.tie(clerk))
            runtime.stop(clerk, why)
        runtime.sleep(1.0)
        holding.let_go()
        return sync(keeper.told()), runtime.info(keeper).links

    assert sim.run(one, scenario) == (["first", "second", "third"], ())


class Landlord(Process):
    """Has a name borne by another one, on a node that others do not reach."""

    def talk(self, where: str) -> None:
        runtime.spawn(Clerk, sp_dest=where)

    def replace(self, old: Any) -> Any:
        runtime.stop(old)
        where = old.sp_url.address
        return runtime.spawn(Clerk, "new", sp_id=old.sp_id, sp_dest=where)

    def make(self, where: str) -> Any:
        return runtime.spawn(Clerk, sp_dest=where)


def test_a_link_by_name_that_is_taken_back_by_proxy_does_not_come_to_a_namesake(sim):
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario():
        keeper = runtime.spawn(Keeper)
        old = runtime.spawn(Clerk, "old", sp_id="x", sp_dest=two.address)
        named = runtime.connect(url("x", two.address))
        landlord = runtime.spawn(Landlord, sp_dest=three.address)
        sync(landlord.talk(two.address))
        sim.network.cut(one.address, two.address)
        sync(keeper.tie(named))
        sync(keeper.untie(old))
        new = sync(landlord.replace(old))
        sim.network.heal(one.address, two.address)
        runtime.sleep(5.0)
        new.fail().exception()
        runtime.sleep(1.0)
        return runtime.info(new).links, runtime.info(new).state

    assert sim.run(one, scenario) == ((), "idle")


def test_a_link_that_waits_for_a_name_is_not_taken_for_that_of_a_namesake(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        late = runtime.connect(url("late", two.address))
        ends = []
        for _ in range(2):
            keeper = runtime.spawn(Keeper, sp_id="keeper")
            sync(keeper.tie(late))
            runtime.sleep(0.2)
            ends.append(keeper)
            if len(ends) == 1:
                runtime.stop(keeper)
        made = runtime.spawn(Keeper, sp_id="late", sp_dest=two.address)
        runtime.sleep(3.0)
        runtime.kill(ends[1])
        runtime.sleep(1.0)
        return sync(made.told()), runtime.info(made).links

    assert sim.run(one, scenario) == (["killed"], ())


def test_a_link_stands_when_that_of_a_namesake_comes_another_way_to_the_same_node(sim):
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario():
        landlord = runtime.spawn(Landlord, sp_dest=three.address)
        clerk = sync(landlord.make(two.address))
        runtime.sleep(3.0)
        sim.network.cut(one.address, two.address)
        old = runtime.spawn(Keeper, sp_id="keeper")
        sync(old.tie(runtime.connect(url(clerk.sp_id, two.address))))
        runtime.stop(old)
        new = runtime.spawn(Keeper, sp_id="keeper")
        sync(new.tie(clerk))
        sim.network.heal(one.address, two.address)
        runtime.sleep(5.0)
        runtime.kill(clerk)
        runtime.sleep(1.0)
        return sync(new.told())

    assert sim.run(one, scenario) == ["killed"]


class Slow(Process):
    """Has room for two messages, and is busy."""

    sp_mailbox_limit = 2

    def work(self) -> None:
        runtime.sleep(300.0)

    def name(self) -> str:
        return "slow"


def test_a_call_to_one_that_has_ended_does_not_wait_for_room_at_its_namesake(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        old = runtime.spawn(Slow, sp_id="x", sp_dest=two.address)
        runtime.stop(old)
        new = runtime.spawn(Slow, sp_id="x", sp_dest=two.address)
        named = runtime.connect(url("x", two.address))
        working = [new.work() for _ in range(4)]
        runtime.sleep(1.0)
        rooms = [ready(proc).done() for proc in (old, new, named)]
        error = old.name().exception()
        runtime.kill(new)
        runtime.sleep(1.0)
        ended = [work.exception() is not None for work in working]
        return rooms, error, ended, [ready(proc).done() for proc in (new, named)]

    rooms, error, ended, then = sim.run(one, scenario)
    assert rooms == [True, False, False]
    assert isinstance(error, ProcessStopped)
    assert (ended, then) == ([True] * 4, [True] * 2)


def test_a_proxy_that_went_to_another_node_still_means_its_process(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        keeper = runtime.spawn(Keeper, sp_dest=two.address)
        old = runtime.spawn(Clerk, "old", sp_id="x")
        sync(keeper.keep(old))
        runtime.stop(old)
        runtime.spawn(Clerk, "new", sp_id="x")
        there = keeper.call().exception()
        back = sync(keeper.give())
        runtime.kill(back)
        return there, back.name().exception(), sync(runtime.whereis("x").name())

    there, back, new = sim.run(one, scenario)
    assert isinstance(there, ProcessStopped)
    assert isinstance(back, ProcessStopped)
    assert new == "new"


def test_a_proxy_that_comes_home_knows_why_its_process_has_ended(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        keeper = runtime.spawn(Keeper, sp_dest=two.address)
        old = runtime.spawn(Clerk, "old", sp_id="x")
        sync(keeper.keep(old))
        runtime.stop(old, "tired")
        runtime.spawn(Clerk, "new", sp_id="x")
        back = sync(keeper.give())
        return back.name().exception(), runtime.info(back)

    error, info = sim.run(one, scenario)
    assert type(error) is ProcessStopped
    assert (error.reason, info.state, info.reason) == ("tired", "ended", "'tired'")


def test_a_proxy_that_came_home_between_two_lives_means_the_next_one_too(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        keeper = runtime.spawn(Keeper, sp_dest=two.address)
        sup = runtime.spawn(Supervisor, children=[child(Clerk, "old", sp_id="x")])
        (info,) = sync(sup.which_children())
        sync(keeper.keep(info.proxy))
        sync(sup.terminate_child("x"))
        home = sync(keeper.give())
        while_it_is_away = home.name().exception()
        sync(sup.restart_child("x"))
        return while_it_is_away, sync(home.name()), home == info.proxy

    error, name, is_same = sim.run(one, scenario)
    assert isinstance(error, ProcessStopped)
    assert (name, is_same) == ("old", True)


def test_a_far_proxy_sent_to_a_third_node_means_its_process(sim):
    one, two, three = sim.node(), sim.node(), sim.node()

    def scenario():
        keeper = runtime.spawn(Keeper, sp_dest=three.address)
        old = runtime.spawn(Clerk, "old", sp_id="x", sp_dest=two.address)
        sync(keeper.keep(old))
        while_it_lives = sync(keeper.call())
        runtime.stop(old)
        runtime.spawn(Clerk, "new", sp_id="x", sp_dest=two.address)
        back = sync(keeper.give())
        return while_it_lives, keeper.call().exception(), back.name().exception()

    alive, *errors = sim.run(one, scenario)
    assert alive == "old"
    assert [type(error) for error in errors] == [ProcessStopped] * 2


def test_a_proxy_that_comes_home_is_that_of_its_process(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        keeper = runtime.spawn(Keeper, sp_dest=two.address)
        clerk = runtime.spawn(Clerk, "clerk", sp_id="x")
        sync(keeper.keep(clerk))
        back = sync(keeper.give())
        return back._sp_target is clerk._sp_target, type(back) is type(clerk)

    assert sim.run(one, scenario) == (True, True)


def test_old_proxies_of_a_restarted_child_stay_good(sim, two):
    here, there = two

    def scenario():
        sup = runtime.spawn(Supervisor, intensity=3)
        spec = child(Clerk, "clerk", sp_id="x", sp_dest=there.address)
        clerk = sync(sup.start_child(spec))
        clerk.fail().exception()
        runtime.sleep(1.0)
        answers = [sync(clerk.name()), runtime.info(clerk).state]
        keeper = runtime.spawn(Keeper)
        sync(keeper.tie(clerk))
        runtime.kill(clerk)
        runtime.sleep(1.0)
        return answers, sync(clerk.name()), sync(keeper.told())

    assert sim.run(here, scenario) == (["clerk", "idle"], "clerk", ["killed"])


def test_a_proxy_by_name_means_whoever_bears_it(sim, two):
    here, there = two

    def scenario():
        named = runtime.connect(url("x", there.address))
        old, _ = namesakes(there)
        by_text = runtime.connect(str(old.sp_url))
        by_parts = runtime.connect(url(old.sp_id, there.address))
        return [sync(proxy.name()) for proxy in (named, by_text, by_parts)]

    assert sim.run(here, scenario) == ["new"] * 3


def test_a_name_that_is_borne_is_taken(sim, two):
    here, there = two

    def scenario():
        namesakes(there)
        with pytest.raises(NameTaken):
            runtime.spawn(Clerk, sp_id="x", sp_dest=there.address)
        return [info.id for info in runtime.processes()].count("x")

    assert sim.run(here, scenario) == (1 if here is there else 0)


def test_the_name_and_the_url_of_a_process_are_plain(sim, two):
    here, there = two

    def scenario():
        _, new = namesakes(there)
        return new.sp_id, new.sp_url

    name, where = sim.run(here, scenario)
    assert type(name) is type(where.resource) is str
    assert str(where) == f"{there.address}/x#{there.incarnation:x}"
    assert repr(where) == repr(url("x", there.address, there.incarnation))


def test_proxies_of_namesakes_are_not_equal(sim, two):
    here, there = two

    def scenario():
        old, new = namesakes(there)
        keeper = runtime.spawn(Keeper)
        sync(keeper.keep(new))
        by_text = runtime.connect(str(new.sp_url))
        same = [new == sync(keeper.give()), new == by_text, old.sp_url == new.sp_url]
        return old == new, len({old, new}), same

    assert sim.run(here, scenario) == (False, 2, [True, True, True])


def test_the_name_that_info_tells_means_whoever_bears_it(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        here = runtime.spawn(Clerk, "here", sp_id="x")
        runtime.spawn(Clerk, "there", sp_id="x", sp_dest=two.address)
        ids = [runtime.info(here).id, *(info.id for info in runtime.processes())]
        there = runtime.connect(url(ids[0], two.address))
        runtime.stop(here)
        ids.append(runtime.info(here).id)
        return {type(i) for i in ids}, sync(there.name())

    assert sim.run(one, scenario) == ({str, int}, "there")


def test_a_url_has_a_plain_name_though_it_is_made_of_a_bound_one():
    bound = url("x", "tcp://127.0.0.1:5000", 1, serial=7).ident
    assert type(bound) is BoundName
    assert type(url(bound, "tcp://127.0.0.1:5000").resource) is str


@pytest.mark.parametrize("serial", [0, -3, True, 2.5, "2", "abc"])
def test_a_serial_that_can_be_none_is_refused_where_it_is_given(serial):
    with pytest.raises(ValueError, match="serial"):
        url("x", "tcp://127.0.0.1:5000", 1, serial=serial)


def test_an_id_has_no_serial():
    with pytest.raises(ValueError, match="only names have one"):
        url(5, "tcp://127.0.0.1:5000", 1, serial=1)


ODD = [
    "x#zz",
    "x#",
    "#1",
    "x#0",
    "x#-1",
    "x#1#2",
    "x#2.5",
    "x#\u0664",
    "x#" + "9" * 5000,
]


@pytest.mark.parametrize("text", ODD)
def test_a_text_that_is_no_bound_name_stays_as_it_is(text):
    assert ident_of(text) is text


def test_a_call_by_a_text_that_is_no_bound_name_is_not_found(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        clerk = runtime.spawn(Clerk, "clerk", sp_id="x", sp_dest=two.address)
        agent = runtime.connect(url("node", two.address))
        errors = []
        for text in ODD:
            errors.append(agent.process_info(text).exception())
            errors.append(agent.stop(text, "normal", False).exception())
            clerk._sp_target.addressee = text  # as no url of ours has it
            errors.append(clerk.name().exception())
        clerk._sp_target.addressee = "x"
        return errors, sync(clerk.name())

    errors, name = sim.run(one, scenario)
    assert {type(error) for error in errors} == {ProcessNotFound}
    assert name == "clerk"


SIGNALS = ("link", "unlink", "exit", "bound", "absent", "monitor", "demonitor", "down")


@pytest.mark.parametrize("text", ODD)
def test_a_signal_with_ends_that_nobody_gave_it_harms_nobody(sim, text):
    one, two = sim.node(), sim.node()

    def scenario():
        clerk = runtime.spawn(Clerk, "clerk", sp_id="x", sp_dest=two.address)
        signals = one.exchange.signals
        peer = signals._reach(clerk._sp_target)
        names = [
            "link",
            "unlink",
            "unlinked",
            "bound",
            "exit",
            "absent",
            "demonitor",
            "down",
            "monitor",
        ]
        for entry in [(SIGNAL, name, text, text, None, 1) for name in names]:
            signals.failed(peer, entry, NodeLost("lost"))
            peer.send_signal(Outgoing(entry, ()))
        runtime.sleep(3.0)
        return sync(clerk.name())

    assert sim.run(one, scenario) == "clerk"


def test_a_serial_that_was_never_given_out_is_of_no_process(sim):
    one, two = sim.node(), sim.node()

    def scenario():
        clerk = runtime.spawn(Clerk, sp_id="x", sp_dest=two.address)
        life = clerk.sp_url.incarnation
        never = runtime.connect(url("x", two.address, life, serial=99))
        return [
            never.name().exception(),
            runtime.node.stop(never._sp_target).exception(),
            runtime.monitor(never).get(5.0).reason,
        ]

    *errors, reason = sim.run(one, scenario)
    assert [type(error) for error in errors] == [ProcessNotFound] * 2
    assert reason == "noproc"


def test_messages_call_a_bound_name_by_a_text_that_is_no_name():
    bound = url("x", "tcp://127.0.0.1:5000", 1, serial=7).ident
    assert addressee_of(bound) == "x#7"
    again = ident_of("x#7")
    assert again == "x"
    assert again.serial == 7
    assert [ident_of(addressee_of(plain)) for plain in ("x", 7)] == ["x", 7]
