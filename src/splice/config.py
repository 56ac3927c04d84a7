"""Every default of splice, with its unit and the reason for its value."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

VERSION: Final = "0.1.0"
"""Of splice; the packaging takes it from here."""

PROTOCOL_VERSION: Final = 2
"""The wire protocol; both ends of a channel must have the same."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one node; forked nodes and workers inherit them, but for the address.

    Thread-safe: an immutable value.  Change it with `runtime.config(...)` before first use.
    """

    address: str = "127.0.0.1"
    """Interface to listen on.  Loopback: a script must not open a port to its neighbours."""

    port: int = 0
    """Port to listen on; 0 lets the system choose, so that no two nodes can clash."""

    advertise: str | None = None
    """Host that other nodes are told to use, when it is not the one listened on (NAT)."""

    key: bytes | None = field(default=None, repr=False)
    """The cluster key, 32 bytes; None looks for it (see `splice.net.keys`)."""

    connect_timeout: float = 30.0
    """Seconds to wait for a node that is not up yet: long enough for a slow start of a
    machine's daemon, short enough that a wrong address is noticed."""

    loss_timeout: float = 10.0
    """Seconds without a sign of life after which a node counts as lost: OTP takes 45 to 60,
    users call that a hang; a cluster's garbage collection and swapping stay far below 10."""

    beat_interval: float = 1.0
    """Seconds between signs of life on a quiet channel: ten chances within `loss_timeout`."""

    ack_delay: float = 0.02
    """Seconds an acknowledgement waits for mail to ride on: below what a person notices,
    above the time of an ordinary answer."""

    resend_interval: float = 2.0
    """Seconds without progress before unacknowledged frames are sent again on a living
    connection.  TCP does not lose; only a full ROUTER queue or a fault does, so it is rare."""

    reconnect_delay: float = 0.1
    """Seconds before the first reconnect; it doubles up to `reconnect_delay_max`."""

    reconnect_delay_max: float = 2.0
    """Seconds; a healed partition is noticed within this time."""

    handshake_timeout: float = 3.0
    """Seconds a connection may take to prove that it is a member, as for ZeroMQ's own
    HANDSHAKE_IVL: a stranger must not hold a descriptor for longer."""

    backlog_bytes: int = 64 * 2**20
    """Unsent and unacknowledged mail of one channel; over it senders wait."""

    overload_timeout: float = 30.0
    """Seconds that a sender waits for room before it gets `Overloaded`: as long as for a node
    that is not up yet.  Two processes that flood each other would wait for ever."""

    window_bytes: int = 256 * 2**20
    """Mail from afar that a node takes in before its processes have handled it."""

    frame_messages: int = 1000
    """Messages in one frame: more gain nothing measurable and delay the others."""

    frame_bytes: int = 256 * 1024
    """Bytes after which a frame is closed, for the same reason."""

    piece_bytes: int = 2**20
    """Bytes of a message that travel at once; one larger by more than an eighth goes in pieces of
    this size, with others between them.  A piece takes a millisecond on a gigabit line."""

    out_of_band_bytes: int = 64 * 1024
    """Buffers from this size on travel as parts of their own, without a copy; below it a
    part costs more than the copy."""

    shutdown_timeout: float = 5.0
    """Seconds that a child node gets to end by itself before its OS process is killed.  A node that
    ends gives its processes up to half as long to clean up, and waits for what it has sent, until
    nothing of it has arrived for half as long."""

    deadlock_delay: float = 0.2
    """Seconds a request of another node stays unanswered before it is asked whether processes
    wait for each other in a ring: nearly all are answered by then, and cost nothing."""

    isolate: bool = False
    """Copy messages between processes of one node too, so that tests find shared state."""

    allow_version_skew: bool = False
    """Admit nodes of another Python minor version; code by value is then refused."""

    handler_warning: float = 1.0
    """Seconds a handler may hold the loop before the watchdog shows where it is; 0 for never.
    What waits for a second is felt by a person, and by every process of the node."""

    blocking_threads: int = 32
    """Threads for ``@blocking`` handlers of one node: as many as the standard library's
    executors take on most machines."""

    @property
    def end_seconds(self) -> float:
        """Seconds that the end of a program gives its node: its children have half of them."""
        return 2 * self.shutdown_timeout

    def with_changes(self, **changes: object) -> Config:
        """Return a copy with some settings changed; a key may be given as hex digits.

        Raises:
            TypeError: there is no such setting; the text lists those there are.  Or a value is
                not of its kind.
            ValueError: a value is out of its range.
        """
        names = self.__dataclass_fields__
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise TypeError(
                f"no setting named {', '.join(unknown)}; there are {', '.join(names)}"
            )
        if isinstance(changes.get("key"), str):
            changes["key"] = _key_of(str(changes["key"]))
        for name, value in changes.items():
            _check(name, value, names[name].default)
        values = {name: getattr(self, name) for name in names}
        return Config(**{**values, **changes})


def _check(name: str, value: object, default: object) -> None:
    """Raise TypeError or ValueError unless `value` may be that of the setting `name`."""
    if name == "key":
        if value is not None and (
            not isinstance(value, bytes) or len(value) != KEY_BYTES
        ):
            raise ValueError(BAD_KEY)
    elif name in ("address", "advertise"):
        if value is not None or default is not None:
            _check_host(name, value)
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"{name} is True or False, not {value!r}")
    elif isinstance(default, int):
        _check_number(name, value, int, "a whole number")
    else:
        _check_number(name, value, (int, float), "a number of seconds")


def _check_number(
    name: str, value: object, kind: type | tuple[type, ...], noun: str
) -> None:
    least = _LEAST.get(name, 0)
    text = f"{name} is {noun} from {least} on, not {value!r}"
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(text)
    if not (isinstance(value, (int, float)) and least <= value < inf):
        raise ValueError(text)
    if name == "port" and value > LAST_PORT:
        raise ValueError(f"port is at most {LAST_PORT}, not {value}")


def _check_host(name: str, value: object) -> None:
    text = (
        f"{name} is a host alone, as '10.1.1.15', not {value!r}; the port is a setting"
        " of its own"
    )
    if not isinstance(value, str):
        raise TypeError(text)
    if not value or "/" in value:
        raise ValueError(text)


def _key_of(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(BAD_KEY) from None  # its own text tells of the digits


KEY_BYTES: Final = 32
"""Of a cluster key, as many as CURVE's own keys: guessing is out of the question."""

BAD_KEY: Final = f"a cluster key has {KEY_BYTES} bytes, written as 64 hex digits"
"""Does not show the key that was given: it may be a good one with a typing error."""

_LEAST: Final = {
    # with none of these nothing would ever be sent, or done
    "frame_messages": 1,
    "frame_bytes": 1,
    "piece_bytes": 1,
    "blocking_threads": 1,
    # ZeroMQ counts in milliseconds, and takes 0 for no limit
    "handshake_timeout": 0.001,
    # with nothing, nodes would only beat, count as lost at once, or never be reached
    "beat_interval": 0.001,
    "connect_timeout": 0.001,
    "loss_timeout": 0.001,
}
"""The smallest value of a setting, where that is not 0."""

LAST_PORT: Final = 65535
"""The last that TCP has."""

RUN_BUDGET: Final = 256
"""Messages handled in one turn of the loop: measured, 64 to 512 cost nothing."""

RUN_SECONDS: Final = 0.003
"""Seconds of one turn of the loop, so that sockets and timers are served in between."""

DIRECT_DEPTH: Final = 8
"""Handlers that may stand on one stack by direct calls; each adds to the C stack that a
park copies, and to the recursion depth."""

DIRECT_CREDIT: Final = 64
"""Direct calls between two looks at the run queue: other processes wait for no more."""

IDLE_WORKERS: Final = 1000
"""Greenlets kept for re-use, about 6 kB each; a surplus is freed."""

MAILBOX_WARNING: Final = 100_000
"""Messages in one mailbox after which a warning names the process."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Collections on forked nodes, workers and under `splice.run`: with the default thresholds a
million spawns take 3.6 times as long, for nothing that they could free."""

MANY_PROCESSES: Final = 100_000
"""Processes of a node from which on `GC_THRESHOLDS` hold on a background node too: looking at all
of them after every 700 new objects would take more time than making them."""

SPAWN_PORTION: Final = 10_000
"""Processes that `spawn_many` makes before it waits for their constructors: enough to lose
nothing, and what waits in mailboxes meanwhile stays small."""
