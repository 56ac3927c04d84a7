"""Admission: which key a daemon or a client comes with, and what to copy where if it is wrong.

The key itself is never shown: what may be shown is its fingerprint, and the file that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from splice.errors import AccessDenied
from splice.net.keys import Keys, find_key, key_path
from splice.net.places import is_numeric, is_own_host, look_up, split_address

USUAL_FILE = "~/.config/splice/key"
"""Where a user's key is, unless XDG_CONFIG_HOME says otherwise."""


def master_key(environ: Mapping[str, str] = os.environ) -> Keys:
    """Return the cluster's key for a master, made if there is none.

    Raises:
        AccessDenied: it could not be kept, so nobody could be given it.
        OSError: its file cannot be read.
        ValueError: what was found is no key.
    """
    keys = find_key(None, environ)
    if keys.source == "memory":
        raise AccessDenied(
            "a master needs a key that can be handed on, and none can be kept here;"
            " name a file for it in SPLICE_KEY_FILE, or put 64 hex digits into SPLICE_KEY"
        )
    return keys


def member_key(master_address: str, environ: Mapping[str, str] = os.environ) -> Keys:
    """Return the key that an instance comes with.

    Raises:
        AccessDenied: this machine has none, and the master is another one.
        OSError: its file cannot be read.
        ValueError: what was found is no key.
    """
    path = key_path(environ)
    is_given = environ.get("SPLICE_KEY_FILE") or environ.get("SPLICE_KEY")
    has_key = is_given or (path is not None and path.exists())
    if not has_key and not is_here(master_address):
        raise AccessDenied(
            f"this machine has no cluster key; {_copying(master_address, path)}"
        )
    return find_key(None, environ)


def handing_on(keys: Keys, name: str) -> str:
    """Tell how the key of the master on machine `name` gets to other machines."""
    if not keys.source.startswith("/"):
        return (
            f"its key (fingerprint {keys.fingerprint}) comes from {keys.source}: set the"
            " same for each instance and client"
        )
    return (
        f"its key (fingerprint {keys.fingerprint}) is in {keys.source}; each instance and"
        " client on another machine needs a copy of that file:\n"
        f"  mkdir -p -m 700 ~/.config/splice && scp {name}:{keys.source} {USUAL_FILE}"
    )


def denied(master_address: str, keys: Keys) -> AccessDenied:
    """Return the error that says what to copy where: the master has another key than `keys`."""
    path = Path(keys.source) if keys.source.startswith("/") else key_path()
    text = (
        f"the master at {master_address} has another cluster key than this program"
        f" (fingerprint {keys.fingerprint}, from {keys.source});"
        f" {_copying(master_address, path)}"
    )
    return AccessDenied(text)


def is_here(address: str) -> bool:
    """Return whether an address is one of this machine's; may look a name up."""
    name, _ = split_address(address)
    try:
        return is_own_host(name if is_numeric(name) else look_up(name))
    except OSError:
        return False


def _copying(master_address: str, path: Path | None) -> str:
    name, _ = split_address(master_address)
    place = path or Path(USUAL_FILE)
    return (
        "copy the key file that the master names when it starts:"
        f" mkdir -p -m 700 {place.parent} && scp {name}:{USUAL_FILE} {place};"
        " or name a copy in SPLICE_KEY_FILE"
    )
