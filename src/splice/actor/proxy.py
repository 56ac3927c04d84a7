"""Proxies: what one holds of a process; a call on one is a message.

For each process class a proxy class is generated whose methods have the signatures of the handlers,
so Python itself checks the arguments, at the caller::

    def add(self, k, by=UNSET):                       # of ``def add(self, k, by=1)``
        ...
        return self._sp_target.ask(HANDLER, (k,), None)

The target is a `Cell` for a process of this node, and a remote target of the node for a far one.
A class that this node does not know has proxies of `AnyProxy`, which take any public name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from splice.actor.context import may_wait_for
from splice.actor.handlers import Handler, NamedHandler, handlers_of
from splice.actor.process import Process, ProcessMeta
from splice.actor.promise import Promise
from splice.errors import CannotWait, CoroutineEnded, NoSuchHandler
from splice.uri import Resource, plain, url

if TYPE_CHECKING:
    from splice.actor.scheduler import Scheduler

_Url = url


class ProxyTarget(Protocol):
    """A process near or far, as proxies see it.

    Attributes:
        scheduler: that of the node that settles what it answers.
    """

    scheduler: Scheduler

    @property
    def url(self) -> _Url:
        """Its url."""

    def ask(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message and return the promise of its answer.  Thread-safe."""

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> Promise:
        """Send a message without an answer; a promise of delivery.  Thread-safe."""

    def stop(self) -> Promise:
        """Stop the process; a promise of its end."""

    def rebuilder(self) -> Callable[[_Url, str], Proxy]:
        """Return the function that makes a proxy of it from its url and its class's name."""


class Unset:
    """The value of an argument that was not given."""

    def __repr__(self) -> str:
        return "_sp_U"  # its name in the source of a stub


UNSET: Final = Unset()


class Proxy:
    """A handle of one process, near or far; an immutable value.

    Hashable, comparable (by url), picklable, usable from any thread and any asyncio loop.
    """

    __slots__ = ("_sp_target",)

    _sp_target: ProxyTarget

    def __init__(self, target: ProxyTarget) -> None:
        _set_target(self, target)

    @property
    def sp_url(self) -> url:
        """The url of the process."""
        return self._sp_target.url

    @property
    def sp_id(self) -> Resource:
        """Its name, or its id on its node."""
        return plain(_resource_of(self._sp_target))

    if not TYPE_CHECKING:  # a type checker would take any name

        def __getattr__(self, name: str) -> Any:
            known = ", ".join(
                n for n in dir(type(self)) if not n.startswith(("_", "sp_"))
            )
            raise NoSuchHandler(
                f"{type(self).__name__} has no handler {name!r}; it has: {known or 'none'}",
                name=name,
                obj=self,
            )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"a proxy cannot be changed; {name!r} belongs to the process: send it a message"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        mine, theirs = self._sp_target, other._sp_target
        if mine is theirs:
            return True
        # urls last: that of a near process has the node open its sockets
        return _resource_of(mine) == _resource_of(theirs) and _are_one(
            mine.url, theirs.url
        )

    def __hash__(self) -> int:
        return hash(_resource_of(self._sp_target))

    def __copy__(self) -> Proxy:
        return self

    def __deepcopy__(self, memo: Any) -> Proxy:
        return self

    def __enter__(self) -> Any:
        if not may_wait_for(self._sp_target.scheduler.thread):
            raise CannotWait(
                f"the end of the block would wait for {self._sp_target} to stop, and stop the "
                "node's loop meanwhile; in an async handler write `async with`"
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sp_target.stop().get()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._sp_target.stop()

    def __reduce__(self) -> Any:
        name = getattr(type(self), "_sp_class_name", "")
        return self._sp_target.rebuilder(), (self.sp_url, name)

    def __repr__(self) -> str:
        return f"<proxy of {self._sp_target}>"


_set_target: Final[Callable[[Any, Any], None]] = cast(Any, Proxy)._sp_target.__set__


def _are_one(mine: url, theirs: url) -> bool:
    # urls of two that have borne a name are equal; a text form tells of no serial
    one, other = mine.serial, theirs.serial
    return mine == theirs and (one == other or one is None or other is None)


def _resource_of(target: ProxyTarget) -> Resource:
    near: Resource | None = getattr(target, "ident", None)
    return target.url.resource if near is None else near


class Iterated:
    """What iterates over the answers of a process to ``next``, in step, until `CoroutineEnded`."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self.next().get()  # type: ignore[attr-defined]
        except CoroutineEnded as end:
            raise StopIteration(end.value) from None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.next()  # type: ignore[attr-defined]
        except CoroutineEnded:
            raise StopAsyncIteration from None


class AnyProxy(Iterated, Proxy):
    """A proxy of a process whose class is not known here: it takes any public name.

    It can be iterated, as what it stands for may be a coroutine.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "sp_")):
            raise AttributeError(f"{name!r} is no handler")
        return BoundHandler(self, NamedHandler(name))


class BoundHandler:
    """What ``proxy.name`` is on an `AnyProxy`."""

    __slots__ = ("_handler", "_proxy")

    def __init__(self, proxy: Proxy, handler: Handler) -> None:
        self._proxy = proxy
        self._handler = handler

    def __call__(self, *args: Any, **kwargs: Any) -> Promise:
        """Send the message."""
        return self._proxy._sp_target.ask(
            self._handler, _near(args), _near_items(kwargs)
        )

    def sp_tell(self, *args: Any, **kwargs: Any) -> Promise:
        """Send the message one way."""
        return self._proxy._sp_target.tell(
            self._handler, _near(args), _near_items(kwargs)
        )

    def __repr__(self) -> str:
        return f"<handler {self._handler.name} of {self._proxy!r}>"


def tell(handler: Callable[..., Any], *args: Any, **kwargs: Any) -> Promise:
    """Send a message one way: no answer travels back, an error is logged over there.

    Args:
        handler: the handler of a proxy, as in ``tell(counter.add, 1)``.
        args, kwargs: what the handler is called with.

    Returns:
        A promise of *delivery*: settled with None when the message is in the mailbox.

    Raises:
        TypeError: `handler` is no handler of a proxy, or the arguments do not fit it.
    """
    if type(handler) is BoundHandler:
        return handler.sp_tell(*args, **kwargs)
    try:
        one_way: Callable[..., Promise] = handler.sp_tell  # type: ignore[attr-defined]
        proxy = handler.__self__  # type: ignore[attr-defined]
    except AttributeError:
        raise TypeError(f"tell wants the handler of a proxy, not {handler!r}") from None
    if kwargs:
        return one_way(proxy, *args, **kwargs)
    return one_way(proxy, *args)  # without the merging of names: a tenth of a tell


def proxy_class(cls: type) -> type[Proxy]:
    """Return the class of the proxies of `cls`; it is made once and kept on `cls`."""
    made: type[Proxy] | None = cls.__dict__.get("_sp_proxy_class")
    if made is None:
        made = _make_proxy_class(cls)
        type.__setattr__(cls, "_sp_proxy_class", made)
    return made


def proxy_class_named(name: str) -> type[Proxy]:
    """Return the class of the proxies of ``module:qualname``, if this OS process knows that.

    Nothing is imported for it: an import could run anything, and the generic proxy does as well.
    """
    module_name, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Process):
        return proxy_class(found)
    return AnyProxy


def _make_proxy_class(cls: type) -> type[Proxy]:
    base: type[Proxy] = getattr(cls, "sp_proxy_base", Proxy)
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "_sp_class_name": f"{cls.__module__}:{cls.__qualname__}",
    }
    for name, handler in handlers_of(cls).items():
        if not hasattr(base, name):
            namespace[name] = _stub(handler)
    return type(cls.__name__, (base,), namespace)


# ---- generated methods


def _stub(handler: Handler) -> Callable[..., Promise]:
    assert handler.function is not None
    try:
        signature = inspect.signature(handler.function)
    except (TypeError, ValueError):  # compiled code that does not tell
        signature = _UNKNOWN
    stub = _compile(handler, signature, "ask")
    stub.sp_tell = _compile(handler, signature, "tell")  # type: ignore[attr-defined]
    stub.__signature__ = signature  # type: ignore[attr-defined]
    stub.__doc__ = handler.function.__doc__
    for name in ("__module__", "__qualname__"):
        setattr(stub, name, getattr(handler.function, name, handler.name))
    return stub


def _anything(*args: Any, **kwargs: Any) -> None: ...


_UNKNOWN: Final = inspect.signature(_anything)


def _compile(
    handler: Handler, signature: inspect.Signature, how: str
) -> Callable[..., Promise]:
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del parameters[0]  # self
    source = _source(handler.name, parameters, how)
    scope: dict[str, Any] = {
        "_sp_H": handler,
        "_sp_U": UNSET,
        "_sp_near": _near,
        "_sp_one": _near_one,
        "_sp_items": _near_items,
        "_sp_type": type,
    }
    exec(compile(source, f"<proxy of {handler.name}>", "exec"), scope)  # noqa: S102 - our own text
    return cast("Callable[..., Promise]", scope[handler.name])


def _source(name: str, parameters: list[inspect.Parameter], how: str) -> str:
    """Write the stub: declare the parameters, gather args and kwargs, send."""
    head = f"def {name}{_declare(parameters)}:"
    if all(_is_required(p) for p in parameters):
        names = [p.name for p in parameters]
        # a process has a metaclass, and hardly anything else has
        turned = [
            f"    if _sp_type(_sp_type({n})) is not _sp_type: {n} = _sp_one({n})"
            for n in names
        ]
        args = "".join(f"{n}, " for n in names)
        send = f"    return _sp_self._sp_target.{how}(_sp_H, ({args}), None)"
        return "\n".join([head, *turned, send])
    send = f"    return _sp_self._sp_target.{how}(_sp_H, _sp_near(_sp_a), _sp_items(_sp_k))"
    return "\n".join([head, *_gather(parameters), send])


def _is_required(parameter: inspect.Parameter) -> bool:
    return (
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    )


def _declare(parameters: list[inspect.Parameter]) -> str:
    """Return the parameters as source, each default replaced by the name ``_sp_U``."""
    own = inspect.Parameter("_sp_self", inspect.Parameter.POSITIONAL_ONLY)
    bare = [
        p.replace(
            annotation=p.empty, default=p.empty if p.default is p.empty else UNSET
        )
        for p in parameters
    ]
    return str(inspect.Signature([own, *bare]))


def _gather(parameters: list[inspect.Parameter]) -> list[str]:
    """Write lines that gather what was given: by position up to the first gap."""
    lines = ["    _sp_a, _sp_k, _sp_gap = [], {}, False"]
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            lines.append(f"    _sp_a.extend({p.name})")
        elif p.kind is p.VAR_KEYWORD:
            lines.append(f"    _sp_k.update({p.name})")
        elif p.kind is p.KEYWORD_ONLY:
            lines.append(f"    if {p.name} is not _sp_U: _sp_k[{p.name!r}] = {p.name}")
        else:
            lines += [
                f"    if {p.name} is _sp_U: _sp_gap = True",
                f"    elif _sp_gap: _sp_k[{p.name!r}] = {p.name}",
                f"    else: _sp_a.append({p.name})",
            ]
    return lines


def _near_one(arg: Any) -> Any:
    """Replace a process by its proxy, and nothing else."""
    if isinstance(type(arg), ProcessMeta) and arg.sp_is_running:
        return arg.sp_proxy
    return arg


def _near(args: Iterable[Any]) -> tuple[Any, ...]:
    """Replace processes among direct arguments by their proxies."""
    return tuple(map(_near_one, args))


def _near_items(kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Do the same with arguments given by name; None when there are none."""
    return dict(zip(kwargs, _near(kwargs.values()), strict=True)) if kwargs else None
