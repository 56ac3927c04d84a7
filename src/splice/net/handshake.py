"""Who may talk to us, and about what we agree; pure.

The first three messages of every connection, whatever carries it::

    connector                                              acceptor
        HELLO    who I am, nonce A           ---------->
                 <---------- WELCOME   who I am, nonce B, epoch, proof
                          or REFUSED   why
        READY    epoch, proof                ---------->
        frames                               <--------->   frames

Each is JSON behind one byte, never a pickle, and a proof: HMAC with the cluster key over
everything said so far.  Both nonces are in it, so an old proof is worth nothing (replay), and
each message has a label of its own, so the other side's proof is worth nothing either
(reflection).  Until its proof has been checked nothing that a node says is acted upon.

Who answers is read from WELCOME, which is proved: a connector that wanted another
incarnation hangs up.  REFUSED is not proved, and so costs the connector nothing but this
connection's purpose: it fails what waits for it, by name.

The *epoch* (see `splice.net.channel`) is the greater of what both sides have; the connector
knows both first and says it in READY.
"""

from __future__ import annotations

import hmac
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from splice.config import PROTOCOL_VERSION
from splice.net.frames import HANDSHAKE
from splice.net.wire import Buffer
from splice.uri import check_address

NONCE_BYTES: Final = 32
"""As many as the key: no two are ever the same."""

MESSAGE_BYTES: Final = 16 * 1024
"""A handshake has a few hundred bytes; strangers must not make us read more."""

TEXT_CHARACTERS: Final = 500
"""Of an unproved text that is shown to the user."""

_LABEL: Final = b"splice handshake 1 "
_LARGEST: Final = {"epoch": 2**32 - 1}
"""What the header of a frame has room for; other numbers have 64 bits."""


class Reason(Enum):
    """Why a handshake has failed."""

    ACCESS = "access"
    """The cluster keys differ."""

    VERSION = "version"
    """Protocol, Python or platform differ."""

    SELF = "self"
    """The node has reached itself."""

    GONE = "gone"
    """Another incarnation lives at that address."""

    MALFORMED = "malformed"
    """That is no handshake of ours."""


TEXTS: Final = {
    Reason.ACCESS: "has another cluster key; give both nodes the same one "
    "(SPLICE_KEY_FILE, SPLICE_KEY or runtime.config(key=...))",
    Reason.VERSION: "",
    Reason.SELF: "is this node itself; use runtime.address for it",
    Reason.MALFORMED: "could not read this node's part of the handshake",
}
"""What is said about a refusal that came by wire; GONE is never believed without proof."""


class Refusal(Exception):
    """The handshake has failed.

    Attributes:
        reason: why.
        text: the rest of a sentence that begins with the address of the other node.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text

    def encode(self, identity: Identity) -> list[bytes]:
        """Return the REFUSED message with which `identity` tells the other side."""
        said = {"reason": self.reason.value, "who": str(identity)}
        return [_pack("refused", said), b""]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is, and what runs it.

    Attributes:
        incarnation: this life of the node.
        addresses: where it can be reached, as it sees it; tcp first.
        machine: names the machine and its network, so that both sides know whether a loopback
            address means the same to them.
        splice: version of splice.
        protocol: version of the wire protocol.
        python: version of Python, for example ``3.11.7``.
        platform: as in `sys.platform`.
        magic: number of the interpreter's bytecode.
    """

    incarnation: int
    addresses: tuple[str, ...]
    machine: str
    splice: str
    protocol: int = PROTOCOL_VERSION
    python: str = ".".join(map(str, sys.version_info[:3]))
    platform: str = sys.platform
    magic: int = int.from_bytes(importlib.util.MAGIC_NUMBER, "little")

    def __str__(self) -> str:
        return (
            f"splice {self.splice} (protocol {self.protocol}) on Python {self.python} "
            f"({self.platform})"
        )

    def is_of_same_minor(self, other: Identity) -> bool:
        """Tell whether both run the same Python minor version."""
        return self.python.split(".")[:2] == other.python.split(".")[:2]


@dataclass(frozen=True, slots=True)
class Hello:
    """What the connector says first."""

    identity: Identity
    nonce: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the acceptor answers.

    Attributes:
        epoch: the acceptor's present epoch with this connector, 0 when there was none.
        received: last mail frame that it has got in that epoch.
    """

    identity: Identity
    nonce: str
    epoch: int
    received: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What the connector says last.

    Attributes:
        epoch: the epoch that begins or goes on.
        received: last mail frame that the connector has got in that epoch.
    """

    epoch: int
    received: int


class _Side:
    """What both sides have in common: a key, and all that was said so far."""

    def __init__(
        self, identity: Identity, key: bytes, nonce: bytes, *, allow_skew: bool
    ) -> None:
        self.identity = identity
        self._key = key
        self._nonce = nonce.hex()
        self._allow_skew = allow_skew
        self._said = b""

    def _prove(self, name: str, body: bytes) -> bytes:
        self._note(body)
        label = _LABEL + name.encode() + b"\0"
        return hmac.digest(self._key, label + self._said, "sha256")

    def _check_proof(self, name: str, body: bytes, proof: Buffer) -> None:
        if not hmac.compare_digest(self._prove(name, body), bytes(proof)):
            raise Refusal(Reason.ACCESS, TEXTS[Reason.ACCESS])

    def _note(self, body: bytes) -> None:
        self._said += len(body).to_bytes(4, "little") + body

    def _check_peer(self, theirs: Identity) -> None:
        ours = self.identity
        if theirs.incarnation == ours.incarnation:
            raise Refusal(Reason.SELF, TEXTS[Reason.SELF])
        if theirs.platform != ours.platform or not (
            self._allow_skew or theirs.is_of_same_minor(ours)
        ):
            raise Refusal(Reason.VERSION, _mismatch(str(theirs), ours))

    def _unpack(
        self, parts: Sequence[Buffer], name: str
    ) -> tuple[bytes, Buffer, dict[str, Any]]:
        """Return body, proof and content of a message that should be of that name."""
        said = read(parts)
        if said.get("message") == "refused":
            raise _refusal(said, self.identity)
        if said.get("message") != name:
            raise _malformed(f"{said.get('message')!r} where {name} was due")
        return bytes(parts[0]), parts[1], said


class Connector(_Side):
    """The side that has dialled.

    Args:
        identity: who this node is.
        key: of the handshake; derived from the cluster key.
        nonce: `NONCE_BYTES` random bytes, used once.
        wanted: the incarnation that is meant, or None for whichever answers.
        allow_skew: admit another Python minor version.
    """

    def __init__(
        self,
        identity: Identity,
        key: bytes,
        nonce: bytes,
        *,
        wanted: int | None = None,
        allow_skew: bool = False,
    ) -> None:
        super().__init__(identity, key, nonce, allow_skew=allow_skew)
        self._wanted = wanted

    def hello(self) -> list[bytes]:
        """Return the first message."""
        body = _pack("hello", asdict(Hello(self.identity, self._nonce)))
        self._note(body)
        return [body, b""]

    def on_welcome(self, parts: Sequence[Buffer]) -> Welcome:
        """Read and check the answer.

        Raises:
            Refusal: it is one, or its proof is wrong, or it is from a node we cannot talk to.
        """
        body, proof, said = self._unpack(parts, "welcome")
        welcome = Welcome(
            _identity(said, self.identity),
            _nonce(said),
            _number(said, "epoch"),
            _number(said, "received"),
        )
        self._check_proof("welcome", body, proof)
        self._check_peer(welcome.identity)
        found = welcome.identity.incarnation
        if self._wanted not in {None, found}:
            raise Refusal(
                Reason.GONE, f"was restarted: incarnation {found:x} answers there now"
            )
        return welcome

    def ready(self, epoch: int, received: int) -> list[bytes]:
        """Return the last message; frames may follow it at once."""
        body = _pack("ready", asdict(Ready(epoch, received)))
        return [body, self._prove("ready", body)]


class Acceptor(_Side):
    """The side that was dialled; arguments as for `Connector`."""

    def on_hello(self, parts: Sequence[Buffer]) -> Hello:
        """Read the first message; nothing in it is proved yet.

        Raises:
            Refusal: it is none, or from a node we cannot talk to; send it back.
        """
        body, _, said = self._unpack(parts, "hello")
        hello = Hello(_identity(said, self.identity), _nonce(said))
        self._check_peer(hello.identity)
        self._note(body)
        return hello

    def welcome(self, epoch: int, received: int) -> list[bytes]:
        """Return the answer, with our proof."""
        body = _pack(
            "welcome", asdict(Welcome(self.identity, self._nonce, epoch, received))
        )
        return [body, self._prove("welcome", body)]

    def on_ready(self, parts: Sequence[Buffer]) -> Ready:
        """Read and check the last message; after it the connector is a member.

        Raises:
            Refusal: its proof is wrong; send it back.
        """
        body, proof, said = self._unpack(parts, "ready")
        ready = Ready(_number(said, "epoch"), _number(said, "received"))
        self._check_proof("ready", body, proof)
        return ready


def _pack(name: str, said: dict[str, Any]) -> bytes:
    return HANDSHAKE + json.dumps({"message": name, **said}).encode()


def read(parts: Sequence[Buffer]) -> dict[str, Any]:
    """Return what a handshake message says; nothing in it is checked or proved.

    Raises:
        Refusal: it is none.
    """
    if len(parts) != 2 or parts[0][:1] != HANDSHAKE or len(parts[0]) > MESSAGE_BYTES:
        raise _malformed(f"{len(parts)} parts that are no handshake")
    try:
        said = json.loads(bytes(parts[0])[1:])
    except (ValueError, RecursionError) as error:
        raise _malformed(f"no JSON ({type(error).__name__})") from error
    if not isinstance(said, dict):
        raise _malformed(f"a {type(said).__name__}")
    return said


def _refusal(said: dict[str, Any], ours: Identity) -> Refusal:
    name = said.get("reason")
    reason = next((known for known in TEXTS if known.value == name), Reason.MALFORMED)
    return Refusal(reason, TEXTS.get(reason) or _mismatch(_shown(said, "who"), ours))


def _mismatch(theirs: str, ours: Identity) -> str:
    return (
        f"runs {theirs}, this node {ours}; install the same splice and Python minor "
        "version on both, or set allow_version_skew=True for another minor version"
    )


def _shown(said: dict[str, Any], name: str) -> str:
    """Return an unproved text as it may be shown to the user."""
    text = str(said.get(name))[:TEXT_CHARACTERS]
    return "".join(letter for letter in text if letter.isprintable())


def _malformed(what: str) -> Refusal:
    return Refusal(
        Reason.MALFORMED, f"does not speak splice's protocol; it sent {what}"
    )


def _identity(said: dict[str, Any], ours: Identity) -> Identity:
    facts = _field(said, "identity", dict)
    protocol = _number(facts, "protocol")
    if protocol != PROTOCOL_VERSION:
        # another protocol may have other fields: nothing more is read from it
        who = f"splice {_shown(facts, 'splice')} (protocol {protocol}) on Python "
        raise Refusal(Reason.VERSION, _mismatch(who + _shown(facts, "python"), ours))
    addresses = _field(facts, "addresses", list)
    try:
        check_address(addresses[0])
    except (IndexError, ValueError) as error:
        raise _malformed("no address of its own") from error
    if not all(type(address) is str for address in addresses):
        raise _malformed("addresses that are no text")
    return Identity(
        incarnation=_number(facts, "incarnation"),
        addresses=tuple(addresses),
        machine=_field(facts, "machine", str),
        splice=_field(facts, "splice", str),
        protocol=protocol,
        python=_field(facts, "python", str),
        platform=_field(facts, "platform", str),
        magic=_number(facts, "magic"),
    )


def _nonce(said: dict[str, Any]) -> str:
    nonce = _field(said, "nonce", str)
    if len(nonce) != 2 * NONCE_BYTES:
        raise _malformed("a nonce of another length")
    return nonce


T = TypeVar("T")


def _field(said: dict[str, Any], name: str, kind: type[T]) -> T:
    value = said.get(name)
    if type(value) is not kind:
        raise _malformed(f"{name!r} as a {type(value).__name__}")
    return value


def _number(said: dict[str, Any], name: str) -> int:
    value = _field(said, name, int)
    if not 0 <= value <= _LARGEST.get(name, 2**64 - 1):
        raise _malformed(f"{name!r} out of range")
    return value
