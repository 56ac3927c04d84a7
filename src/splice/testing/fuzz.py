"""Fuzz: valid messages of the wire, damaged, against those that read them.

Each *target* makes valid input, has it damaged by a `Damager`, and reads it.  What the reader
may raise is named; anything else is a defect, and is raised with the seed that shows it::

    from splice.testing.fuzz import TARGETS, run_one
    run_one(TARGETS["frames"], seed=4711)

Used by the tests with a few seeds, and by ``scripts/fuzz`` with as many as there is time for.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import pickletools
import resource
import time
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Any, Final

from splice.config import Config
from splice.errors import SpliceError
from splice.log import ROOT
from splice.message import CANCEL, REFUSED, REQUEST, RESPONSE, SIGNAL, TELL
from splice.net.codec import (
    decode,
    decode_arguments,
    decode_error,
    encode,
    encode_error,
)
from splice.net.frames import (
    FrameError,
    Header,
    Kind,
    decode_batch,
    decode_header,
    encode_batch,
    join,
    split,
)
from splice.net.handshake import NONCE_BYTES, Acceptor, Connector, Identity, Refusal
from splice.testing.damage import Damager
from splice.testing.simulation import Simulation
from splice.uri import url

MEMORY_BYTES: Final = 4 * 2**30
"""Of a run of the program: a damaged number may ask for all the memory there is."""

_KEY: Final = bytes(32)
_SIGNALS: Final = (
    "link",
    "bound",
    "unlink",
    "unlinked",
    "monitor",
    "demonitor",
    "exit",
    "absent",
    "down",
)
_NUMBERS: Final = (0, 1, 2**16, 2**32 - 1, 2**63, 2**64 - 1)


class Missed(Exception):
    """A reader has taken what nobody with the key has said."""


def frames(random: Random, damage: Damager) -> None:
    """Read damaged headers, and what stands behind them."""
    buffers = [
        random.randbytes(random.randrange(50)) for _ in range(random.randrange(3))
    ]
    source, target, sequence, ack, credit, cost = random.choices(_NUMBERS, k=6)
    epoch, requests = random.choices(_NUMBERS[:4], k=2)
    kind, count = random.choice(list(Kind)), len(buffers)
    header = Header(
        kind, epoch, source, target, sequence, ack, credit, cost, requests, count
    )
    whole = join([header.encode(), b"batch", *buffers])
    with contextlib.suppress(FrameError):
        decode_header(split(damage.parts(whole)))


def batches(random: Random, damage: Damager) -> None:
    """Read damaged batches."""
    damaged = damage.bytes(encode_batch(_entries(random)))
    with contextlib.suppress(FrameError):
        if _highest_memo(damaged) < len(damaged):
            decode_batch(damaged)


def _highest_memo(stream: bytes) -> int:
    """Return the highest number under which a pickle remembers something.

    CPython fills a table up to it, with up to 64 GB for a number of four bytes.  No pickle of
    ours has one, and what a node sends, nobody can change on its way.
    """
    highest = 0
    with contextlib.suppress(
        Exception
    ):  # it is damaged: what comes before is what is read
        for opcode, value, _ in pickletools.genops(stream):
            if opcode.name.endswith("BINPUT"):
                highest = max(highest, int(value or 0))
    return highest


def payloads(random: Random, damage: Damager) -> None:
    """Take damaged payloads apart: values, arguments and errors.

    Their streams stay whole: a member may run code here anyway, and a damaged one would.
    """
    buffers: list[Any] = []
    payload = encode([random.random(), "text" * 20], buffers, limit=64)
    for read in (decode, lambda value, rest: decode_arguments(value, value, rest)):
        with contextlib.suppress(SpliceError):
            read(damage.shape(payload), damage.some(buffers))
    error = encode_error(ValueError("text"), buffers)
    if not isinstance(decode_error(damage.shape(error), buffers), BaseException):
        raise Missed("an error that is none")


def handshakes(random: Random, damage: Damager) -> None:
    """Shake hands while one of the three messages is damaged on its way."""
    one, other = (
        Identity(number, (f"tcp://10.0.0.{number}:1",), "machine", "1.0")
        for number in (1, 2)
    )
    connector = Connector(one, _KEY, random.randbytes(NONCE_BYTES), allow_skew=False)
    acceptor = Acceptor(other, _KEY, random.randbytes(NONCE_BYTES), allow_skew=False)
    which = random.randrange(3)

    def way(number: int, parts: Sequence[bytes]) -> list[Any]:
        return damage.parts(parts) if number == which else list(parts)

    said: list[Sequence[Any]] = [connector.hello()]
    heard = [way(0, said[0])]
    try:
        acceptor.on_hello(heard[0])
        said.append(acceptor.welcome(3, 4))
        heard.append(way(1, said[1]))
        connector.on_welcome(heard[1])
        said.append(connector.ready(3, 4))
        heard.append(way(2, said[2]))
        acceptor.on_ready(heard[2])
    except Refusal:
        return
    # not their proofs: that of the first message is empty, and not looked at
    if [bytes(parts[0]) for parts in said] != [bytes(parts[0]) for parts in heard]:
        raise Missed("a handshake that was changed on its way and went through")


def nodes(random: Random, damage: Damager) -> None:
    """Have a member send damaged messages; the node answers others as if nothing were.

    The damage is done behind the batch's own check: these are the messages of a member with
    a defect, not of a stranger.
    """
    simulation = Simulation(seed=random.getrandbits(32), config=Config(loss_timeout=2))
    try:
        bad, node, good = (simulation.node() for _ in range(3))
        _greet(simulation, bad, node)
        peer = node.open().reach(bad.address, bad.incarnation)
        for _ in range(20):
            entries = [damage.shape(entry) for entry in _entries(random)]
            buffers = damage.some([bytes(10)] * random.randrange(3))
            with contextlib.suppress(FrameError):
                node.exchange.on_batch(peer, entries, buffers)
            simulation.advance(0.01)
        _greet(simulation, good, node)
        _greet(simulation, bad, node)
    finally:
        simulation.close()


def _greet(simulation: Simulation, one: Any, other: Any) -> None:
    simulation.run(
        one, lambda: one.connect(url("node", other.address)).whereis("nobody").get(20)
    )


def _entries(random: Random) -> list[Any]:
    """Return messages of every kind, as they may stand in a batch."""
    value = encode([1, "two", None], [])
    error = encode_error(ValueError("text"), [])
    number = random.randrange(5)
    every: list[Any] = [
        (REQUEST, number, "node", "whereis", ("nobody",), None),
        (REQUEST, number, "node", "process_info", value, None),
        (TELL, number, random.randrange(9), "info", (), {}),
        (RESPONSE, number, True, value),
        (RESPONSE, number, False, error),
        (REFUSED, number, error),
        (CANCEL, number, "node", number),
        *[
            (
                SIGNAL,
                name,
                random.randrange(9),
                number,
                random.choice((value, error)),
                1,
            )
            for name in _SIGNALS
        ],
        (SIGNAL, "probe", number, (1, 2), ()),
        (SIGNAL, "ring", number, (1, 2), ()),
    ]
    return random.sample(every, random.randrange(1, 6))


Target = Callable[[Random, Damager], None]

TARGETS: Final[dict[str, Target]] = {
    target.__name__: target for target in (frames, batches, payloads, handshakes, nodes)
}
"""What can be fuzzed, by name."""


def run_one(target: Target, seed: int) -> None:
    """Run one target once; the same seed does the same.

    Raises:
        BaseException: what a reader may not raise; a note names the seed.
    """
    random = Random(seed)
    try:
        target(random, Damager(random))
    except BaseException as error:
        error.add_note(f"splice.testing.fuzz: {target.__name__}, seed {seed}")
        raise


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all targets for some minutes; what ``scripts/fuzz`` calls."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="of one run, which is repeated")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args(arguments)
    chosen = {name: TARGETS[name] for name in options.targets or TARGETS}
    logging.getLogger(ROOT).setLevel(logging.CRITICAL)  # each damage is an error there
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if options.seed is not None:
        for target in chosen.values():
            run_one(target, options.seed)
        return
    for name, target in chosen.items():
        runs = _run_for(target, options.minutes * 60 / len(chosen))
        print(f"{name}: {runs} runs, nothing found")  # noqa: T201 - a program's output


def _run_for(target: Target, seconds: float) -> int:
    end, runs, seeds = time.monotonic() + seconds, 0, SystemRandom()
    while time.monotonic() < end:
        run_one(target, seeds.getrandbits(48))
        runs += 1
    return runs


if __name__ == "__main__":
    main()
