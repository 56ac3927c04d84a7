"""Shipment: what a session has of shipping: the client's supplier, from start to end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from splice.shipping.answers import Dependency, Ship
from splice.shipping.installing import Shipping, prepare
from splice.shipping.supplier import Supplier
from splice.shipping.versions import versions_in

if TYPE_CHECKING:
    from splice.node.node import Node


class Shipment:
    """The client's end of shipping; thread-safe.

    Args:
        node: the client's.
        ship: what workers get from here.
        deny: names of modules and distributions that they do not get.
        max_unit_bytes: size of the largest unit that they get.

    Raises:
        ValueError: `ship` is none of its values.
        TypeError: `deny` is one name instead of a collection of them.
    """

    def __init__(
        self, node: Node, ship: Ship, deny: Collection[str], max_unit_bytes: int
    ) -> None:
        if ship not in get_args(Ship):
            raise ValueError(
                f"ship is one of {', '.join(get_args(Ship))}, not {ship!r}"
            )
        if isinstance(deny, str):
            raise TypeError(f"deny wants a collection of names, as [{deny!r}]")
        self._node = node
        self._ship = ship
        self._supplier: Any = None
        if ship != "off":
            made = node.spawn(Supplier, (frozenset(deny), max_unit_bytes), {}, None)
            self._supplier = made.get()

    def before(self, init: Any) -> Callable[[], None] | None:
        """Return what a worker calls first: it lets imports come here, and runs `init`.

        Args:
            init: a packed function, or None.
        """
        if self._supplier is None:
            return None if init is None else partial(_run, init)
        versions = versions_in(sys.path) if self._ship == "missing" else {}
        shipping = Shipping(self._supplier.sp_url, self._ship, versions)
        return partial(prepare, shipping, init)

    def dependencies(self) -> list[Dependency]:
        """Return what workers have used so far, in the order it was first used."""
        if self._supplier is None:
            return []
        found: list[Dependency] = self._supplier.dependencies().get()
        return found

    def end(self) -> None:
        """Give nothing more."""
        if self._supplier is not None and not self._node.is_closed:
            self._node.kill(self._supplier._sp_target)


def _run(init: Any) -> None:
    init.unpack()()
