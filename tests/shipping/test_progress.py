"""The progress of a transfer: a line, if it takes long enough to be noticed."""

import io

from splice.shipping.manifest import CHUNK_BYTES, File, Manifest
from splice.shipping.progress import Progress

LIB = Manifest("lib", "1.0", (File("a", 4 * CHUNK_BYTES, ""),))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(times, stream):
    clock = iter(times)
    progress = Progress(lambda: next(clock), stream)
    for chunk in range(len(times)):
        progress.sent(LIB, chunk)
    return stream.getvalue()


def test_a_quick_transfer_shows_nothing():
    assert shown([0.0, 0.5, 1.0, 1.5], Terminal()) == ""


def test_a_slow_one_shows_a_line_that_ends():
    assert shown([0.0, 3.0, 3.1, 6.0], Terminal()) == (
        "\rshipping lib 1.0: 2 of 4 MB\033[K\rshipping lib 1.0: 4 of 4 MB\033[K\n"
    )


def test_without_a_terminal_it_is_a_line_at_each_end():
    times = [0.0, 3.0, 4.0, 6.0]
    assert shown(times, io.StringIO()).splitlines() == [
        "shipping lib 1.0: 2 of 4 MB",
        "shipping lib 1.0: 4 of 4 MB",
    ]


def test_a_transfer_that_was_broken_off_is_told_of_again_when_it_is_repeated():
    clock, stream = iter([0.0, 3.0, 100.0, 101.0, 103.0]), io.StringIO()
    progress = Progress(lambda: next(clock), stream)
    for chunk in (0, 1, 0, 1, 2):
        progress.sent(LIB, chunk)
    assert stream.getvalue().splitlines() == [
        "shipping lib 1.0: 2 of 4 MB",
        "shipping lib 1.0: 3 of 4 MB",
    ]


def test_where_nothing_can_be_shown_the_transfer_goes_on():
    closed = io.StringIO()
    closed.close()
    times = iter([0.0, 3.0])
    progress = Progress(lambda: next(times), closed)
    progress.sent(LIB, 0)
    progress.sent(LIB, 3)
