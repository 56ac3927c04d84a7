"""What has ended, near and far alike: stopping it again is quiet, and it is told why it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from splice import Exit, Process, ProcessNotFound, ProcessStopped, runtime
from splice.testing.simulation import Simulation


class Till(Process):
    """Ends as it is told to."""

    def leave(self, reason: Any) -> None:
        raise Exit(reason)

    def count(self) -> int:
        return 7


WAYS = ["near", "far", "near, by its url", "far, by its url"]


def in_each_way(sim: Simulation, way: str, function: Callable[..., Any]) -> Any:
    """Call `function` in a handler with what spawns, and with what returns a proxy of that."""
    one, two = sim.node(), sim.node()
    dest = two.address if way.startswith("far") else None

    def spawn(**options: Any) -> Any:
        return runtime.spawn(Till, sp_dest=dest, **options)

    def found(till: Any) -> Any:
        where = (dest or one.address, till.sp_id)
        by_url = f"{where[0]}/{where[1]}"
        return runtime.connect(by_url) if way.endswith("url") else till

    return sim.run(one, lambda: function(spawn, found))


def gone(spawn: Any, found: Any, reason: Any, name: str | None = None) -> Any:
    """A proxy of a process that has ended for `reason`."""
    till = spawn(sp_id=name)
    till.leave(reason).exception()
    return found(till)


@pytest.mark.parametrize("name", [None, "till"])
@pytest.mark.parametrize("way", WAYS)
def test_to_stop_what_has_ended_is_quiet(
    sim: Simulation, way: str, name: str | None
) -> None:
    def scenario(spawn: Any, found: Any) -> None:
        till = gone(spawn, found, "broken", name)
        runtime.stop(till)
        runtime.stop(till, drain=True)

    in_each_way(sim, way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_block_whose_process_has_ended_ends_quietly(
    sim: Simulation, way: str
) -> None:
    def scenario(spawn: Any, found: Any) -> None:
        with found(spawn()) as till:
            till.leave("broken").exception()

    in_each_way(sim, way, scenario)


@pytest.mark.parametrize("way", ["near, by its url", "far, by its url"])
def test_to_stop_what_never_was_is_an_error(sim: Simulation, way: str) -> None:
    def scenario(spawn: Any, found: Any) -> None:
        by_url = str(found(spawn()).sp_url)
        nobody = runtime.connect(by_url.rpartition("/")[0] + "/nobody")
        with pytest.raises(ProcessNotFound, match="no process 'nobody'"):
            runtime.stop(nobody)

    in_each_way(sim, way, scenario)


@pytest.mark.parametrize("name", [None, "till"])
@pytest.mark.parametrize("way", WAYS)
def test_the_error_of_a_message_to_an_ended_process_says_why_it_ended(
    sim: Simulation, way: str, name: str | None
) -> None:
    def scenario(spawn: Any, found: Any) -> Any:
        return gone(spawn, found, "broken", name).count().exception()

    error = in_each_way(sim, way, scenario)
    assert type(error) is ProcessStopped
    assert error.reason == "broken"
    assert "has ended ('broken')" in str(error)


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_reason_that_may_hold_on_to_anything_is_not_made_up(
    sim: Simulation, way: str
) -> None:
    def scenario(spawn: Any, found: Any) -> Any:
        return gone(spawn, found, ValueError("no coins")).count().exception()

    error = in_each_way(sim, way, scenario)
    assert (type(error), error.reason) == (ProcessStopped, None)
    assert str(error).partition("; ")[2] == "why is not known any more"


@pytest.mark.parametrize("way", WAYS)
def test_info_says_why_a_process_has_ended(sim: Simulation, way: str) -> None:
    def scenario(spawn: Any, found: Any) -> Any:
        return runtime.info(gone(spawn, found, "broken"))

    info = in_each_way(sim, way, scenario)
    assert (info.state, info.reason) == ("ended", "'broken'")


@pytest.mark.parametrize("way", WAYS[1:])
def test_info_does_not_make_up_why_a_process_has_ended(
    sim: Simulation, way: str
) -> None:
    def scenario(spawn: Any, found: Any) -> Any:
        return runtime.info(gone(spawn, found, ValueError("no coins")))

    assert in_each_way(sim, way, scenario).reason == ""
