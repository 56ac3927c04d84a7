"""Values become payloads and values again; what cannot travel is named."""

import functools
import importlib.util
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.errors import (
    CompositeError,
    CoroutineEnded,
    NodeLost,
    ProcessStopped,
    RemoteError,
    UnpicklableError,
    VersionMismatch,
)
from splice.net import codec
from splice.net.codec import (
    RemoteTraceback,
    buffer_count,
    decode,
    decode_arguments,
    decode_error,
    encode,
    encode_arguments,
    encode_error,
)

SRC = Path(__file__).resolve().parents[2] / "src"

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
anything = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(plain)
    ),
    max_leaves=20,
)


def there_and_back(value: Any) -> Any:
    buffers: list[Any] = []
    # as in a frame: the payload is pickled with the batch
    payload = pickle.loads(pickle.dumps(encode(value, buffers)))
    return decode(payload, iter(buffers))


def error_there_and_back(error: BaseException, note: str = "") -> BaseException:
    buffers: list[Any] = []
    payload = pickle.loads(pickle.dumps(encode_error(error, buffers, note=note)))
    return decode_error(payload, buffers)


class Box:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


# ------------------------------------------------------------------- values


@given(plain)
def test_a_plain_value_is_its_own_payload(value):
    buffers: list[Any] = []
    assert encode(value, buffers) is value
    assert buffers == []


@given(anything)
def test_any_value_comes_back_equal_and_of_the_same_type(value):
    copy = there_and_back(value)
    assert copy == value
    assert type(copy) is type(value)


@given(st.lists(anything, max_size=4), st.dictionaries(st.text(), anything, max_size=3))
def test_any_arguments_come_back_equal(args, kwargs):
    buffers: list[Any] = []
    payloads = encode_arguments(tuple(args), kwargs, buffers)
    assert decode_arguments(*payloads, iter(buffers)) == (tuple(args), kwargs)


def test_plain_arguments_ride_in_the_batch_as_they_are():
    args = (1, 2.5, "text", b"bytes", None, True, 1j)
    assert encode_arguments(args, {"key": 1}, []) == (args, {"key": 1})


def test_no_keyword_arguments_are_none():
    assert encode_arguments((1,), {}, []) == ((1,), None)


def test_one_argument_that_is_not_plain_puts_all_into_one_payload():
    args, kwargs = encode_arguments((1, []), {"key": 1}, [])
    assert type(args) is list
    assert kwargs is None
    assert decode_arguments(args, kwargs) == ((1, []), {"key": 1})


@pytest.mark.parametrize("value", [Slotted(1), [], (), {}, {1}, float, range(3)])
def test_what_is_not_plain_becomes_a_list(value):
    assert type(encode(value, [])) is list


class Number(int):
    pass


def test_a_subclass_of_a_plain_type_keeps_its_type():
    assert type(encode(Number(5), [])) is list
    assert type(there_and_back(Number(5))) is Number


def test_two_messages_with_one_list_share_nothing_at_the_far_side():
    shared = [1]
    batch = pickle.loads(pickle.dumps([encode(shared, []), encode(shared, [])]))
    first, second = (decode(payload) for payload in batch)
    first.append(2)
    assert second == [1]


def test_a_change_after_sending_does_not_travel():
    value = {"list": [1]}
    payload = encode(value, [])
    value["list"].append(2)
    assert decode(payload) == {"list": [1]}


def test_the_callers_keyword_arguments_are_copied():
    kwargs = {"key": 1}
    _, payload = encode_arguments((), kwargs, [])
    kwargs["key"] = 2
    assert payload == {"key": 1}


# ------------------------------------------------------------------- buffers


def test_a_writable_array_is_copied_once_when_it_is_sent():
    array = np.zeros(100_000)
    buffers: list[Any] = []
    payload = encode(array, buffers)
    array[0] = 1
    assert len(buffers) == buffer_count(payload) == 1
    copy = decode(payload, buffers)
    assert copy[0] == 0
    assert copy.flags.writeable


def test_a_read_only_view_of_an_array_is_copied_when_it_is_sent():
    array = np.zeros(100_000)
    view = array[:]
    view.flags.writeable = False
    buffers: list[Any] = []
    payload = encode(view, buffers)
    array[0] = 1
    assert decode(payload, buffers)[0] == 0


def test_an_array_in_immutable_memory_travels_uncopied():
    array = np.frombuffer(np.arange(100_000.0).tobytes())
    buffers: list[Any] = []
    payload = encode(array, buffers)
    assert np.shares_memory(np.frombuffer(buffers[0]), array)
    copy = decode(payload, buffers)
    assert np.array_equal(copy, array)
    assert np.shares_memory(copy, array)


def test_decoding_an_array_copies_nothing():
    buffers: list[Any] = []
    payload = encode(np.arange(100_000.0), buffers)
    arrived = bytearray(buffers[0])
    copy = decode(payload, [memoryview(arrived)])
    assert np.shares_memory(copy, np.frombuffer(arrived))


def test_a_small_array_stays_in_the_stream():
    buffers: list[Any] = []
    payload = encode(np.arange(10), buffers)
    assert buffers == []
    assert np.array_equal(decode(payload), np.arange(10))


def test_an_array_that_is_not_contiguous_arrives():
    array = np.arange(100_000.0)[::2]
    assert np.array_equal(there_and_back(array), array)


def test_large_bytes_travel_uncopied_and_come_back_as_bytes():
    value = bytes(100_000)
    buffers: list[Any] = []
    payload = encode(value, buffers)
    assert memoryview(buffers[0]).obj is value
    copy = decode(payload, [memoryview(bytearray(value))])
    assert type(copy) is bytes
    assert copy == value


def test_large_bytes_among_arguments_travel_uncopied():
    value = bytes(100_000)
    buffers: list[Any] = []
    payloads = encode_arguments((value, 1), {"more": value}, buffers)
    assert [memoryview(buffer).obj is value for buffer in buffers] == [True, True]
    assert decode_arguments(*payloads, buffers) == ((value, 1), {"more": value})


def test_a_long_text_does_not_swell_the_batch():
    value = "x" * 1_000_000
    buffers: list[Any] = []
    payload = encode(value, buffers)
    assert len(pickle.dumps(payload)) < 100
    assert decode(payload, buffers) == value


def test_a_long_stream_travels_beside_the_batch_before_its_buffers():
    value = [list(range(100_000)), np.zeros(100_000)]
    buffers: list[Any] = []
    payload = encode(value, buffers)
    assert payload[1] is None
    assert buffer_count(payload) == len(buffers) == 2
    numbers, array = decode(payload, buffers)
    assert numbers == value[0]
    assert np.array_equal(array, value[1])


def test_the_limit_is_the_callers_choice():
    buffers: list[Any] = []
    encode(bytes(100), buffers, limit=100)
    assert len(buffers) == 1


def test_payloads_take_their_buffers_in_turn():
    buffers: list[Any] = []
    arrays = [np.full(10_000, float(number)) for number in range(3)]
    payloads = [encode(array, buffers) for array in arrays]
    in_turn = iter(buffers)
    for array, payload in zip(arrays, payloads, strict=True):
        assert np.array_equal(decode(payload, in_turn), array)


def test_a_failing_payload_leaves_the_next_ones_buffers_alone():
    buffers: list[Any] = []
    bad = encode(np.zeros(10_000), buffers)
    good = encode(np.ones(10_000), buffers)
    bad[1] = b"no pickle"
    in_turn = iter(buffers)
    with pytest.raises(RemoteError):
        decode(bad, in_turn)
    assert decode(good, in_turn)[0] == 1


def test_a_failed_encoding_leaves_no_buffer_behind():
    buffers: list[Any] = [b"earlier"]
    with pytest.raises(UnpicklableError):
        encode([np.zeros(10_000), threading.Lock()], buffers)
    assert buffers == [b"earlier"]


@pytest.mark.parametrize("value", [5, "text", None, (1, 2), [], {"key": 1}])
def test_what_is_no_payload_of_ours_has_no_buffers(value):
    assert buffer_count(value) == 0


def test_missing_buffers_are_an_error_that_counts_them():
    payload = encode(np.zeros(10_000), [])
    with pytest.raises(RemoteError, match="0 of 1 buffers of a message arrived"):
        decode(payload, [])


# ------------------------------------------------------------------- by value


def test_a_lambda_arrives_by_value():
    offset = 5
    payload = encode(lambda x: x + offset, [])
    assert payload[0] == codec.BY_VALUE
    assert decode(payload)(1) == 6


def test_code_by_value_keeps_the_name_of_its_file_for_tracebacks():
    def outer():
        return lambda: None

    arrived = decode(encode(outer, []))

    assert arrived.__code__.co_filename == __file__
    assert arrived().__code__.co_filename == __file__


def test_a_function_of_a_module_arrives_by_reference():
    payload = encode(functools.reduce, [])
    assert payload[0] == codec.PICKLED
    assert decode(payload) is functools.reduce


def test_a_registered_module_travels_by_value(monkeypatch):
    module = types.ModuleType("only_here")
    exec("def double(x): return 2 * x", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    cloudpickle.register_pickle_by_value(module)
    try:
        payload = encode(module.double, [])
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    monkeypatch.delitem(sys.modules, "only_here")
    assert payload[0] == codec.BY_VALUE
    assert decode(payload)(21) == 42


def test_code_of_another_python_is_refused_before_it_is_touched():
    payload = encode(lambda: 1, [])
    payload[1] = b"not even a pickle"
    payload[3] = b"\x00\x00\r\n"
    with pytest.raises(VersionMismatch, match="bytecode 00000d0a"):
        decode(payload)


def test_code_by_value_names_this_pythons_bytecode():
    assert encode(lambda: 1, [])[3] == importlib.util.MAGIC_NUMBER


SCRIPT = """
import pickle, sys
from splice.net.codec import decode, encode

class Till:
    class Drawer:
        coins = 3
    def __init__(self, n):
        self.n = n
    def twice(self):
        return twice(self.n)

class Empty(Exception):
    def __init__(self, n):
        self.n = n

def twice(n):
    return 2 * n

values = [Till, Till(5), Till.Drawer, twice, lambda: twice(4), Empty(7), [Till(1)]]
print(pickle.dumps([encode(value, []) for value in values]).hex(), flush=True)
back = [decode(payload) for payload in pickle.loads(bytes.fromhex(input()))]
assert back[0] is Till, back
assert type(back[1]) is Till, back
assert type(back[2]) is Empty, back
print("same classes")
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(path)],
        env={"PYTHONPATH": str(SRC)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        yield running
        running.kill()


@pytest.mark.system
def test_what_a_script_defines_travels_and_comes_back_as_the_same(script):
    assert script.stdout
    assert script.stdin
    payloads = pickle.loads(bytes.fromhex(script.stdout.readline()))
    till_class, till, drawer, twice, four, empty, in_list = map(decode, payloads)
    assert till.twice() == 10
    assert type(till) is till_class
    assert drawer.coins == 3
    assert twice(3) == 6
    assert four() == 8
    assert empty.n == 7
    assert type(in_list[0]) is till_class
    answers = pickle.dumps([encode(value, []) for value in (till_class, till, empty)])
    script.stdin.write(answers.hex() + "\n")
    script.stdin.flush()
    assert script.stdout.readline() == "same classes\n"


@pytest.mark.system
def test_cloudpickle_is_not_loaded_before_it_is_needed():
    program = (
        "import sys; from splice.net.codec import encode; encode([1], []);"
        "assert 'cloudpickle' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SRC)}, check=True
    )


# ------------------------------------------------------------------- what cannot travel


class Sealed:
    def __reduce__(self):
        raise RuntimeError("sealed")


def _locking() -> Any:
    lock = threading.Lock()
    return lambda: lock


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (threading.Lock(), "args[0]"),
        (Box(lock=threading.Lock()), "args[0].lock"),
        (Box(a=1, b=Box(c=[1, LOCK])), "args[0].b.c[1]"),
        ({"key": {"lock": LOCK}}, "args[0]['key']['lock']"),
        (Slotted(LOCK), "args[0].inner"),
        (_locking(), "args[0].<closure>.lock"),
        (Box(lock=LOCK).__init__, "args[0].__self__.lock"),
        (ValueError("text", LOCK), "args[0].args[1]"),
        (Sealed(), "args[0]"),
        ([Sealed()], "args[0][0]"),
        (Box(gen=(x for x in ())), "args[0].gen"),
    ],
)
def test_the_error_names_the_way_to_the_part_that_cannot_travel(value, path):
    with pytest.raises(UnpicklableError) as caught:
        encode_arguments((value,), None, [])
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} cannot travel to another node: ")


def test_the_error_names_type_and_reason_and_keeps_the_cause():
    with pytest.raises(UnpicklableError, match=r"_thread\.lock") as caught:
        encode([threading.Lock()], [])
    assert caught.value.path == "value[0]"
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_keyword_argument_is_named():
    with pytest.raises(UnpicklableError) as caught:
        encode_arguments((1,), {"box": Box(lock=LOCK)}, [])
    assert caught.value.path == "kwargs['box'].lock"


def test_a_value_nested_too_deep_is_an_error():
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnpicklableError):
        encode(value, [])
    while value:  # taken apart by hand: freeing it all at once is slow
        value = value[0]


def test_a_value_that_holds_itself_and_a_lock_is_an_error():
    value: list[Any] = []
    value += [value, threading.Lock()]
    with pytest.raises(UnpicklableError):
        encode(value, [])


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __reduce__(self):
        raise ValueError


def test_a_part_without_a_repr_does_not_hide_the_error():
    with pytest.raises(UnpicklableError):
        encode({Unshowable(): Unshowable()}, [])


# ------------------------------------------------------------------- what cannot be rebuilt


def test_a_module_that_is_missing_here_is_named_with_the_remedy(monkeypatch):
    module = types.ModuleType("only_there")
    module.Thing = type("Thing", (), {"__module__": "only_there"})
    monkeypatch.setitem(sys.modules, "only_there", module)
    payload = encode(module.Thing(), [])
    monkeypatch.delitem(sys.modules, "only_there")
    with pytest.raises(RemoteError, match="make the module 'only_there' importable"):
        decode(payload)


def test_a_class_that_is_missing_in_a_module_is_named(monkeypatch):
    module = types.ModuleType("other_version")
    module.Thing = type("Thing", (), {"__module__": "other_version"})
    monkeypatch.setitem(sys.modules, "other_version", module)
    payload = encode(module.Thing(), [])
    del module.Thing
    with pytest.raises(RemoteError, match="'Thing'") as caught:
        decode(payload)
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize("stream", [b"", b"poison", pickle.dumps([1] * 9)[:-5]])
def test_bytes_that_are_no_pickle_raise_a_named_error(stream):
    with pytest.raises(RemoteError, match="cannot be rebuilt here"):
        decode([codec.PICKLED, stream, 0])


def test_an_unknown_tag_raises_a_named_error():
    with pytest.raises(RemoteError, match="no payload has the tag 17"):
        decode([17, b"", 0])


def test_one_bad_argument_spoils_no_other_message():
    batch = [encode([number], []) for number in range(3)]
    batch[1][1] = b"poison"
    assert decode(batch[0]) == [0]
    with pytest.raises(RemoteError):
        decode(batch[1])
    assert decode(batch[2]) == [2]


# ------------------------------------------------------------------- errors


class NeedsTwo(Exception):
    def __init__(self, code, place):
        super().__init__(f"code {code} at {place}")
        self.code = code


class MakesItsText(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")


class KeywordOnly(Exception):
    def __init__(self, *, code):
        super().__init__(code)
        self.code = code


class HoldsLock(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Refusing(Exception):
    def __reduce__(self):
        raise KeyError("no pickle")


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 5),
        KeyError("key"),
        OSError(2, "gone", "file"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        SystemExit(3),
        KeyboardInterrupt(),
        ExceptionGroup("two", [ValueError(1), TypeError(2)]),
        NeedsTwo(5, "here"),
        MakesItsText(5),
        KeywordOnly(code=3),
        NodeLost("lost", node="tcp://1.2.3.4:5", verdict="not delivered"),
        ProcessStopped("stopped", reason="killed"),
        CoroutineEnded(5),
        CompositeError("two failed", {0: 1}, {1: ValueError("x")}),
    ],
)
def test_an_error_keeps_its_type_its_text_and_its_attributes(error):
    copy = error_there_and_back(_raised(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args or isinstance(error, ExceptionGroup)
    assert {name: repr(value) for name, value in vars(copy).items()} == {
        name: repr(value) for name, value in vars(error).items()
    }


def test_the_far_traceback_is_shown_as_the_cause():
    copy = error_there_and_back(_raised(ValueError("bad")))
    assert isinstance(copy.__cause__, RemoteTraceback)
    assert "raise error" in str(copy.__cause__)
    assert "ValueError: bad" in str(copy.__cause__)


def test_cause_and_context_travel_as_text():
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    except ValueError as second:
        copy = error_there_and_back(second)
    assert "KeyError: 'first'" in str(copy.__cause__)
    assert "direct cause" in str(copy.__cause__)


def test_notes_are_kept_and_the_callers_note_is_added():
    error = ValueError("bad")
    error.add_note("of the user")
    copy = error_there_and_back(error, note="in counter.add")
    assert copy.__notes__ == ["of the user", "in counter.add"]


def test_a_note_is_added_once_however_often_the_error_travels():
    error = error_there_and_back(ValueError("bad"), note="in counter.add")
    assert error_there_and_back(error, note="in counter.add").__notes__ == [
        "in counter.add"
    ]


def test_an_error_that_cannot_be_pickled_keeps_type_name_text_and_traceback():
    copy = error_there_and_back(_raised(HoldsLock("held")))
    assert type(copy) is RemoteError
    assert str(copy) == f"{__name__}.HoldsLock: held"
    assert "raise error" in str(copy.__cause__)


def test_an_error_that_refuses_to_be_pickled_is_rebuilt_all_the_same():
    copy = error_there_and_back(_raised(Refusing("stuck")))
    assert type(copy) is Refusing
    assert str(copy) == "stuck"


def test_an_error_without_a_text_still_arrives():
    copy = error_there_and_back(_raised(NoText()))
    assert type(copy) in {RemoteError, NoText}
    assert isinstance(copy.__cause__, RemoteTraceback)


def test_an_error_whose_type_is_missing_here_says_why(monkeypatch):
    module = types.ModuleType("only_there")
    module.Odd = type("Odd", (Exception,), {"__module__": "only_there"})
    monkeypatch.setitem(sys.modules, "only_there", module)
    payload = encode_error(module.Odd("strange"), [])
    monkeypatch.delitem(sys.modules, "only_there")
    copy = decode_error(payload)
    assert type(copy) is RemoteError
    assert str(copy) == "only_there.Odd: strange"
    assert "make the module 'only_there' importable" in copy.__notes__[0]


def test_an_error_class_of_a_function_travels_by_value():
    class Inner(Exception):
        pass

    assert type(error_there_and_back(Inner("x"))) is Inner


def test_a_large_array_in_an_error_travels_beside_the_batch():
    error = ValueError(np.zeros(100_000))
    buffers: list[Any] = []
    payload = encode_error(error, buffers)
    assert buffer_count(payload) == len(buffers) == 1
    assert decode_error(payload, buffers).args[0].shape == (100_000,)


def test_an_endless_traceback_is_cut_at_its_beginning():
    payload = encode_error(ValueError("x" * 200_000 + "the end"), [])
    copy = decode_error(payload)
    assert len(str(copy.__cause__)) < 70_000
    assert "the end" in str(copy.__cause__)


def test_an_error_that_is_no_error_payload_is_named():
    assert "malformed error" in str(decode_error("text"))


def test_a_far_traceback_pickles():
    copy = pickle.loads(pickle.dumps(RemoteTraceback("lines")))
    assert str(copy) == '\n"""\nlines"""'


def test_a_cloudpickle_that_another_thread_is_importing_has_registered_nothing(
    monkeypatch,
):
    monkeypatch.setitem(sys.modules, "cloudpickle", types.ModuleType("cloudpickle"))
    assert decode(encode([1], [])) == [1]
