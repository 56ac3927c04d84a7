"""Progress is shown as a bar on a terminal, as lines elsewhere, or as the user likes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from splice.cluster.progress import LINE_SECONDS, Bar, Callback, Lines, progress_for


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    bar = progress_for(True)
    assert isinstance(bar, Bar)
    bar.show(3, 10)
    bar.show(10, 10)
    bar.close()
    assert "10/10" in terminal.getvalue()


def test_a_bar_of_unknown_length_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar()
    bar.show(3, None)
    bar.close()
    assert "3/?" in terminal.getvalue()


def test_what_is_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(progress_for(True), Lines)


def test_a_line_comes_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    lines = Lines(clock=lambda: now)
    lines.show(1, 2000)
    assert capsys.readouterr().err == ""
    now += LINE_SECONDS
    lines.show(1500, 2000)
    lines.show(1501, 2000)
    assert capsys.readouterr().err == "map: 1,500 of 2,000 items, 5 s\n"
    now += 1
    lines.show(2000, 2000)
    lines.close()
    lines.close()
    assert capsys.readouterr().err == "map: 2,000 of 2,000 items, 6 s\n"


def test_lines_of_unknown_length_name_none(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(clock=lambda: 0.0)
    lines.show(7, None)
    lines.close()
    assert capsys.readouterr().err == "map: 7 items, 0 s\n"


def test_a_map_that_did_nothing_writes_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Lines(clock=lambda: 0.0).close()
    assert capsys.readouterr().err == ""


def test_a_function_is_told_each_step_once() -> None:
    told: list[Any] = []
    callback = Callback(lambda done, total: told.append((done, total)))
    for done in (0, 1, 1, 2):
        callback.show(done, 2)
    callback.close()
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_no_progress_is_shown_unless_asked_for() -> None:
    assert progress_for(False) is None
