"""Bare pyzmq, the floor of the far cases: an echo in another OS process, over ipc."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.measuring import Contender, Scale
from bench.peers.contender import Case
from bench.zmq_echo import ZmqEcho


def _case(measure: Callable[[ZmqEcho, int], float], count: int) -> Case:
    def case(scale: Scale) -> Iterator[Contender]:
        size = scale.size(count)
        with ZmqEcho("ipc") as echo:
            yield lambda: measure(echo, size)

    return case


CASES: dict[str, Case] = {
    "far-ask": _case(ZmqEcho.ask_rate, 5_000),
    "far-piped": _case(ZmqEcho.piped_rate, 20_000),
    "far-tell": _case(ZmqEcho.tell_rate, 100_000),
}
