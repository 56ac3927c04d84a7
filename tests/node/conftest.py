"""Nodes for the tests of this folder: simulated, unless a test wants others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from splice.testing.simulation import Simulation


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """A simulation; modules that want one with options have a fixture of their own."""
    simulation = Simulation(seed=1)
    yield simulation
    simulation.close()
