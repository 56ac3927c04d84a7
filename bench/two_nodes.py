"""The cases between two nodes of one machine: a process here, an echo on a forked node.

Their floor is bare pyzmq between the same number of OS processes, over ipc as splice's own channel
of one machine, and over tcp beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import plain_tcp
from bench.measuring import SPLICE, Figure, Scale, Target, alternate, now
from bench.one_node import Count, Driver, Echo, ask_rate, piped_rate, tell_rate
from bench.zmq_echo import ZmqEcho
from splice import runtime, sync
from splice.net.places import ipc_folder, ipc_path, split_address

PIPED = 20_000
IPC = "pyzmq-ipc"
TCP = "pyzmq-tcp"


def _far(cls: type) -> tuple[Any, Any]:
    """Return a driver here and a process of `cls` on a forked node."""
    (there,) = runtime.fork(1)
    return runtime.spawn(Driver), runtime.spawn(cls, sp_dest=there)


def far_ask(scale: Scale) -> list[Figure]:
    """A process asks a far one, one question at a time."""
    count = scale.size(5_000)
    driver, echo = _far(Echo)
    with ZmqEcho("ipc") as ipc, ZmqEcho("tcp") as tcp:
        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: lambda: driver.run(lambda: ask_rate(echo, count)).get(),
                IPC: lambda: ipc.ask_rate(count),
                TCP: lambda: tcp.ask_rate(count),
            },
        )
    target = Target("within 1.3x of pyzmq", of_floor=1 / 1.3)
    return [Figure("B1_ask", "far ask", "asks/s", values, target=target, calls=calls)]


def far_thread_ask(scale: Scale) -> list[Figure]:
    """The main thread asks a far process: two wake-ups of a thread more."""
    count = scale.size(2_000)
    _, echo = _far(Echo)
    with ZmqEcho("ipc") as ipc:
        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: lambda: ask_rate(echo, count),
                IPC: lambda: ipc.ask_rate(count),
            },
        )
    title = "far ask from another thread"
    return [Figure("B1_ask_thread", title, "asks/s", values, calls=calls)]


def far_piped(scale: Scale) -> list[Figure]:
    """A process asks a far one with 20,000 questions outstanding."""
    count = scale.size(PIPED)
    driver, echo = _far(Echo)
    with ZmqEcho("ipc") as ipc, ZmqEcho("tcp") as tcp:
        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: lambda: driver.run(
                    lambda: piped_rate(echo, count, count)
                ).get(),
                IPC: lambda: ipc.piped_rate(count),
                TCP: lambda: tcp.piped_rate(count),
            },
        )
    target = Target(">= 0.25 M/s", least=0.25e6)
    title = f"far piped asks ({count:,})"
    return [Figure("B2_pipelined", title, "asks/s", values, target=target, calls=calls)]


def far_tell(scale: Scale) -> list[Figure]:
    """A process tells a far one."""
    count = scale.size(100_000)
    driver, counter = _far(Count)
    with ZmqEcho("ipc") as ipc, ZmqEcho("tcp") as tcp:
        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: lambda: driver.run(lambda: tell_rate(counter, count)).get(),
                IPC: lambda: ipc.tell_rate(count),
                TCP: lambda: tcp.tell_rate(count),
            },
        )
    target = Target(">= 0.6 M/s", least=0.6e6)
    return [Figure("B3_tell", "far tell", "msgs/s", values, target=target, calls=calls)]


def array_rate(echo: Any, array: Any, count: int) -> float:
    """Have an array echoed; its megabytes times round trips a second."""
    start = now()
    for _ in range(count):
        echoed = sync(echo.echo(array))
    seconds = now() - start
    assert echoed.nbytes == array.nbytes
    return float(array.nbytes * count / 1e6 / seconds)


def far_tcp(scale: Scale) -> list[Figure]:
    """The same over tcp, which is always encrypted (CURVE), beside ipc, which is not."""
    return _beside_ipc(scale, "tcp", "tcp and CURVE")


def far_plain_tcp(scale: Scale) -> list[Figure]:
    """The same over tcp with its encryption taken out, beside ipc."""
    plain_tcp.strip()
    return _beside_ipc(scale, "plain_tcp", "tcp without CURVE")


def _beside_ipc(scale: Scale, name: str, wire: str) -> list[Figure]:
    driver, near = _far(Echo)
    far, counter = _over_tcp(Echo), _over_tcp(Count)
    near_counter = runtime.spawn(Count, sp_dest=near.sp_url.address)
    asks, piped, tells = (scale.size(count) for count in (5_000, PIPED, 100_000))
    large, small = (np.ones(mebibytes * 2**20 // 8) for mebibytes in (64, 1))
    few, many = scale.size(8, 2), scale.size(200)
    found = []
    for case, title, unit, rate, pair in (
        ("ask", "far ask", "asks/s", lambda e: ask_rate(e, asks), (far, near)),
        (
            "pipelined",
            f"far piped asks ({piped:,})",
            "asks/s",
            lambda e: piped_rate(e, piped, piped),
            (far, near),
        ),
        (
            "tell",
            "far tell",
            "msgs/s",
            lambda c: tell_rate(c, tells),
            (counter, near_counter),
        ),
        (
            "array_1MB",
            "array of 1 MiB echoed",
            "MB/s",
            lambda e: array_rate(e, small, many),
            (far, near),
        ),
        (
            "array_64MB",
            "array of 64 MiB echoed",
            "MB/s",
            lambda e: array_rate(e, large, few),
            (far, near),
        ),
    ):

        def measure(target: Any, rate: Any = rate) -> float:
            value: float = driver.run(lambda: rate(target)).get()
            return value

        values, calls = alternate(
            scale.repeats,
            {
                SPLICE: lambda pair=pair, m=measure: m(pair[0]),  # type: ignore[misc]
                "splice-ipc": lambda pair=pair, m=measure: m(pair[1]),  # type: ignore[misc]
            },
        )
        figure = Figure(f"B5_{name}_{case}", f"{title}, {wire}", unit, values)
        figure.calls = calls
        found.append(figure)
    return found


def _over_tcp(cls: type) -> Any:
    """Return a process of `cls` on a new node that has no ipc socket to be found by."""
    (there,) = runtime.fork(1)
    folder = ipc_folder()
    assert folder is not None, "there is ipc on this machine"
    ipc_path(folder, *split_address(there)).unlink()
    return runtime.spawn(cls, sp_dest=there)


def far_arrays(scale: Scale) -> list[Figure]:
    """Arrays of 1 and 64 MiB are echoed by a far process."""
    driver, echo = _far(Echo)
    found = []
    with (
        ZmqEcho("ipc", is_for_arrays=True) as ipc,
        ZmqEcho("tcp", is_for_arrays=True) as tcp,
    ):
        for size, count in ((1, scale.size(200)), (64, scale.size(8, 2))):
            array = np.ones(size * 2**20 // 8)

            def mine(array: Any = array, count: int = count) -> float:
                rate: float = driver.run(lambda: array_rate(echo, array, count)).get()
                return rate

            values, _ = alternate(
                scale.repeats,
                {
                    SPLICE: mine,
                    IPC: lambda a=array, n=count: ipc.array_rate(a, n),  # type: ignore[misc]
                    TCP: lambda a=array, n=count: tcp.array_rate(a, n),  # type: ignore[misc]
                },
            )
            target = Target(">= 80 % of pyzmq", of_floor=0.8) if size == 64 else None
            title = f"array of {size} MiB echoed"
            found.append(
                Figure(f"B4_array_{size}MB", title, "MB/s", values, target=target)
            )
    return found
