"""Family: the children of one supervisor, found by their ids or by their proxies.

In starting order.  A supervisor may have many thousands of children that come and go, so what is
done about one of them must not look at all.  In the handlers of the supervisor only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from splice.actor.childspec import ChildCounts, ChildInfo, ChildSpec
from splice.actor.proxy import Proxy
from splice.actor.restart import Member
from splice.actor.supervised import Child, Load
from splice.errors import ChildExists, ChildRunning, NoSuchChild


class Family:
    """The children of one supervisor.

    Args:
        is_simple: all are made alike and have no ids, but are known by their proxies.
    """

    def __init__(self, *, is_simple: bool) -> None:
        self._is_simple = is_simple
        self._children: dict[Any, Child] = {}

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children.values())

    def __reversed__(self) -> Iterator[Child]:
        return reversed(self._children.values())

    def __contains__(self, found: Child) -> bool:
        return self._children.get(found.key) is found

    def __getitem__(self, key: Any) -> Child:
        return self._children[key]

    # ---- who belongs to it

    def check_new(self, key: Any) -> None:
        """Raise `ChildExists` if there is a child of that key."""
        if key in self._children:
            raise ChildExists(f"there is a child {key!r} already; restart or delete it")

    def add(self, made: Child) -> None:
        """Take in a child that is about to be started."""
        self._children[made.key] = made

    def remove(self, found: Child) -> None:
        """Strike a child out."""
        del self._children[found.key]

    def clear(self) -> None:
        """Strike all children out."""
        self._children.clear()

    # ---- looking

    def find(self, key: Any) -> Child:
        """Return the child of that id; in ``simple_one_for_one`` the one of that proxy.

        Raises:
            NoSuchChild: there is none.
        """
        if self._is_simple:
            for found in self:
                if isinstance(key, Proxy) and found.proxy == key:
                    return found
        elif key in self._children:
            return self._children[key]
        known = ", ".join(repr(k) for k in self._children) or "none"
        raise NoSuchChild(f"there is no child {key!r}; there are: {known}")

    def stopped(self, key: Any) -> Child:
        """Return the child of that id, which does not run.

        Raises:
            NoSuchChild: there is none.
            ChildRunning: it runs, or is about to be restarted.
        """
        if self._is_simple:
            raise NoSuchChild("children of simple_one_for_one are not kept when ended")
        found = self.find(key)
        if found.state != "stopped":
            raise ChildRunning(f"child {key!r} is {found.state}; terminate it before")
        return found

    def members(self) -> list[Member]:
        """Return what a decision needs to know of the children."""
        return [found.member for found in self]

    def load(self, spec: ChildSpec) -> Load:
        """Return how many children run on each node, for a child that is to live on one."""
        if not spec.dest:  # it lives here: one of many thousands need not count them
            return {}
        return Counter(found.address for found in self if found.state == "running")

    def infos(self) -> list[ChildInfo]:
        """Return what is told of each child, in starting order."""
        return [
            ChildInfo(
                None if self._is_simple else found.key,
                found.proxy,
                found.spec.restart,
                found.state,
            )
            for found in self
        ]

    def counts(self) -> ChildCounts:
        """Return how many children there are."""
        count = len(self._children)
        supervisors = sum(found.spec.type == "supervisor" for found in self)
        return ChildCounts(
            specs=1 if self._is_simple else count,
            active=sum(found.state == "running" for found in self),
            supervisors=supervisors,
            workers=count - supervisors,
        )
