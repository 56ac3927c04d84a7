"""Executor: a `concurrent.futures.Executor` with a session of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from splice.cluster.executor import SessionExecutor, _name_of
from splice.cluster.initializer import call_initialized, initialize
from splice.cluster.sessions import Session
from splice.cluster.terms import Terms


class Executor(SessionExecutor):
    """Runs calls on workers of its own, like a `concurrent.futures.ProcessPoolExecutor`.

    Lambdas, closures and what a script defines travel too; a worker that dies fails the call that
    it had in work, and is replaced.

    Args:
        max_workers: OS processes; None takes all CPUs that this program may use.
        initializer: called on each worker, replaced ones too, before its first call.
        initargs: its arguments.
        max_tasks_per_child: calls that a worker does before another one takes its place, which
            gives back what they have left in its memory; None: it stays.
        retries: how often a call is given out again after its worker's death; 0: never twice.
        session_options: those of `splice.cluster.sessions`, ``master_address`` for example.

    Raises:
        ValueError: `max_workers` or `max_tasks_per_child` is not positive.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        retries: int = 0,
        **session_options: Any,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {initializer!r}")
        if {"init", "worker_count"} & set(session_options):
            raise TypeError("an executor takes initializer= and max_workers= instead")
        self._is_initialized = initializer is not None
        if initializer is not None:
            session_options["init"] = partial(initialize, initializer, tuple(initargs))
        _check_life(max_tasks_per_child)
        terms = Terms(
            worker_count=max_workers,
            worker_life=max_tasks_per_child,
            **session_options,
        )
        super().__init__(Session(terms), retries=retries)

    def _on_end(self) -> Callable[[], object]:
        return partial(self._session._begin_end, cancel=False)

    def _submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        if not self._is_initialized:
            return super()._submit(fn, args, kwargs)
        return self._clerk.submit(_name_of(fn), call_initialized, (fn, *args), kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; what was submitted comes to its end, and then the workers do.

        Args:
            wait: return when the OS processes of the workers are gone.
            cancel_futures: cancel the calls that no worker has yet.
        """
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._session.shutdown()


def _check_life(max_tasks_per_child: int | None) -> None:
    """Check a number of calls for each worker, as `concurrent.futures` does.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is not positive.
    """
    if max_tasks_per_child is None:
        return
    if not isinstance(max_tasks_per_child, int):
        raise TypeError(
            f"max_tasks_per_child must be an integer, not {max_tasks_per_child!r}"
        )
    if max_tasks_per_child < 1:
        raise ValueError(
            f"max_tasks_per_child must be at least 1, not {max_tasks_per_child!r}"
        )
