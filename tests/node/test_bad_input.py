"""Every kind of bad input is a named error at the right caller, and the node goes on working."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import splice
from splice import Process, gather, runtime, sync, syncmany, tell
from splice.config import Config


class Till(Process):
    """A process to be called wrongly."""

    def __init__(self, cents: int = 0) -> None:
        self.cents = cents

    def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents

    def lock(self) -> object:
        return threading.Lock()

    def keep(self, thing: object) -> None:
        self.thing = thing


class Broken(Process):
    def __init__(self) -> None:
        raise ValueError("no such till")


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """The address of a forked node that all tests of this module share."""
    (address,) = runtime.fork(1)
    yield address
    runtime.shutdown(remote_node=address)


@pytest.fixture(params=["near", "far"])
def place(request: pytest.FixtureRequest, node: str) -> str | None:
    """Where the process lives: the same must hold near and far."""
    return None if request.param == "near" else node


def assert_works(place: str | None) -> None:
    """The node still makes processes, and they still answer."""
    with runtime.spawn(Till, 1, sp_dest=place) as till:
        assert sync(till.add(1), timeout=10) == 2


def test_an_unknown_handler_is_no_attribute_of_a_typed_proxy(place: str | None) -> None:
    with runtime.spawn(Till, sp_dest=place) as till, pytest.raises(AttributeError):
        _ = till.subtract
    assert_works(place)


def test_an_unknown_handler_of_a_connected_process_is_named_by_its_node(
    place: str | None,
) -> None:
    with runtime.spawn(Till, sp_dest=place, sp_id="unknown-handler") as till:
        address = place or runtime.address
        stranger = runtime.connect(splice.url("unknown-handler", address))
        with pytest.raises(
            splice.NoSuchHandler, match="Till has no handler 'subtract'"
        ):
            stranger.subtract(1).get(timeout=10)
        assert sync(till.add(1), timeout=10) == 1


def test_wrong_arguments_are_a_type_error_at_the_caller(place: str | None) -> None:
    with runtime.spawn(Till, sp_dest=place) as till:
        with pytest.raises(TypeError):
            till.add()
        with pytest.raises(TypeError):
            till.add(1, dollars=2)
    assert_works(place)


def test_wrong_arguments_to_a_connected_process_are_a_type_error_of_the_answer(
    node: str,
) -> None:
    with runtime.spawn(Till, sp_dest=node, sp_id="wrong-arguments"):
        stranger = runtime.connect(f"{node}/wrong-arguments")
        with pytest.raises(TypeError, match="positional argument"):
            stranger.add(1, 2, 3).get(timeout=10)
    assert_works(node)


def test_an_argument_that_cannot_travel_is_named_at_the_line_that_sends_it(
    node: str,
) -> None:
    with runtime.spawn(Till, sp_dest=node) as till:
        with pytest.raises(splice.UnpicklableError, match=r"args\[0\]") as caught:
            till.keep({"lock": threading.Lock()})
        assert "lock" in caught.value.path
        assert sync(till.add(1), timeout=10) == 1


def test_an_answer_that_cannot_travel_is_an_error_of_that_answer(node: str) -> None:
    with runtime.spawn(Till, sp_dest=node) as till:
        with pytest.raises(splice.UnpicklableError, match="lock"):
            till.lock().get(timeout=10)
        assert sync(till.add(1), timeout=10) == 1


def test_a_process_that_has_ended_answers_with_process_stopped(
    place: str | None,
) -> None:
    till = runtime.spawn(Till, sp_dest=place)
    runtime.stop(till)
    with pytest.raises(splice.ProcessStopped, match="has ended"):
        till.add(1).get(timeout=10)
    assert_works(place)


def test_a_named_process_that_has_ended_answers_with_process_stopped(
    place: str | None,
) -> None:
    till = runtime.spawn(Till, sp_dest=place, sp_id="was-there-once")
    runtime.stop(till)
    with pytest.raises(splice.ProcessStopped, match="has ended"):
        till.add(1).get(timeout=10)


def test_a_process_that_never_was_is_not_found(place: str | None) -> None:
    nobody = runtime.connect(splice.url("nobody", place or runtime.address))
    with pytest.raises(splice.ProcessNotFound, match="nobody"):
        nobody.add(1).get(timeout=10)
    assert_works(place)


def test_a_tell_to_a_process_that_never_was_is_not_delivered(place: str | None) -> None:
    nobody = runtime.connect(splice.url("nobody", place or runtime.address))
    with pytest.raises(splice.ProcessNotFound) as caught:
        tell(nobody.add, 1).get(timeout=10)
    assert caught.value.verdict == "not delivered"


def test_a_second_use_of_a_name_is_refused(place: str | None) -> None:
    with runtime.spawn(Till, 5, sp_id="taken", sp_dest=place) as till:
        with pytest.raises(splice.NameTaken, match="'taken'"):
            runtime.spawn(Till, sp_id="taken", sp_dest=place)
        assert sync(till.add(1), timeout=10) == 6


def test_a_number_is_no_name_because_it_may_be_the_id_of_another(
    place: str | None,
) -> None:
    number: Any = 10**6
    with pytest.raises(
        TypeError, match="a process's name is text, not 1000000; numbers are the ids"
    ):
        runtime.spawn(Till, sp_id=number, sp_dest=place)
    with pytest.raises(TypeError, match="a process's name is text, not 1000000"):
        splice.child(Till, sp_id=number)
    assert_works(place)


def test_what_a_constructor_raises_spawn_raises(place: str | None) -> None:
    with pytest.raises(ValueError, match="no such till"):
        runtime.spawn(Broken, sp_dest=place)
    assert_works(place)


@pytest.mark.parametrize(
    "text", ["", "counter", "tcp://somewhere/counter", "tcp://1.2.3.4:99999/counter"]
)
def test_a_malformed_url_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        runtime.connect(text)


def test_spawn_wants_a_process_class() -> None:
    with pytest.raises(TypeError, match="derive the class"):
        runtime.spawn(dict)


def test_an_address_nobody_listens_on_times_out_by_name() -> None:
    script = """
import splice
splice.runtime.config(connect_timeout=0.3)
nobody = splice.runtime.connect("tcp://127.0.0.1:9/counter")
try:
    nobody.add(1).get(timeout=10)
except splice.ConnectTimeout as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "tcp://127.0.0.1:9" in done.stdout


def test_init_that_fails_leaves_its_own_error_on_standard_error_and_no_other() -> None:
    script = """
import splice
try:
    splice.runtime.fork(1, init=lambda: 1 / 0)
except splice.NodeLost as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "ZeroDivisionError" in done.stdout
    assert "did not shut down in order" not in done.stderr
    assert "was never awaited" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"port": "x"}, "port is a whole number from 0 on, not 'x'"),
        ({"port": 70_000}, "port is at most 65535, not 70000"),
        (
            {"loss_timeout": "10"},
            "loss_timeout is a number of seconds from 0.001 on, not '10'",
        ),
        ({"ack_delay": -1}, "ack_delay is a number of seconds from 0 on, not -1"),
        ({"loss_timeout": 0}, "loss_timeout is a .* from 0.001 on, not 0"),
        ({"connect_timeout": 0}, "connect_timeout is a .* from 0.001 on, not 0"),
        ({"beat_interval": 0}, "beat_interval is a .* from 0.001 on, not 0"),
        ({"handshake_timeout": 0}, "handshake_timeout is a .* from 0.001 on, not 0"),
        ({"loss_timeout": float("nan")}, "loss_timeout is a number .* not nan"),
        ({"isolate": "no"}, "isolate is True or False, not 'no'"),
        ({"window_bytes": 1.5}, "window_bytes is a whole number from 0 on, not 1.5"),
        ({"frame_messages": 0}, "frame_messages is a whole number from 1 on, not 0"),
        ({"frame_bytes": 0}, "frame_bytes is a whole number from 1 on, not 0"),
        ({"piece_bytes": 0}, "piece_bytes is a whole number from 1 on, not 0"),
        ({"blocking_threads": 0}, "blocking_threads is a .* from 1 on, not 0"),
        (
            {"address": "tcp://1.2.3.4:5"},
            "address is a host alone, .* not 'tcp://1.2.3.4:5'",
        ),
        ({"advertise": 3}, "advertise is a host alone, .* not 3"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_where_it_is_made(
    settings: dict[str, object], text: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        Config().with_changes(**settings)


@pytest.mark.parametrize("key", ["secret-abc", "abcd", 7])
def test_a_bad_key_is_refused_and_not_shown(key: object) -> None:
    with pytest.raises((TypeError, ValueError), match="64 hex digits") as caught:
        Config().with_changes(key=key)
    assert repr(key) not in str(caught.value)


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (lambda till: sync(3), "a promise is wanted, .* not 3"),
        (lambda till: sync(till.add), "a promise is wanted, .* not <.*add"),
        (lambda till: sync(till), "a promise is wanted, .* not <proxy of Till"),
        (
            lambda till: sync([till.add(1)]),
            r"a promise is wanted, .* not \[<Promise .*; syncmany waits for many",
        ),
        (lambda till: syncmany([till.add(1), 3]), "a promise is wanted, .* not 3"),
        (lambda till: gather([3]), "a promise is wanted, .* not 3"),
    ],
)
def test_what_is_no_promise_cannot_be_waited_for(
    wait: Callable[[Any], Any], text: str
) -> None:
    with runtime.spawn(Till) as till, pytest.raises(TypeError, match=text):
        wait(till)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda till: till.add(1).then(3), "then wants a function, not 3"),
        (
            lambda till: till.add(1).add_done_callback(3),
            "add_done_callback wants a function, not 3",
        ),
        (lambda till: runtime.on_node(3), "on_node wants a function, not 3"),
        (
            lambda till: runtime.on_dead_letter(3),
            "on_dead_letter wants a function, not 3",
        ),
    ],
)
def test_what_cannot_be_called_is_refused_where_it_is_given(
    use: Callable[[Any], Any], text: str
) -> None:
    with runtime.spawn(Till) as till, pytest.raises(TypeError, match=text):
        use(till)


@pytest.mark.parametrize("count", [-1, "3", 1.5, None])
def test_spawn_many_wants_a_number(count: Any) -> None:
    with pytest.raises(ValueError, match="spawn_many wants a number of processes, not"):
        runtime.spawn_many(count, Till)


def test_an_option_that_spawn_does_not_have_is_named() -> None:
    with pytest.raises(
        TypeError, match="spawn has no option sp_dst; it has sp_id, sp_"
    ):
        runtime.spawn(Till, sp_dst="tcp://127.0.0.1:9")
    with pytest.raises(TypeError, match="sp_restart is for children: give sp_super"):
        runtime.spawn(Till, sp_restart="permanent")


def test_an_address_without_a_process_is_no_url_of_one() -> None:
    with pytest.raises(ValueError, match=r"malformed url 'tcp://127\.0\.0\.1:9'"):
        runtime.connect("tcp://127.0.0.1:9")
    with pytest.raises(TypeError, match="connect wants a url or its text, not 3"):
        runtime.connect(3)  # type: ignore[arg-type]  # what is tested


class Maker(Process):
    def values(self) -> Iterator[int]:
        yield 1

    def task(self) -> Any:
        async def later() -> None: ...

        coroutine = later()
        coroutine.close()
        return coroutine


def test_a_generator_that_cannot_travel_is_told_what_can(node: str) -> None:
    with runtime.spawn(Maker, sp_dest=node) as maker:
        with pytest.raises(
            splice.UnpicklableError,
            match="send its values as a list, or spawn the generator function",
        ):
            maker.values().get(timeout=10)
        with pytest.raises(
            splice.UnpicklableError,
            match="an 'async def' that nobody has awaited; await it there",
        ):
            maker.task().get(timeout=10)
