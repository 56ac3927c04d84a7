"""A bare worker trains a model: requests, numpy, pandas and scikit-learn come from the client."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.shipping.trees import forget

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(400)]

WANTED = ("requests", "pandas", "scikit-learn")


@pytest.fixture(scope="module")
def science(tmp_path_factory):
    """A folder with them, as pip installs them; ready-made if SPLICE_SCIENCE names one."""
    ready = os.environ.get("SPLICE_SCIENCE")
    if ready:
        return ready
    site = str(tmp_path_factory.mktemp("science"))
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", site, *WANTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install them: {done.stderr[-200:]}")
    return site


def test_a_model_is_trained_and_scored(far_session, science, monkeypatch):
    monkeypatch.syspath_prepend(science)

    def train(rows):
        import importlib.metadata

        import numpy as np
        import pandas as pd
        import requests
        from sklearn.ensemble import RandomForestClassifier

        random = np.random.default_rng(7)
        table = pd.DataFrame({"x": random.random(rows), "y": random.random(rows)})
        labels = table.x > table.y
        model = RandomForestClassifier(n_estimators=10, random_state=7)
        model.fit(table, labels)
        return (
            model.score(table, labels),
            importlib.metadata.version("scikit-learn"),
            requests.__file__,
        )

    c = far_session(2)
    scores = c.map(train, [300, 400], chunksize=1)
    assert all(score > 0.95 for score, _, _ in scores)
    assert all("store/units" in place for _, _, place in scores)
    found = {each.name.lower(): each for each in c.dependencies()}
    assert {"numpy", "pandas", "scikit-learn", "scipy", "requests"} <= set(found)
    assert all(each.transfers <= 1 for each in found.values())
    assert found["scikit-learn"].version == scores[0][1]
    forget("requests")
