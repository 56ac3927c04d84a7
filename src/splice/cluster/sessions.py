"""Session: map and apply on workers of one's own.

::

    with session(worker_count=4) as c:
        squares = c.map(lambda v: v ** 2, range(100))

Functions are packed once, where they are called from, and unpacked on the workers' main threads;
lambdas, closures and what is defined in a script travel by value.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from splice.actor.context import current_worker, is_on_loop
from splice.actor.promise import Promise
from splice.cluster.crew import no_worker
from splice.cluster.maps import Maps
from splice.cluster.outcomes import composite
from splice.cluster.output import How
from splice.cluster.packed import Packed, pack
from splice.cluster.statistics import Statistics, WorkerAddress
from splice.cluster.terms import Terms, check_count
from splice.cluster.work import Call, Calls, SealedCall
from splice.errors import Cancelled, CannotWait, SpliceError
from splice.node.current import current_node, node_here
from splice.node.given import check_callable
from splice.node.leaving import Stage, before_leaving, forget
from splice.node.runtime import runtime
from splice.node.view import View
from splice.shipping.answers import MAX_UNIT_BYTES, Dependency, Ship

if TYPE_CHECKING:
    from splice.cluster.executor import SessionExecutor

C = TypeVar("C", bound=Call)


def session(  # noqa: PLR0917 - the historical order
    name: str | None = None,
    owner: str | None = None,
    worker_count: int | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    master_address: str | None = None,
    init: Callable[[], Any] | None = None,
    *,
    ship: Ship = "missing",
    deny: Collection[str] = (),
    max_unit_bytes: int = MAX_UNIT_BYTES,
    output: How = "prefix",
) -> Session:
    """Start workers and return the session, ready to use.

    On the thread of a running asyncio loop it returns at once, and the workers are started by
    ``async with``, which does not block the loop, or else by the first use, which does.

    Args:
        name: for people who look at the cluster.
        owner: same; the name of the user when None.
        worker_count: OS processes; None takes all CPUs that this program may use, or all slots of
            the master's instances.  A cluster that has fewer free gives what it has, says so, and
            the others join later.
        work_dir: the workers' working directory, which exists on their machines; None: this
            program's, or at a master that of its instances.
        master_address: of the master whose instances run the workers, ``tcp://master-node:50000``;
            None starts them on this machine.
        init: called without arguments on each worker before its first work, those too that take
            the place of others.
        ship: ``"missing"``: what a worker cannot import comes from here; ``"client"``: all that it
            imports; ``"off"``: nothing.
        deny: modules and distributions that never leave this machine, by name.
        max_unit_bytes: size of the largest distribution or tree of code that is shipped.
        output: what becomes of what workers print: ``"prefix"`` shows it with the worker's name
            and counts repeated lines, ``"plain"`` as it is, ``"off"`` not at all; a function gets
            each `Line`.  Log records go to the loggers of their names, but for ``"off"``.

    Raises:
        AccessDenied: the master has another key; the text says what to copy where.
        CannotWait: it was used in an ``async def`` handler before ``async with``.
        ConnectTimeout: no master answers at that address.
        NodeLost: a worker ended before it was ready; the text holds what `init` raised.
        SpliceError: the cluster had no worker for this session within ``connect_timeout``.
        ValueError: `worker_count` is not positive, `work_dir` is no folder here, or `output` is
            none of these.
    """
    return Session(
        Terms(
            name=name,
            owner=owner,
            worker_count=worker_count,
            work_dir=work_dir,
            master_address=master_address,
            init=init,
            ship=ship,
            deny=deny,
            max_unit_bytes=max_unit_bytes,
            output=output,
        )
    )


class Session(Maps):
    """One client's own workers, from start to shutdown; `session` makes it.

    Usable from any thread, and as a context manager that shuts it down.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._lock = threading.Lock()
        self._is_begun = False
        self._is_open = False
        self._is_given_up = False
        self._usual = Calls()  # shared, for it is most of the cost of a call
        self._ended: Promise | None = None
        if not _is_on_a_loop():
            self._open()

    def _open(self) -> None:
        """Start the workers unless they are there, and wait for them."""
        if self._is_open:
            return
        here = current_node()
        is_here = here is not None and is_on_loop(here.scheduler.thread)
        if is_here and current_worker() is None:
            raise CannotWait(
                "to wait here for a session's workers would stop the node's loop; "
                "write `async with session() as c:`"
            )
        # another handler that opens it may be parked: to wait for the lock would never end
        if not self._lock.acquire(blocking=not is_here):
            raise CannotWait("another handler is just opening this session")
        try:
            if not self._is_open:
                self._start()
        finally:
            self._lock.release()

    def _start(self) -> None:
        self._node = node_here()
        opened = self._terms.open(self._node)
        self._hub, self._shipment = opened.hub, opened.shipment
        self._output = opened.output
        self._is_begun = True
        self._owner = os.getpid()
        # who opened it may have forgotten it, but wants its last lines
        before_leaving(Stage.SESSIONS, self._at_exit)
        try:
            opened.wait(self._node.on_thread(self._hub.crew.hire))
        except BaseException:
            self.shutdown(cancel=True)
            raise
        self._is_open = True
        if self._is_given_up:  # meanwhile, by who was tired of waiting
            self.shutdown(cancel=True)

    @property
    def workers(self) -> View[WorkerAddress]:
        """The addresses of the workers' nodes, each of which also tells where its worker runs."""
        self._open()
        return View(self._node.on_thread(self._hub.crew.addresses))

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
        check_callable("submit", function)
        options = self._usual
        if sp_retries is not options.retries or sp_timeout is not None:
            options = Calls(retries=sp_retries, timeout=sp_timeout)
        call = self._new_call(Call, function, pack((function, args, kwargs)))
        self._node.soon(self._hub.submit, call, options)
        return call.answer

    def _new_call(
        self, kind: type[C], function: Callable[..., Any], packed: Packed
    ) -> C:
        name = getattr(function, "__qualname__", repr(function))
        return kind(self._node, packed, name, self._hub.cancel_call)

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
        check_callable("apply", function)
        packed = pack((function, args, kwargs))
        calls: list[SealedCall] = []
        try:
            self._node.on_thread(self._call_everywhere, calls, function, packed)
            for call in calls:
                call.answer.exception()
        except BaseException:
            self._node.soon(_call_off, calls)  # behind the calls, wherever they are
            raise
        outcomes = [call.open() for call in calls]
        errors = {i: e for i, (_, e) in enumerate(outcomes) if e is not None}
        values = {i: v for i, (v, _) in enumerate(outcomes) if i not in errors}
        if errors:
            raise composite("worker", values, errors)
        return list(values.values())

    def _call_everywhere(
        self, calls: list[SealedCall], function: Callable[..., Any], packed: Packed
    ) -> None:
        seats = self._hub.crew.seats
        calls += [self._new_call(SealedCall, function, packed) for _ in seats]
        self._hub.call_everywhere(calls)

    def scale(self, worker_count: int) -> Promise:
        """Have `worker_count` workers from now on.

        New ones join as they come up; those that are too many end what they have in work, and go.

        Returns:
            A promise that is settled when it is so; nobody need wait for it.

        Raises:
            ValueError: `worker_count` is not positive.
        """
        check_count(worker_count)
        self._check_open()
        resize = partial(self._hub.crew.resize, worker_count)
        return self._node.run_coroutine(resize)

    def statistics(self) -> Statistics:
        """Return what the workers have done so far: items, batches, bytes, seconds, deaths."""
        self._check_open()
        found: Statistics = self._node.on_thread(self._hub.crew.statistics)
        return found

    def dependencies(self) -> list[Dependency]:
        """Return what the workers have taken from this client so far, in the order of need."""
        self._check_open()
        return self._shipment.dependencies()

    def executor(self, *, retries: int = 0) -> SessionExecutor:
        """Return a `concurrent.futures.Executor` over this session, which stays open after it.

        Args:
            retries: how often a call is given out again after a worker's death; 0: never twice.
        """
        # 8 ms, for those who want it
        from splice.cluster.executor import SessionExecutor

        self._check_open()
        return SessionExecutor(self, retries=retries)

    def spawn(self, what: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make a process on a worker, each in turn, a new one first; `runtime.spawn` otherwise."""
        self._check_open()
        self._open()
        where = self._node.on_thread(self._hub.crew.address_in_turn)
        return runtime.spawn(what, *args, sp_dest=where, **kwargs)

    def spawn_scatter(
        self, what: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> View[Any]:
        """Make a process on each worker; a view of their proxies, in the order of `workers`."""
        return runtime.spawn_scatter(self._addresses(), what, *args, **kwargs)

    def _addresses(self) -> View[WorkerAddress]:
        self._check_open()
        addresses = self.workers
        if not addresses:
            raise no_worker()
        return addresses

    def shutdown(self, *, cancel: bool = False) -> None:
        """End the workers; returns when their OS processes are gone.

        What was begun may end before, but for iterators of `imap`, which get no more.

        Args:
            cancel: stop all work at once instead.
        """
        ended = self._begin_end(cancel=cancel)
        if ended is None:
            return
        # the node may have been shut down before, and the workers with it
        with contextlib.suppress(Cancelled):
            try:
                ended.get()
            except KeyboardInterrupt:
                self._begin_end(cancel=True)
                ended.get()
                raise
        if self._node.is_closed:
            self._output.finish()
        self._shipment.end()

    def _begin_end(self, *, cancel: bool) -> Promise | None:
        """Begin to end it, unless that was begun; None: it has no workers yet, nor will."""
        self._is_given_up = True
        if not self._is_begun:
            return None
        if self._ended is None:
            self._ended = self._node.run_coroutine(partial(self._end, cancel))
            self._ended.add_done_callback(lambda _: forget(self._at_exit))
        elif cancel:
            self._node.soon(self._hub.stop_all)
        return self._ended

    async def _end(self, cancel: bool) -> None:
        import asyncio  # the node has loaded it

        await self._hub.close(cancel)
        shown, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the node was shut down meanwhile
                loop.call_soon_threadsafe(shown.set)

        self._output.finish_soon(tell)
        await shown.wait()

    def _at_exit(self) -> None:
        # a forked copy of this OS process has no workers; an end that has begun is waited for
        if os.getpid() == self._owner and not self._node.is_closed:
            self.shutdown(cancel=True)

    @property
    def _is_closed(self) -> bool:
        return self._is_given_up or (self._is_begun and self._node.is_closed)

    def _check_open(self) -> None:
        if self._is_closed:
            raise SpliceError("the session was shut down; open another one")
        self._open()

    def __enter__(self) -> Session:
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self.shutdown(cancel=kind is not None)

    async def __aenter__(self) -> Session:
        import asyncio  # whoever is here has loaded it

        if not self._is_open:
            try:
                await asyncio.to_thread(self._check_open)
            except asyncio.CancelledError:
                self._begin_end(cancel=True)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, *exc_info: object
    ) -> None:
        ended = self._begin_end(cancel=kind is not None)
        if ended is not None:
            with contextlib.suppress(Cancelled):
                await ended
            self._shipment.end()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a session belongs to its program and cannot travel; a function that runs on a "
            "worker opens one of its own there, with session(...)"
        )

    def __repr__(self) -> str:
        if self._is_closed:
            return "<Session, shut down>"
        if not self._is_open:
            return "<Session, not open yet>"
        return f"<Session of {self._hub.crew.size} workers>"


def _call_off(calls: list[SealedCall]) -> None:
    for call in calls:
        call.answer.cancel_nowait()


def _is_on_a_loop() -> bool:
    """Tell whether asyncio runs in this thread, and a wait would stop it."""
    # 40 ms to import, and where a loop runs somebody has loaded it
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or current_worker() is not None:
        return False
    return asyncio._get_running_loop() is not None
