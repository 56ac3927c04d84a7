"""What workers write and log, as the client shows it; no OS process takes part."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
import termios
import threading
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from splice.cluster.output import LINE_BYTES, Line, Lines, Output, Repeats
from splice.cluster.records import RecordHandler, handle_record, pack_record
from splice.node.outlets import END

NAME = "worker 1"


def nothing() -> None:
    """More may come."""


def shown(output: Output, *chunks: tuple[str, bytes]) -> None:
    for stream, chunk in (*chunks, (END, b"")):
        output.take(NAME, stream, chunk, nothing)
    output.finish()


def line(text: str, worker: str = NAME) -> Line:
    return Line(worker, "stdout", text)


def record(**changes: Any) -> logging.LogRecord:
    made = logging.LogRecord("mine", logging.INFO, "a.py", 7, "got %s", (object,), None)
    vars(made).update(changes)
    return made


def test_who_finishes_it_twice_waits_twice() -> None:
    begun, gate = threading.Event(), threading.Event()
    lines: list[Line] = []

    def show(each: Line) -> None:
        begun.set()
        gate.wait(20)
        lines.append(each)

    output = Output(show)
    output.take(NAME, "stdout", b"last\n", nothing)
    assert begun.wait(20)
    first, second = threading.Event(), threading.Event()
    output.finish_soon(first.set)
    output.finish_soon(second.set)
    was_told = first.is_set() or second.is_set()
    gate.set()
    assert first.wait(20)
    assert second.wait(20)
    assert not was_told, "told before the last line was shown"
    assert lines == [line("last")]


def test_what_comes_after_the_end_is_shown_behind_what_came_before() -> None:
    begun, gate = threading.Event(), threading.Event()
    lines: list[str] = []

    def show(each: Line) -> None:
        begun.set()
        gate.wait(20)
        lines.append(each.text)

    output = Output(show)
    output.take(NAME, "stdout", b"one\n", nothing)
    assert begun.wait(20)
    output.finish_soon(nothing)
    output.take(NAME, "stdout", b"two\n", nothing)
    output.take(NAME, "stdout", b"three\n", nothing)
    gate.set()
    output.finish()
    assert lines == ["one", "two", "three"]


# ---- lines


def test_lines_are_put_together_from_any_chunks() -> None:
    lines = Lines(NAME, "stdout")
    text = "one\r\ntwo ä\n\nlast".encode()
    found = [each for byte in text for each in lines.feed(bytes([byte]))]
    assert [each.text for each in found] == ["one", "two ä", ""]
    assert lines.end() == [line("last")]
    assert lines.end() == []


def test_a_line_without_end_is_cut() -> None:
    lines = Lines(NAME, "stdout")
    found = [each for _ in range(40) for each in lines.feed(b"x" * 65536)]
    assert found
    assert all(len(each.text) <= LINE_BYTES + 65536 for each in found)


def test_repeated_lines_are_counted_until_another_one_comes() -> None:
    repeats = Repeats()
    same = [line("same")] * 42
    assert repeats.feed(same) == [line("same")]
    told = repeats.feed([line("other")])
    assert told == [line("… repeated 41 times"), line("other")]


def test_a_line_that_comes_twice_is_shown_twice() -> None:
    repeats = Repeats()
    found = repeats.feed([line("a"), line("a"), line("b")])
    assert found == [line("a"), line("a"), line("b")]


def test_empty_lines_are_not_counted() -> None:
    assert Repeats().feed([line("")] * 3) == [line("")] * 3


# ---- where they go


def test_lines_go_to_the_streams_of_the_moment_with_the_name_of_the_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown(Output(), ("stdout", b"out\nlast words"), ("stderr", b"err\n"))
    assert capsys.readouterr() == (
        "[worker 1] out\n[worker 1] last words\n",
        "[worker 1] err\n",
    )


def test_plain_output_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    shown(Output("plain"), ("stdout", b"same\n" * 3))
    assert capsys.readouterr().out == "same\n" * 3


def test_output_that_is_off_is_not_shown(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = pack_record(record(levelno=logging.ERROR))
    shown(Output("off"), ("stdout", b"out\n"), ("records", log))
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_a_function_gets_each_line() -> None:
    found: list[Line] = []
    shown(Output(found.append), ("stdout", b"a\na\n"))
    assert found == [line("a"), line("a")]


def test_a_function_that_fails_is_logged_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found: list[Line] = []

    def fail(got: Line) -> None:
        found.append(got)
        raise ValueError("no such planet")

    shown(Output(fail), ("stdout", b"a\nb\n"))
    assert found == [line("a"), line("b")]
    assert "the function that gets the output of workers failed" in caplog.text


def test_something_else_than_these_is_refused() -> None:
    with pytest.raises(ValueError, match="'prefix', 'plain', 'off' or a function"):
        Output("loud")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError])
def test_a_stream_that_fails_stops_nobody(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        encoding = "utf-8"

        def write(self, text: str) -> None:
            raise kind("I/O operation on closed file")

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(logging.getLogger("splice.cluster"), "disabled", True)
    going_on = threading.Event()
    output = Output()
    output.take(NAME, "stdout", b"out\n", going_on.set)
    output.finish()
    assert going_on.is_set()


def test_what_a_stream_cannot_encode_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    shown(Output("plain"), ("stdout", "ä\n".encode()))
    assert raw.getvalue() == b"\\xe4\n"


def test_output_is_shown_also_where_no_thread_can_be_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    shown(Output(), ("stdout", b"last words"))
    assert capsys.readouterr().out == "[worker 1] last words\n"


def test_a_stream_of_the_users_own_that_fails_in_another_way_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Tee:
        encoding = "utf-8"

        def write(self, text: str) -> None:
            """Take it; and there is no flush."""

    monkeypatch.setattr(sys, "stdout", Tee())
    output = Output()
    for _ in range(3):
        output.take(NAME, "stdout", b"again\n", nothing)
    output.finish()  # tells of the repetitions, and returns


def test_more_is_read_only_when_it_has_been_shown() -> None:
    gate, going_on = threading.Event(), threading.Event()

    def wait(_: Line) -> None:
        assert gate.wait(30)

    output = Output(wait)
    output.take(NAME, "stdout", b"out\n", going_on.set)
    assert not going_on.is_set()
    gate.set()
    output.finish()
    assert going_on.is_set()


# ---- log records


@pytest.fixture
def mine(caplog: pytest.LogCaptureFixture) -> Callable[[], logging.LogRecord]:
    caplog.set_level(logging.INFO, "mine")
    return lambda: caplog.records[-1]


def test_a_record_comes_to_the_logger_of_its_name(
    mine: Callable[[], logging.LogRecord],
) -> None:
    shown(Output(), ("records", pack_record(record(extra=3, strange=object))))
    found = mine()
    assert found.getMessage() == "got <class 'object'>"
    assert (found.name, found.lineno, found.processName) == ("mine", 7, NAME)
    assert vars(found)["extra"] == 3
    assert vars(found)["strange"] == "<class 'object'>"


def test_a_traceback_travels_as_text(mine: Callable[[], logging.LogRecord]) -> None:
    try:
        raise ValueError("no such planet")
    except ValueError:
        packed = pack_record(record(exc_info=sys.exc_info()))
    handle_record(NAME, packed.decode())
    assert "ValueError: no such planet" in (mine().exc_text or "")


def test_the_level_of_the_logger_at_the_client_holds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "mine")
    handle_record(NAME, pack_record(record()).decode())
    assert not caplog.records


def test_a_long_message_is_cut() -> None:
    packed = json.loads(pack_record(record(msg="x" * 10**6, args=None)))
    assert len(packed["msg"]) == 100_000


class Stopped(BaseException):
    """What stops an item that takes too long, wherever it is just then."""


def test_a_record_that_was_stopped_halfway_does_not_spoil_the_next() -> None:
    read_end, write_end = os.pipe()
    handler = RecordHandler(write_end)
    stop_when_full(read_end)
    with pytest.raises(Stopped):
        handler.handle(record(msg="x" * 90_000, args=None))
    rest = os.read(read_end, 1 << 20)
    handler.handle(record(msg="the next", args=None))
    os.close(write_end)
    lines = (rest + os.read(read_end, 1 << 20)).splitlines()
    os.close(read_end)
    assert json.loads(lines[-1])["msg"] == "the next"
    assert len(lines) == 2


def stop_when_full(read_end: int) -> None:
    """Stop the main thread by a signal as soon as it has filled a pipe."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGUSR1, before)
        raise Stopped

    def look() -> None:
        held = array("i", [0])
        while held[0] < 1 << 16:
            fcntl.ioctl(read_end, termios.FIONREAD, held)
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    main = threading.main_thread().ident
    assert main is not None
    threading.Thread(target=look, daemon=True).start()


def test_a_line_that_is_no_record_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    handle_record(NAME, '{"half')
    assert 'worker 1 logged: {"half' in caplog.text
