"""Cell: the record of one process: its object, its mailbox, its state.

The mailbox is a linked list of messages, so that an idle process holds no queue object.  A cell is
kept apart from the user's object: user classes never derive from a class of the engine.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from splice.actor.context import Ended, current_cell
from splice.actor.endings import bury
from splice.actor.promise import PENDING, TAKEN_OUT, VALUE, Promise, Tell
from splice.actor.proxy import Proxy, proxy_class
from splice.errors import ProcessStopped, shown
from splice.uri import Resource, url

if TYPE_CHECKING:
    from splice.actor.handlers import Handler
    from splice.actor.scheduler import Scheduler


_Url = url


class Home(Protocol):
    """What processes need from the node they live on."""

    def url_of(self, cell: Cell) -> _Url:
        """Return the url of a process."""

    def stop(self, cell: Cell) -> Promise:
        """Stop a process; a promise of its end."""

    @property
    def rebuild(self) -> Callable[[_Url, str], Any]:
        """The function that other nodes unpickle its proxies with."""


class Cell:
    """One process of a node.

    Attributes:
        scheduler: the scheduler of its node.
        ident: its name or id.
        object: the user's object; None before construction and after the end.
        head, tail: the mailbox, first to last message.
        runner: None while idle, else who runs its handler: a Worker, an object
            for async and blocking handlers (`Elsewhere`), or Ended.
        queued: whether it stands in the run queue; it stands there at most once.
        extra: what few processes have; see `splice.actor.links.Extra`.

    All of it belongs to the node's thread; `ask` and `tell` may be called from any.
    """

    __slots__ = (
        "extra",
        "head",
        "ident",
        "object",
        "queued",
        "runner",
        "scheduler",
        "tail",
    )

    is_near: ClassVar[bool] = True

    def __init__(self, scheduler: Scheduler, ident: Resource) -> None:
        self.scheduler = scheduler
        self.ident = ident
        self.object: Any = None
        self.head: Any = None
        self.tail: Any = None
        self.runner: Any = None
        self.queued = False
        self.extra: Any = None

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message and return the promise of its answer.  Thread-safe."""
        message = Promise(self, handler, args, kwargs)
        scheduler = self.scheduler
        if get_ident() != scheduler.thread:
            scheduler.post_message(message)
        elif (
            self.tail is not None
        ):  # as in `put`: a call more would cost a tenth of this
            self.tail.next = message
            self.tail = message
        else:
            self.put(message)
        return message

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer; returns the promise of delivery.  Thread-safe."""
        message = Tell(self, handler, args, kwargs)
        scheduler = self.scheduler
        if get_ident() != scheduler.thread:
            scheduler.post_message(message)
            return message
        if self.tail is not None:  # as in `put`
            self.tail.next = message
            self.tail = message
            message.state = VALUE  # nobody can wait for it yet
            return message
        self.put(message)
        if message.state == PENDING:
            message.state = VALUE
        return message

    def put(self, message: Promise) -> None:
        """Hang `message` at the end of the mailbox; node's thread only."""
        if self.tail is None:
            runner = self.runner
            if runner is None:
                self.head = self.tail = message
                if not self.queued:
                    self.queued = True
                    scheduler = self.scheduler
                    scheduler.ready.append(self)
                    if not scheduler.scheduled:
                        scheduler.schedule()
                return
            if type(runner) is Ended:
                if runner.kept is not None:
                    runner.kept.append(message)
                elif message.state == PENDING:  # else cancelled before it came
                    bury(self, message, current_cell())
                return
            self.head = message
        else:
            self.tail.next = message
        self.tail = message

    def put_tell(self, message: Tell) -> None:
        """Like `put`; the promise of delivery is settled by it."""
        self.put(message)
        if message.state == PENDING:
            message.resolve(None)

    def put_first(self, message: Promise) -> None:
        """Hang `message` before all mail: only stop and kill may jump the mailbox."""
        if self.head is None:
            self.put(message)
            return
        message.next = self.head
        self.head = message

    def cancel_message(self, message: Promise, is_begun_too: bool) -> bool:
        """Prevent or stop the handling of `message`; False when it is too late."""
        if message.next is not TAKEN_OUT:
            # still queued: the caller empties it, the scheduler skips it
            if message.handler is not None:
                message.handler.withdrawn(self, message)
            return True
        runner = self.runner
        if getattr(runner, "message", None) is message:
            return bool(runner.cancel(is_begun_too))
        return False

    def mail(self) -> int:
        """Count the messages in the mailbox that will be handled: none that was cancelled."""
        count, message = 0, self.head
        while message is not None:
            count += message.handler is not None
            message = message.next
        return count

    def stopped_error(self, message: Promise) -> ProcessStopped:
        """Make the error of a message that this process will never handle."""
        reason = self.runner.reason if type(self.runner) is Ended else "normal"
        return ProcessStopped(
            f"{message.describe()} was not handled: the process has ended ({shown(reason)})",
            reason=reason,
        )

    @property
    def url(self) -> _Url:
        """The url of the process, bound to this life of its node."""
        return self.scheduler.home.url_of(self)

    def stop(self) -> Promise:
        """Stop the process as `runtime.stop` does; a promise of its end."""
        return self.scheduler.home.stop(self)

    def proxy_as(self, cls: type) -> Proxy:
        """Return a proxy of the process, whose class is `cls`; also of one that has ended."""
        return proxy_class(cls)(self)

    def rebuilder(self) -> Callable[[_Url, str], Any]:
        """Return the function that makes a proxy from a url on another node."""
        return self.scheduler.home.rebuild

    def ghost(self, reason: Any = "killed", kind: str = "process") -> Cell:
        """Return an ended process of the same name, to own what is left of an earlier life."""
        ghost = Cell(self.scheduler, self.ident)
        ghost.runner = Ended(kind, reason)
        return ghost

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return type(self.runner) is Ended

    def __str__(self) -> str:
        if type(self.runner) is Ended:
            return f"{self.runner.kind} {self.ident}"
        if self.object is None:
            return f"process {self.ident}"
        return f"{type(self.object).__name__} {self.ident}"
