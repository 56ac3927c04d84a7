"""Simulation: a cluster of nodes in one OS process, on virtual time, from one seed.

::

    sim = Simulation(seed=7, jitter=0.01)
    one, two = sim.node(), sim.node()
    sim.run(one, scenario, two.address)     # in a handler of `one`, where `get` parks
    sim.freeze(two); sim.thaw(two)          # SIGSTOP, SIGCONT
    sim.kill(two)                           # as if its OS process were dead
    three = sim.restart(two)                # a new incarnation at its address
    sim.close()

Everything that comes from outside is handed in: the clock and the timers (`VirtualLoop`), the wire
(`MemoryNetwork`), the order in which ready processes get their turns (`Shuffled`), randomness,
and the starting of OS processes (`SimLauncher`).  The same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any

from splice.config import Config
from splice.net.wire import Listener
from splice.node.agent import NAME, Agent
from splice.node.boot import report, run_init, start_node
from splice.node.launch import Exit
from splice.node.node import Node
from splice.node.outlets import OnOutput
from splice.testing.actors import Actor
from splice.testing.clock import VirtualLoop
from splice.testing.nodeloop import NodeLoop
from splice.testing.wire import MemoryNetwork, MemoryWire

SIGKILL = 9


class Shuffled:
    """A run queue that gives out its entries in an order drawn from a seed.

    Any order of ready processes is legal; what breaks under one of them has a race.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._entries: list[Any] = []

    def append(self, entry: Any) -> None:
        """Add an entry."""
        self._entries.append(entry)

    def popleft(self) -> Any:
        """Take any entry out."""
        entries = self._entries
        chosen = self._random.randrange(len(entries))
        entries[chosen], entries[-1] = entries[-1], entries[chosen]
        return entries.pop()

    def __len__(self) -> int:
        return len(self._entries)


class SimChild:
    """A node of the simulation that another one has forked; see `splice.node.launch.Child`."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.pid = number
        self.node: Node | None = None
        self.on_exit: Callable[[Exit], None] = lambda _: None
        self._simulation = simulation
        self._exit: Exit | None = None

    def terminate(self) -> None:
        """End it, as SIGTERM does."""
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self.node is not None:
            self._simulation.kill(self.node)
        self.ended(Exit(self.pid, None, SIGKILL))

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Return how it ended, if it has: nothing can be waited for on the only thread."""
        return self._exit

    def ended(self, end: Exit) -> None:
        """Tell once that it has ended."""
        if self._exit is None:
            self._exit = end
            self.on_exit(end)


class SimLauncher:
    """Starts forked nodes inside the simulation; see `splice.node.launch.Launcher`."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._numbers = count(1000)

    def start(
        self,
        boot: bytes,
        *,
        target: str,
        on_ready: Callable[[dict[str, Any]], None],
        on_exit: Callable[[Exit], None],
        on_output: OnOutput | None = None,
    ) -> SimChild:
        """Make a node of a boot message; `target` is always that of a forked node."""
        child = SimChild(self._simulation, next(self._numbers))
        child.on_exit = on_exit
        self._simulation.background(self._boot(child, boot, on_ready))
        return child

    async def _boot(
        self, child: SimChild, boot: bytes, on_ready: Callable[[dict[str, Any]], None]
    ) -> None:
        settings = pickle.loads(boot)
        loop: Any = NodeLoop(self._simulation.loop)
        node = await start_node(settings, loop, **self._simulation.seams())
        self._simulation.adopt(node)
        child.node = node
        node.on_closed = partial(child.ended, Exit(child.pid, 0, None))
        if child.wait() is not None:  # killed meanwhile
            self._simulation.kill(node)
            return
        try:
            run_init(settings)
        except Exception:
            self._simulation.kill(node)
            child.ended(Exit(child.pid, 1, None, traceback.format_exc()))
            return
        on_ready(report(node))


class Simulation:
    """A cluster in one OS process.

    Args:
        seed: of everything random in it.
        config: settings of its nodes.
        network: options of `splice.testing.wire.MemoryNetwork`: delay, jitter, loss, repeats,
            heartbeat.

    Attributes:
        loop: the clock; ``loop.time()`` is now.
        network: the wires, to be cut and healed.
        nodes: all there were, dead ones too, in the order they were made.
        on_node: called with each new node before it listens, or None.
    """

    def __init__(
        self, seed: int = 0, *, config: Config | None = None, **network: float
    ) -> None:
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.network = MemoryNetwork(self.loop, self.random, **network)
        self.config = (config or Config()).with_changes(key=bytes(32))
        self.nodes: list[Node] = []
        self.on_node: Callable[[Node], None] | None = None
        self._numbers = count(1)
        self._background: set[asyncio.Task[Any]] = set()

    def node(self) -> Node:
        """Add a node; it listens at once."""
        node = self._make()
        if not self.loop.is_running():
            self.loop.settle()
        return node

    def run(self, node: Node, function: Callable[..., Any], *args: Any) -> Any:
        """Run ``function(*args)`` in a plain handler of a process of `node`."""

        async def running() -> Any:
            actor = await node.spawn(Actor, (), {}, None)
            return await actor.run(function, *args)

        return self.loop.run_until_complete(running())

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.loop.advance(seconds)

    def kill(self, node: Node, *, silently: bool = False) -> None:
        """End a node at once: nothing of it is heard any more.

        Args:
            silently: as when its machine loses power: no connection is closed, others have to
                notice by the silence.
        """
        if node.address not in self.network.wires or node.is_closed:
            return
        if silently:
            self.network.isolate(node.address)
        self._loop_of(node).stand_still()
        self.network.kill(node.address)
        # not here: this may be a handler, and a scheduler is closed from the loop only
        self.loop.call_soon(node.close, 0.0)

    def restart(self, node: Node) -> Node:
        """Start a new incarnation at the address of a node, which is killed if it lives."""
        self.kill(node)
        self.network.rejoin(node.address)
        return self._make(node.address)

    def freeze(self, node: Node, *, is_reachable: bool = False) -> None:
        """Let nothing happen on a node, as SIGSTOP does; its timers are late afterwards.

        Args:
            is_reachable: its connections stand, as when a handler computes: ZeroMQ's own
                threads go on then.
        """
        self._loop_of(node).stand_still()
        self.network.pause(node.address)
        if not is_reachable:
            self.network.isolate(node.address)

    def thaw(self, node: Node) -> None:
        """Let a frozen node go on; nothing happens to a dead one."""
        if node.address in self.network.wires and not node.is_closed:
            self.network.rejoin(node.address)
            self._loop_of(node).go_on()
            self.network.resume(node.address)

    def close(self) -> None:
        """End all nodes and the loop."""
        for node in self.nodes:
            node.close(linger=0.0)
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.close()

    # ---- what the launcher needs

    def seams(self, address: str | None = None) -> dict[str, Any]:
        """Return what a node takes from outside; the next free address when None."""
        return {
            "make_wire": partial(self._make_wire, address),
            "random": self.random,
            "launcher": SimLauncher(self),
        }

    def adopt(self, node: Node) -> None:
        """Take a node that was made elsewhere into the simulation."""
        node.scheduler.ready = Shuffled(self.random)
        self.nodes.append(node)
        if self.on_node is not None:
            self.on_node(node)

    def background(self, coroutine: Any) -> None:
        """Run a coroutine beside whatever is run."""
        task = self.loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _make(self, address: str | None = None) -> Node:
        loop: Any = NodeLoop(self.loop)  # it takes the place of a loop, and is none
        node = Node(loop, self.config, **self.seams(address))
        self.adopt(node)
        node.open()
        node.spawn(Agent, (), {}, NAME)
        return node

    def _make_wire(
        self, address: str | None, node: Node, listener: Listener
    ) -> MemoryWire:
        where = address or f"tcp://10.0.0.{next(self._numbers)}:1"
        return self.network.open(where, listener)

    def _loop_of(self, node: Node) -> NodeLoop:
        loop: Any = node.loop
        assert isinstance(loop, NodeLoop), "every node of a simulation has one"
        return loop
