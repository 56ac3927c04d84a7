"""Prober: finds processes of several nodes that wait for each other, by probes along the waits.

::

    a request from afar is unanswered for `deadlock_delay`
      ─► follow the waits of this node to what other nodes owe ─► probe to each of those
    probe ─► follow on from the promise that it names ─► probe … or a ring ─► once more round
    ring  ─► its waits still stand ─► on … and at last the greatest url gets DeadlockError

Every node in a ring owes the one before it, so requests from afar are where to begin; a node
that answers in time never looks.  A request is looked at again after twice the pause, for a ring
can also close later, and a probe can be faster than the request that it follows.

Node's thread only.  What follows from the hops of a probe is decided in `splice.node.hops`.

Source: Chandy, Misra and Haas, Distributed Deadlock Detection, 1983: edge chasing, AND model.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from splice.actor.context import Worker
from splice.actor.lines import call_of
from splice.actor.promise import PENDING, Promise
from splice.actor.rings import Wait, ends_by_itself, far_ends, refuse
from splice.errors import DeadlockError
from splice.log import logger
from splice.message import SIGNAL, Entry
from splice.net.outgoing import ENTRY_BYTES, Outgoing
from splice.node.hops import (
    Hop,
    Hops,
    Stop,
    describe,
    gives_way,
    pack,
    ring_of,
    unpack,
)

if TYPE_CHECKING:
    import asyncio

    from splice.net.peers import Peer
    from splice.node.exchange import Exchange
    from splice.node.node import Node

Debt = tuple["Peer", int]
"""Whose request, and its number there: what this node owes the answer of."""

Turn = tuple[int, int]
"""Which node began, and its how many-th beginning; in a ring, how many hops are checked."""

PROBE: Final = "probe"
RING: Final = "ring"
PROBES: Final = frozenset({PROBE, RING})

DOUBLINGS: Final = 8
"""Times that the pause between two looks at one request doubles: with the default delay up to 51
seconds, so that a hundred thousand long waits cost a few thousand looks a second."""

LOOKS: Final = 1000
"""Requests looked at in one go: about 5 ms, so that mail is served in between."""

BREATH: Final = 0.01
"""Seconds until the rest of them is looked at."""

PASSED_LIMIT: Final = 10_000
"""Probes remembered so that none is sent on twice; forgetting one costs a repetition only."""

STOP_BYTES: Final = 200
"""Roughly what one wait takes in a probe."""

_log = logger("node")


class Prober:
    """Looks for rings of waits that lead over this node.

    Attributes:
        is_awake: it will look at the requests that have come lately; else `wake` it.
    """

    def __init__(self, node: Node, exchange: Exchange) -> None:
        self.is_awake = False
        self._node = node
        self._exchange = exchange
        self._delay = node.config.deadlock_delay
        # by how often they were looked at: when next, of whom, which request
        self._due: list[deque[tuple[float, Debt]]] = [
            deque() for _ in range(DOUBLINGS + 1)
        ]
        self._newest: dict[Peer, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._turns = count(1)
        self._numbers = count(1)
        self._numbered: dict[int, Any] = {}
        self._passed: set[tuple[Turn, Debt]] = set()

    # ---- when to look

    def wake(self) -> None:
        """Look soon at what has come and is not answered by then."""
        self.is_awake = True
        self._node.loop.call_later(self._delay, self._take_note)

    def forget(self, peer: Peer) -> None:
        """Let go of a lost node."""
        self._newest.pop(peer, None)

    def _take_note(self) -> None:
        """Note the new requests that were not answered at once."""
        self.is_awake = False
        due = self._node.loop.time() + self._delay
        for peer, owing in self._exchange.owing.items():
            newest = self._newest.get(peer, 0)
            for ident in reversed(owing):
                if ident <= newest:
                    break
                self._due[0].append((due, (peer, ident)))
            self._newest[peer] = max(newest, next(reversed(owing), 0))
        self._set_timer()

    def _set_timer(self) -> None:
        heads = [queue[0][0] for queue in self._due if queue]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if heads and not self._node.is_closed:
            when = max(min(heads), self._node.loop.time() + BREATH)
            self._timer = self._node.loop.call_at(when, self._look)

    def _look(self) -> None:
        """Send probes on behalf of the requests whose time has come."""
        if self._node.is_closed:
            return
        self._forget_ended()
        now = self._node.loop.time()
        begun: set[int] = set()
        looks = LOOKS
        for level, queue in enumerate(self._due):
            while queue and queue[0][0] <= now and looks:
                _, debt = queue.popleft()
                promise = self._owed(debt)
                if promise is None:
                    continue
                looks -= 1
                if not _has_begun(promise, begun):
                    # a turn of its own: all that is known of a turn is that it began here
                    turn = (self._node.incarnation, next(self._turns))
                    self._follow(debt, promise, turn, ())
                later = min(level + 1, DOUBLINGS)
                again = now + self._delay * 2**later
                self._due[later].append((again, debt))
        self._set_timer()

    def _forget_ended(self) -> None:
        ended = [number for number in self._numbered if self._standing(number) is None]
        for number in ended:
            del self._numbered[number]

    # ---- probes

    def take(self, peer: Peer, entry: Entry) -> None:
        """Take in a probe or a ring that `peer` sends on."""
        try:
            _, name, ident, (first, second), packed = entry
            turn, debt = (int(first), int(second)), (peer, int(ident))
            hops = unpack(packed)
        except (TypeError, ValueError) as error:
            _log.warning("malformed probe from %s: %r", peer, error)
            return
        promise = self._owed(debt)
        if promise is None or not hops:
            return  # answered since, or not here yet
        if name == RING:
            self._confirm(debt, hops, turn)
        elif (turn, debt) not in self._passed:
            if len(self._passed) >= PASSED_LIMIT:
                self._passed.clear()
            self._passed.add((turn, debt))
            self._follow(debt, promise, turn, hops)

    def _follow(
        self,
        debt: Debt,
        promise: Promise,
        turn: Turn,
        hops: Hops,
    ) -> None:
        """Send a probe from `promise`, the one owed, to all that it needs."""
        for end, waits in far_ends(promise, self._node.scheduler):
            stops = tuple(self._stop(wait) for wait in waits)
            here = Hop(*self._entrance(debt), stops, end.next)
            ring = ring_of(hops, here)
            if ring is None:
                self._send(end.next, PROBE, turn, (*hops, here))
            elif any(hop.stops for hop in ring):  # else promises only, and nobody waits
                self._confirm(debt, ring, (turn[0], 0))

    def _confirm(self, debt: Debt, ring: Hops, turn: Turn) -> None:
        """Check our part of a ring, and send it on or break it.

        Args:
            debt: what we owe in this ring.
            ring: its hops.
            turn: who looked first, and the hops checked so far: it says which is ours.
        """
        origin, step = turn
        here = ring[step % len(ring)]
        is_ours = here[:3] == self._entrance(debt)
        runners = {stop.number: self._standing(stop.number) for stop in here.stops}
        if not is_ours or None in runners.values():
            return
        if ends_by_itself(runners.values(), self._node.loop):
            return  # looked at here, as seldom as rings are: it costs a look at each timer
        if self._exchange.asked(here.exit) is None or self._owed(debt) is None:
            return
        chosen = gives_way(ring)
        # in the first round each was seen to wait, so all did when it ended: if all are checked
        if step >= len(ring) - 1 and chosen in here.stops:
            refuse(runners[chosen.number], DeadlockError(describe(ring)))
        else:
            self._send(here.exit, RING, (origin, step + 1), ring)

    def _send(self, ident: int, name: str, turn: Turn, hops: Hops) -> None:
        """Send a probe after our request `ident`, to the node that owes its answer."""
        asked = self._exchange.asked(ident)
        if asked is None:
            return
        entry = (SIGNAL, name, ident, turn, pack(hops))
        size = ENTRY_BYTES + STOP_BYTES * sum(len(hop.stops) + 1 for hop in hops)
        asked[0].send(Outgoing(entry, (), None, True, size))
        self._node.scheduler.schedule()

    # ---- waits

    def _entrance(self, debt: Debt) -> tuple[int, int, int]:
        """Return this node, who has asked it, and the number of that request."""
        peer, ident = debt
        assert peer.incarnation is not None, "a peer that has asked has been met"
        return self._node.incarnation, peer.incarnation, ident

    def _owed(self, debt: Debt) -> Promise | None:
        """Return the promise that we owe, if it is pending."""
        peer, ident = debt
        owing = self._exchange.owing.get(peer)
        promise = owing.get(ident) if owing else None
        return promise if promise is not None and promise.state == PENDING else None

    def _stop(self, wait: Wait) -> Stop:
        """Describe a wait, and number it unless it has been numbered."""
        runner = wait.runner
        if not runner.wait_number:
            runner.wait_number = next(self._numbers)
            self._numbered[runner.wait_number] = runner
        calls = tuple(call_of(runner, message) for message in wait.handlers)
        at_hand = runner.stack[-1] if type(runner) is Worker else runner.message
        return Stop(runner.wait_number, str(at_hand.target.url), calls)

    def _standing(self, number: int) -> Any:
        """Return who is in the wait `number`, or None if that is over."""
        runner = self._numbered.get(number)
        if runner is None or runner.wait_number != number or runner.waiting is None:
            return None
        return runner if runner.waiting.state == PENDING else None


def _has_begun(promise: Promise, begun: set[int]) -> bool:
    """Tell whether what holds `promise` up was begun from already; note it if not."""
    runner = getattr(promise.target, "runner", None)
    if runner is None or promise.value is not None:
        return False
    key = id(runner)
    is_known = key in begun
    begun.add(key)
    return is_known
