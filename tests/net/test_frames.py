import contextlib
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.net.frames import (
    FrameError,
    Header,
    Kind,
    decode_batch,
    decode_header,
    encode_batch,
    is_frame,
)

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
HEADERS = st.builds(
    Header,
    kind=st.sampled_from(Kind),
    epoch=U32,
    source=U64,
    target=U64,
    sequence=U64,
    ack=U64,
    credit=U64,
    cost=U64,
    requests=U32,
    buffers=st.integers(0, 3),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
PLAIN = st.recursive(
    SCALARS, lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=3)
)


def parts_of(header: Header) -> list[bytes]:
    behind = [b"batch", *[b"buffer"] * header.buffers]
    return [header.encode(), *(behind if header.kind.is_numbered else [])]


def header(kind: Kind = Kind.MAIL, **changes: Any) -> Header:
    values = {"epoch": 1, "source": 2, "target": 3, "sequence": 4, "ack": 5}
    return Header(kind, **{**values, "credit": 6, **changes})


@given(HEADERS)
def test_a_header_comes_back_as_it_was(value: Header) -> None:
    assert decode_header(parts_of(value)) == value


@given(HEADERS, st.integers(0, 63))
def test_a_truncated_header_is_a_named_error(value: Header, length: int) -> None:
    parts = parts_of(value)
    with pytest.raises(FrameError, match=f"a header has 64 bytes, this one {length}$"):
        decode_header([parts[0][:length], *parts[1:]])


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_a_header_or_a_named_error(parts: list[bytes]) -> None:
    with contextlib.suppress(FrameError):
        decode_header(parts)


def test_no_parts_at_all_are_a_named_error() -> None:
    with pytest.raises(FrameError, match="this one 0"):
        decode_header([])


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (0, b"X", "begins with b'F', this one with b'X'"),
        (1, b"\x63", "of protocol 99, not 2"),
        (2, b"\x2a", "of the unknown kind 42"),
    ],
)
def test_a_wrong_header_says_what_is_wrong(
    place: int, value: bytes, complaint: str
) -> None:
    body = bytearray(header(Kind.BEAT).encode())
    body[place : place + 1] = value
    with pytest.raises(FrameError, match=complaint):
        decode_header([bytes(body)])


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([header().encode()], "a mail frame with 0 buffers has 2 parts, this one 1"),
        ([header(buffers=2).encode(), b""], "with 2 buffers has 4 parts, this one 2"),
        ([header(Kind.ACK).encode(), b""], "a ack frame .* has 1 parts, this one 2"),
    ],
)
def test_parts_that_are_missing_or_too_many_are_noticed(
    parts: list[bytes], complaint: str
) -> None:
    with pytest.raises(FrameError, match=complaint):
        decode_header(parts)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_header_is_read_from_any_buffer(wrap: Any) -> None:
    value = header(Kind.ACK)
    assert decode_header([wrap(value.encode())]) == value
    assert is_frame([wrap(value.encode())])


def test_a_handshake_message_is_no_frame() -> None:
    assert not is_frame([b'H{"message": "hello"}', b""])
    assert not is_frame([b""])
    assert not is_frame([])


@given(st.lists(st.tuples(st.integers(), PLAIN), max_size=5))
def test_a_batch_comes_back_as_it_was(entries: list[tuple[Any, ...]]) -> None:
    assert decode_batch(encode_batch(entries)) == entries
    assert decode_batch(memoryview(encode_batch(entries))) == entries


@given(st.binary(max_size=100))
def test_any_bytes_are_a_batch_or_a_named_error(batch: bytes) -> None:
    with contextlib.suppress(FrameError):
        decode_batch(batch)


@given(st.lists(st.tuples(PLAIN)), st.data())
def test_a_truncated_batch_is_a_named_error(
    entries: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    batch = encode_batch(entries)
    length = data.draw(st.integers(0, len(batch) - 1))
    with pytest.raises(FrameError, match="a batch that cannot be read"):
        decode_batch(batch[:length])


class Bomb:
    exploded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "exploded", True)


def test_a_batch_runs_no_code() -> None:
    with pytest.raises(FrameError, match=r"names no classes, but builtins\.setattr"):
        decode_batch(pickle.dumps([Bomb()], 5))
    assert not Bomb.exploded


def test_a_batch_is_a_list() -> None:
    with pytest.raises(FrameError, match="a batch is a list, this one is a tuple"):
        decode_batch(pickle.dumps((1, 2)))
