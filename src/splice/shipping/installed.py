"""Installed: the finder of this OS process, if its modules come from a client.

The worker tells it of each map and call: the user may have installed something in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splice.shipping.finder import Finder

finder: Finder | None = None
# Module state, since an OS process has one way to import.


def look_again() -> None:
    """Have the finder ask before the next miss whether there is more at the client now."""
    if finder is not None:
        finder.look_again()
