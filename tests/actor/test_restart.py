"""What a supervisor decides when a child ends: every strategy, kind and intensity."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.actor.restart import (
    KINDS,
    STRATEGIES,
    Forget,
    GiveUp,
    Keep,
    Member,
    Policy,
    Restart,
    WindUp,
    comes_back,
    places,
)

FAILURES = ["killed", "noproc", "bored", ValueError("x"), None, ["unhashable"]]
FAILURES += [("shutdown", "detail")]


def family(*kinds: Any) -> list[Member]:
    return [Member(number, kind) for number, kind in enumerate(kinds)]


def decide(strategy: Any, kinds: Any, ended: int, reason: Any = "bored") -> Any:
    return Policy(strategy).decide(family(*kinds), ended, reason, (), 0.0)


# ---- kinds and reasons


@pytest.mark.parametrize("reason", ["normal", "shutdown", *FAILURES])
def test_a_permanent_child_always_comes_back(reason):
    assert comes_back("permanent", reason)


@pytest.mark.parametrize("reason", ["normal", "shutdown", *FAILURES])
def test_a_temporary_child_never_comes_back(reason):
    assert not comes_back("temporary", reason)


@pytest.mark.parametrize("reason", FAILURES)
def test_a_transient_child_comes_back_from_a_failure(reason):
    assert comes_back("transient", reason)


@pytest.mark.parametrize("reason", ["normal", "shutdown"])
def test_a_transient_child_that_ends_in_order_stays_and_is_known(reason):
    assert decide("one_for_one", ["transient"], 0, reason) == Keep()


def test_a_temporary_child_is_forgotten():
    assert decide("one_for_one", ["temporary"], 0) == Forget()


def test_a_simple_child_that_does_not_come_back_is_forgotten():
    assert decide("simple_one_for_one", ["transient"], 0, "normal") == Forget()


# ---- strategies


@pytest.mark.parametrize("strategy", ["one_for_one", "simple_one_for_one"])
def test_one_for_one_restarts_it_alone(strategy):
    action = decide(strategy, ["permanent"] * 3, 1)
    assert (action.stop, action.start) == ((), (1,))


def test_one_for_all_stops_all_others_in_reverse_and_starts_all_in_order():
    action = decide("one_for_all", ["permanent"] * 4, 1)
    assert (action.stop, action.start) == ((3, 2, 0), (0, 1, 2, 3))


def test_rest_for_one_touches_those_started_after_it():
    action = decide("rest_for_one", ["permanent"] * 4, 1)
    assert (action.stop, action.start) == ((3, 2), (1, 2, 3))


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_sibling_is_stopped_and_forgotten(strategy):
    action = decide(strategy, ["permanent", "temporary", "permanent"], 0)
    assert (action.stop, action.forget, action.start) == ((2, 1), (1,), (0, 2))


# ---- intensity


def test_one_restart_more_than_the_intensity_is_too_many():
    policy, members = Policy(intensity=2, period=5.0), family("permanent")
    times: Any = ()
    for now in (0.0, 1.0):
        times = policy.decide(members, 0, "bored", times, now).restarts
    assert policy.decide(members, 0, "bored", times, 2.0) == GiveUp()


def test_restarts_before_the_period_do_not_count():
    policy, members = Policy(intensity=1, period=5.0), family("permanent")
    times = policy.decide(members, 0, "bored", (), 0.0).restarts
    assert policy.decide(members, 0, "bored", times, 5.1).restarts == (5.1,)


def test_an_intensity_of_zero_bears_nothing():
    policy = Policy(intensity=0)
    assert policy.decide(family("permanent"), 0, "x", (), 0.0) == GiveUp()


def test_an_end_that_restarts_nothing_is_no_restart():
    policy = Policy(intensity=0)
    assert policy.decide(family("transient"), 0, "normal", (), 0.0) == Keep()


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(0, 5), st.floats(0.1, 20))
def test_it_gives_up_exactly_when_more_restarts_than_allowed_are_in_a_period(
    steps, intensity, period
):
    policy, members = Policy("one_for_one", intensity, period), family("permanent")
    times: tuple[float, ...] = ()
    all_times: list[float] = []
    now = 0.0
    for step in steps:
        now += step
        all_times.append(now)
        action = policy.decide(members, 0, "bored", times, now)
        too_many = sum(now - t <= period for t in all_times) > intensity
        assert isinstance(action, GiveUp) == too_many
        if too_many:
            return
        times = action.restarts


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    st.data(),
)
def test_every_restart_is_whole(strategy, kinds, data):
    ended = data.draw(st.integers(0, len(kinds) - 1))
    reason = data.draw(st.sampled_from(["normal", "shutdown", "killed"]))
    action = decide(strategy, kinds, ended, reason)
    if not isinstance(action, Restart):
        assert not comes_back(kinds[ended], reason)
        return
    assert ended not in action.stop
    assert list(action.stop) == sorted(action.stop, reverse=True)
    assert list(action.start) == sorted(action.start)
    assert set(action.stop) | {ended} == set(action.start) | set(action.forget)
    assert all(kinds[key] == "temporary" for key in action.forget)
    assert all(kinds[key] != "temporary" for key in action.start)


# ---- significant children


def wind_up(auto_shutdown: Any, *members: Member, reason: Any = "normal") -> bool:
    """Whether the end of the first of them is that of its supervisor."""
    policy = Policy(auto_shutdown=auto_shutdown)
    return policy.decide(members, 0, reason, (), 0.0) == WindUp()


def significant(key: int, kind: Any = "temporary", **options: Any) -> Member:
    return Member(key, kind, is_significant=True, **options)


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
@pytest.mark.parametrize("kind", ["transient", "temporary"])
def test_the_end_of_the_only_significant_child_is_that_of_its_supervisor(mode, kind):
    assert wind_up(mode, significant(0, kind), Member(1, "permanent"))


@pytest.mark.parametrize("kind", ["transient", "temporary"])
def test_the_end_of_another_child_is_not(kind):
    assert not wind_up("any_significant", Member(0, kind), significant(1))


def test_a_supervisor_that_never_shuts_down_by_itself_does_not():
    assert not wind_up("never", significant(0))


def test_a_significant_child_that_comes_back_ends_nothing():
    one = significant(0, "transient")
    assert not wind_up("any_significant", one, reason="bored")


def test_a_significant_temporary_child_ends_it_by_a_failure_too():
    assert wind_up("any_significant", significant(0), reason="bored")


@pytest.mark.parametrize("is_active", [True, False])
def test_all_significant_waits_for_the_last_one_that_is_active(is_active):
    other = significant(1, is_active=is_active)
    assert wind_up("all_significant", significant(0), other) == (not is_active)


# ---- places


def test_a_child_that_is_for_no_node_lives_with_its_supervisor():
    assert places((), (), {}) == places((), (), {}, is_restart=True) == (None,)


def test_a_child_is_started_where_there_are_the_fewest_and_nowhere_else():
    assert places("abc", (), {"a": 2, "b": 1, None: 0}) == ("c", "b", "a")


def test_of_nodes_with_as_many_the_first_is_the_best():
    assert places("ba", (), {"a": 1, "b": 1}) == ("b", "a")


def test_a_child_is_restarted_on_a_node_that_is_not_lost_or_with_its_supervisor():
    assert places("abc", {"a"}, {"b": 1}, is_restart=True) == ("c", "b", None)
    assert places("a", {"a"}, {}, is_restart=True) == (None,)


def test_a_node_that_is_named_twice_is_one():
    assert places("aba", (), {}) == ("a", "b")


def test_a_restart_that_does_not_count_is_not_too_many():
    policy, members = Policy(intensity=1), family("permanent", "permanent")
    first = policy.decide(members, 0, "lost", (), 0.0)
    second = policy.decide(members, 1, "lost", first.restarts, 0.0, counts=False)
    assert second.restarts == first.restarts == (0.0,)


# ---- policies


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"strategy": "all"}, "no strategy 'all'"),
        ({"intensity": -1}, "intensity"),
        ({"intensity": "1"}, "intensity"),
        ({"intensity": math.inf}, "intensity"),
        ({"period": 0}, "period"),
        ({"auto_shutdown": "any"}, "no auto_shutdown 'any'"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Policy(**arguments)


def test_a_period_may_be_infinite():
    policy, members = Policy(intensity=1, period=math.inf), family("permanent")
    times = policy.decide(members, 0, "bored", (), 0.0).restarts
    assert policy.decide(members, 0, "bored", times, 1e9) == GiveUp()
