"""Work on a thread is ended where it waits: by one interrupt in no later wait as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from splice.actor.interrupts import (
    Interrupt,
    interrupt_here,
    interruptible,
    is_interrupted,
)


class Sleeper:
    """Keeps what it was refused with."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def refuse(self, error: BaseException) -> None:
        self.error = error

    def wake_up(self) -> None:
        if self.error is not None:
            raise self.error


def sleep(sleeper: Sleeper, *meanwhile: Callable[[], object]) -> None:
    with interruptible(sleeper):
        for function in meanwhile:
            function()


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    interrupt = Interrupt()
    with interrupt:
        yield interrupt


def test_who_sleeps_is_refused(interrupt: Interrupt) -> None:
    sleeper, error = Sleeper(), KeyboardInterrupt()
    with interruptible(sleeper):
        interrupt.throw(error)
    assert sleeper.error is error


def test_who_sleeps_later_gets_what_was_thrown_before(interrupt: Interrupt) -> None:
    assert not is_interrupted()
    interrupt.throw(KeyboardInterrupt())
    assert is_interrupted()
    with pytest.raises(KeyboardInterrupt), interruptible(Sleeper()):
        pytest.fail("it does not begin to sleep")


def test_the_wait_after_an_interrupted_one_is_undisturbed(interrupt: Interrupt) -> None:
    interrupt.throw(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt), interruptible(Sleeper()):
        pass
    later = Sleeper()
    with interruptible(later):
        pass
    assert later.error is None


def test_an_error_that_was_raised_is_not_raised_again(interrupt: Interrupt) -> None:
    sleeper = Sleeper()
    with pytest.raises(KeyboardInterrupt):
        sleep(sleeper, lambda: interrupt.throw(KeyboardInterrupt()), sleeper.wake_up)
    with interruptible(Sleeper()):
        pass


def test_who_was_woken_by_its_answer_meanwhile_is_interrupted_next_time(
    interrupt: Interrupt,
) -> None:
    with interruptible(Sleeper()):
        interrupt.throw(KeyboardInterrupt())  # too late for this one
    with pytest.raises(KeyboardInterrupt), interruptible(Sleeper()):
        pass


def test_an_error_of_the_wait_itself_keeps_the_interrupt_for_the_next(
    interrupt: Interrupt,
) -> None:
    with pytest.raises(LookupError):
        sleep(Sleeper(), lambda: interrupt.throw(KeyboardInterrupt()), {}.popitem)
    with pytest.raises(KeyboardInterrupt), interruptible(Sleeper()):
        pass


def test_all_who_sleep_are_refused_and_none_who_has_gone_on(
    interrupt: Interrupt,
) -> None:
    gone, one, other = Sleeper(), Sleeper(), Sleeper()
    with interruptible(gone):
        pass
    error = KeyboardInterrupt()
    with interruptible(one), interruptible(other):
        interrupt.throw(error)
    assert (gone.error, one.error, other.error) == (None, error, error)


def test_what_runs_on_the_thread_next_is_not_interrupted() -> None:
    interrupt = Interrupt()
    with interrupt:
        assert interrupt_here() is interrupt
        interrupt.throw(KeyboardInterrupt())
    with interruptible(Sleeper()):
        assert interrupt_here() is None
