"""Scheduler: gives the processes of a node their turns.

Processes own no stack.  A queue of ready processes is drained by pooled greenlets (workers); the
handler is called directly, and only one that has to wait parks its worker, so another takes over::

    loop callback ─► turn ─► worker: cell, cell, cell … (at most 256 messages or 3 ms)
                                │ handler waits for an idle process: a direct call runs its mail
                                │ otherwise: park ─► another worker drains on
    promise settled ─► the parked worker stands in the queue like a cell

New workers start from the hub greenlet only, so that none inherits a deep stack.
Everything here belongs to the node's thread, but for `post`, `post_message` and `call`: the only
doors for other threads.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakValueDictionary

from greenlet import getcurrent

from splice.actor.blocking import Threads
from splice.actor.cell import Cell, Home
from splice.actor.closing import abandon, close, disown
from splice.actor.context import Worker
from splice.actor.directory import Directory
from splice.actor.endings import failed, given_up, kill
from splice.actor.inbox import Inbox, call
from splice.actor.promise import PENDING, TAKEN_OUT, VALUE, Promise
from splice.actor.rings import check_ring, root_of
from splice.actor.timers import Timers
from splice.actor.waiters import WorkerAbroad, hand_on, wake
from splice.config import (
    DIRECT_CREDIT,
    DIRECT_DEPTH,
    IDLE_WORKERS,
    RUN_BUDGET,
    RUN_SECONDS,
)
from splice.errors import ProcessKilled

if TYPE_CHECKING:
    import asyncio

_PLAIN: Final = frozenset(
    {type(None), bool, int, float, str, bytes, list, tuple, dict, set}
)
"""Types of answers that need no second look: neither promises nor processes."""

RECURSION_LIMIT: Final = 3000
"""Frames of Python on one stack.  A direct call runs on top of its caller, so what each was
allowed must suffice for both; three times the usual limit stays far below a thread's C stack."""


class Scheduler:
    """The run queue of one node.

    Args:
        loop: the node's asyncio loop; the scheduler is made on the thread that runs it.
        blocking_threads: how many ``@blocking`` handlers may run at once.

    Attributes:
        ready: cells with mail and workers whose wait is over.
        is_retiring: no process is made, none restarted, and none ended by a link any more.
        hub: what workers switch to that have nothing to do; in a turn only: after `gc.freeze`
            greenlet 3.5 frees a thread's own one with the thread, whoever refers to it.
        directory: the processes by name and id.
        owed: the messages that were answered with a `Deferred`, by process.
        flush: called at the end of each turn; the node sends its frames there.
        on_end: called with the cell and the reason when a process has ended.
        on_dead_letter: as `splice.node.dead_letters.DeadLetters.note`, or None.
        on_abandon: called when it was abandoned: its loop was gone, and nobody had closed it.
        cell_class: gives the class of a process's record; None for always `Cell`.
        overload_timeout: seconds that a sender waits for room in a full mailbox.
        home: the node; set before the first process is made.
    """

    home: Home

    is_near: ClassVar[bool] = False
    overload_timeout: float = 30.0

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, blocking_threads: int = 32
    ) -> None:
        self.loop = loop
        self.thread = get_ident()
        self.hub: Any = None
        self.ready: Any = deque()
        self.idle: list[Worker] = []
        self.parked: dict[Worker, None] = {}  # in the order in which they were parked
        self.deferred: WeakValueDictionary[int, Promise] = WeakValueDictionary()
        self.owed: dict[Cell, dict[Promise, None]] = {}
        self.scheduled = False
        self.is_retiring = self.is_closing = self.is_closed = False
        self.budget = 0
        self.deadline = 0.0
        self.turns = 0
        self.kills = 0
        self.directory = Directory()
        self.threads = Threads(blocking_threads)
        self.timers = Timers(loop)
        self.flush: Callable[[], None] | None = None
        self.on_end: Callable[[Cell, Any], None] | None = None
        self.on_dead_letter: Callable[..., None] | None = None
        self.on_abandon: Callable[[], None] | None = None
        self.cell_class: Callable[[type], type[Cell]] | None = None
        self.inbox = Inbox(self, self._turn_now)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))

    @property
    def scheduler(self) -> Scheduler:
        """Itself: promises that no process owes have it for a target."""
        return self

    # ---- the doors for other threads

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Have ``function(*args)`` called on the node's thread, in order.  Thread-safe."""
        self.inbox.drop_in((function, args))

    def post_message(self, message: Promise) -> None:
        """Have `message` put into the mailbox of its target.  Thread-safe."""
        self.inbox.drop_in(message)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function(*args)`` on the node's thread and wait for what it returns.

        Raises:
            CannotWait: called on the node's own thread.
            BaseException: what `function` raised.
        """
        return call(self, function, args)

    # ---- turns

    def schedule(self) -> None:
        """Have a turn taken soon; node's thread only."""
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self._turn)

    def resume(self, worker: Worker, promise: Promise) -> None:
        """Let a worker go on when its turn comes, if it is parked for `promise`."""
        if worker.waiting is promise:
            worker.waiting = None
            self.ready.append(worker)
            if not self.scheduled:
                self.schedule()

    def turn_after(self, bring: Callable[[], None]) -> None:
        """Call `bring`, which brings mail, and take a turn at once; a callback of the loop.

        A turn that is on its way already comes by itself.
        """
        if self.scheduled:
            bring()
            return
        self.scheduled = True  # so that the mail asks for no other turn
        try:
            bring()
        finally:
            self._turn()

    def _turn_now(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self._turn()

    def _turn(self) -> None:
        ready, idle = self.ready, self.idle
        self.hub = getcurrent()
        self.turns += 1
        self.budget = RUN_BUDGET
        self.deadline = self.loop.time() + RUN_SECONDS
        try:
            while ready and self.budget > 0:
                worker = idle.pop() if idle else Worker(self)
                worker.switch()
            if self.flush is not None:
                self.flush()
        finally:
            if ready:
                self.loop.call_soon(self._turn)
            else:
                self.scheduled = False
                while len(idle) > IDLE_WORKERS:
                    idle.pop().throw()
            self.hub = None

    def work(self) -> None:
        """What a worker does: drain, stand aside, again; runs on its own greenlet."""
        worker = getcurrent()
        assert type(worker) is Worker
        while not self.is_closed:
            self._drain(worker)
            self.idle.append(worker)
            self.hub.switch()

    def _drain(self, worker: Worker) -> None:
        ready = self.ready
        while ready and self.budget > 0:
            item = ready.popleft()
            worker.credit = DIRECT_CREDIT
            if type(item) is Worker:
                self.budget -= 1
                self._watch_time()
                item.credit = DIRECT_CREDIT
                self.idle.append(worker)
                item.switch()  # returns when somebody takes us from the idle list
                continue
            item.queued = False
            # a direct call may have emptied it since, or be at it now
            if item.runner is None and item.head is not None:
                self.run(item, worker, None)

    def run(  # noqa: C901, PLR0912, PLR0915 - a call more would cost a tenth of a message
        self, cell: Cell, worker: Worker, until: Promise | None
    ) -> None:
        """Handle the mail of `cell` on `worker`, within the budget.

        Until `until` is settled, or has had its turn: it may be answered with a promise, and
        what comes after it in the mailbox must not stand above who waits for that.
        """
        stack = worker.stack
        depth = len(stack)
        contexts = worker.contexts
        context = contexts[depth]
        cell.runner = worker
        while (message := cell.head) is not None:
            following = message.next
            cell.head = following
            if following is None:
                cell.tail = None
            message.next = TAKEN_OUT
            handler = message.handler
            if handler is None:  # cancelled
                continue
            stack.append(message)
            call = handler.call
            if call is not None:
                kwargs = message.kwargs
                try:
                    if kwargs is None:
                        value = context.run(call, cell.object, *message.args)
                    else:
                        message.kwargs = None
                        value = context.run(call, cell.object, *message.args, **kwargs)
                except BaseException as error:
                    failed(cell, message, error)
                else:
                    try:
                        is_plain = type(value) in _PLAIN
                    except BaseException:  # a metaclass of the user cannot be hashed
                        is_plain = False
                    if message.state != PENDING:
                        pass  # a tell: nobody asked
                    elif is_plain:
                        message.value = value
                        message.state = VALUE
                        waiter = message.waiter
                        if waiter is not None:
                            message.waiter = None
                            wake(waiter, message)
                    else:
                        message.settle(value)
                    value = None
                message.args = ()
                if context:  # the handler has set a variable: nobody else shall see it
                    contexts[depth] = context = Context()
            elif handler.start(self, cell, message):
                message.args, message.kwargs = (), None
            else:
                hand_on([message])
                stack.pop()
                self.budget -= 1
                self._watch_time()
                return  # it goes on elsewhere, and `cell` stays busy
            stack.pop()
            budget = self.budget - 1
            self.budget = budget
            if not budget & 3 and self.loop.time() > self.deadline:
                self.budget = budget = 0
            if cell.runner is not worker:
                return  # it has ended, and another life of it may have begun
            if budget <= 0 or (
                until is not None
                and (until.state != PENDING or until.next is TAKEN_OUT)
            ):
                break
        self.stand_down(cell)

    def _watch_time(self) -> None:
        if not self.budget & 3 and self.loop.time() > self.deadline:
            self.budget = 0

    def stand_down(self, cell: Cell) -> None:
        """Take note that no handler of `cell` runs; with mail it is ready again."""
        cell.runner = None
        if cell.head is not None and not cell.queued:
            cell.queued = True
            self.ready.append(cell)
            if not self.scheduled:
                self.schedule()

    def handle(self, cell: Cell, message: Promise) -> bool:
        """Run the handler of a taken message apart from the main loop; as `Handler.start`."""
        handler = message.handler
        assert handler is not None
        if handler.call is None:
            return handler.start(self, cell, message)
        try:
            value = Context().run(
                handler.call, cell.object, *message.args, **(message.kwargs or {})
            )
        except BaseException as error:
            failed(cell, message, error)
        else:
            if message.state == PENDING:
                message.settle(value)
        return True

    def kill(self, cell: Cell) -> None:
        """End a process at once; see `splice.actor.endings.kill`."""
        kill(cell)

    def inject(self, worker: Worker, error: BaseException) -> None:
        """Raise `error` in the handler that is parked on `worker`, if it is parked."""
        if worker in self.parked:
            worker.injected = error
            promise = worker.waiting
            if promise is not None:  # else its wait is over, and it goes on soon
                promise.drop_waiter(worker, isinstance(error, ProcessKilled))
                self.resume(worker, promise)

    # ---- waiting

    def wait(self, worker: Worker, promise: Promise, timeout: float | None) -> None:
        """Wait in a handler until `promise` is settled.

        An idle process of this node is run on the spot (direct call), but not with a timeout: that
        could not unwind this wait from under the other's handler.
        """
        is_own = promise.value is None or promise.scheduler is not self
        message = promise if is_own else root_of(promise)
        target = message.target
        if (
            timeout is None
            and target.is_near
            and target.runner is None
            and target.scheduler is self
            and message.next is not TAKEN_OUT  # else its turn is over
            and len(worker.stack) < DIRECT_DEPTH
            and worker.credit > 0
        ):
            worker.credit -= 1
            self.run(target, worker, message)
            if self.kills and worker.stack[-1].target.has_ended:
                raise given_up(promise, f"{worker.stack[-1].target} was killed")
            if promise.state != PENDING:
                return
        self._park(worker, promise, timeout)

    def _park(self, worker: Worker, promise: Promise, timeout: float | None) -> None:
        if self.is_closed:  # a copy made by os.fork, where this is a thread like others
            promise.block(timeout)
            return
        if self.is_closing:
            raise given_up(promise, "the node is shut down")
        timer = None
        if timeout is None:
            check_ring(worker, promise)
        else:
            timer = self.timers.after(timeout, self._expire, worker, promise)
        hand_on(worker.stack)
        worker.waiting = promise
        worker.wait_number = 0
        worker.since = self.deadline
        worker.has_timeout = timeout is not None
        if promise.scheduler is self:
            promise.add_waiter(worker)
        else:
            promise.add_waiter_threadsafe(WorkerAbroad(worker))
        self.parked[worker] = None
        (self.idle.pop() if self.idle else self.hub).switch()
        del self.parked[worker]
        if timer is not None:
            timer.cancel()
        if worker.injected is not None:
            raise worker.take_injected()
        if promise.state == PENDING:
            raise promise.timed_out(timeout)

    def _expire(self, worker: Worker, promise: Promise) -> None:
        if worker.waiting is promise:
            promise.drop_waiter(worker)
            self.resume(worker, promise)

    def sleep(self, worker: Worker, seconds: float) -> None:
        """Park the handler on `worker` for `seconds`."""
        if self.is_closed:  # as in `_park`
            time.sleep(seconds)
            return
        with suppress(
            TimeoutError
        ):  # as a wait: the timer of a killed one goes with it
            self._park(worker, Promise(self), seconds)

    # ---- the end: see `splice.actor.closing`

    def close(self) -> None:
        """End every process with ``"shutdown"``, unwind parked handlers, serve no more.

        Called on the loop, not in a handler.  Hooks that are left run, but cannot wait.
        """
        close(self)

    def abandon(self) -> None:
        """Fail what is owed here: the loop was closed, and this scheduler was not."""
        abandon(self)

    def disown(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take note that this is a copy, made by `os.fork`; `loop` is a closed one."""
        disown(self, loop)

    def unwind(self) -> None:
        """Run what is parked or ready to its end; nothing is run after that."""
        self.hub = getcurrent()
        for worker in list(self.parked):
            self.inject(worker, ProcessKilled("the node is shut down"))
        while self.ready:
            self.budget, self.deadline = RUN_BUDGET, float("inf")
            (self.idle.pop() if self.idle else Worker(self)).switch()
        self.is_closed = True
        for worker in self.idle:
            worker.throw()
        self.idle.clear()
        self.hub = None
