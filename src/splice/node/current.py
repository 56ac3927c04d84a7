"""The current node: that of the running handler, else of what is being unpickled, else the default.

The default node of the OS process is the only global state of splice; `runtime` keeps it, and says
here how it is started.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from splice.actor.context import current_cell

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


def rebuild_proxy(where: url, class_name: str) -> Proxy:
    """Make the proxy of the process at `where` on the current node; for pickle."""
    # first, for what takes in mail may run in a context that an async handler has left behind
    node: Node | None = decoding.get()
    if node is None or node.is_closed:
        node = node_here()
    return node.connect(where, class_name)
