"""The rows of the comparison: which libraries do which work, and what the design asks of splice."""

from __future__ import annotations

from dataclasses import dataclass

from bench.measuring import SPLICE, Scale, Target


@dataclass(frozen=True)
class Peer:
    """Where the cases of a library are.

    Attributes:
        where: the dictionary of its cases, ``module:name`` in `bench.peers`.
        packages: what its environment needs; nothing: the standard library, or Erlang.
    """

    where: str
    packages: tuple[str, ...] = ()

    @property
    def is_erlang(self) -> bool:
        """Whether Erlang's interpreter runs it."""
        return self.where.endswith(".erl")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        title, unit: for people.
        peers: in the order of the table.
        less_is_better: whether the unit is a cost.
        is_fresh: whether each measurement needs an OS process of its own: memory.
        is_full: whether it takes minutes and runs with ``--full`` only.
    """

    title: str
    unit: str
    peers: tuple[str, ...]
    target: Target | None = None
    less_is_better: bool = False
    is_fresh: bool = False
    is_full: bool = False


PEERS = {
    SPLICE: Peer("on_splice:CASES"),
    "asyncio": Peer("on_asyncio:CASES"),
    "gevent": Peer("on_gevent:CASES", ("gevent",)),
    "Pykka": Peer("on_pykka:CASES", ("pykka",)),
    "xoscar": Peer("on_xoscar:CASES", ("xoscar", "numpy")),
    "Thespian": Peer("on_thespian:CASES", ("thespian",)),
    "Erlang": Peer("contender.erl"),
    "pyzmq": Peer("on_zmq:CASES", ("pyzmq",)),
    "Ray": Peer("on_ray:CASES", ("ray", "numpy")),
    "Dask": Peer("on_dask:CASES", ("distributed", "numpy")),
    "mp.Pool": Peer("on_pools:POOL"),
    "futures": Peer("on_pools:FUTURES"),
    "joblib": Peer("on_pools:JOBLIB", ("joblib", "numpy")),
    "mpire": Peer("on_pools:MPIRE", ("mpire", "numpy")),
}

ACTORS = ("asyncio", "gevent", "Pykka", "xoscar", "Thespian", "Erlang")
LIGHT = ("asyncio", "gevent", "Erlang")
FAR = ("pyzmq", "xoscar", "Ray", "Dask")
POOLS = ("mp.Pool", "futures", "joblib", "mpire", "Dask", "Ray")

ROWS = {
    "ask": Row("ask", "asks/s", ACTORS, Target(">= 0.6 M/s", least=0.6e6)),
    "tell": Row("tell", "msgs/s", ACTORS, Target(">= 0.8 M/s", least=0.8e6)),
    "ring": Row("ring of 503", "hops/s", ACTORS, Target(">= 0.8 M/s", least=0.8e6)),
    "skynet": Row("skynet, 100,000 leaves", "s", LIGHT, less_is_better=True),
    "skynet-small": Row(
        "skynet, 10,000 leaves", "s", (*LIGHT, "xoscar"), less_is_better=True
    ),
    "skynet-million": Row(
        "skynet, 1,000,000 leaves",
        "s",
        LIGHT,
        Target("< 4.5 s", most=4.5),
        less_is_better=True,
        is_full=True,
    ),
    "spawn": Row("spawn", "processes/s", ACTORS, Target(">= 0.33 M/s", least=1e6 / 3)),
    "memory": Row(
        "idle process",
        "B/process",
        ACTORS,
        Target("<= 450 B", most=450),
        less_is_better=True,
        is_fresh=True,
    ),
    "far-ask": Row(
        "far ask", "asks/s", FAR, Target("within 1.3x of pyzmq", of_floor=1 / 1.3)
    ),
    "far-piped": Row(
        "far piped asks", "asks/s", FAR, Target(">= 0.25 M/s", least=0.25e6)
    ),
    "far-tell": Row("far tell", "msgs/s", FAR, Target(">= 0.6 M/s", least=0.6e6)),
    "start": Row(
        "start, use and close two workers",
        "s",
        POOLS,
        Target("< 0.5 s", most=0.5),
        less_is_better=True,
    ),
    "noops": Row(
        "no-ops, one message each", "items/s", POOLS, Target(">= 55 k/s", least=55e3)
    ),
    "million": Row(
        "1,000,000 trivial items", "items/s", POOLS, Target(">= 6 M/s", least=6e6)
    ),
    "skewed": Row(
        "200 skewed items", "ideal/elapsed", POOLS, Target(">= 0.98", least=0.98)
    ),
    "shared": Row(
        "100 items on one 64 MiB array",
        "s",
        POOLS,
        Target("< 0.12 s", most=0.12),
        less_is_better=True,
    ),
}


def standard(scale: Scale) -> list[str]:
    """Return the names of the rows that run when none is named."""
    return [name for name, row in ROWS.items() if scale.is_full or not row.is_full]
