"""Session: map and apply on workers of one's own.

::

    with session(worker_count=4) as c:
        squares = c.map(lambda v: v ** 2, range(100))

Functions are packed once, where they are called from, and unpacked on the workers' main threads;
lambdas, closures and what is defined in a script travel by value.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from splice.actor.combine import syncmany
from splice.actor.promise import Promise
from splice.cluster.batches import Cutter
from splice.cluster.hub import Hub, Part
from splice.cluster.packed import Packed, pack
from splice.cluster.progress import follow
from splice.cluster.source import LocalSource, WorkerSource
from splice.errors import Cancelled, CompositeError, SpliceError
from splice.net.codec import encode
from splice.node.current import node_here
from splice.node.view import View

OnError = Literal["raise", "return"]

_SEQUENCES = frozenset({list, tuple, range})

SHOWN_ERRORS = 3
"""Failed items that the text of a CompositeError tells of; all of them are in ``errors``."""


def session(
    worker_count: int | None = None,
    *,
    master_address: str | None = None,
    name: str | None = None,
    owner: str | None = None,
    init: Callable[[], Any] | None = None,
) -> Session:
    """Start workers and return the session, ready to use.

    Args:
        worker_count: OS processes; None takes all CPUs that this program may use, or all slots of
            the master's instances.  A cluster that has fewer free gives what it has, says so, and
            the others join later.
        master_address: of the master whose instances run the workers, ``tcp://master-node:50000``;
            None starts them on this machine.
        name: for people who look at the cluster.
        owner: same; the name of the user when None.
        init: called without arguments on each worker before its first work.

    Raises:
        AccessDenied: the master has another key; the text says what to copy where.
        ConnectTimeout: no master answers at that address.
        NodeLost: a worker ended before it was ready; the text holds what `init` raised.
        SpliceError: the cluster had no worker for this session within ``connect_timeout``.
        ValueError: `worker_count` is not positive.
    """
    return Session(
        worker_count, master_address=master_address, name=name, owner=owner, init=init
    )


class Session:
    """One client's own workers, from start to shutdown.

    Usable from any thread, and as a context manager that shuts it down.
    """

    def __init__(
        self,
        worker_count: int | None = None,
        *,
        master_address: str | None = None,
        name: str | None = None,
        owner: str | None = None,
        init: Callable[[], Any] | None = None,
    ) -> None:
        number = len(os.sched_getaffinity(0)) if worker_count is None else worker_count
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"a session wants at least 1 worker, not {worker_count!r}")
        self._node = node_here()
        buffers: list[Any] = []
        packed_init = encode(init, buffers), buffers
        source: WorkerSource = LocalSource(self._node, packed_init)
        wait: Callable[[list[Promise]], object] = syncmany
        if master_address is not None:
            # 15 ms, for those who have a master
            from splice.cluster.opening import open_source, wait_for_workers

            who = {"name": name or "", "owner": owner or getpass.getuser()}
            granted = open_source(self._node, packed_init, master_address, **who)
            source, wait = granted, partial(wait_for_workers, granted)
            if worker_count is None:
                number = max(1, granted.capacity.slots)
        self._size = number
        self._hub = Hub(self._node, source, number)
        self._ended: Promise | None = None
        try:
            wait(self._node.on_thread(self._hub.hire))
        except BaseException:
            self.shutdown()
            raise

    @property
    def workers(self) -> View[str]:
        """The addresses of the workers' nodes."""
        return View(self._node.on_thread(self._hub.addresses))

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *extra: Any,
        chunksize: int | None = None,
        retries: int = 2,
        progress: bool = False,
        on_error: OnError = "raise",
    ) -> list[Any]:
        """Call ``function(item, *extra)`` for each item on the workers.

        Args:
            function: any callable; lambdas and closures too.
            items: any iterable; it is read completely first.
            extra: further arguments, the same for every call; they travel once a worker.
            chunksize: items in a batch; None adapts it by measured duration.
            retries: how often an item is given out again after a worker's death; 0: never twice.
            progress: show a bar on standard error.
            on_error: ``"raise"`` raises when all is done, ``"return"`` puts the error in the place
                of the item's answer.

        Returns:
            The answers in the order of the items.

        Raises:
            CompositeError: some calls failed; it holds the results there are, and the errors by
                index.
            UnpicklableError: the function or an extra argument cannot travel.
            KeyboardInterrupt: Ctrl-C; the work is stopped, not only the waiting.
        """
        self._check_open()
        if not callable(function):
            raise TypeError(f"map wants a function, not {function!r}")
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is 'raise' or 'return', not {on_error!r}")
        # no class of the user's: its code shall not run on the node's thread
        sequence: Any = items if type(items) in _SEQUENCES else list(items)
        cutter = Cutter(sequence, chunksize=chunksize)
        packed = pack((function, extra, {}))
        work = self._hub.new_map(packed, cutter, retries)
        try:
            self._node.on_thread(self._hub.start, work)
            parts = follow(work, len(sequence)) if progress else work.finished.get()
        except BaseException:
            self._node.on_thread(self._hub.cancel, work)
            raise
        return _outcome(parts, len(sequence), on_error)

    def apply(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Call ``function(*args, **kwargs)`` once on every worker.

        Returns:
            One answer for each worker, in the order of `workers`.

        Raises:
            CompositeError: it failed on some; errors and results by index of the worker.
            UnpicklableError: the function or an argument cannot travel.
            KeyboardInterrupt: Ctrl-C; the work is stopped, not only the waiting.
        """
        self._check_open()
        answers = self._call(pack((function, args, kwargs)))
        results: dict[int, Any] = {}
        errors: dict[int, BaseException] = {}
        for index, answer in enumerate(answers):
            error = answer.exception()
            if error is None:
                succeeded, outcome = answer.value
                if succeeded:
                    results[index] = outcome.unpack()
                    continue
                error = outcome.unpack_error()
            errors[index] = error
        if errors:
            raise _composite("worker", results, errors, len(answers))
        return list(results.values())

    def _call(self, work: Packed) -> list[Promise]:
        """Have every worker do `work`, and wait for all of them."""
        number = self._hub.new_number()
        try:
            answers: list[Promise]
            answers = self._node.on_thread(self._hub.call, number, work)
            for answer in answers:
                answer.exception()
        except BaseException:
            self._node.on_thread(self._hub.forget, number)
            raise
        return answers

    def shutdown(self) -> None:
        """Stop the work and end the workers; returns when their OS processes are gone."""
        if self._ended is None:
            self._ended = self._node.run_coroutine(self._hub.close)
        # the node may have been shut down before, and the workers with it
        with contextlib.suppress(Cancelled):
            self._ended.get()

    @property
    def _is_closed(self) -> bool:
        return self._ended is not None or self._node.is_closed

    def _check_open(self) -> None:
        if self._is_closed:
            raise SpliceError("the session was shut down; open another one")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        if self._is_closed:
            return "<Session, shut down>"
        return f"<Session of {self._size} workers>"


def _outcome(parts: Sequence[Part], total: int, on_error: OnError) -> list[Any]:
    values: list[Any] = []
    errors: dict[int, BaseException] = {}
    for part in sorted(parts, key=lambda part: part.start):
        values += _unpack(part, errors)
    if errors and on_error == "raise":
        results = {i: value for i, value in enumerate(values) if i not in errors}
        raise _composite("item", results, errors, total)
    for index, error in errors.items():
        values[index] = error
    return values


def _unpack(part: Part, errors: dict[int, BaseException]) -> list[Any]:
    """Return the values of a part; its errors go into `errors`."""
    for offset, packed in part.failures:
        error = packed.unpack_error()
        if offset >= 0:
            errors[part.start + offset] = error
            continue
        errors.update(dict.fromkeys(range(part.start, part.start + part.count), error))
    values: list[Any] = [None] * part.count
    if part.values is not None and not any(offset < 0 for offset, _ in part.failures):
        try:
            values = part.values.unpack()
        except SpliceError as error:  # an answer's class is not known here
            errors.update(
                dict.fromkeys(range(part.start, part.start + part.count), error)
            )
    return values


def _composite(
    what: str, results: dict[int, Any], errors: dict[int, BaseException], total: int
) -> CompositeError:
    shown = "".join(
        f"\n  {what} {index}: {type(error).__name__}: {error}"
        for index, error in sorted(errors.items())[:SHOWN_ERRORS]
    )
    more = "\n  ..." if len(errors) > SHOWN_ERRORS else ""
    error = CompositeError(
        f"{len(errors)} of {total} {what}s failed:{shown}{more}", results, errors
    )
    error.__cause__ = errors[min(errors)]
    return error
