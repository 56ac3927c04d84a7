"""The messages that nodes exchange, as they stand in a frame's batch.

A batch is a list of plain tuples, so that it is pickled and read in one go and shares nothing
with the sender (`net.codec` puts only immutable scalars or finished payloads into it)::

    (REQUEST,  id, resource, handler, args, kwargs, source)  id 0: a tell, nobody is answered
    (RESPONSE, id, succeeded, value)                         value or error as a payload
    (SIGNAL,   name, resource, source, value)                link, exit, down, stop, kill, …
    (REFUSED,  id, name, text, reason)                       the receiver could not take a request

``args``, ``kwargs`` and ``value`` are payloads of `net.codec`; ``resource`` is a name or an
id, ``source`` the resource of the sending process or None.
"""

from __future__ import annotations

from typing import Any, Final

REQUEST: Final = 0
RESPONSE: Final = 1
SIGNAL: Final = 2
REFUSED: Final = 3

Entry = tuple[Any, ...]
"""One message as it stands in a batch."""
