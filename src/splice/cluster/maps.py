"""Maps: the methods of a session that run a function over many items."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

from splice.actor.promise import PENDING, Promise
from splice.cluster.answers import Answers
from splice.cluster.batches import Cutter
from splice.cluster.bench import Starred
from splice.cluster.lent import lend
from splice.cluster.outcomes import OnError, assemble
from splice.cluster.packed import pack
from splice.cluster.progress import Shown, progress_for
from splice.cluster.running import MapRun
from splice.cluster.work import MapWork

if TYPE_CHECKING:
    from splice.cluster.hub import Hub
    from splice.node.node import Node


class MapOptions(TypedDict, total=False):
    """The options of every map; `Maps.map` tells what they mean."""

    chunksize: int | None
    retries: int
    retry_on: tuple[type[BaseException], ...]
    timeout: float | None
    progress: Shown
    on_error: OnError


class Maps:
    """The map family; a session is one."""

    _node: Node
    _hub: Hub

    def _check_open(self) -> None:
        raise NotImplementedError

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
            extra: further arguments, the same for every call; large arrays
                are shared by the workers of this machine, on others they travel once a worker.
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

    def starmap(
        self,
        function: Callable[..., Any],
        items: Iterable[Iterable[Any]],
        *extra: Any,
        **options: Unpack[MapOptions],
    ) -> list[Any]:
        """Call ``function(*item, *extra)`` for each item; all else as for `map`."""
        return self.map(Starred(function), items, *extra, **options)

    def imap(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *extra: Any,
        **options: Unpack[MapOptions],
    ) -> Answers:
        """Call ``function(item, *extra)`` for each item, and iterate over the answers in order.

        `items` may be endless: it is read, in the thread that iterates, only so far as to keep the
        workers busy.  Usable in ``for`` and in ``async for``.

        Returns:
            An iterator.  An item that failed raises its error in its place, and the iteration
            can go on behind it; with ``on_error="return"`` the error is given.  `close` stops the
            work, and so does letting go of it.
        """
        return self._stream(function, items, extra, options, is_ordered=True)

    def imap_unordered(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *extra: Any,
        **options: Unpack[MapOptions],
    ) -> Answers:
        """Like `imap`, with the answers in the order in which they come."""
        return self._stream(function, items, extra, options, is_ordered=False)

    def map_async(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *extra: Any,
        **options: Unpack[MapOptions],
    ) -> Promise:
        """Like `map`, and return a promise of the list at once; `cancel` stops the work.

        `items` are read before this returns.
        """
        run = self._run(function, _read(items), extra, **options)
        answer = Promise(_AsyncMap(self._node, run))
        work = (self._node, run, options.get("on_error", "raise"), answer)
        # a thread of its own: it cuts and packs, which is no work for the node's
        thread = threading.Thread(
            target=_collect, args=work, name="splice-map", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # none can be had: too many, or the program ends
            run.close()
            raise
        return answer

    def _stream(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        extra: tuple[Any, ...],
        options: MapOptions,
        *,
        is_ordered: bool,
    ) -> Answers:
        kind = {"is_stream": True, "is_ordered": is_ordered}
        run = self._run(function, items, extra, **options, **kind)
        return Answers(run, options.get("on_error", "raise"))

    def _run(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        extra: tuple[Any, ...],
        *,
        chunksize: int | None = None,
        timeout: float | None = None,
        retries: int = 2,
        retry_on: tuple[type[BaseException], ...] = (),
        progress: Shown = False,
        on_error: OnError = "raise",
        **kind: bool,
    ) -> MapRun:
        """Begin a map."""
        self._check_open()
        if not callable(function):
            raise TypeError(f"a map wants a function, not {function!r}")
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is 'raise' or 'return', not {on_error!r}")
        retry_on = _errors(retry_on)
        if timeout is not None:
            if chunksize not in (None, 1):
                raise ValueError("items with a timeout travel singly: no chunksize")
            chunksize = 1
        packed = pack((function, extra, retry_on))
        if self._hub.crew.is_near:
            packed = lend(packed)
        cutter = Cutter(items, chunksize=chunksize)
        work = MapWork(
            self._node,
            self._hub.new_number(),
            packed,
            cutter,
            timeout=timeout,
            retries=retries,
            retry_on=retry_on,
            **kind,
        )
        return MapRun(self._node, self._hub, work, cutter, progress_for(progress))


def _errors(given: Any) -> tuple[type[BaseException], ...]:
    """Return the classes that `retry_on` names: several or one."""
    errors = given if isinstance(given, tuple) else (given,)
    if not all(isinstance(e, type) and issubclass(e, BaseException) for e in errors):
        raise TypeError(f"retry_on is a tuple of classes of errors, not {given!r}")
    return errors


class _AsyncMap:
    """What owes the answer of a `map_async`."""

    is_near: ClassVar[bool] = False

    def __init__(self, node: Node, run: MapRun) -> None:
        self.scheduler = node.scheduler
        self._run = run

    def cancel_message(self, message: Promise, is_begun_too: bool) -> bool:
        """Stop the map."""
        if message.target is self and is_begun_too:
            self._run.close()
        return is_begun_too

    def __str__(self) -> str:
        return "map_async"


def _collect(node: Node, run: MapRun, on_error: OnError, answer: Promise) -> None:
    try:
        values = assemble(run.collect(), on_error)
    except BaseException as error:
        node.soon(_settle, answer, answer.reject, error)
    else:
        node.soon(_settle, answer, answer.resolve, values)


def _settle(answer: Promise, how: Callable[[Any], None], outcome: Any) -> None:
    if answer.state == PENDING:  # not cancelled meanwhile
        how(outcome)


def _read(items: Iterable[Any]) -> Iterable[Any]:
    return items if type(items) in {list, tuple, range} else list(items)
