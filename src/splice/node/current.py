"""The current node: that of the running handler, else of what is being unpickled, else the default.

The default node of the OS process is the only global state of splice; `runtime` keeps it, and says
here how it is started.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from splice.actor.context import Worker, current_cell, may_wait_for
from splice.errors import CannotWait

if TYPE_CHECKING:
    from collections.abc import Callable

    from splice.actor.proxy import Proxy
    from splice.node.node import Node
    from splice.uri import url

decoding: ContextVar[Any] = ContextVar("splice_decoding_node", default=None)
"""The node whose mail is being unpickled just now."""


def current_node() -> Node | None:
    """Return the node that the running code belongs to, or None outside of any."""
    cell = current_cell()
    if cell is not None:
        home: Any = cell.scheduler.home  # no `cast`, which is a call
        here: Node = home
        return here
    node: Node | None = decoding.get()
    return node


class Default:
    """How the default node of the OS process is found, and started if need be.

    Attributes:
        find: returns it.
        adopt: takes a node for it, which runs on a thread that somebody else provides.
    """

    find: Callable[[], Node]
    adopt: Callable[[Node], None]


default = Default()


def node_here() -> Node:
    """Return the current node; outside of any the default one, which is started if need be."""
    node = current_node()
    return default.find() if node is None or node.is_closed else node


def node_to_wait_for(call: str, instead: str = "") -> Node:
    """Return the current node for what waits for it; call it before anything is done.

    Args:
        call: the name of the caller in `runtime`.
        instead: what may be awaited in an ``async def`` handler; the same in a thread if empty.

    Raises:
        CannotWait: waiting here would stop the node's loop.
    """
    here = getcurrent()
    if (
        type(here) is Worker and not here.callbacks
    ):  # nearly always: spare it three calls
        home: Any = here.scheduler.home
        node: Node = home
        return default.find() if node.is_closed else node
    node = node_here()
    if may_wait_for(node.scheduler.thread):
        return node
    instead = instead or f"asyncio.to_thread(runtime.{call}, ...)"
    raise CannotWait(
        f"runtime.{call} would wait here and stop the node's loop, so nothing was done; in an "
        f"async handler write `await {instead}`, or call it in a plain one"
    )


def rebuild_proxy(where: url, class_name: str) -> Proxy:
    """Make the proxy of the process at `where` on the current node; for pickle."""
    # first, for what takes in mail may run in a context that an async handler has left behind
    node: Node | None = decoding.get()
    if node is None or node.is_closed:
        node = node_here()
    return node.connect(where, class_name)
