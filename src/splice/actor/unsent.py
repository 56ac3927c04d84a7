"""Unsent: a message that is made now and sent later, or again and again.

Its arguments are checked, and processes among them replaced by their proxies, as in any call of a
handler: what is wrong with them is said at the line that is to blame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from splice.actor.handlers import Handler
from splice.actor.promise import Promise, Tell
from splice.actor.proxy import BoundHandler, Proxy, ProxyTarget
from splice.errors import Overloaded


def _proxy_of(message: Unsent) -> Proxy:
    # it is called as `tell` calls a process, and in no other way
    return Proxy(cast("ProxyTarget", message))


class Unsent:
    """A message to a handler of a proxy.

    Args:
        handler: as for `tell`: ``counter.add``.
        args, kwargs: what it is to be called with.

    Attributes:
        target: the process, as its proxies see it.

    Raises:
        TypeError: `handler` is no handler of a proxy, or the arguments do not fit it.
        UnpicklableError: it is to go to another node, and an argument cannot travel.
    """

    __slots__ = ("_handler", "_send", "target")

    def __init__(
        self, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        one_way = getattr(handler, "sp_tell", None)
        if type(handler) is BoundHandler:
            self.target: Any = handler._proxy._sp_target
            BoundHandler(_proxy_of(self), handler._handler).sp_tell(*args, **kwargs)
        elif one_way is not None and isinstance(
            getattr(handler, "__self__", None), Proxy
        ):
            self.target = handler.__self__._sp_target  # type: ignore[attr-defined]
            # the very function that `tell` calls, with ourselves for the process
            one_way(_proxy_of(self), *args, **kwargs)
        else:
            raise TypeError(
                f"a timer wants the handler of a proxy, not {handler!r}; "
                "as in send_after(5, counter.add, 1)"
            )

    def tell(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> None:
        """Take the message that a proxy would send."""
        self._handler = handler
        pack = getattr(self.target, "pack_tell", None)
        if pack is None:
            target = self.target
            self._send: Callable[[], Promise] = lambda: target.tell(
                handler, args, kwargs
            )
        else:  # it travels as it is now, and a later change does not
            self._send = pack(handler, args, kwargs)

    def send(self) -> Promise:
        """Send it; a promise of delivery, as of `tell`.

        A timer does not wait for room: the promise fails where a sender would have to.
        """
        try:
            return self._send()
        except Overloaded as error:
            message = Tell(self.target, self._handler)
            message.reject(error)
            return message

    def __str__(self) -> str:
        return f"{self.target}.{self._handler.name}"
