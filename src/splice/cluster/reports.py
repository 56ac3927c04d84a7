"""Reports: how instances and sessions keep a master informed, whenever it comes and goes.

Each report tells all there is to know, so a master needs no memory: one that was started again
knows everything as soon as everybody has reported.  One report is under way at a time::

    changed ─┬─ none under way ─► send ─► answered ─┬─ nothing new ─► (until the next beat)
             └─ one under way: remember ────────────┴─ something new ─► send …
                                          failed ────► at the next beat
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from splice.actor.promise import ERROR, Promise
from splice.errors import AccessDenied, VersionMismatch
from splice.log import logger

BEAT_SECONDS: Final = 2.0
"""Between two reports when nothing changes: the load is as old as that at most, a master that
comes back knows all within it, and a thousand instances send it 500 messages a second."""

PATIENT_BEATS: Final = 3
"""Beats that a report waits for its answer before the silence is told of; it waits on, for
``connect_timeout``, and goes out when the master is there again."""

_log = logger("cluster")


class Reports:
    """The reports of one instance or session to its master.

    Args:
        who: reports, for the log.
        master_address: to whom.
        send: sends a report; the promise of its answer.
        on_answer: gets the answer of each.
        on_refused: gets the error when the master will never talk to us: key or version.  Not
            when it has done so before: what runs must not end by another master's mistake.
        gives_up_after: seconds that whoever reports waits for the first answer, for the log;
            None when it never gives up.

    Node's thread only.
    """

    def __init__(
        self,
        who: str,
        master_address: str,
        *,
        send: Callable[[], Promise],
        on_answer: Callable[[Any], None],
        on_refused: Callable[[Exception], None],
        gives_up_after: float | None = None,
    ) -> None:
        self._who = who
        self._address = master_address
        self._send = send
        self._on_answer = on_answer
        self._on_refused = on_refused
        self._gives_up_after = gives_up_after
        self._is_under_way = False
        self._has_changed = False
        self._is_closed = False
        self._beats = 0
        self.is_heard: bool | None = None
        """Whether the last report was answered; None before there was one."""
        self._was_heard = False

    def changed(self) -> None:
        """Report what is new, now or as soon as the report under way is answered."""
        self._has_changed = True
        if not self._is_under_way:
            self.beat()

    def beat(self) -> None:
        """Report, unless a report is under way; tell of one that waits for long."""
        if self._is_closed:
            return
        if self._is_under_way:
            self._beats += 1
            if self._beats == PATIENT_BEATS:
                self._not_heard(
                    f"no answer within {BEAT_SECONDS * PATIENT_BEATS:g} s; does"
                    " `splice master` run there, and can this machine reach it?"
                )
            return
        self._is_under_way = True
        self._beats = 0
        self._has_changed = False
        try:
            answer = self._send()
        except BaseException:
            self._is_under_way = False  # or none would ever go out again
            raise
        answer.add_waiter(self)

    def close(self) -> None:
        """Report no more."""
        self._is_closed = True

    def settled(self, answer: Promise) -> None:
        """Take in what became of the report; called by its promise."""
        self._is_under_way = False
        if self._is_closed:
            answer.exception()  # seen: nobody wants it any more
        elif answer.state == ERROR:
            self._failed(answer.value)
        else:
            self._heard(answer.value)

    def _heard(self, answer: Any) -> None:
        if self.is_heard is not True:
            _log.info("%s is registered at the master %s", self._who, self._address)
        self.is_heard = self._was_heard = True
        self._on_answer(answer)
        if self._has_changed:
            self.beat()

    def _failed(self, error: Exception) -> None:
        self._not_heard(error)
        is_refusal = isinstance(error, (AccessDenied, VersionMismatch))
        if is_refusal and not self._was_heard:
            self._on_refused(error)

    def _not_heard(self, why: object) -> None:
        if self.is_heard is not False:
            _log.warning(
                "%s does not reach the master at %s and %s: %s",
                self._who,
                self._address,
                self._outlook(),
                why,
            )
        self.is_heard = False

    def _outlook(self) -> str:
        if self._gives_up_after is None or self._was_heard:
            return "goes on trying"
        return f"gives up after {self._gives_up_after:g} s (connect_timeout)"
