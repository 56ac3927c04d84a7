"""Daemon: a node with one process, on the main thread, until it is told to end.

It does not fork itself away and keeps no file: systemd, or whoever started it, does that better.
It logs to standard error, and on SIGTERM or Ctrl-C it ends with everything below it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from splice.actor.promise import Promise
from splice.cluster.admission import denied, handing_on, master_key, member_key
from splice.cluster.instance import NAME as INSTANCE
from splice.cluster.instance import Instance
from splice.cluster.master import NAME as MASTER
from splice.cluster.master import Master
from splice.config import GC_THRESHOLDS, Config
from splice.errors import AccessDenied, DeliveryError
from splice.log import logger
from splice.net.keys import Keys
from splice.net.places import host_towards, is_numeric, look_up, split_address
from splice.node.agent import NAME, Agent
from splice.node.current import decoding, default
from splice.node.loop import run_loop
from splice.node.node import Node
from splice.node.watchdog import watchdog
from splice.uri import check_address

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - every interface, and never without a key
GOODBYE_SECONDS: Final = 1.0
"""For a goodbye to the master, on the way out: it would notice by itself, only later."""

_log = logger("cluster")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a daemon listens, and how long it waits for a sign of life.

    Attributes:
        address: interface.
        port: 0 takes a free one.
        loss_timeout: seconds without a sign of life after which a node counts as lost.
    """

    address: str = EVERYWHERE
    port: int = 0
    loss_timeout: float = Config().loss_timeout


class Daemon:
    """One node with one process; `run` is its whole life.

    Args:
        config: settings of the node.
        make: spawns the process; called on the node's thread.
        leave: says goodbye before the node is shut down.
    """

    def __init__(
        self,
        config: Config,
        make: Callable[[Daemon, Node], Promise],
        leave: Callable[[Any], Promise] | None = None,
    ) -> None:
        self._config = config
        self._make = make
        self._leave = leave
        self._ending: asyncio.Event
        self._error: Exception | None = None
        self._signals = 0

    def run(self) -> None:
        """Serve until SIGTERM, Ctrl-C, or `fail`.

        Raises:
            OSError: it cannot listen there.
            Exception: what `fail` was given.
        """
        gc.set_threshold(*GC_THRESHOLDS)
        run_loop(self._live())
        if self._error is not None:
            raise self._error

    def fail(self, error: Exception) -> None:
        """End because of `error`; node's thread only."""
        self._error = error
        self._ending.set()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        node = Node(loop, self._config)
        decoding.set(node)
        node.open()
        default.adopt(node)
        watchdog.watch(node)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, node, number)
        await node.spawn(Agent, (), {}, NAME)
        proxy = await self._make(self, node)
        node.on_closed = self._ending.set  # somebody may shut it down from afar
        await self._ending.wait()
        if not node.is_closed:
            await self._say_goodbye(proxy)
            await node.shut_down()

    def _signalled(self, node: Node, number: signal.Signals) -> None:
        self._signals += 1
        _log.info("%s: ending, with all workers", number.name)
        self._ending.set()
        if self._signals > 1:  # somebody is in a hurry
            node.children.kill_all()

    async def _say_goodbye(self, proxy: Any) -> None:
        if self._leave is None:
            return
        heard = self._leave(proxy)
        heard.add_done_callback(
            Promise.exception
        )  # seen: it may fail after our patience
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await heard
        except TimeoutError:
            _log.info(
                "nobody heard the goodbye: no answer within %g s", GOODBYE_SECONDS
            )
        except DeliveryError as error:
            _log.info("nobody heard the goodbye: %s", error)


def run_master(listening: Listening, tell_user: Callable[[str], None]) -> None:
    """Be a master until told to end.

    Args:
        listening: where.
        tell_user: gets where it listens, and how its key is handed on.

    Raises:
        AccessDenied: there is no key that could be handed on.
        OSError: it cannot listen there.
    """
    keys = master_key()
    name = socket.gethostname()

    def make(daemon: Daemon, node: Node) -> Promise:
        port = split_address(node.address)[1]
        where = name if listening.address == EVERYWHERE else listening.address
        tell_user(f"the master listens at tcp://{where}:{port}")
        tell_user(handing_on(keys, where))
        return node.spawn(Master, (node.incarnation,), {}, MASTER)

    Daemon(_config(listening, keys), make).run()


def run_instance(
    master_address: str,
    listening: Listening,
    *,
    name: str | None = None,
    slots: int | None = None,
    advertise: str | None = None,
) -> None:
    """Be an instance until told to end; the master may come later.

    Args:
        master_address: where the master listens.
        listening: where this node and its workers do.
        name: for people; the name of the machine when None.
        slots: workers to run at most; None: the CPUs that this program may use.
        advertise: address that others are told, when it is not the one that leads to the master.

    Raises:
        AccessDenied: no key, or not the master's; the text says what to copy where.
        OSError: it cannot listen there, or the master's name is unknown.
    """
    keys = member_key(check_address(master_address))
    told = advertise or _advertised(master_address, listening)

    def make(daemon: Daemon, node: Node) -> Promise:
        options = {
            "name": name or socket.gethostname(),
            "machine": socket.gethostname(),
            "slots": slots or count_cpus(),
            "load": lambda: os.getloadavg()[0],
            "on_refused": partial(_refused, daemon, master_address, keys),
        }
        return node.spawn(Instance, (master_address,), options, INSTANCE)

    config = _config(listening, keys, advertise=told)
    Daemon(config, make, lambda instance: instance.leave()).run()


def count_cpus() -> int:
    """Return how many CPUs this OS process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def set_up_logging(level: str | int) -> None:
    """Log to standard error; systemd's journal adds the time by itself."""
    time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(format=f"{time}%(levelname)s %(name)s: %(message)s")
    logging.getLogger("splice").setLevel(level)


def _refused(daemon: Daemon, master_address: str, keys: Keys, error: Exception) -> None:
    if isinstance(error, AccessDenied):
        error = denied(master_address, keys)
    daemon.fail(error)


def _config(listening: Listening, keys: Keys, **changes: Any) -> Config:
    return Config(
        address=listening.address,
        port=listening.port,
        loss_timeout=listening.loss_timeout,
        key=keys.secret,
        **changes,
    )


def _advertised(master_address: str, listening: Listening) -> str | None:
    """Return the address that others reach us by: that of the way to the master."""
    if listening.address != EVERYWHERE:
        return None
    name, _ = split_address(master_address)
    try:
        return host_towards(name if is_numeric(name) else look_up(name))
    except OSError as error:
        raise OSError(
            f"the master's name {name} cannot be looked up ({error}), so nobody knows by which "
            "address this machine is reached; correct it, or give --advertise"
        ) from error
