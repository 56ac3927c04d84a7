"""Sessions: map and apply on workers of one's own."""

from splice.cluster.session import Session, session

__all__ = ["Session", "session"]
