"""Nodes whose tcp connections are not encrypted, to measure what CURVE costs.

There is no setting for that, on purpose: what guards the sockets is taken out of this OS process
and out of the nodes that it starts.  The handshake of splice itself stays.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from splice import runtime
from splice.net.keys import Keys
from splice.node.children import FORKED
from splice.node.launch import OsLauncher

SERVE: Final = f"{__name__}:serve"


def strip() -> None:
    """Use no CURVE from now on; the nodes that are forked neither."""
    _take_out()
    runtime.node.children._launcher = _Launcher()


def serve(boot: bytes, ready: Any) -> None:
    """Run a forked node without it; called in an OS process of its own."""
    _take_out()
    module, function = FORKED.split(":")
    getattr(import_module(module), function)(boot, ready)


class _Launcher(OsLauncher):
    def start(self, boot: bytes, *, target: str, **rest: Any) -> Any:
        return super().start(boot, target=SERVE, **rest)


def _take_out() -> None:
    for name in ("guard", "unlock"):
        setattr(Keys, name, lambda self, socket: None)
