import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.net.handshake import (
    NONCE_BYTES,
    Acceptor,
    Connector,
    Identity,
    Reason,
    Refusal,
    Welcome,
)

KEY = bytes(range(32))
OTHER_KEY = bytes(32)


def identity(incarnation: int, **changes: Any) -> Identity:
    address = f"tcp://127.0.0.1:{1000 + incarnation}"
    facts = Identity(incarnation, (address,), "machine", "0.1", python="3.11.7")
    return dataclasses.replace(facts, **changes)


def connector(
    incarnation: int = 1, key: bytes = KEY, nonce: int = 1, **options: Any
) -> Connector:
    facts = options.pop("facts", {})
    return Connector(
        identity(incarnation, **facts), key, bytes([nonce]) * NONCE_BYTES, **options
    )


def acceptor(
    incarnation: int = 2,
    key: bytes = KEY,
    nonce: int = 2,
    *,
    allow_skew: bool = False,
    **facts: Any,
) -> Acceptor:
    return Acceptor(
        identity(incarnation, **facts),
        key,
        bytes([nonce]) * NONCE_BYTES,
        allow_skew=allow_skew,
    )


def talk(one: Connector, other: Acceptor) -> tuple[Welcome, Any, Any]:
    """Let both say everything; what the three messages said comes back."""
    hello = other.on_hello(one.hello())
    welcome = one.on_welcome(other.welcome(epoch=4, received=17))
    return welcome, hello, other.on_ready(one.ready(epoch=5, received=23))


def test_both_sides_learn_who_the_other_is() -> None:
    welcome, hello, _ = talk(connector(), acceptor())
    assert welcome.identity == identity(2)
    assert hello.identity == identity(1)


def test_both_sides_learn_where_to_go_on() -> None:
    welcome, _, ready = talk(connector(), acceptor())
    assert (welcome.epoch, welcome.received) == (4, 17)
    assert (ready.epoch, ready.received) == (5, 23)


def test_a_node_of_another_key_is_refused_by_the_connector() -> None:
    one, other = connector(), acceptor(key=OTHER_KEY)
    other.on_hello(one.hello())
    with pytest.raises(Refusal, match="has another cluster key; give both") as caught:
        one.on_welcome(other.welcome(0, 0))
    assert caught.value.reason is Reason.ACCESS


def test_a_node_of_another_key_is_refused_by_the_acceptor() -> None:
    other = acceptor()
    stranger = connector(key=OTHER_KEY)
    other.on_hello(stranger.hello())
    other.welcome(0, 0)
    with pytest.raises(Refusal, match="another cluster key") as caught:
        other.on_ready(stranger.ready(1, 0))
    assert caught.value.reason is Reason.ACCESS


def test_an_empty_proof_is_refused() -> None:
    one, other = connector(), acceptor()
    other.on_hello(one.hello())
    with pytest.raises(Refusal, match="another cluster key"):
        one.on_welcome([other.welcome(0, 0)[0], b""])


def test_a_recorded_answer_is_worth_nothing_to_the_next_connection() -> None:
    first, other = connector(nonce=1), acceptor()
    other.on_hello(first.hello())
    recorded = other.welcome(0, 0)
    second = connector(nonce=3)
    second.hello()
    with pytest.raises(Refusal, match="another cluster key"):
        second.on_welcome(recorded)


def test_a_recorded_conversation_is_worth_nothing_to_the_next_connection() -> None:
    one, other = connector(), acceptor(nonce=2)
    said = one.hello()
    other.on_hello(said)
    one.on_welcome(other.welcome(0, 0))
    recorded = one.ready(1, 0)
    again = acceptor(nonce=4)
    again.on_hello(said)
    again.welcome(0, 0)
    with pytest.raises(Refusal, match="another cluster key"):
        again.on_ready(recorded)


def test_a_proof_sent_back_to_its_maker_is_worth_nothing() -> None:
    other = acceptor()
    stranger = connector(key=OTHER_KEY)
    other.on_hello(stranger.hello())
    welcome = other.welcome(1, 0)
    own_words = stranger.ready(1, 0)[0]
    with pytest.raises(Refusal, match="another cluster key"):
        other.on_ready([own_words, welcome[1]])


def test_a_hello_sent_back_to_its_maker_is_refused() -> None:
    one = connector(incarnation=1)
    mirror = acceptor(incarnation=1)
    with pytest.raises(Refusal, match="is this node itself") as caught:
        mirror.on_hello(one.hello())
    assert caught.value.reason is Reason.SELF


@pytest.mark.parametrize("message", ["hello", "welcome", "ready"])
@given(data=st.data())
def test_no_byte_of_the_conversation_can_be_changed(
    message: str, data: st.DataObject
) -> None:
    def pass_on(name: str, parts: list[bytes]) -> list[bytes]:
        if name != message:
            return parts
        part = data.draw(st.sampled_from([n for n, p in enumerate(parts) if p]))
        changed = bytearray(parts[part])
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(
            st.integers(1, 255)
        )
        return [*parts[:part], bytes(changed), *parts[part + 1 :]]

    def converse() -> None:
        one, other = connector(), acceptor()
        other.on_hello(pass_on("hello", one.hello()))
        one.on_welcome(pass_on("welcome", other.welcome(0, 0)))
        other.on_ready(pass_on("ready", one.ready(1, 0)))

    with pytest.raises(Refusal):
        converse()


def test_a_connector_that_wants_another_incarnation_says_who_answered() -> None:
    one, other = connector(wanted=0xAB), acceptor(incarnation=0xCD)
    other.on_hello(one.hello())
    with pytest.raises(Refusal, match="restarted: incarnation cd answers") as caught:
        one.on_welcome(other.welcome(0, 0))
    assert caught.value.reason is Reason.GONE


def test_a_connector_that_finds_whom_it_wants_is_content() -> None:
    assert talk(connector(wanted=2), acceptor())[0].identity.incarnation == 2


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"python": "3.12.1"}, "3.12.1"),
        ({"platform": "darwin"}, "darwin"),
        ({"protocol": 99, "python": "3.12.1"}, "protocol 99"),
    ],
)
def test_a_node_of_another_version_is_refused_with_both_named(
    facts: dict[str, Any], named: str
) -> None:
    one, other = connector(facts=facts), acceptor()
    with pytest.raises(Refusal, match=rf"{named}.*this node .*3\.11\.7") as caught:
        other.on_hello(one.hello())
    assert caught.value.reason is Reason.VERSION


def test_a_refused_connector_reads_both_versions_from_its_own_side() -> None:
    one, other = connector(facts={"python": "3.12.1"}), acceptor()
    with pytest.raises(Refusal) as refused:
        other.on_hello(one.hello())
    with pytest.raises(Refusal, match=r"runs .* 3\.11\.7 .*, this node .* 3\.12\.1"):
        one.on_welcome(refused.value.encode(other.identity))


def test_a_patch_release_is_no_other_version() -> None:
    assert talk(connector(facts={"python": "3.11.9"}), acceptor())


def test_another_minor_version_is_admitted_when_both_allow_it() -> None:
    one = connector(facts={"python": "3.12.1"}, allow_skew=True)
    assert talk(one, acceptor(allow_skew=True))


def test_another_minor_version_is_refused_when_one_side_does_not_allow_it() -> None:
    one, other = connector(facts={"python": "3.12.1"}), acceptor(allow_skew=True)
    other.on_hello(one.hello())
    with pytest.raises(Refusal, match="allow_version_skew=True"):
        one.on_welcome(other.welcome(0, 0))


def test_a_refusal_without_proof_cannot_declare_a_node_gone() -> None:
    one = connector(wanted=2)
    one.hello()
    with pytest.raises(Refusal) as caught:
        one.on_welcome(Refusal(Reason.GONE, "").encode(identity(9)))
    assert caught.value.reason is Reason.MALFORMED


def test_a_refusal_shows_nothing_but_plain_text_of_limited_length() -> None:
    one = connector()
    one.hello()
    who = "\x1b[31m" + "x" * 10_000
    said = {"message": "refused", "reason": "version", "who": who}
    with pytest.raises(Refusal) as caught:
        one.on_welcome([b"H" + json.dumps(said).encode(), b""])
    assert "\x1b" not in caught.value.text
    assert len(caught.value.text) < 1000


def mangled(**changes: Any) -> bytes:
    body = json.loads(connector().hello()[0][1:])
    facts = {**body["identity"], **changes.pop("identity", {})}
    return b"H" + json.dumps({**body, "identity": facts, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"H",
        b"H{",
        b"H[]",
        b"Hnull",
        b"H" + b"[" * 15_000,
        b"H" + b'{"message": "hello"' + b" " * 20_000 + b"}",
        b'H{"message": "hello"}',
        b'H{"message": "ready", "epoch": 1, "received": 0}',
        b"H\xff\xfe",
        mangled(nonce="short"),
        mangled(identity={"incarnation": True}),
        mangled(identity={"incarnation": 2**64}),
        mangled(identity={"incarnation": -1}),
        mangled(identity={"addresses": []}),
        mangled(identity={"addresses": ["nowhere"]}),
        mangled(identity={"addresses": ["tcp://a:1", 2]}),
        mangled(identity={"machine": None}),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_bad_hello_is_a_named_refusal(body: bytes) -> None:
    with pytest.raises(Refusal, match="does not speak splice's protocol") as caught:
        acceptor().on_hello([body, b""])
    assert caught.value.reason is Reason.MALFORMED


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_any_bytes_are_a_named_refusal(parts: list[bytes]) -> None:
    with pytest.raises(Refusal):
        acceptor().on_hello(parts)


def test_an_epoch_that_no_frame_has_room_for_is_refused() -> None:
    one, other = connector(), acceptor()
    other.on_hello(one.hello())
    with pytest.raises(Refusal, match="'epoch' out of range"):
        one.on_welcome(other.welcome(2**32, 0))
