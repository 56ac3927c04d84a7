"""View: addresses of nodes, or proxies, in order; a call on a view of proxies goes to all.

A view has length, iteration, indexing and equality, and nothing else that could stand in the way of
a handler's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from splice.actor.promise import Promise

T = TypeVar("T")


class View(Generic[T]):
    """An ordered, immutable set of nodes or of proxies.

    Args:
        members: addresses (``str``) or proxies.

    ``view.handler(x)`` sends to each member and returns the list of promises, in order.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[T]) -> None:
        object.__setattr__(self, "_members", tuple(members))

    _members: Sequence[T]

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        return iter(self._members)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> View[T]: ...

    def __getitem__(self, index: int | slice) -> T | View[T]:
        if isinstance(index, slice):
            return View(self._members[index])
        return self._members[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, View):
            return tuple(self._members) == tuple(other._members)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._members)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a view cannot be changed")

    def __getattr__(self, name: str) -> Callable[..., list[Promise]]:
        if name.startswith("_"):
            raise AttributeError(f"a view has no attribute {name!r}")
        if not self._members:
            raise AttributeError(f"an empty view has no handler {name!r}")
        handlers = [getattr(member, name) for member in self._members]

        def send_to_all(*args: Any, **kwargs: Any) -> list[Promise]:
            return [handler(*args, **kwargs) for handler in handlers]

        return send_to_all

    def __reduce__(self) -> Any:
        return View, (self._members,)

    def __repr__(self) -> str:
        return f"View({list(self._members)!r})"
