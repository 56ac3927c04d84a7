"""Installing: lets a worker's imports reach its client; called once, when its node is up.

Nothing is asked before the first import that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from splice.node.current import node_here
from splice.node.held import Held
from splice.shipping import installed
from splice.shipping.answers import Ship
from splice.shipping.fetcher import Fetcher
from splice.shipping.finder import Finder
from splice.shipping.gate import Gate
from splice.shipping.patience import Patience
from splice.shipping.store import Store, store_folder
from splice.shipping.versions import Watch
from splice.uri import url

if TYPE_CHECKING:
    from splice.node.node import Node


@dataclass(frozen=True, slots=True)
class Shipping:
    """What a worker has to know.

    Attributes:
        supplier: where the client's supplier is.
        ship: what comes from there.
        versions: of the client's distributions, to warn of others; empty: warn of nothing.
    """

    supplier: url
    ship: Ship
    versions: Mapping[str, str]


def prepare(shipping: Shipping, init: Any) -> None:
    """Begin a worker's life: let its imports reach the client, then run what the user wants first.

    Args:
        shipping: how they reach it.
        init: packed by `splice.cluster.packed`, or None.
    """
    install(node_here(), shipping)
    if init is not None:
        init.unpack()()


def install(node: Node, shipping: Shipping) -> None:
    """Have what this OS process imports fetched from the client."""
    scheduler = node.scheduler
    patience = Patience(node)
    Gate(scheduler.thread, patience.pause, patience.postpone).install()
    node.exchange.held = Held(node.exchange, node)
    supplier: Any = node.connect(shipping.supplier)
    fetcher = Fetcher(supplier, lambda: Store(store_folder()), patience)
    finder = Finder(fetcher, prefer_client=shipping.ship == "client")
    finder.install()
    if shipping.versions:
        Watch(shipping.versions, partial(patience.tell, supplier.differs)).install()
    installed.finder = finder
