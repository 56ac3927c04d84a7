"""Dump: everything a node is doing, as one text for people.

::

    node tcp://127.0.0.1:40123, incarnation 1f2e, OS process 4711: 1003 processes
      Till 3: waiting 4.2 s in pay at shop.py:12 in pay, 2 messages
        for Bank 4.book at tcp://127.0.0.1:40123/4
        supervised by Shop 1 at tcp://127.0.0.1:40123/1
      Clerk 5: idle
        linked to Till 3 at tcp://127.0.0.1:40123/3
      1000 Counter, 2 Till of Shop 1 at tcp://127.0.0.1:40123/1: idle
    timers
      in 3.2 s, every 5 s: Till 3.tick
    nodes it talks with
      tcp://127.0.0.1:40124: connected, 0 bytes not acknowledged
    children
      tcp://127.0.0.1:40124, OS process 4712

It reads and asks nobody, from any thread.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from splice.actor.info import ProcessInfo

if TYPE_CHECKING:
    from splice.node.node import Node


TIED_LINES: Final = 100
"""Idle processes with links or monitors that get a line each: a person reads no more."""

NAMES: Final = 10
"""Links and monitors of one process that are named: likewise."""


def dump_of(node: Node) -> str:
    """Return what a node is doing, lines of text; see the module."""
    return "\n".join(_lines(node)) + "\n"


def _lines(node: Node) -> Iterator[str]:
    infos = node.infos()
    here = node.known_address or "without an address"
    yield (
        f"node {here}, incarnation {node.incarnation:x}, OS process {os.getpid()}: "
        f"{len(infos)} processes"
    )
    yield from _processes(infos)
    now = node.loop.time()
    # those without words are the time-outs of waits, which stand with the processes
    timers = [timer for timer in node.scheduler.timers.pending() if timer.what]
    if timers:
        yield "timers"
    for timer in timers:
        every = "" if timer.every is None else f", every {timer.every:g} s"
        yield f"  in {max(0.0, timer.when - now):.1f} s{every}: {timer.what}"
    peers = node.peers.known() if node.peers is not None else []
    if peers:
        yield "nodes it talks with"
    for peer in peers:
        state = "connected" if peer.is_connected else "not connected"
        yield f"  {peer}: {state}, {peer.backlog_bytes} bytes not acknowledged"
    children = list(node.children)
    if children:
        yield "children"
    for child in children:
        yield f"  {child.address or 'not ready yet'}, OS process {child.pid}"


def _processes(infos: list[ProcessInfo]) -> Iterator[str]:
    idle: Counter[str] = Counter()
    tied = 0
    for info in infos:
        if info.state == "idle":
            tied += bool(info.links or info.monitors)
            if not (info.links or info.monitors) or tied > TIED_LINES:
                # a million of them are one line
                whose = f" of {info.supervisor}" if info.supervisor else ""
                idle[f"{info.class_name}{whose}"] += 1
                continue
        yield f"  {_busy(info)}"
        for whom in info.waiting_for:
            yield f"    for {whom}"
        yield from _ties(info)
    if idle:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(idle.items()))
        yield f"  {kinds}: idle"


def _ties(info: ProcessInfo) -> Iterator[str]:
    if info.links:
        yield f"    linked to {_names(info.links)}"
    if info.monitors:
        yield f"    monitors {_names(info.monitors)}"
    if info.supervisor:
        yield f"    supervised by {info.supervisor}"


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _busy(info: ProcessInfo) -> str:
    text = f"{info.class_name or 'process'} {info.id}: {info.state}"
    if info.handler is not None:
        text += f" {info.seconds or 0:.1f} s in {info.handler}"
    if info.line:
        text += f" at {info.line}"
    if info.mailbox:
        text += f", {info.mailbox} message{'s'[: info.mailbox > 1]}"
    return text
