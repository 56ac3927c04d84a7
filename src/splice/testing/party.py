"""Party: a process of the simulator's workload, which does what it is told and notes all of it.

Every handler gets the number of its message first, so that the history can follow it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from splice.actor.links import Down
from splice.actor.process import Process
from splice.actor.promise import Promise
from splice.actor.proxy import Proxy, tell
from splice.errors import Exit, SpliceError
from splice.node.runtime import runtime
from splice.testing.history import What
from splice.testing.notes import Notes
from splice.uri import parse

CLASS_NAME: Final = f"{__name__}:Party"
"""How the proxies of a party are named, so that they know its handlers."""


class Oops(Exception):
    """What a handler of the workload raises on purpose."""


def counting(recorder: Notes, message: int, count: int) -> Iterator[int]:
    """Yield numbers from 0 on: the coroutine of the workload."""
    yield from range(count)


class Party(Process):
    """One of those who talk with each other.

    Args:
        recorder: where everything is noted.
        message: number of the message that made it, 0 for none.
    """

    sp_is_noted: ClassVar[bool] = True

    def __init__(self, recorder: Notes, message: int = 0) -> None:
        self._recorder = recorder
        self._me = recorder.cell_place(self._sp_cell)
        recorder.born(self, message)

    # ---- what others ask of it

    def echo(self, message: int) -> int:
        """Answer the number."""
        self._recorder.handled(self, message)
        return message

    async def nap(self, message: int, seconds: float) -> int:
        """Answer the number after a while."""
        self._recorder.handled(self, message)
        await asyncio.sleep(seconds)
        return message

    def fail(self, message: int) -> int:
        """Raise; a linked or supervised party ends of it."""
        self._recorder.handled(self, message)
        raise Oops(message)

    def quit(self, message: int) -> int:
        """End, and answer the number."""
        self._recorder.handled(self, message)
        raise Exit("quit", answer=message)

    def relay(self, message: int, where: str, timeout: float | None) -> int:
        """Ask somebody else, wait for that, and answer the number."""
        self._recorder.handled(self, message)
        self._waited(self._ask(where, "echo"), timeout)
        return message

    def sp_down(self, down: Down) -> None:
        """Take note of the end of a monitored process."""

    # ---- what the trial has it do

    def asks(self, message: int, where: str, kind: str, count: int) -> None:
        """Send requests and wait for none of them."""
        self._recorder.handled(self, message)
        for _ in range(count):
            self._ask(where, kind)

    def tells(self, message: int, where: str, kind: str, count: int) -> None:
        """Send messages one way."""
        self._recorder.handled(self, message)
        for _ in range(count):
            self._send(where, f"tell {kind}", lambda proxy, n: _tell(proxy, kind, n))

    def waits(self, message: int, where: str, kind: str, timeout: float | None) -> None:
        """Ask and wait for the answer."""
        self._recorder.handled(self, message)
        self._waited(self._ask(where, kind), timeout)

    def relays(
        self, message: int, where: str, onto: str, timeout: float | None
    ) -> None:
        """Have somebody ask a third one, and wait for it."""
        self._recorder.handled(self, message)
        asked = self._send(
            where, "relay", lambda proxy, n: proxy.relay(n, onto, timeout)
        )
        self._waited(asked, timeout)

    def cancels(self, message: int, where: str, after: float) -> None:
        """Ask for something slow, and give it up after a while."""
        self._recorder.handled(self, message)
        asked = self._ask(where, "nap")
        if asked is None:
            return
        number, promise = asked
        runtime.sleep(after)
        self._recorder.cancelled(number, promise, runtime.node)

    def streams(self, message: int, dest: str, count: int, prefetch: int) -> None:
        """Read a coroutine that it has made on another node."""
        self._recorder.handled(self, message)
        values: list[int] = []
        try:
            coro = runtime.spawn(counting, self._recorder, message, count, sp_dest=dest)
            values.extend(coro.stream(prefetch) if prefetch else coro)
            end = f"complete of {count}"
        except SpliceError as error:
            end = type(error).__name__
        finally:
            shown = ",".join(map(str, values))
        self._recorder.note(What.STREAM, message, self._me, other=shown, text=end)

    def spawns(self, message: int, dest: str, node: str, name: str) -> None:
        """Make another party."""
        self._recorder.handled(self, message)
        self._made(f"{node}:{name}", name, sp_dest=dest)

    def supervises(self, message: int, where: str, node: str, name: str) -> None:
        """Have a supervisor make another party."""
        self._recorder.handled(self, message)
        supervisor = runtime.connect(where)
        self._made(f"{node}:{name}", name, sp_super=supervisor)

    def ends(self, message: int, where: str, how: str) -> None:
        """Stop or kill somebody, and wait for it."""
        self._recorder.handled(self, message)
        try:
            getattr(runtime, how)(_proxy(where))
        except SpliceError as error:
            self._recorder.note(What.CANCEL, message, text=f"{how}: {error!r:.60}")

    def links(self, message: int, where: str) -> None:
        """Share the fate of somebody."""
        self._recorder.handled(self, message)
        self._recorder.sent(self._me, self._place(where), "link")
        runtime.link(self.sp_proxy, _proxy(where))

    def monitors(self, message: int, where: str) -> None:
        """Wait for the end of somebody, but not here."""
        self._recorder.handled(self, message)
        self._send(where, "monitor", lambda proxy, _: runtime.monitor(proxy))

    # ---- within

    def _ask(self, where: str, kind: str) -> tuple[int, Promise] | None:
        return self._send(where, kind, lambda proxy, n: _ask(proxy, kind, n))

    def _made(self, place: str, name: str, **how: Any) -> None:
        def make(message: int) -> Promise:
            return runtime.spawn_nowait(
                Party, self._recorder, message, sp_id=name, **how
            )

        self._note(place, "start" if "sp_super" in how else "spawn", make)

    def _send(
        self, where: str, kind: str, send: Callable[[Any, int], Promise]
    ) -> tuple[int, Promise] | None:
        proxy = _proxy(where)
        return self._note(self._place(where), kind, lambda n: send(proxy, n))

    def _note(
        self, place: str, kind: str, send: Callable[[int], Promise]
    ) -> tuple[int, Promise] | None:
        message = self._recorder.sent(self._me, place, kind)
        try:
            promise = send(message)
        except SpliceError as error:
            self._recorder.failed(message, error)
            return None
        return message, self._recorder.follow(message, promise, runtime.node)

    def _waited(self, asked: tuple[int, Promise] | None, timeout: float | None) -> None:
        if asked is None:
            return
        try:
            asked[1].get(timeout)
        except (SpliceError, Oops):
            return  # its verdict is noted by who follows it

    def _place(self, where: str) -> str:
        return self._recorder.place(parse(where))


def _proxy(where: str) -> Proxy:
    return runtime.node.connect(parse(where), CLASS_NAME)


NAP_SECONDS: Final = 0.5
"""Long enough to be cancelled in the middle, short beside every timeout."""


def _ask(proxy: Any, kind: str, message: int) -> Promise:
    if kind == "nap":
        return proxy.nap(message, NAP_SECONDS)  # type: ignore[no-any-return]
    return getattr(proxy, kind)(message)  # type: ignore[no-any-return]


def _tell(proxy: Any, kind: str, message: int) -> Promise:
    extra = (NAP_SECONDS,) if kind == "nap" else ()
    return tell(getattr(proxy, kind), message, *extra)
