"""Faults: what goes wrong in a trial, when and for how long; planned by a seed, then carried out.

The plan is pure.  `Storm` carries it out on a simulation and notes each fault in the history, so
that the checker knows which losses had a cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from splice.testing.history import What

if TYPE_CHECKING:
    from splice.node.node import Node
    from splice.testing.recorder import Recorder
    from splice.testing.simulation import Simulation


class Trouble(Enum):
    """What may go wrong."""

    CUT = "cut"
    """Nothing passes between two nodes."""
    CUT_ONE_WAY = "cut one way"
    """Nothing passes from one node to another."""
    BREAK = "break"
    """The connections between two nodes break; what is on its way is lost."""
    FREEZE = "freeze"
    """A node stands still, and its sockets with it: SIGSTOP."""
    BUSY = "busy"
    """A node stands still, but its connections are kept alive."""
    KILL = "kill"
    """A node dies, and its connections are closed."""
    VANISH = "vanish"
    """A node dies with its machine: nobody is told."""
    SHUT_DOWN = "shut down"
    """A node ends in order."""


LASTING: Final = frozenset(
    {Trouble.CUT, Trouble.CUT_ONE_WAY, Trouble.FREEZE, Trouble.BUSY}
)
DEADLY: Final = frozenset({Trouble.KILL, Trouble.VANISH, Trouble.SHUT_DOWN})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at: seconds after the start of the trial.
        trouble: what.
        one, other: places of the nodes concerned, from 0; `other` for what is between two.
        seconds: how long; for a death, until the node is started again, or 0 for never.
    """

    at: float
    trouble: Trouble
    one: int
    other: int
    seconds: float


def plan(
    random: Random, nodes: int, *, seconds: float, count: int, loss_timeout: float
) -> list[Fault]:
    """Return what goes wrong, in order of time.

    Args:
        random: what it is drawn from.
        nodes: how many there are, at least two.
        seconds: faults begin within so many.
        count: how many.
        loss_timeout: of the nodes; some faults last longer.
    """
    faults = [_fault(random, nodes, seconds, loss_timeout) for _ in range(count)]
    return sorted(faults, key=lambda fault: fault.at)


def _fault(random: Random, nodes: int, seconds: float, loss_timeout: float) -> Fault:
    one, other = random.sample(range(nodes), 2)
    trouble = random.choice(list(Trouble))
    at = random.uniform(0.0, seconds)
    lasts = 0.0
    if trouble in LASTING:
        is_long = random.random() < 0.3
        lasts = random.uniform(0.01, loss_timeout * (3 if is_long else 0.3))
    elif trouble in DEADLY and random.random() < 0.8:
        lasts = random.choice([0.001, 0.1, 1.0, loss_timeout]) * random.uniform(0.5, 2)
    return Fault(at, trouble, one, other, lasts)


class Storm:
    """Carries faults out.

    Args:
        simulation: whose nodes suffer.
        nodes: the node at each place now; restarted ones are put in here.
        recorder: notes it.
        on_start: called with each node that was started anew.
    """

    def __init__(
        self,
        simulation: Simulation,
        nodes: list[Node],
        recorder: Recorder,
        on_start: Callable[[int], None],
    ) -> None:
        self._simulation = simulation
        self._network = simulation.network
        self._nodes = nodes
        self._recorder = recorder
        self._on_start = on_start
        self._standing: dict[int, Node] = {}
        self._is_over = False

    def schedule(self, faults: list[Fault]) -> None:
        """Have the faults happen at their times from now on."""
        for fault in faults:
            self._simulation.loop.call_later(fault.at, self._begin, fault)

    def end(self) -> None:
        """Let everything work again; the dead stay dead."""
        self._is_over = True
        for one in self._nodes:
            for other in self._nodes:
                if one is not other:
                    self._network.heal(one.address, other.address)
        for place in list(self._standing):
            self._thaw(place)

    def _begin(self, fault: Fault) -> None:
        if self._is_over:
            return
        one, other = self._nodes[fault.one], self._nodes[fault.other]
        if not self._recorder.is_alive(one) or fault.one in self._standing:
            return
        if fault.trouble in DEADLY:
            self._end_node(fault, one)
            return
        self._note(fault, one, other)
        if fault.trouble is Trouble.BREAK:
            self._network.drop(one.address, other.address)
        elif fault.trouble in {Trouble.CUT, Trouble.CUT_ONE_WAY}:
            both = fault.trouble is Trouble.CUT
            self._network.cut(one.address, other.address, both=both)
            heal = partial(self._network.heal, one.address, other.address, both=both)
            self._simulation.loop.call_later(fault.seconds, heal)
        else:
            self._standing[fault.one] = one
            busy = fault.trouble is Trouble.BUSY
            self._simulation.freeze(one, is_reachable=busy)
            self._simulation.loop.call_later(fault.seconds, self._thaw, fault.one)

    def _note(self, fault: Fault, one: Node, other: Node) -> None:
        is_between = fault.trouble not in {Trouble.FREEZE, Trouble.BUSY}
        self._recorder.note(
            What.FAULT,
            place=self._recorder.name(one),
            other=self._recorder.name(other) if is_between else "",
            text=fault.trouble.value,
            seconds=fault.seconds,
        )

    def _thaw(self, place: int) -> None:
        node = self._standing.pop(place, None)
        if node is not None:
            self._simulation.thaw(node)

    def _end_node(self, fault: Fault, node: Node) -> None:
        if fault.trouble is Trouble.SHUT_DOWN:
            node.begin_shut_down()
            node.on_closed = partial(self._recorder.down, node, "shut down")
        else:
            silently = fault.trouble is Trouble.VANISH
            self._recorder.down(node, fault.trouble.value)
            self._simulation.kill(node, silently=silently)
        if fault.seconds:
            restart = partial(self._restart, fault.one)
            self._simulation.loop.call_later(fault.seconds, restart)

    def _restart(self, place: int) -> None:
        if self._is_over:
            return
        node = self._nodes[place]
        self._recorder.down(node, "killed, for it did not shut down in time")
        self._nodes[place] = self._simulation.restart(node)
        self._on_start(place)
