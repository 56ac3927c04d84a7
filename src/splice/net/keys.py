"""Keys: the cluster key, where it is found, and what is derived from it.

Whoever holds the cluster key is a member of the cluster and can run code on all its nodes.
It is 32 random bytes, written as 64 hex digits, and never shown: what may be shown is its
fingerprint.  Everything that goes near a wire is derived from it, one way::

    cluster key --HMAC-SHA256--> "server"       CURVE pair of every listening tcp socket
                             |-> "member"       CURVE pair of every dialling tcp socket
                             |-> "handshake"    key of the challenge between two nodes
                             '-> "fingerprint"  what logs and errors may show
"""

from __future__ import annotations

import hmac
import os
import pwd
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import zmq
from zmq.utils import z85

from splice.config import BAD_KEY, KEY_BYTES
from splice.log import logger

_LABEL: Final = b"splice key 1 "
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_log = logger("net")


@dataclass(frozen=True, slots=True)
class CurvePair:
    """A key pair of CURVE in its text form (Z85)."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """The cluster key and what is derived from it.

    Args:
        secret: the cluster key, 32 bytes.
        source: where it was found, for the errors and hints that name it.

    Thread-safe: an immutable value; its repr shows the fingerprint only.
    """

    secret: bytes = field(repr=False)
    source: str = field(default="given", compare=False)
    fingerprint: str = field(init=False, compare=False)
    """Eight hex digits that tell two keys apart and give nothing away."""

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(BAD_KEY)
        shown = self.derive("fingerprint").hex()[:8]
        object.__setattr__(self, "fingerprint", shown)

    def __reduce__(self) -> NoReturn:
        raise TypeError("the cluster key does not travel in messages")

    @property
    def server(self) -> CurvePair:
        """The CURVE pair of listening sockets."""
        return _curve_pair(self.derive("server"))

    @property
    def member(self) -> CurvePair:
        """The CURVE pair of dialling sockets; only its owner is admitted."""
        return _curve_pair(self.derive("member"))

    @property
    def handshake(self) -> bytes:
        """The key of the challenge with which two nodes prove that they are members."""
        return self.derive("handshake")

    def guard(self, router: zmq.Socket[bytes]) -> None:
        """Have a listening tcp socket encrypt (CURVE), and ask ZAP who may connect to it."""
        server = self.server
        router.zap_domain = b"splice"
        router.curve_server = True
        router.curve_publickey = server.public
        router.curve_secretkey = server.secret

    def unlock(self, dealer: zmq.Socket[bytes]) -> None:
        """Have a dialling tcp socket encrypt, and talk to members only."""
        member = self.member
        dealer.curve_serverkey = self.server.public
        dealer.curve_publickey = member.public
        dealer.curve_secretkey = member.secret

    def derive(self, label: str) -> bytes:
        """Return 32 bytes for one use; they tell nothing about the key or each other."""
        return hmac.digest(self.secret, _LABEL + label.encode(), "sha256")

    def reveal(self) -> str:
        """Return the key as 64 hex digits, to be handed on; never log or print it."""
        return self.secret.hex()


def find_key(
    config_key: bytes | str | None = None, environ: Mapping[str, str] = os.environ
) -> Keys:
    """Find the cluster key; make one in the user's home at first need.

    The order is: argument, ``SPLICE_KEY_FILE``, ``SPLICE_KEY``,
    ``$XDG_CONFIG_HOME/splice/key`` (``~/.config/splice/key``), and where no home is
    writable a key in memory, which only forked nodes and workers share.

    Args:
        config_key: 32 bytes or 64 hex digits; None looks further.
        environ: the environment.

    Raises:
        ValueError: what was found is no key; the text says where, never what.
        PermissionError: a key file that others can read.
        OSError: the file that ``SPLICE_KEY_FILE`` names cannot be read.
    """
    if isinstance(config_key, bytes):
        return Keys(config_key, "argument")
    if config_key is not None:
        return _parse(config_key, "argument")
    if environ.get("SPLICE_KEY_FILE"):
        return read_key_file(Path(environ["SPLICE_KEY_FILE"]))
    if environ.get("SPLICE_KEY"):
        return _parse(environ["SPLICE_KEY"], "SPLICE_KEY")
    return _find_in_home(environ)


def read_key_file(path: Path) -> Keys:
    """Read a key file; raises what `find_key` raises."""
    with path.open(encoding="ascii", errors="replace") as file:
        # of the open file, not of the path: nobody can change it in between
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & _OTHERS:
            raise PermissionError(
                f"the key file {path} has mode {mode:04o}, others can read or change it; "
                f"run: chmod 600 {path}"
            )
        # one more digit than a key has is enough to see that it is none
        return _parse(file.read(2 * KEY_BYTES + 100), str(path))


def key_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the user's key file belongs; None where the user has no home."""
    folder = environ.get("XDG_CONFIG_HOME", "")
    if Path(folder).is_absolute():  # the XDG specification ignores others
        return Path(folder) / "splice" / "key"
    home = environ.get("HOME") or _home_of_user()
    return Path(home) / ".config" / "splice" / "key" if home else None


def _find_in_home(environ: Mapping[str, str]) -> Keys:
    path = key_path(environ)
    if path is None:
        return _in_memory("this user has no home")
    if not os.access(path, os.R_OK):
        try:
            _make_key_file(path)
        except OSError as error:
            return _in_memory(str(error))
    return read_key_file(path)


def _make_key_file(path: Path) -> None:
    """Write a new key, unless another OS process was first; nobody sees half a key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        # a link, not a rename: it fails where the file exists, so the first one wins
        path.hardlink_to(draft)
    except FileExistsError:
        _log.debug("another OS process has made the cluster key %s first", path)
    else:
        _log.info("made a new cluster key in %s", path)
    finally:
        draft.unlink()


def _in_memory(reason: str) -> Keys:
    _log.warning(
        "no cluster key can be kept (%s): this node has one in memory, and only nodes and "
        "workers that it starts can talk to it; set SPLICE_KEY_FILE or SPLICE_KEY",
        reason,
    )
    return Keys(secrets.token_bytes(KEY_BYTES), "memory")


def _parse(text: str, source: str) -> Keys:
    digits = text.strip()
    try:
        secret = bytes.fromhex(digits)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES or len(digits) != 2 * KEY_BYTES:
        # "from None", and no word of the text: it may be most of a key
        raise ValueError(
            f"no cluster key in {source}: {len(digits)} characters, not 64 hex digits; "
            "copy it whole from a node that has it"
        ) from None
    return Keys(secret, source)


def _home_of_user() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container may run under an id that nobody has
        return None


def _curve_pair(secret: bytes) -> CurvePair:
    text = z85.encode(secret)
    return CurvePair(zmq.curve_public(text), text)
