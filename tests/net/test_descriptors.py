"""Descriptors are short when three quarters of them are in use."""

from __future__ import annotations

import os
import resource

from splice.net import descriptors


def test_three_quarters_of_the_limit_are_short(monkeypatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 1000))
    assert not descriptors.are_short(74)
    assert descriptors.are_short(75)


def test_without_a_limit_none_are_short(monkeypatch) -> None:
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: infinite)
    assert not descriptors.are_short(100_000)


def test_the_next_one_is_what_is_given_out_next() -> None:
    number = descriptors.next_one()
    opened = os.open(os.devnull, os.O_RDONLY)
    os.close(opened)
    assert number == opened


def test_when_none_is_left_the_next_one_is_the_limit(monkeypatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 1000))
    monkeypatch.setattr(os, "open", refuse)
    assert descriptors.next_one() == 100
