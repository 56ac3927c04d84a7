import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def old_objects_are_left_alone() -> Iterator[None]:
    """Each trial collects its garbage, which must not cost a look at all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
