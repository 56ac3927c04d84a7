"""``splice cache``: shows the store, and clears it."""

import pytest
from click.testing import CliRunner
from tests.shipping.test_store import LIB, Client, let_go, no_pause

from splice.cli import main
from splice.shipping.store import Store, store_folder


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store(store_folder())
    store.lease(LIB.ident, Client(), no_pause)
    return store


def run(*arguments):
    done = CliRunner().invoke(main, ["cache", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_it_shows_the_units_and_where_they_are(store):
    shown = run()
    assert f"{LIB.ident[:12]}       0.0 MB  lib 1.0, in use\n" in shown
    assert f"1 units, 0.0 MB in {store.folder}\n" in shown


def test_it_clears_what_nobody_uses(store):
    assert "removed 0 units, 0.0 MB\n" in run("--clear")
    let_go(store)
    assert "removed 1 units, 0.0 MB\n0 units" in run("--clear")
