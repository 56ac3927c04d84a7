"""Hosting: a node on a thread of its own, or on the main thread for `splice.run`."""

from __future__ import annotations

import gc
import inspect
import threading
from collections.abc import Callable
from typing import Any

from splice.actor.process import Process
from splice.config import GC_THRESHOLDS, Config
from splice.errors import Cancelled, ProcessStopped, SpliceError
from splice.log import logger
from splice.node.agent import NAME, Agent
from splice.node.ctrl_c import CtrlC
from splice.node.current import decoding
from splice.node.loop import run_loop
from splice.node.node import Node
from splice.node.watchdog import watchdog

_log = logger("node")


class NodeThread:
    """A node that lives on a background thread, for scripts, REPLs and foreign frameworks."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._started = threading.Event()
        # not `Thread.join`: of Python 3.11, one that Ctrl-C breaks takes the thread for ended
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._node: Node | None = None
        # a daemon: the end of the program must not wait for it; atexit closes it in order
        self._thread = threading.Thread(
            target=self._live, name="splice-node", daemon=True
        )

    def start(self) -> Node:
        """Start the thread and return its node.

        Raises:
            SpliceError: the node could not start; the cause says why.
        """
        self._thread.start()
        self._started.wait()
        if self._node is None:
            raise SpliceError(
                f"the node could not start: {self._error}"
            ) from self._error
        return self._node

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; False when that took longer than `timeout` seconds."""
        if threading.current_thread() is self._thread:
            return True
        if not self._over.wait(timeout):
            return False
        self._thread.join()  # that is all it had to do
        return True

    def _live(self) -> None:
        try:
            run_loop(self._serve())
        except BaseException as error:
            self._error = error
            if self._node is not None:
                raise
        finally:
            if self._node is not None:
                self._node.abandon()
            self._started.set()
            self._over.set()

    async def _serve(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        node = Node(loop, self._config)
        decoding.set(node)
        watchdog.watch(node)
        gone = asyncio.Event()
        node.on_closed = gone.set
        await node.spawn(Agent, (), {}, NAME)
        self._node = node
        self._started.set()
        await gone.wait()


class _Main(Process):
    """The process that `splice.run` runs its function in."""

    def __init__(self, main: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._main = main
        self._args = args

    def run(self) -> Any:
        return self._main(*self._args)


class _AsyncMain(_Main):
    async def run(self) -> Any:
        return await self._main(*self._args)


def run_main(
    config: Config,
    on_start: Callable[[Node], None],
    main: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    """Run ``main(*args)`` as a process of a new node on this thread; see `splice.run`."""
    cls = _AsyncMain if inspect.iscoroutinefunction(main) else _Main
    ctrl_c = CtrlC()
    try:
        with ctrl_c:
            value = run_loop(_run_main(config, on_start, ctrl_c, cls, (main, args)))
    except ProcessStopped as stopped:
        if isinstance(stopped.reason, (KeyboardInterrupt, SystemExit)):
            raise stopped.reason from None
        raise
    except Cancelled:
        if ctrl_c.has_cancelled:
            raise KeyboardInterrupt from None
        raise
    if ctrl_c.is_pressed:
        raise KeyboardInterrupt
    return value


async def _run_main(
    config: Config,
    on_start: Callable[[Node], None],
    ctrl_c: CtrlC,
    cls: Any,
    args: tuple[Any, ...],
) -> Any:
    import asyncio

    node = Node(asyncio.get_running_loop(), config)
    decoding.set(node)
    watchdog.watch(node)
    on_start(node)
    thresholds = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        await node.spawn(Agent, (), {}, NAME)
        proxy = await node.spawn(cls, args, {}, None)
        ctrl_c.aim(proxy._sp_target, cls.run.__code__)
        return await proxy.run()
    finally:
        ctrl_c.aim(None)
        gc.set_threshold(*thresholds)
        await node.shut_down()
