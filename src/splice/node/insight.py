"""Insight: what the processes of a node are doing; a part of `splice.node.runtime.Runtime`.

`info` and `processes` ask the thread of the node, near or far.  `dump` asks nobody: it reads what
there is from whatever thread it is called in, for it is wanted most when a node answers no more.
"""

from __future__ import annotations

import sys
from _thread import start_new_thread
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, cast

from splice.actor.cell import Cell
from splice.actor.handlers import NamedHandler
from splice.actor.info import ProcessInfo
from splice.node.current import node_here, node_to_wait_for
from splice.node.dump import dump_of
from splice.node.given import check_callable, target_of
from splice.node.remote import Remote, agent_at

if TYPE_CHECKING:
    from splice.node.dead_letters import DeadLetter
    from splice.node.node import Node

_PROCESS_INFO = NamedHandler("process_info")


@dataclass(frozen=True, slots=True)
class Statistics:
    """A node in numbers.

    Attributes:
        processes: that live on it.
        nodes: that it is connected with.
        dead_letters: messages and answers that nobody will handle, since it began.
    """

    processes: int
    nodes: int
    dead_letters: int


class Insight:
    """What a runtime tells about processes."""

    def info(self, proc: Any) -> ProcessInfo:
        """Tell what a process is doing, near or far.

        Args:
            proc: its proxy, or the process object itself in its own handler.

        Raises:
            ProcessNotFound: there never was such a process.
            DeliveryError: its node cannot be asked.
            CannotWait: it is another node's, and called where waiting would stop the loop.
        """
        target = target_of(proc)
        if isinstance(target, Remote):
            node = node_to_wait_for("info")
            agent, named = agent_at(node, target.url), (target.addressee,)
            found: ProcessInfo = agent.ask(_PROCESS_INFO, named, None).get()
            return found
        if isinstance(target, Cell):
            home = cast("Node", target.scheduler.home)
            _ = home.address  # opens its sockets: a url has an address
            return cast("ProcessInfo", home.on_thread(home.info_of, target))
        node = node_here()
        return cast("ProcessInfo", node.on_thread(node.find_info, target.resource))

    def processes(self) -> list[ProcessInfo]:
        """Tell what each process of the current node is doing, in the order they were made."""
        node = node_here()
        _ = node.address
        found: list[ProcessInfo] = node.on_thread(node.infos)
        return found

    def statistics(self) -> Statistics:
        """Tell in numbers what the current node has and had."""
        node = node_here()
        found: Statistics = node.on_thread(_statistics, node)
        return found

    def on_dead_letter(
        self, hearer: Callable[[DeadLetter], object]
    ) -> Callable[[], None]:
        """Hear of each message of or to the current node that nobody will handle.

        Args:
            hearer: is called with a `DeadLetter` for each, on the node's loop: it may send,
                and must not wait.

        Returns:
            What ends it; call it without arguments.
        """
        check_callable("on_dead_letter", hearer)
        node = node_here()
        _ = node.address  # opens its sockets: a url has an address
        return node.dead_letters.listen(hearer)

    def dump(self, file: TextIO | None = None) -> None:
        """Write down everything that the current node is doing, as text for people.

        Processes, what they wait for and where, timers, other nodes, children.  It asks no
        other thread, so it works as well when the node hangs.

        Args:
            file: standard error when None.
        """
        _write(node_here(), file)

    def dump_on_signal(self, number: int, file: TextIO | None = None) -> None:
        """Have `dump` done for the current node whenever this OS process gets a signal.

        Forked nodes and workers do not inherit it.  Call it on the main thread.

        Args:
            number: for example ``signal.SIGUSR2``.
            file: standard error when None.

        Raises:
            ValueError: called on another thread than the main one.
        """
        import signal  # not needed by anything else here

        node = node_here()
        # on a thread of its own, which takes no lock to start: the main thread may just be
        # writing to that very file
        signal.signal(number, lambda *_: start_new_thread(_write, (node, file)))


def _statistics(node: Node) -> Statistics:
    peers = [] if node.peers is None else node.peers.known()
    return Statistics(
        processes=len(node.scheduler.directory),
        nodes=sum(peer.is_connected for peer in peers),
        dead_letters=node.dead_letters.count,
    )


def _write(node: Node, file: TextIO | None) -> None:
    file = file or sys.stderr
    file.write(dump_of(node))
    file.flush()
