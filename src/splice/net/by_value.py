"""By value: what cannot be found by its name on the far side travels whole.

cloudpickle does it; `splice.net.codec` says when.  Code keeps the name of its file on the way,
which cloudpickle drops from 3.1.3 on: a traceback from a worker shall show the line that failed.
"""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from collections.abc import Callable
from functools import cache
from types import CodeType
from typing import Any, ClassVar


def dumps(
    value: Any, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None
) -> bytes:
    """Pickle `value` by value; `buffer_callback` is that of `pickle.dumps`.

    Raises:
        BaseException: what `value` raised, or why it cannot be pickled.
    """
    with io.BytesIO() as stream:
        _pickler()(stream, 5, buffer_callback=buffer_callback).dump(value)
        return stream.getvalue()


@cache
def _pickler() -> Any:
    # imported here: it takes 36 ms, and most programs never need it
    import cloudpickle

    reduce_code = cloudpickle.Pickler.dispatch_table[CodeType]

    def reduce(code: CodeType) -> tuple[Any, ...]:
        return _named, (code.co_filename, *reduce_code(code))

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        dispatch_table: ClassVar[Any] = ChainMap(
            {CodeType: reduce}, cloudpickle.Pickler.dispatch_table
        )

    return Pickler


def _named(
    filename: str, make: Callable[..., CodeType], args: tuple[Any, ...]
) -> CodeType:
    return make(*args).replace(co_filename=filename)
