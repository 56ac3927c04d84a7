"""Placement: fair to sessions, even over instances, and never more than there is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splice.cluster.placement import (
    Demand,
    Grant,
    Offer,
    Placement,
    Recall,
    fair_shares,
)


def placement(
    offers: dict[str, Offer] | None = None, **demands: int | Demand
) -> Placement:
    """A placement with demands; a number is how many workers a session wants."""
    made = Placement()
    made.offers.update(offers or {})
    for name, demand in demands.items():
        made.demands[name] = (
            Demand(missing=demand) if isinstance(demand, int) else demand
        )
    return made


def offer(slots: int, **facts: object) -> Offer:
    return Offer("machine", slots, **facts)  # type: ignore[arg-type]


def carry_out(made: Placement) -> None:
    """Have instances and sessions do all that is decided, until nothing more is."""
    for _ in range(100):
        steps = made.decide()
        report(made)
        if not steps:
            return
    pytest.fail(f"it never comes to rest: {steps}")


def report(made: Placement) -> None:
    """Have each instance report exactly what the sessions have there."""
    for name, one in made.offers.items():
        workers = {
            session: count
            for session, demand in made.demands.items()
            if (count := demand.workers.get(name, 0))
        }
        made.offers[name] = replace(one, workers=workers)


def total(made: Placement, session: str) -> int:
    return sum(made.demands[session].workers.values())


# ---- shares


@pytest.mark.parametrize(
    ("wanted", "capacity", "shares"),
    [
        ({}, 4, {}),
        ({"a": 2}, 4, {"a": 2}),
        ({"a": 9}, 4, {"a": 4}),
        ({"a": 9, "b": 9}, 4, {"a": 2, "b": 2}),
        ({"a": 1, "b": 9}, 4, {"a": 1, "b": 3}),
        ({"a": 9, "b": 9}, 5, {"a": 3, "b": 2}),
        ({"a": 9, "b": 9, "c": 9}, 2, {"a": 1, "b": 1, "c": 0}),
        ({"a": 0, "b": 3}, 0, {"a": 0, "b": 0}),
    ],
)
def test_slots_are_shared_equally_and_nobody_gets_more_than_it_wants(
    wanted: dict[str, int], capacity: int, shares: dict[str, int]
) -> None:
    assert fair_shares(wanted, dict.fromkeys(wanted, 0), capacity) == shares


def test_what_cannot_be_divided_stays_with_who_has_it() -> None:
    shares = fair_shares({"a": 9, "b": 9}, {"a": 2, "b": 3}, 5)
    assert shares == {"a": 2, "b": 3}


def test_shares_are_max_min_fair_for_all_small_cases() -> None:
    for capacity in range(8):
        for wanted in itertools.product(range(5), repeat=3):
            names = dict(zip("abc", wanted, strict=True))
            shares = fair_shares(names, dict.fromkeys(names, 0), capacity)
            assert sum(shares.values()) == min(capacity, sum(wanted))
            for one, other in itertools.permutations(names, 2):
                assert shares[one] <= names[one]
                is_content = shares[one] == names[one]
                assert is_content or shares[other] <= shares[one] + 1


# ---- grants


def test_a_session_gets_what_it_wants_where_there_is_room() -> None:
    made = placement({"x": offer(4)}, s=3)
    assert made.decide() == [Grant("s", "x", 3)]
    assert made.decide() == []
    assert made.free_slots == 1


def test_workers_spread_over_instances_by_their_size() -> None:
    made = placement({"x": offer(4), "y": offer(2)}, s=3)
    made.decide()
    assert made.demands["s"].workers == {"x": 2, "y": 1}


def test_a_machine_that_is_busy_otherwise_gets_workers_last() -> None:
    made = placement({"x": offer(4, load=3.5), "y": offer(4)}, s=3)
    assert made.decide() == [Grant("s", "y", 3)]


def test_the_load_of_its_own_workers_is_not_counted_twice() -> None:
    busy = offer(4, load=2.0, workers={"t": 2})
    made = placement({"x": busy, "y": offer(4, load=2.5)}, s=1, t=Demand())
    assert made.decide() == [Grant("s", "x", 1)]


def test_an_instance_that_drains_gets_nothing_and_keeps_what_it_has() -> None:
    made = placement(
        {"x": offer(4, is_draining=True, workers={"t": 2})},
        s=1,
        t=Demand(workers={"x": 2}),
    )
    assert made.decide() == []
    assert made.slots == 0


def test_a_session_gets_nothing_where_it_cannot_reach() -> None:
    avoiding = Demand(missing=2, avoided=frozenset({"x"}))
    assert placement({"x": offer(4)}, s=avoiding).decide() == []
    both = placement({"x": offer(4), "y": offer(1)}, s=avoiding)
    assert both.decide() == [Grant("s", "y", 1)]


def test_a_slot_is_taken_while_the_instance_still_sees_its_worker() -> None:
    made = placement({"x": offer(1, workers={"gone": 1})}, s=1)
    assert made.decide() == []
    made.offers["x"] = offer(1)
    assert made.decide() == [Grant("s", "x", 1)]


def test_a_slot_is_taken_before_the_instance_has_seen_its_worker() -> None:
    made = placement({"x": offer(1)}, s=Demand(workers={"x": 1}), t=1)
    assert made.decide(may_recall=False) == []


# ---- recalls


def test_a_session_that_comes_later_gets_its_half() -> None:
    made = placement({"x": offer(4)}, s=4)
    carry_out(made)
    made.demands["t"] = Demand(missing=4)
    assert made.decide() == [Recall("s", "x", 2)]
    report(made)
    assert made.decide() == [Grant("t", "x", 2)]


def test_a_recalled_slot_is_given_on_only_when_its_worker_is_gone() -> None:
    made = placement({"x": offer(2, workers={"s": 2})}, s=Demand(workers={"x": 2}), t=1)
    assert made.decide() == [Recall("s", "x", 1)]
    assert made.decide() == []
    made.offers["x"] = offer(2, workers={"s": 1})
    assert made.decide() == [Grant("t", "x", 1)]


def test_nobody_hands_back_what_nobody_else_wants() -> None:
    made = placement({"x": offer(4)}, s=4, t=0)
    carry_out(made)
    assert total(made, "s") == 4


def test_a_session_that_cannot_give_back_keeps_what_it_has() -> None:
    rigid = Demand(workers={"x": 2}, gives_back=False)
    made = placement({"x": offer(2, workers={"s": 2})}, s=rigid, t=2)
    assert made.decide() == []


def test_nothing_is_recalled_while_it_is_not_known_who_there_is() -> None:
    made = placement({"x": offer(2)}, s=Demand(workers={"x": 2}), t=2)
    assert made.decide(may_recall=False) == []


def test_a_session_keeps_what_it_has_on_instances_that_are_not_known_yet() -> None:
    made = placement({"x": offer(2)}, s=Demand(workers={"lost": 2}), t=2)
    assert made.decide() == [Grant("t", "x", 2)]


def test_what_a_session_handed_back_it_gets_again_when_the_other_ends() -> None:
    made = placement({"x": offer(4)}, s=4)
    carry_out(made)
    made.demands["t"] = Demand(missing=4)
    carry_out(made)
    assert (total(made, "s"), total(made, "t")) == (2, 2)
    del made.demands["t"]
    report(made)
    carry_out(made)
    assert total(made, "s") == 4


# ---- for any cluster


offers = st.dictionaries(
    st.sampled_from("uvwxyz"),
    st.builds(offer, st.integers(1, 4), load=st.floats(0, 8)),
    max_size=6,
)
demands = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 9), max_size=5)


@settings(max_examples=200, deadline=None)
@given(offers, demands, demands)
def test_every_cluster_comes_to_rest_full_fair_and_never_overfull(
    there: dict[str, Offer], first: dict[str, int], later: dict[str, int]
) -> None:
    made = placement(there, **first)
    carry_out(made)
    for name, count in later.items():
        demand = made.demands.get(name, Demand())
        made.demands[name] = replace(demand, missing=demand.missing + count)
    carry_out(made)
    for name, one in made.offers.items():
        assert made.occupied(name) <= one.slots
    wanted = {s: total(made, s) + d.missing for s, d in made.demands.items()}
    held = {s: total(made, s) for s in wanted}
    assert sum(held.values()) == min(made.slots, sum(wanted.values()))
    for one_s, other_s in itertools.permutations(wanted, 2):
        assert held[one_s] == wanted[one_s] or held[other_s] <= held[one_s] + 1
