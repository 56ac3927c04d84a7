"""A wire in memory, which a test can delay, cut and kill.

All wires of a `MemoryNetwork` are in one OS process and on one loop::

    network = MemoryNetwork(loop, random)
    wire = network.open("tcp://a:1", peers)         # a Wire; `peers` is its Listener
    network.cut("tcp://a:1", "tcp://b:1")           # nothing passes from a to b
    network.heal("tcp://a:1", "tcp://b:1")
    network.kill("tcp://a:1")                       # as if its OS process were dead

What is sent on a connection arrives in order after `delay` seconds or is lost with the
connection, as with tcp: while a direction is cut it waits, and a connection that is cut for longer
than `heartbeat` seconds is dropped at both ends, as ZeroMQ's heartbeats do it.  Everything
random comes from the `random.Random` handed in, so a run can be repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random

from splice.net.frames import is_frame
from splice.net.wire import Buffer, Down, Listener

Parts = list[Buffer]

REDIAL = 0.25
"""Seconds between two attempts of a dial to get through, as of tcp's first packet."""


class _End:
    """One end of a connection."""

    def __init__(self, wire: MemoryWire, number: int) -> None:
        self.wire = wire
        self.number = number
        self.is_open = True
        self.other = self  # nobody yet
        self.held: deque[Parts | None] = deque()
        """What is on its way to this end while its direction is cut; None is a hang-up."""
        self.last_due = -inf


class MemoryNetwork:
    """All wires that can reach each other.

    Args:
        loop: theirs.
        random: for jitter and losses.
        delay: seconds from one node to another.
        jitter: seconds more, at most.
        loss: ratio of messages that vanish, as in a ROUTER whose queue is full.
        repeats: ratio of frames of which a second copy comes, up to a second later.
        heartbeat: seconds after which a cut connection is dropped.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        *,
        delay: float = 0.001,
        jitter: float = 0.0,
        loss: float = 0.0,
        repeats: float = 0.0,
        heartbeat: float = 2.0,
    ) -> None:
        self.loop = loop
        self.random = random
        self.delay = delay
        self.jitter = jitter
        self.loss = loss
        self.repeats = repeats
        self.heartbeat = heartbeat
        self.wires: dict[str, MemoryWire] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._isolated: set[str] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = count()
        self._handle: asyncio.TimerHandle | None = None

    # ---- what a test does

    def open(self, address: str, listener: Listener, *, secret: str = "") -> MemoryWire:
        """Return a new wire that listens at `address`; a dead one may have been there.

        Args:
            secret: wires of different secrets deny each other, as CURVE does.

        Raises:
            OSError: another wire is open there.
        """
        if address in self.wires:
            raise OSError(f"cannot listen on {address}: it is in use")
        wire = self.wires[address] = MemoryWire(self, address, listener, secret)
        return wire

    def cut(self, source: str, target: str, *, both: bool = True) -> None:
        """Let nothing pass from one address to another, nor back if `both`."""
        self._cuts.add((source, target))
        if both:
            self._cuts.add((target, source))
        for end in self._ends(source, target):
            self._drop_unless_healed(end)

    def heal(self, source: str, target: str, *, both: bool = True) -> None:
        """Let everything pass again; what connections have held arrives now."""
        self._cuts.discard((source, target))
        if both:
            self._cuts.discard((target, source))
        for end in (*self._ends(source, target), *self._ends(target, source)):
            self._release(end)

    def isolate(self, address: str) -> None:
        """Let nothing pass to that address nor from it, whoever is at the other end."""
        self._isolated.add(address)
        for end in self._ends_at(address):
            self._drop_unless_healed(end)

    def rejoin(self, address: str) -> None:
        """Let everything pass again that is not cut otherwise."""
        self._isolated.discard(address)
        for end in self._ends_at(address):
            self._release(end)

    def kill(self, address: str) -> None:
        """End a wire at once, as the death of its OS process does."""
        wire = self.wires.pop(address)
        wire.is_closed = True
        for end in wire.ends.values():
            end.is_open = False
            self._travel(end.other, None)
        wire.ends.clear()

    def drop(self, one: str, other: str) -> None:
        """Break all connections between two addresses; what is on its way is lost."""
        for end in (*self._ends(one, other), *self._ends(other, one)):
            self.at(0.0, partial(self._lose, end))

    def pause(self, address: str) -> None:
        """Keep what comes and what it sends: the node is busy; its connections stand."""
        self.wires[address].is_paused = True

    def resume(self, address: str) -> None:
        """Let everything happen that was kept meanwhile."""
        wire = self.wires[address]
        wire.is_paused = False
        kept, wire.kept = wire.kept, []
        for call in kept:
            call()

    # ---- what wires do

    def is_cut(self, source: str, target: str) -> bool:
        """Tell whether nothing passes from one address to another."""
        isolated = self._isolated
        return (
            (source, target) in self._cuts or source in isolated or target in isolated
        )

    def at(self, delay: float, call: Callable[[], None]) -> None:
        """Call after a while, in the order of times and then of these calls."""
        when = self.loop.time() + delay
        heappush(self._events, (when, next(self._counter), call))
        self._arm()

    def next_event(self) -> float:
        """When something will happen on some wire; `inf` for never."""
        return self._events[0][0] if self._events else inf

    def run(self) -> None:
        """Let everything happen that is due."""
        while self.next_event() <= self.loop.time() + 1e-9:
            heappop(self._events)[2]()
        self._arm()

    def connect(self, dialler: _End, address: str, patience: float) -> None:
        """Try to bring a dialled connection up, again and again for `patience` seconds."""
        wire = self.wires.get(address)
        source = dialler.wire.address
        if not dialler.is_open:
            return
        if self.is_cut(source, address) or self.is_cut(address, source):
            if patience <= 0:
                dialler.wire.down(dialler, Down.DROPPED)
                return
            left = patience - REDIAL
            self.at(REDIAL, lambda: self.connect(dialler, address, left))
        elif wire is None:
            self.at(2 * self.delay, lambda: dialler.wire.down(dialler, Down.REFUSED))
        elif wire.secret != dialler.wire.secret:
            self.at(2 * self.delay, lambda: dialler.wire.down(dialler, Down.DENIED))
        else:
            end = wire.accept()
            end.other, dialler.other = dialler, end
            self.at(2 * self.delay, lambda: dialler.wire.up(dialler))

    def send(self, end: _End, parts: Parts | None) -> None:
        """Let parts travel to `end`; None is a hang-up, which is never lost."""
        if parts is not None and self.loss and self.random.random() < self.loss:
            return
        self._travel(end, parts)
        if self.repeats and parts and self._is_repeated(parts):
            late = self.delay + self.random.random()
            self.at(late, lambda: self._arrive(end, parts))

    def _is_repeated(self, parts: Parts) -> bool:
        return is_frame(parts) and self.random.random() < self.repeats

    def _travel(self, end: _End, parts: Parts | None) -> None:
        if self.is_cut(end.other.wire.address, end.wire.address):
            end.held.append(parts)
            self._drop_unless_healed(end)
            return
        delay = self.delay + self.jitter * self.random.random()
        due = end.last_due = max(self.loop.time() + delay, end.last_due)
        self.at(due - self.loop.time(), lambda: self._arrive(end, parts))

    def _arrive(self, end: _End, parts: Parts | None) -> None:
        if parts is None:
            end.wire.down(end, Down.DROPPED)
        elif self.is_cut(end.other.wire.address, end.wire.address):
            end.held.append(parts)
        else:
            end.wire.arrive(end, parts)

    def _drop_unless_healed(self, end: _End) -> None:
        def drop() -> None:
            if self.is_cut(end.wire.address, end.other.wire.address) or self.is_cut(
                end.other.wire.address, end.wire.address
            ):
                self._lose(end)
                self._lose(end.other)

        self.at(self.heartbeat, drop)

    def _release(self, end: _End) -> None:
        held, end.held = end.held, deque()
        for parts in held:
            self._travel(end, parts)

    def _lose(self, end: _End) -> None:
        end.held.clear()
        end.wire.down(end, Down.DROPPED)

    def _ends(self, one: str, other: str) -> list[_End]:
        wire = self.wires.get(one)
        ends = [] if wire is None else list(wire.ends.values())
        return [end for end in ends if end.other.wire.address == other]

    def _ends_at(self, address: str) -> list[_End]:
        """Return all ends of connections of that address, its own and those of others."""
        return [
            end
            for wire in self.wires.values()
            for end in wire.ends.values()
            if address in {wire.address, end.other.wire.address}
        ]

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._events:
            self._handle = self.loop.call_at(self._events[0][0], self.run)


class MemoryWire:
    """The wire of one node; made by `MemoryNetwork.open`."""

    def __init__(
        self, network: MemoryNetwork, address: str, listener: Listener, secret: str
    ) -> None:
        self.addresses: tuple[str, ...] = (address,)
        self.address = address
        self.secret = secret
        self.is_closed = False
        self.is_paused = False
        self.is_full = False
        """Take nothing more, as a socket whose buffer is full."""
        self.kept: list[Callable[[], None]] = []
        self.ends: dict[int, _End] = {}
        self._network = network
        self._listener = listener
        self._numbers = count(1)

    def dial(self, address: str) -> int:
        """Begin to connect; see `Wire.dial`."""
        end = self.accept()
        self._network.at(self._network.delay, lambda: self._connect(end, address))
        return end.number

    def send(self, connection: int, parts: Sequence[Buffer]) -> bool:
        """Send copies of all parts, or nothing; see `Wire.send`."""
        end = self.ends.get(connection)
        if end is None or end.other is end or self.is_full:
            return False
        copies: Parts = [bytes(part) for part in parts]
        if self.is_paused:
            self.kept.append(partial(self._network.send, end.other, copies))
        else:
            self._network.send(end.other, copies)
        return True

    def hang_up(self, connection: int) -> None:
        """Forget the connection and tell the other end."""
        end = self.ends.pop(connection, None)
        if end is None:
            return
        end.is_open = False
        self._network.send(end.other, None)

    def pump(self, timeout: float) -> None:
        """Let the clock of a `VirtualLoop` jump to the next event of the network."""
        network = self._network
        wait = min(timeout, network.next_event() - network.loop.time())
        jump = getattr(network.loop, "jump", None)
        if jump is not None and wait > 0:
            jump(wait)
        network.run()

    def close(self, linger: float) -> None:
        """Hang up everywhere and listen no more; what was sent still arrives."""
        for connection in list(self.ends):
            self.hang_up(connection)
        self.is_closed = True
        if self._network.wires.get(self.address) is self:
            del self._network.wires[self.address]

    # ---- what the network does

    def accept(self) -> _End:
        """Make an end of a connection."""
        number = next(self._numbers)
        end = self.ends[number] = _End(self, number)
        return end

    def up(self, end: _End) -> None:
        """Tell that a dialled connection stands."""
        if self.is_paused:
            self.kept.append(lambda: self.up(end))
        elif end.is_open:
            self._listener.on_up(end.number)

    def arrive(self, end: _End, parts: Parts) -> None:
        """Hand on what has come."""
        if self.is_paused:
            self.kept.append(lambda: self.arrive(end, parts))
        elif end.is_open:
            self._listener.on_parts(end.number, parts)

    def down(self, end: _End, cause: Down) -> None:
        """Tell that a connection is gone."""
        if self.is_paused:
            self.kept.append(lambda: self.down(end, cause))
        elif end.is_open:
            end.is_open = False
            self.ends.pop(end.number, None)
            self._listener.on_down(end.number, cause)

    def _connect(self, end: _End, address: str) -> None:
        if not self.is_closed:
            self._network.connect(end, address, self._network.heartbeat)
