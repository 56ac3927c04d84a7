"""Nodes for the tests of this folder: simulated, unless a test wants others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from splice.node.node import Node
from splice.testing.simulation import Simulation


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """A simulation; modules that want one with options have a fixture of their own."""
    simulation = Simulation(seed=1)
    yield simulation
    simulation.close()


@pytest.fixture
def one(sim: Simulation) -> Node:
    """The node of whoever acts."""
    return sim.node()


@pytest.fixture(params=["near", "far"])
def other(sim: Simulation, one: Node, request: pytest.FixtureRequest) -> Node:
    """The node of whoever that is done to: the same one, or another."""
    return one if request.param == "near" else sim.node()
