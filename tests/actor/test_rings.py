"""What the error of a ring of waits says, and what becomes of what was asked in vain."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import Any

import pytest

from splice.actor.combine import gather, sync
from splice.actor.handlers import blocking
from splice.actor.process import Process
from splice.errors import Cancelled, DeadlockError
from splice.testing.actors import World


class Clerk(Process):
    """Asks back, in each way there is, whoever asks it."""

    def __init__(self) -> None:
        self.handled: list[str] = []

    def call(self, other: Any, how: str) -> Any:
        return sync(getattr(other, how)(self.sp_proxy))

    async def call_async(self, other: Any, how: str) -> Any:
        return await getattr(other, how)(self.sp_proxy)

    def plain(self, other: Any) -> Any:
        return sync(other.note("plain"))

    def combined(self, other: Any) -> Any:
        return gather([other.note("one"), other.note("two")]).then(str).get()

    async def awaited(self, other: Any) -> Any:
        return await other.note("awaited")

    @blocking
    def blocked(self, other: Any) -> Any:
        return other.note("blocked").get()

    def delegated(self, other: Any) -> Any:
        return other.note("delegated")

    def note(self, what: str) -> None:
        self.handled.append(what)

    def caught(self, other: Any) -> Any:
        asked = other.note("caught")
        with pytest.raises(DeadlockError):
            sync(asked)
        return asked.exception()

    def shared(self, other: Any) -> Any:
        asked = other.note("shared")
        asked.add_done_callback(lambda _: self.handled.append("told"))
        return sync(asked)

    def seen(self) -> list[str]:
        return self.handled


WAYS = ["plain", "combined", "awaited", "blocked", "delegated"]


def in_ring(world: World, how: str, call: str = "call") -> tuple[Any, Any, Any]:
    """Have two clerks wait for each other; both, and the error of the first call."""
    one, two = world.spawn(Clerk), world.spawn(Clerk)
    with pytest.raises(DeadlockError) as caught:
        world.wait(getattr(one, call)(two, how))
    return one, two, caught.value


@pytest.mark.parametrize("how", WAYS)
def test_what_was_asked_in_vain_is_never_handled(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(asyncio.new_event_loop())
    one, _, _ = in_ring(world, how)
    assert world.wait(one.seen()) == []
    world.close()
    gc.collect()
    assert caplog.records == []


def test_a_promise_whose_wait_was_refused_says_so_when_asked_again(
    world: World,
) -> None:
    one, two = world.spawn(Clerk), world.spawn(Clerk)
    error = world.wait(one.call(two, "caught"))
    assert type(error) is Cancelled
    assert world.wait(one.seen()) == []


def test_what_others_wait_for_as_well_is_handled_all_the_same(world: World) -> None:
    one, two, _ = in_ring(world, "shared")
    assert world.wait(one.seen()) == ["shared"]
    assert world.wait(two.seen()) == ["told"]


@pytest.mark.parametrize("call", ["call", "call_async"])
@pytest.mark.parametrize("how", WAYS)
def test_the_error_names_process_handler_node_and_line_of_each(
    call: str, how: str
) -> None:
    world = World(asyncio.new_event_loop())
    _, _, error = in_ring(world, how, call)
    world.close()
    lines = re.findall(
        r"\n  (Clerk \d\.\w+) on this node waits at \S+test_rings.py:(\d+)", str(error)
    )
    known = {
        f"Clerk {number}.{name}": str(getattr(Clerk, name).__code__.co_firstlineno + at)
        for number, name, at in [(1, call, 1), (2, how, 2 if how == "blocked" else 1)]
    }
    # who has answered with a promise waits for nothing any more
    expected = {k: v for k, v in known.items() if "delegated" not in k}
    assert dict(lines) == expected
