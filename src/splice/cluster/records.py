"""Log records of workers, handled by the client's loggers of the same name.

A record travels as one line of JSON, its message formatted and what JSON does not know as its
`repr`: nothing has to be unpickled, and no record is too strange to be seen.  The levels of the
client's loggers, as they are when the session begins, hold on the workers, so that what nobody
wants to see is not sent.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from splice.log import ROOT
from splice.node import lifeline

MESSAGE_LENGTH: Final = 100_000
"""Characters of a message, or of a traceback, that travel: the rest helps nobody."""

_PLAIN: Final = (str, int, float, bool, type(None))
_formatter: Final = logging.Formatter()


class Prelude:
    """What each worker runs first: has its log records sent to the client, then calls `init`.

    Args:
        init: of the session, or None.
    """

    def __init__(self, init: Callable[[], Any] | None) -> None:
        self._init = init
        self._levels = _levels()

    def __call__(self) -> None:
        """Run it; on the worker's main thread."""
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        if lifeline.records is not None:
            logging.getLogger().addHandler(RecordHandler(lifeline.records))
        if self._init is not None:
            self._init()


class RecordHandler(logging.Handler):
    """Writes log records to the pipe on which the client's side takes them.

    Args:
        descriptor: of the pipe.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            packed = pack_record(record)
            # an item that is stopped while it logs leaves a part of a line
            left = memoryview(b"\n" + packed if self._is_cut else packed)
            self._is_cut = True
            while left:
                left = left[os.write(self._descriptor, left) :]
            self._is_cut = False
        except Exception:
            self.handleError(record)  # as every handler of the standard library does


def pack_record(record: logging.LogRecord) -> bytes:
    """Return a record as a line."""
    told = {
        key: value if type(value) in _PLAIN else repr(value)[:MESSAGE_LENGTH]
        for key, value in vars(record).items()
    }
    told["msg"] = record.getMessage()[:MESSAGE_LENGTH]
    told["args"] = None
    told["exc_info"] = None
    if record.exc_info and not record.exc_text:
        text = _formatter.formatException(record.exc_info)
        told["exc_text"] = text[-MESSAGE_LENGTH:]
    return json.dumps(told).encode() + b"\n"


def handle_record(worker: str, line: str) -> None:
    """Hand a record over to the logger of its name, if that wants it.

    Args:
        worker: name of the worker; stands in the record as ``processName``.
        line: what `pack_record` made.
    """
    if not line:
        return
    try:
        record = logging.makeLogRecord(json.loads(line))
    except ValueError:  # it was cut, or a forked copy of the worker has written into it
        logging.getLogger("splice.cluster").warning("%s logged: %s", worker, line)
        return
    record.processName = worker
    target = logging.getLogger(record.name)
    if target.isEnabledFor(record.levelno):
        target.handle(record)


def _levels() -> dict[str, int]:
    """Return the levels of all loggers that have one."""
    root = logging.getLogger()
    # what the nodes of workers have to say is for those who ask for it
    levels = {"": root.level, ROOT: logging.WARNING}
    for name, found in list(root.manager.loggerDict.items()):
        if isinstance(found, logging.Logger) and found.level:
            levels[name] = found.level
    return levels
