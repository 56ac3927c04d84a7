"""SpliceBackend: what `joblib.Parallel` does, done by the workers of a session.

::

    Parallel ─ configure ─► executor over the given session, or one that is kept for the next call
             ─ submit a batch ─► future ─ done ─► Parallel's callback, on the clerk's thread
                 └─ its large arrays are lent to workers of this machine, until the call is over

To import this module registers the backend.  Its batches travel in a class of this module, so it is
registered on the workers too.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import joblib
from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from splice.cluster.initializer import set_environment
from splice.cluster.lender import Lender
from splice.cluster.lent import LEAST_BYTES
from splice.cluster.mapped import Mapped, mapped
from splice.cluster.sessions import session as open_session
from splice.errors import UnpicklableError

if TYPE_CHECKING:
    from splice.cluster.executor import SessionExecutor
    from splice.cluster.packed import Packed
    from splice.cluster.sessions import Session

RETRIES: Final = 2
"""How often a batch is given out again after a worker's death: what a session does in a map."""


class SpliceBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib is untyped
    """Runs the batches of `joblib.Parallel` on the workers of a session.

    Args:
        session: whose workers do it; None opens a session, which is kept for later calls that want
            as many workers and the same options.
        inner_max_num_threads: threads that libraries may use in each worker; their share of the
            CPUs when None.
        session_options: for the session that is opened: ``master_address`` for example.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        *,
        session: Session | None = None,
        **session_options: Any,
    ) -> None:
        if session is not None and (inner_max_num_threads or session_options):
            raise ValueError("a given session has its options: give no others with it")
        super().__init__(
            nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads
        )
        self._session = session
        self._options = session_options
        self._executor: SessionExecutor | None = None
        self._new_lender: Callable[[], Lender | None] = _no_lender
        self._lender: Lender | None = None
        self._is_near = False
        self._lent: dict[Future[Any], Packed] = {}
        self._kept: _Kept | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many batches can run at the same time.

        At least 2 on a given session, unless 1 is asked for: joblib does a single one at home.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0 and (n_jobs == 1 or self._session is None):
            return n_jobs
        count = self._count()
        number = min(n_jobs, count) if n_jobs > 0 else max(count + 1 + n_jobs, 1)
        return number if self._session is None else max(2, number)

    def _count(self) -> int:
        """Return how many workers there are, or may be."""
        if self._session is not None:
            return _size_of(self._session)
        if "master_address" not in self._options:
            return int(joblib.cpu_count())
        kept = _take(None, {}, self._options)
        _give_back(kept)
        return _size_of(kept.session)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        *,
        max_nbytes: int | None = LEAST_BYTES,
        mmap_mode: str | None = "r",
        **_for_other_backends: Any,
    ) -> int:
        """Get ready for calls of `Parallel`; return how many batches can run at once.

        Args:
            n_jobs: how many are wanted.
            parallel: who calls.
            max_nbytes: larger arrays are lent to workers of this machine; None: none are.
            mmap_mode: ``"r"``: workers cannot write to what they are lent; None: nothing is
                lent; any other: what they write nobody else sees.
        """
        number = self.effective_n_jobs(n_jobs)
        if n_jobs == 1 or (number == 1 and self._session is None):
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if (session := self._session) is None:
            is_all = n_jobs < 0 and "master_address" in self._options
            env = {} if is_all else self._prepare_worker_env(n_jobs=number)
            self._kept = _take(None if is_all else number, env, self._options)
            session = self._kept.session
        self._executor = session.executor(retries=RETRIES)
        self.parallel = parallel
        self._is_near = session._hub.crew.is_near
        is_lending = mmap_mode is not None and self._is_near
        if max_nbytes is not None and is_lending:
            is_writable = mmap_mode != "r"
            self._new_lender = partial(Lender, max_nbytes, is_writable=is_writable)
        return number

    def start_call(self) -> None:
        """Begin a call of `Parallel`."""
        # a new one each time: arrays may have changed since the last call
        self._lender = self._new_lender()

    def stop_call(self) -> None:
        """End a call of `Parallel`."""
        self._lender = None

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Future[Any]:
        """Have a batch done; `callback` is given its future."""
        assert self._executor is not None
        if self._is_near:
            func = _with_files(func)
        lent = self._lend(func)
        future = self._executor.submit(_Batch(func) if lent is None else lent)
        if lent is not None:
            self._lent[future] = lent.packed
            future.add_done_callback(self._let_go)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def _lend(self, func: Callable[[], Any]) -> _LentBatch | None:
        """Return a batch whose large arrays are lent; None: it travels as it is."""
        if (lender := self._lender) is None:
            return None
        try:
            return _LentBatch(repr(_Batch(func)), lender.pack(func))
        except UnpicklableError:
            return None  # it fails when it is submitted, and is the error of its future

    def _let_go(self, future: Future[Any]) -> None:
        self._lent.pop(future, None)

    apply_async = submit  # as joblib called it before 1.5

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the answers of a batch that is done."""
        return out.result()

    def terminate(self) -> None:
        """End a call of `Parallel`; the workers stay."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
        if self._kept is not None:
            _give_back(self._kept)
        self._executor = self._kept = None
        self._new_lender = _no_lender
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop all batches, those at work too; returns when their callbacks have run."""
        if (executor := self._executor) is None:
            return
        executor._stop()
        # a late callback of this call would upset the next one
        executor.shutdown()
        if ensure_ready:
            self._executor = executor._session.executor(retries=RETRIES)


class _Batch:
    """A batch on its way to a worker, where it registers the backend for calls inside of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __call__(self) -> Any:
        return self._function()

    def __repr__(self) -> str:
        calls = getattr(self._function, "items", None) or [(self._function,)]
        name = getattr(calls[0][0], "__qualname__", "something")
        return f"a batch of joblib, {len(calls)} times {name}"


def _with_files(batch: Any) -> Any:
    """Return a batch that names the files in which arguments of its calls lie."""
    calls = [
        (
            function,
            tuple(map(mapped, args)),
            {name: mapped(value) for name, value in kwargs.items()},
        )
        for function, args, kwargs in getattr(batch, "items", ())
    ]
    values = (value for _, args, kwargs in calls for value in (*args, *kwargs.values()))
    if not any(type(value) is Mapped for value in values):
        return batch
    named = copy.copy(batch)
    named.items = calls
    return named


class _LentBatch:
    """A batch on its way to a worker of this machine, without its large arrays.

    Attributes:
        packed: the batch.
    """

    def __init__(self, name: str, packed: Packed) -> None:
        self._name = name
        self.packed = packed

    def __call__(self) -> Any:
        return self.packed.unpack()()

    def __repr__(self) -> str:
        return self._name


def _no_lender() -> None:
    """Nothing is lent."""


@dataclass(eq=False, slots=True)
class _Kept:
    """A session that is kept for the next call.

    Attributes:
        wanted: what it was opened for.
        session: it.
        users: calls of `Parallel` that use it.
    """

    wanted: tuple[Any, ...]
    session: Session
    users: int = 0


def _size_of(session: Session) -> int:
    """Return how many workers a session should have; some may be on their way."""
    session._check_open()  # or else it may have none yet
    return session._hub.crew.size


_lock = threading.Lock()
_kept: list[_Kept] = []
"""The session of the last call, and others as long as they are in use."""


def _take(size: int | None, env: dict[str, str], options: dict[str, Any]) -> _Kept:
    """Return a kept session that suits, or a new one for which the idle ones are ended."""
    wanted = size, env, options
    with _lock:
        for kept in [one for one in _kept if one.session._is_closed]:
            _kept.remove(kept)
        found = next((one for one in _kept if one.wanted == wanted), None)
        if found is None:
            for kept in [one for one in _kept if not one.users]:
                _kept.remove(kept)
                kept.session.shutdown()
            init = partial(set_environment, env)
            opened = open_session(worker_count=size, init=init, **options)
            found = _Kept(wanted, opened)
            _kept.append(found)
        found.users += 1
        return found


def _give_back(kept: _Kept) -> None:
    """A call of `Parallel` does not use a session any more."""
    with _lock:
        kept.users -= 1


register_parallel_backend("splice", SpliceBackend)
