"""The messages that nodes exchange, as they stand in a frame's batch.

A batch is a list of plain tuples, so that it is pickled and read in one go and shares nothing
with the sender (`net.codec` puts only immutable scalars or finished payloads into it)::

    (REQUEST,  id, resource, handler, args, kwargs)    to be answered
    (TELL,     id, resource, handler, args, kwargs)    nobody waits for an answer
    (RESPONSE, id, succeeded, value)                   the answer, or the error
    (REFUSED,  id, error)                              the receiver could not take it
    (SIGNAL,   name, resource, source, value, number)  see `node.signals`
    (CANCEL,   id, asked, is_begun_too)                give up the request with the id `asked`
    (HELD,     id)                                     a tell waits for a name or a module
    (ROOM,     resource, has_room)                     its mailbox is full, or has room again
    (SIGNAL,   "probe", id, turn, hops)                what does the debtor of our request wait for?
    (SIGNAL,   "ring", id, turn, hops)                 a ring was found: does it still stand?

``id`` counts the requests, tells and cancels of one node; a cancel is answered too, with whether
it came in time, and a tell that was held, with None once it is in a mailbox.  ``args``,
``kwargs``, ``value`` and ``error`` are payloads of `net.codec`; ``resource`` is a name or an id, or
``name#serial`` where one very process is meant (`uri.addressee_of`).
A signal goes to the process ``resource``; its ``source`` is the process that sends it, or the
number of a monitor.
``hops`` are plain (`node.hops`).
"""

from __future__ import annotations

from typing import Any, Final

REQUEST: Final = 0
RESPONSE: Final = 1
SIGNAL: Final = 2
REFUSED: Final = 3
TELL: Final = 4
CANCEL: Final = 5
HELD: Final = 6
ROOM: Final = 7

Entry = tuple[Any, ...]
"""One message as it stands in a batch."""
