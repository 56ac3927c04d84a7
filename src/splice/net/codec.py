"""Codec: values to payloads and back; what travels by value.

A payload stands in a frame's batch (see `splice.message`).  It is encoded when the
message is sent, in the calling thread, and decoded by itself at the far side: no two
messages share an object there, a later change is not sent, and one bad argument spoils no
other message::

    plain scalar, short ------------------> itself          5, "text", None
    all arguments plain ------------------> the tuple       (5, "text")
    anything else --> pickle 5 -----------> [PICKLED, stream, n]
                        | fails, or names __main__
                        '-> cloudpickle --> [BY_VALUE, stream, n, magic number]
    an exception -------------------------> [ERROR, (type, text, traceback, note), payload]

A list is never plain, so the forms cannot be taken for each other.  ``n`` buffers of the
payload travel beside the batch, large ones only; ``stream`` is None when it is the first of
them.

Thread-safe: functions without state.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import NoneType
from typing import Any, Final

from splice.config import Config
from splice.errors import (
    DependencyRefused,
    DependencyTransferError,
    RemoteError,
    SpliceError,
    UnpicklableError,
    VersionMismatch,
)
from splice.net import by_value
from splice.net.beside import Borrow, collector, wrapped
from splice.net.culprit import find_culprit, remedy_for
from splice.net.frames import MALFORMED
from splice.net.passing import Decoded, pass_on
from splice.net.wire import Buffer

Payload = Any
"""A plain scalar, a tuple or dict of them (arguments), or a list that begins with a tag."""

PICKLED: Final = 0
BY_VALUE: Final = 1
ERROR: Final = 2

MAGIC: Final = importlib.util.MAGIC_NUMBER
"""Names this interpreter's bytecode; another one's crashes it."""

OUT_OF_BAND_BYTES: Final = Config().out_of_band_bytes

TRACEBACK_CHARACTERS: Final = 64 * 1024
"""The end of a far traceback that is kept: a thousand lines, more than anybody reads."""

_UNSHIPPED: Final = (DependencyRefused, DependencyTransferError)

_PLAIN: Final = frozenset({int, float, bool, NoneType, complex})


class RemoteTraceback(Exception):
    """The traceback of a far error as text, shown as the cause of its copy here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""' if self.args else ""


def encode(
    value: Any,
    buffers: list[Buffer],
    *,
    limit: int = OUT_OF_BAND_BYTES,
    borrow: Borrow | None = None,
) -> Payload:
    """Encode one value and append its large buffers to `buffers`.

    Args:
        value: anything that pickle or cloudpickle can take.
        buffers: gets what travels beside the batch: read-only memory uncopied, writable
            memory as a copy.
        limit: bytes from which on a buffer, or the stream itself, travels beside the batch.
        borrow: has other things travel for the memory of some buffers; whoever decodes puts the
            memory in their place before.

    Raises:
        UnpicklableError: the value, or the part of it that `path` names, cannot travel.
    """
    if is_plain(value, limit):
        return value
    own: list[Buffer] = []
    try:
        payload = _dump(wrapped(value, limit), own, limit, borrow)
    except BaseException as error:  # __reduce__ and __getstate__ of user classes
        pass_on(error)
        raise _unpicklable(error, [("value", value)]) from error
    buffers += own
    return payload


def encode_arguments(
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    buffers: list[Buffer],
    *,
    limit: int = OUT_OF_BAND_BYTES,
) -> tuple[Payload, Payload]:
    """Encode the arguments of a call; returns what stands for `args` and for `kwargs`.

    Raises:
        UnpicklableError: an argument, or the part of it that `path` names, cannot travel.
    """
    # written out, not calling is_plain: this loop is on the way of every far message
    for value in args:
        if (kind := type(value)) is str or kind is bytes:
            plain = len(value) < limit
        else:
            plain = kind in _PLAIN
        if not plain:
            return _encode_arguments(args, kwargs, buffers, limit), None
    if not kwargs:
        return args, None
    if all(is_plain(value, limit) for value in kwargs.values()):
        return args, dict(kwargs)
    return _encode_arguments(args, kwargs, buffers, limit), None


def encode_error(
    error: BaseException, buffers: list[Buffer], *, note: str = ""
) -> Payload:
    """Encode an exception as an answer; never fails on account of the exception.

    It is tried out here whether the exception can be rebuilt; where it cannot, its type's
    name, its text and its traceback travel alone.

    Args:
        error: the exception; its cause and context travel as text, in the traceback.
        buffers: as for `encode`.
        note: added to the copy's notes, for example the url and the handler.
    """
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    lines = "".join(_formatted(error))[-TRACEBACK_CHARACTERS:]
    summary = (name.removeprefix("builtins."), _text(error), lines, note)
    for candidate in (error, _Bare(error)):
        own: list[Buffer] = []
        payload = _tried_out(candidate, own, type(error), summary[1])
        if payload is not None:
            buffers += own
            return [ERROR, summary, payload]
    return [ERROR, summary, None]


def buffer_count(payload: Payload) -> int:
    """Return how many of a frame's buffers belong to this payload."""
    if type(payload) is not list or not payload:
        return 0
    if payload[0] == ERROR:
        return buffer_count(payload[2])
    return int(payload[2])


def decode(payload: Payload, buffers: Iterable[Buffer] = ()) -> Any:
    """Return the value of a payload.

    Args:
        payload: what `encode` returned at the far side.
        buffers: the payload's buffers, or an iterator over a frame's buffers that stands
            at the payload's first; its own are taken before anything can fail.

    Raises:
        VersionMismatch: code by value, from a Python with other bytecode; it was not touched.
        RemoteError: it cannot be rebuilt here; the text says what is missing.
        DependencyRefused, DependencyTransferError: a module could not be shipped.
    """
    if type(payload) is not list:
        return payload
    try:
        own = _own_buffers(payload, buffers)
        if payload[0] == ERROR:
            return decode_error(payload, own)
        _check_magic(payload)
        stream = own.pop(0) if payload[1] is None else payload[1]
    except MALFORMED as error:
        raise RemoteError(f"malformed payload in a message: {error!r}") from error
    try:
        return pickle.loads(stream, buffers=own)
    except BaseException as error:  # pickled classes' own code runs here
        pass_on(error)
        if isinstance(error, _UNSHIPPED):
            raise
        raise RemoteError(_cannot_rebuild(error)) from error


def decode_arguments(
    args: Payload, kwargs: Payload, buffers: Iterable[Buffer] = ()
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call; raises what `decode` raises."""
    if type(args) is tuple:
        return args, kwargs or {}
    if type(args) is Decoded:
        return args.arguments()
    both = decode(args, buffers)
    if type(both) is not tuple or len(both) != 2:
        raise RemoteError(f"malformed arguments in a message: {both!r:.200}")
    return both[0], both[1] or {}


def decode_error(payload: Payload, buffers: Iterable[Buffer] = ()) -> BaseException:
    """Return the exception of an answer, with the far traceback as its cause.

    An exception that cannot be rebuilt here comes back as a `RemoteError` that names its
    type and says why.
    """
    try:
        tag, (name, text, lines, note), cause = payload
    except (TypeError, ValueError):
        tag = None
    if tag != ERROR:
        return RemoteError(f"malformed error in an answer: {payload!r:.200}")
    error: BaseException = RemoteError(f"{name}: {text}")
    why = ""
    if cause is not None:
        try:
            found = decode(cause, buffers)
        except SpliceError as failure:
            why = str(failure)
        else:
            if not isinstance(found, BaseException):
                return RemoteError(f"malformed error in an answer: {found!r:.200}")
            error = found
    error.__cause__ = RemoteTraceback(lines)
    for line in (note, why):
        if line and line not in getattr(error, "__notes__", ()):
            error.add_note(str(line))
    return error


class _Bare:
    """An exception that is rebuilt without its ``__init__``.

    Exceptions pickle as a call of their class with ``args``: one whose ``__init__`` takes
    other arguments, or makes its text from them, does not survive that.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        error = self.error
        return _rebuilt, (type(error), error.args, dict(error.__dict__))


def _tried_out(
    candidate: Any, buffers: list[Buffer], kind: type, text: str
) -> Payload | None:
    """Return the payload of an exception, or None where its copy would be another one."""
    try:
        payload = _dump(candidate, buffers, OUT_OF_BAND_BYTES)
        copy = decode(payload, buffers)
    except BaseException as failure:  # the exception's own code runs here
        pass_on(failure)
        return None
    return payload if type(copy) is kind and _text(copy) == text else None


def _rebuilt(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def is_plain(value: Any, limit: int = OUT_OF_BAND_BYTES) -> bool:
    """Tell whether a value is short and immutable: it stands in a batch as it is."""
    if type(value) in {str, bytes}:
        return len(value) < limit
    return type(value) in _PLAIN


def _encode_arguments(
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    buffers: list[Buffer],
    limit: int,
) -> Payload:
    own: list[Buffer] = []
    both = (
        tuple([wrapped(value, limit) for value in args]),
        kwargs and {name: wrapped(value, limit) for name, value in kwargs.items()},
    )
    try:
        payload = _dump(both, own, limit)
    except BaseException as error:  # __reduce__ and __getstate__ of user classes
        pass_on(error)
        named = [(f"args[{place}]", value) for place, value in enumerate(args)]
        named += [(f"kwargs[{name!r}]", part) for name, part in (kwargs or {}).items()]
        raise _unpicklable(error, named) from error
    buffers += own
    return payload


def _dump(
    value: Any, buffers: list[Buffer], limit: int, borrow: Borrow | None = None
) -> Payload:
    collect = collector(buffers, limit, borrow)
    stream = None if _has_by_value_modules() else _pickle(value, collect)
    if stream is not None:
        payload: list[Any] = [PICKLED, stream, len(buffers)]
    else:
        buffers.clear()
        stream = by_value.dumps(value, collect)
        payload = [BY_VALUE, stream, len(buffers), MAGIC]
    if len(stream) >= limit:
        buffers.insert(0, stream)
        payload[1:3] = None, len(buffers)
    return payload


def _pickle(value: Any, collect: Callable[[pickle.PickleBuffer], bool]) -> bytes | None:
    """Return the stream, or None where cloudpickle has to do it."""
    try:
        stream = pickle.dumps(value, 5, buffer_callback=collect)
    except BaseException as error:  # cloudpickle tries again, and reports what is wrong
        pass_on(error)
        return None
    # pickle "succeeds" with the classes and functions of a script, by a name that means
    # something else on the far side; this finds __main__ and __mp_main__
    return None if b"_main__" in stream else stream


def _has_by_value_modules() -> bool:
    cloudpickle = sys.modules.get("cloudpickle")
    # another thread may be importing it just now: then nothing is registered
    registered = getattr(cloudpickle, "list_registry_pickle_by_value", None)
    return registered is not None and bool(registered())


def _own_buffers(payload: list[Any], buffers: Iterable[Buffer]) -> list[Buffer]:
    count = buffer_count(payload)
    own = list(islice(iter(buffers), count))
    if len(own) < count:
        raise RemoteError(f"{len(own)} of {count} buffers of a message arrived")
    return own


def _check_magic(payload: list[Any]) -> None:
    if payload[0] == PICKLED:
        return
    if payload[0] != BY_VALUE:
        raise RemoteError(f"no payload has the tag {payload[0]!r}")
    if payload[3] != MAGIC:
        raise VersionMismatch(
            f"a function or class by value, compiled for bytecode {payload[3].hex()}, cannot "
            f"run here (Python {sys.version.split()[0]}, {MAGIC.hex()}); put it into a module "
            "that both nodes can import, or use the same Python on both"
        )


def _cannot_rebuild(error: BaseException) -> str:
    what = f"{type(error).__name__}: {_text(error)}"
    if isinstance(error, ImportError):
        name = error.name or str(error)
        return (
            f"a message cannot be rebuilt here: {what}; make the module {name!r} importable "
            "on this node"
        )
    if isinstance(error, AttributeError):
        return (
            f"a message cannot be rebuilt here: {what}; the module on this node is another "
            "than the sender's, install the same one on both"
        )
    return f"a message cannot be rebuilt here: {what}"


def _unpicklable(
    error: BaseException, named: Iterable[tuple[str, Any]]
) -> UnpicklableError:
    path, part = find_culprit(named, _travels)
    return UnpicklableError(
        f"{path} cannot travel to another node: {type(part).__module__}."
        f"{type(part).__qualname__}, {_text(error)}; {remedy_for(part)}",
        path=path,
    )


def _travels(value: Any) -> bool:
    try:
        _dump(value, [], OUT_OF_BAND_BYTES)
    except BaseException as error:  # user code again
        pass_on(error)
        return False
    return True


def _formatted(error: BaseException) -> Iterator[str]:
    try:
        yield from traceback.format_exception(error)
    except BaseException as failure:  # a broken __str__ deep in the chain
        pass_on(failure)
        yield f"(its traceback cannot be shown: {type(failure).__name__})\n"


def _text(error: object) -> str:
    try:
        return str(error)
    except BaseException as failure:  # the user's __str__
        pass_on(failure)
        return f"<{type(error).__qualname__} whose text cannot be shown>"
