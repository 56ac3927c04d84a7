"""What holds for every test: nothing of the user's is touched, and chance can be replayed.

The key, the configuration and the cache of splice live in a folder of this run.  Hypothesis
runs fixed examples on CI; elsewhere it looks for new ones and prints how to replay them.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

from splice import runtime

# Time is no property of an example: a busy machine must not fail it.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("dev", deadline=None, print_blob=True)

_SETTINGS = ("SPLICE_KEY", "SPLICE_KEY_FILE")
_FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")
    # Not a fixture: modules of tests may look for the key while they are imported.
    home = tempfile.mkdtemp(prefix="splice-tests-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for name in _SETTINGS:
        os.environ.pop(name, None)
    for name in _FOLDERS:
        os.environ[name] = f"{home}/{name.lower()}"


@pytest.fixture(autouse=True)
def no_last_words_of_earlier_tests(request: pytest.FixtureRequest) -> None:
    """A failure that nobody looked at is logged when it is collected: not in a test of logs."""
    if "caplog" in request.fixturenames:
        gc.collect()


@pytest.fixture(autouse=True, scope="module")
def no_node_outlives_its_module() -> Iterator[None]:
    """Its threads open and close files, which tests elsewhere count."""
    yield
    runtime.shutdown()
