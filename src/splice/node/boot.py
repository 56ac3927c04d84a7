"""The first lines of a forked node, in its own OS process: `run_node` is its whole life."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
from typing import TYPE_CHECKING, Any

from splice.config import GC_THRESHOLDS
from splice.net.codec import decode
from splice.node.agent import NAME, Agent
from splice.node.current import decoding, default
from splice.node.loop import run_loop
from splice.node.node import Node
from splice.node.watchdog import watchdog

if TYPE_CHECKING:
    from splice.node.lifeline import Ready


def run_node(boot: bytes, ready: Ready) -> None:
    """Live as a node on this thread until shut down; the target of `Children.fork`."""
    gc.set_threshold(*GC_THRESHOLDS)
    settings = pickle.loads(boot)
    run_loop(_live(settings, ready))


async def _live(settings: dict[str, Any], ready: Ready) -> None:
    node = await start_node(settings)
    default.adopt(node)
    watchdog.watch(node)
    try:
        run_init(settings)
    except BaseException:
        await node.shut_down()  # or the end of the program would try, without the loop
        raise
    gone = asyncio.Event()
    node.on_closed = gone.set
    ready(report(node))
    await gone.wait()


async def start_node(
    settings: dict[str, Any],
    loop: asyncio.AbstractEventLoop | None = None,
    **seams: Any,
) -> Node:
    """Make the node of a forked OS process.

    Args:
        settings: the boot message.
        loop: the running one when None.
        seams: what the simulator hands in; see `Node`.
    """
    node = Node(loop or asyncio.get_running_loop(), settings["config"], **seams)
    decoding.set(node)  # for everything that this loop's tasks unpickle
    node.open()
    await node.spawn(Agent, (), {}, NAME)
    return node


def run_init(settings: dict[str, Any]) -> None:
    """Call the ``init`` function that came with the boot message, if there is one."""
    payload, buffers = settings["init"]
    init = decode(payload, buffers)
    if init is not None:
        init()


def report(node: Node) -> dict[str, Any]:
    """Return what a child tells the node that forked it."""
    return {
        "address": node.address,
        "incarnation": node.incarnation,
        "pid": os.getpid(),
    }
