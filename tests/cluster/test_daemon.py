"""Daemon: a goodbye that nobody hears."""

from __future__ import annotations

import asyncio
import gc

import pytest

from splice import Deferred, Process, runtime
from splice.cluster import daemon
from splice.cluster.daemon import Daemon
from splice.config import Config


class Deaf(Process):
    def leave(self) -> Deferred:
        self.never = Deferred()
        return self.never


def test_a_goodbye_that_nobody_hears_says_why_and_its_failure_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon, "GOODBYE_SECONDS", 0.01)
    caplog.set_level("INFO")
    master = runtime.spawn(Deaf)

    async def ends() -> None:
        leaving = Daemon(
            Config(), lambda *_: master.leave(), lambda proxy: proxy.leave()
        )
        await leaving._say_goodbye(master)

    asyncio.run(ends())
    runtime.kill(master)
    gc.collect()
    assert caplog.messages == ["nobody heard the goodbye: no answer within 0.01 s"]
