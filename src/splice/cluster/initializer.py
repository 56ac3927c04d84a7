"""Initializer: what an executor has each of its workers do first, and what becomes of its failure.

A worker whose initializer failed stays, and fails each call with that error: so the executor hears
of it by the next call, wherever its workers come from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from splice.log import logger

_log = logger("cluster")

_failure: BaseException | None = None
"""What the initializer of this worker has raised: a worker has one executor, and one thread."""


class InitializerFailed(BrokenProcessPool):
    """The initializer raised an error, so no call of the executor can be done."""


def initialize(initializer: Callable[..., Any], initargs: tuple[Any, ...]) -> None:
    """Run the initializer; on a worker, before its first call."""
    global _failure
    try:
        initializer(*initargs)
    except BaseException as error:
        _log.error("the initializer of an executor failed", exc_info=error)
        _failure = error


def call_initialized(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call ``function(*args, **kwargs)`` on a worker, if it could be initialized.

    Raises:
        InitializerFailed: it could not.
    """
    if _failure is not None:
        kind = type(_failure).__name__
        raise InitializerFailed(
            f"the initializer failed: {kind}: {_failure}"
        ) from _failure
    return function(*args, **kwargs)


def set_environment(variables: Mapping[str, str]) -> None:
    """Set variables of the environment; an initializer that loads nothing before."""
    os.environ.update(variables)
