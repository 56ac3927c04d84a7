"""Kills: what they cut off is no failure that anybody has missed, near and far."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from splice import Deferred, Process, Supervisor, runtime, sync, tell
from splice.actor.context import current_worker
from splice.node.dead_letters import DeadLetter
from splice.node.node import Node
from splice.testing.simulation import Simulation


class Slow(Process):
    """Takes longer to end than anybody waits."""

    def sp_terminate(self, reason: Any) -> None:
        runtime.sleep(60)


class SlowAsync(Process):
    """Likewise, and awaits."""

    async def sp_terminate(self, reason: Any) -> None:
        await asyncio.sleep(60)


class Leaf(Process):
    """Answers when it is told to, or fails with its node."""

    def __init__(self) -> None:
        self.answer = Deferred()

    def hold(self) -> Deferred:
        return self.answer

    def sleep(self) -> None:
        runtime.sleep(3600)

    def fail(self) -> None:
        self.answer.fail(ValueError("late"))


class Asker(Process):
    """Waits for a leaf in one of the ways there are."""

    def plain(self, leaf: Any, how: str) -> Any:
        return sync(getattr(leaf, how)())

    async def awaiting(self, leaf: Any, how: str) -> Any:
        return await getattr(leaf, how)()

    async def in_a_task(self, leaf: Any, how: str) -> Any:
        async def ask() -> Any:
            return await getattr(leaf, how)()

        return await asyncio.gather(ask(), ask())


def missed(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of failures that nobody has looked at."""
    gc.collect()
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "nobody looked" in text]


@pytest.mark.parametrize("kind", [Slow, SlowAsync])
def test_a_stop_that_takes_too_long_is_no_failure_that_anybody_has_missed(
    sim: Simulation,
    one: Node,
    other: Node,
    kind: type,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def scenario() -> None:
        runtime.stop(runtime.spawn(kind, sp_dest=other.address), timeout=1)
        runtime.sleep(1)

    sim.run(one, scenario)
    assert missed(caplog) == []


@pytest.mark.parametrize("kind", [Slow, SlowAsync])
def test_a_stop_is_done_when_somebody_else_kills_the_process(
    sim: Simulation, one: Node, other: Node, kind: type
) -> None:
    def scenario() -> Any:
        slow = runtime.spawn(kind, sp_dest=other.address)
        killer = runtime.spawn(Killer)
        killer.kill_later(slow)
        runtime.stop(slow)
        return runtime.monitor(slow).get(1).reason

    assert sim.run(one, scenario) == "noproc"


class Killer(Process):
    """Kills."""

    def kill_later(self, proc: Any) -> None:
        runtime.sleep(1)
        runtime.kill(proc)


@pytest.mark.parametrize("call", ["plain", "awaiting", "in_a_task"])
@pytest.mark.parametrize("how", ["hold", "sleep"])
def test_what_a_killed_handler_has_waited_for_may_fail_unseen(
    sim: Simulation,
    one: Node,
    other: Node,
    call: str,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def scenario() -> None:
        leaf = runtime.spawn(Leaf, sp_dest=other.address)
        asker = runtime.spawn(Asker)
        getattr(asker, call)(leaf, how).add_done_callback(lambda p: p.exception())
        runtime.sleep(1)
        runtime.kill(asker)
        runtime.sleep(1)
        runtime.kill(leaf)
        runtime.sleep(1)

    sim.run(one, scenario)
    assert missed(caplog) == []


@pytest.mark.parametrize("call", ["plain", "awaiting", "in_a_task"])
def test_what_handlers_wait_for_at_the_end_of_their_node_may_fail_unseen(
    sim: Simulation,
    one: Node,
    other: Node,
    call: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def scenario() -> None:
        leaf = runtime.spawn(Leaf, sp_dest=other.address)
        for _ in range(10):
            asker = runtime.spawn(Asker)
            asked = getattr(asker, call)(leaf, "hold")
            asked.add_done_callback(lambda p: p.exception())
        runtime.sleep(1)

    sim.run(one, scenario)
    one.close()
    sim.advance(1)
    assert missed(caplog) == []
    assert "was not heard" not in caplog.text


def test_killed_handlers_leave_nothing_at_what_they_have_waited_for(
    sim: Simulation, one: Node
) -> None:
    def scenario() -> Any:
        answer = Deferred()
        for _ in range(100):
            asker = runtime.spawn(Waiting)
            asker.wait(answer).add_done_callback(lambda p: p.exception())
            runtime.sleep(0)
            runtime.kill(asker)
        runtime.sleep(1)
        return answer.waiter

    left = sim.run(one, scenario)
    assert not isinstance(left, list) or len(left) == 1


class Waiting(Process):
    """Waits for what it is given."""

    def wait(self, promise: Any) -> Any:
        return promise.get()


def test_a_failure_is_missed_where_the_handler_has_given_up_waiting(
    sim: Simulation, one: Node, other: Node, caplog: pytest.LogCaptureFixture
) -> None:
    def scenario() -> None:
        leaf = runtime.spawn(Leaf, sp_dest=other.address)
        assert runtime.spawn(Hasty).ask(leaf).get() == "too late"
        runtime.stop(leaf)
        runtime.sleep(1)

    sim.run(one, scenario)
    assert len(missed(caplog)) == 1


class Hasty(Process):
    """Waits for a second."""

    async def ask(self, leaf: Any) -> str:
        try:
            async with asyncio.timeout(1):
                await leaf.hold()
        except TimeoutError:
            return "too late"
        return "in time"


def test_a_tell_that_a_killed_handler_has_waited_for_is_a_dead_letter_all_the_same(
    sim: Simulation, one: Node
) -> None:
    letters: list[DeadLetter] = []
    one.dead_letters.listen(letters.append)
    two = sim.node()

    def scenario() -> None:
        leaf = runtime.spawn(Leaf, sp_dest=two.address)
        teller = runtime.spawn(Teller)
        sim.network.cut(one.address, two.address)
        teller.tell(leaf).add_done_callback(lambda p: p.exception())
        runtime.sleep(1)
        runtime.kill(teller)
        runtime.sleep(120)

    sim.run(one, scenario)
    gc.collect()
    sim.advance(1)
    assert [letter.handler for letter in letters] == ["fail"]


class Teller(Process):
    """Tells, and waits until that is delivered."""

    def tell(self, leaf: Any) -> None:
        tell(leaf.fail).get()


# ---- what is unwound late ends no later life


class Slower(Process):
    """Answers after a second."""

    def answer(self) -> None:
        runtime.sleep(1)


class Lives(Process):
    """Knows which life it is in, and asks somebody in its first hook, or its second start."""

    lives = 0

    def __init__(self, slower: Any, place: str) -> None:
        type(self).lives += 1
        self.life, self.slower, self.place = self.lives, slower, place
        if place == "start" and self.life == 2:
            sync(slower.answer())

    def fail(self) -> None:
        raise ValueError

    async def fail_async(self) -> None:
        raise ValueError

    def which(self) -> int:
        return self.life

    def sp_terminate(self, reason: Any) -> None:
        if self.place == "hook" and self.life == 1:
            sync(self.slower.answer())


class Hurried(Process):
    """Has no direct call left, so what follows it in a restart is made on another worker."""

    def __init__(self) -> None:
        current_worker().credit = 0

    def fail(self) -> None:
        raise ValueError


@pytest.mark.parametrize("how", ["fail", "fail_async"])
def test_a_hook_that_a_kill_cuts_off_ends_no_later_life(
    sim: Simulation, how: str
) -> None:
    def scenario() -> list[int]:
        Lives.lives = 0
        slower, sup = runtime.spawn(Slower), runtime.spawn(Supervisor, intensity=1)
        one = runtime.spawn(Lives, slower, "hook", sp_super=sup)
        getattr(one, how)()
        runtime.sleep(0.3)
        runtime.kill(one)
        seen = [sync(one.which())]
        runtime.sleep(3)
        return [*seen, sync(one.which())]

    assert sim.run(sim.node(), scenario) == [2, 2]


def test_a_constructor_that_a_kill_cuts_off_ends_no_later_life(sim: Simulation) -> None:
    def scenario() -> list[int]:
        Lives.lives = 0
        slower = runtime.spawn(Slower)
        sup = runtime.spawn(Supervisor, strategy="one_for_all", intensity=10)
        first = runtime.spawn(Hurried, sp_super=sup)
        one = runtime.spawn(Lives, slower, "start", sp_super=sup)
        first.fail().exception()
        runtime.sleep(0.3)
        runtime.kill(one)
        seen = [sync(one.which())]
        runtime.sleep(3)
        return [*seen, sync(one.which())]

    assert sim.run(sim.node(), scenario) == [3, 3]
