"""Pairs: names of which several processes may be meant."""

from __future__ import annotations

from splice.node.pairs import Pairs
from splice.uri import BoundName


def test_what_is_entered_is_found_and_struck_out() -> None:
    pairs: Pairs[str] = Pairs()
    pairs.put((5, "y"), "row")
    assert (pairs.get((5, "y")), pairs.get((5, "z")), len(pairs)) == ("row", None, 1)
    assert (pairs.pop((5, "y")), pairs.pop((5, "y")), len(pairs)) == ("row", None, 0)


def test_a_row_takes_the_place_of_that_very_pair_only() -> None:
    pairs: Pairs[str] = Pairs()
    for serial in (1, 2, 2):
        pairs.put((BoundName("x", serial), 5), f"x#{serial}")
    assert [value for _, value in pairs.rows()] == ["x#1", "x#2"]


def test_namesakes_are_told_apart_on_either_side() -> None:
    pairs: Pairs[str] = Pairs()
    pairs.put((BoundName("x", 1), BoundName("y", 7)), "x#1 y#7")
    pairs.put((BoundName("x", 2), "y"), "x#2 y")
    pairs.put((BoundName("x", 2), BoundName("y", 8)), "x#2 y#8")
    assert pairs.get((BoundName("x", 1), BoundName("y", 7))) == "x#1 y#7"
    assert pairs.get((BoundName("x", 1), BoundName("y", 9))) is None
    assert pairs.pop((BoundName("x", 2), BoundName("y", 8))) == "x#2 y#8"
    assert pairs.get((BoundName("x", 2), BoundName("y", 8))) == "x#2 y"


def test_a_plain_name_means_its_own_row_and_else_the_latest_bearer() -> None:
    pairs: Pairs[str] = Pairs()
    for serial in (2, 1):
        pairs.put((5, BoundName("y", serial)), f"y#{serial}")
    assert pairs.get((5, "y")) == "y#2"
    pairs.put((5, "y"), "y")
    assert pairs.pop((5, "y")) == "y"
