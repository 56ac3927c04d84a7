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
        self._keys: dict[Proxy, Any] = {}  # of children without ids

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children.values())

    def __reversed__(self) -> Iterator[Child]:
        return reversed(self._children.values())

    def __contains__(self, found: Child) -> bool:
        return self._children.get(found.key) is found

    def __getitem__(self, key: Any) -> Child:
        return self._children[key]

    # ---- who belongs to it

    def new_key(self, name: str, numbers: Iterator[int]) -> str:
        """Return a key for a child that was given none: no user's has it."""
        keys = (f"{name}-{number}" for number in numbers)
        return next(key for key in keys if key not in self._children)

    def check_new(self, key: Any) -> None:
        """Raise `ChildExists` if there is a child of that key."""
        if key in self._children:
            raise ChildExists(f"there is a child {key!r} already; restart or delete it")

    def start(self, made: Child) -> None:
        """Take in a child and start it; one that does not start is not kept."""
        load = self._load(made.spec)
        self._children[made.key] = made
        try:
            made.start(load)
        except Exception:
            del self._children[made.key]
            raise
        if self._is_simple:
            self._keys[made.proxy] = made.key

    def restart(self, found: Child) -> None:
        """Begin another life of a child, which may have to live elsewhere then."""
        before = found.proxy
        found.restart(self._load(found.spec))
        if self._is_simple and found.proxy != before:
            del self._keys[before]
            self._keys[found.proxy] = found.key

    def remove(self, found: Child) -> None:
        """Strike a child out."""
        del self._children[found.key]
        if self._is_simple:
            del self._keys[found.proxy]

    def clear(self) -> None:
        """Strike all children out."""
        self._children.clear()
        self._keys.clear()

    # ---- looking

    def find(self, key: Any) -> Child:
        """Return the child of that id; in ``simple_one_for_one`` the one of that proxy.

        Raises:
            NoSuchChild: there is none.
        """
        if self._is_simple:
            return self._find_simple(key)
        if key in self._children:
            return self._children[key]
        known = ", ".join(repr(k) for k in self._children) or "none"
        raise NoSuchChild(f"there is no child {key!r}; there are: {known}")

    def _find_simple(self, proxy: Any) -> Child:
        if isinstance(proxy, Proxy) and proxy in self._keys:
            return self._children[self._keys[proxy]]
        raise NoSuchChild(
            f"{proxy!r} is none of the {len(self._children)} children; in "
            "simple_one_for_one each is known by its proxy, until it has ended for good"
        )

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

    def members(self, ended: Child, *, is_alone: bool) -> list[Member]:
        """Return what a decision about `ended` needs to know: of all children, or of it alone."""
        if is_alone and not ended.spec.significant:
            return [ended.member]
        return [found.member for found in self]

    def _load(self, spec: ChildSpec) -> Load:
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
