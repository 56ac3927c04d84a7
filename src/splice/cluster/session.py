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
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from splice.actor.combine import syncmany
from splice.actor.promise import Promise
from splice.cluster.batches import Cutter
from splice.cluster.hub import Hub
from splice.cluster.outcomes import OnError, assemble, composite
from splice.cluster.packed import Packed, pack
from splice.cluster.progress import Shown, progress_for
from splice.cluster.running import MapRun
from splice.cluster.source import LocalSource, WorkerSource
from splice.cluster.work import Call, Calls, MapWork
from splice.errors import Cancelled, SpliceError
from splice.net.codec import encode
from splice.node.current import node_here
from splice.node.view import View


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
        number = _cpu_count() if worker_count is None else worker_count
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
            wait(self._node.on_thread(self._hub.crew.hire))
        except BaseException:
            self.shutdown()
            raise

    @property
    def workers(self) -> View[str]:
        """The addresses of the workers' nodes."""
        return View(self._node.on_thread(self._hub.crew.addresses))

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *extra: Any,
        chunksize: int | None = None,
        retries: int = 2,
        retry_on: tuple[type[BaseException], ...] = (),
        timeout: float | None = None,
        progress: Shown = False,
        on_error: OnError = "raise",
    ) -> list[Any]:
        """Call ``function(item, *extra)`` for each item on the workers.

        Args:
            function: any callable; lambdas and closures too.
            items: any iterable; it is read in the thread that calls this.
            extra: further arguments, the same for every call; they travel once a worker.
            chunksize: items in a batch; None adapts it by measured duration.
            retries: how often an item is given out again after a worker's death; 0: never twice.
            retry_on: errors after which an item is tried again too; `TimeoutError` may be one.
            timeout: seconds for each item, None for ever; its worker is freed, by force if need be.
            progress: show a bar on a terminal, else lines, on standard error; or a function that
                is called with the items done and all items (None: unknown).
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
        run = self._run(
            function,
            items,
            extra,
            chunksize=chunksize,
            retries=retries,
            retry_on=retry_on,
            timeout=timeout,
            progress=progress,
            on_error=on_error,
        )
        return assemble(run.collect(), on_error)

    def _run(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        extra: tuple[Any, ...],
        *,
        chunksize: int | None,
        timeout: float | None,
        retry_on: tuple[type[BaseException], ...],
        progress: Shown,
        on_error: OnError,
        **options: Any,
    ) -> MapRun:
        """Begin a map."""
        self._check_open()
        if not callable(function):
            raise TypeError(f"map wants a function, not {function!r}")
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is 'raise' or 'return', not {on_error!r}")
        if timeout is not None:
            if chunksize not in (None, 1):
                raise ValueError("items with a timeout travel singly: no chunksize")
            chunksize = 1
        cutter = Cutter(items, chunksize=chunksize)
        work = MapWork(
            self._node,
            self._hub.new_number(),
            pack((function, extra, retry_on)),
            cutter,
            timeout=timeout,
            retry_on=retry_on,
            **options,
        )
        return MapRun(self._node, self._hub, work, cutter, progress_for(progress))

    def submit(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        sp_retries: int = 2,
        sp_timeout: float | None = None,
        **kwargs: Any,
    ) -> Promise:
        """Call ``function(*args, **kwargs)`` on whichever worker is free first.

        Args:
            function: any callable; lambdas and closures too.
            args, kwargs: for the call.
            sp_retries: how often it is called again after a worker's death; 0: never twice.
            sp_timeout: seconds that the call may take, None for ever.

        Returns:
            A promise of what it returns.  Its `cancel` prevents the call, or stops it: its worker
            is freed, by force if need be.

        Raises:
            UnpicklableError: the function or an argument cannot travel.
        """
        self._check_open()
        if not callable(function):
            raise TypeError(f"submit wants a function, not {function!r}")
        options = Calls(retries=sp_retries, timeout=sp_timeout)
        call = self._new_call(function, pack((function, args, kwargs)))
        self._node.soon(self._hub.submit, call, options)
        return call.answer

    def _new_call(self, function: Callable[..., Any], packed: Packed) -> Call:
        name = getattr(function, "__qualname__", repr(function))
        return Call(self._node, packed, name, self._hub.cancel_call)

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
        packed = pack((function, args, kwargs))
        answers: list[Promise]
        answers = self._node.on_thread(self._call_everywhere, function, packed)
        try:
            outcomes = [answer.exception() for answer in answers]
        except BaseException:
            for answer in answers:
                answer.cancel_nowait()
            raise
        errors = {i: error for i, error in enumerate(outcomes) if error is not None}
        values = {i: a.value for i, a in enumerate(answers) if i not in errors}
        if errors:
            raise composite("worker", values, errors)
        return list(values.values())

    def _call_everywhere(
        self, function: Callable[..., Any], packed: Packed
    ) -> list[Promise]:
        calls = [self._new_call(function, packed) for _ in self._hub.crew.seats]
        self._hub.call_everywhere(calls)
        return [call.answer for call in calls]

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


def _cpu_count() -> int:
    """Return how many CPUs this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no such limit
