"""Sessions: map and apply on workers of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splice.cluster.sessions import Session, session

__all__ = ["Session", "session"]


def __getattr__(name: str) -> Any:
    # not before: a worker is in this package too, and needs nothing of the client's side
    if name in __all__:
        from splice.cluster import sessions

        return getattr(sessions, name)
    raise AttributeError(f"module 'splice.cluster' has no attribute {name!r}")
