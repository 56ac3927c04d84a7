"""GrantedWorker: a worker that a master grants to a session: wanted, started, up, ready, ended.

::

    wanted ── Started ──► up ── begin: connect, have init run ──► ready ── Exit ──► ended

`splice.cluster.claim` has it started.  All of it happens on the thread of the client's node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from splice.actor.promise import ERROR, PENDING, Promise
from splice.actor.proxy import proxy_class
from splice.cluster.source import Place
from splice.cluster.worker import NAME, Worker
from splice.errors import NodeLost
from splice.node.child import Exit
from splice.node.remote import Remote
from splice.uri import url

if TYPE_CHECKING:
    from splice.cluster.claim import MasterSource
    from splice.cluster.instance import Started

END_SECONDS: Final = 2.0
"""A worker that does not begin is given so long to end by itself, which tells more than our
killing it: interpreters take a tenth of that."""


@dataclass(frozen=True, slots=True)
class Lost(Exit):
    """The end of a worker that nobody saw: its instance is lost, and it with it.

    Attributes:
        reason: what is known of the instance.
    """

    reason: str = ""

    @property
    def text(self) -> str:
        """What happened, to stand behind the name of a node."""
        return f"was lost with its instance: {self.reason}"


class GrantedWorker:
    """A worker that the session has, or wants; a `splice.cluster.source.Hired`."""

    def __init__(self, source: MasterSource) -> None:
        self.address = ""
        self.incarnation: int | None = None
        self.pid = 0
        self.number = 0
        self.instance = ""
        self.place = Place("")
        self.is_unwanted = False
        self.trouble = ""
        self.ready = Promise(source.node.scheduler)
        self.ended = Promise(source.node.scheduler)
        self._source = source

    def kill(self) -> None:
        """End its OS process and what that started, at once; `ended` tells when it is gone."""
        self._source.kill(self)

    def start_at(self, started: Started) -> None:
        """Take note that it is up, and have it begin.

        The first call goes from here to there, and brings the connection along: nothing can be
        dialled the other way round when this node listens on its own machine only.
        """
        self.address, self.incarnation = started.address, started.incarnation
        self.pid, self.number = started.pid, started.number
        self.place = started.place
        where = url(NAME, started.address, started.incarnation)
        worker: Any = proxy_class(Worker)(Remote(self._source.node, where, waits=False))
        worker.begin().add_waiter(_Begun(self))

    def begun(self, answer: Promise) -> None:
        """Take note that it is ready, or that it cannot be reached and is of no use."""
        if answer.state == ERROR:
            self.trouble = f"its session cannot use it: {answer.value}"
            # one whose init failed says so, and ends by itself
            self._source.node.loop.call_later(END_SECONDS, self.kill)
        elif self.ready.state == PENDING:
            self.ready.resolve(self.address)

    def end_by(self, end: Exit) -> None:
        """Take note that it has ended, once."""
        if self.ended.state != PENDING:
            return
        if self.ready.state == PENDING:
            failure = end.failure or self.trouble
            detail = f":\n{failure}" if failure else ""
            what = f"(OS process {end.pid}) {end.text}"
            self.ready.reject(NodeLost(f"a worker {what} before it was ready{detail}"))
            self.ready.look()  # who waits for `ended` need not look here
        self.ended.resolve(end)


class _Begun:
    """Tells a worker that it has begun."""

    __slots__ = ("worker",)

    def __init__(self, worker: GrantedWorker) -> None:
        self.worker = worker

    def settled(self, answer: Promise) -> None:
        self.worker.begun(answer)
