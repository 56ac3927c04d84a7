"""Urls: which process, on which node, and optionally of which incarnation of it.

A url is a plain value.  ``url("my_proc", "tcp://10.1.1.15:54321")`` names the process that
bears the name ``my_proc`` at that address whenever a message is sent (unbound); a url that
carries an incarnation means that one life of the node and never its successor (bound).

The text form is ``tcp://10.1.1.15:54321/my_proc``, with ``#1f2e…`` behind it when bound;
a resource that is a whole number is the id of a process without a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Resource = str | int
"""A name (``str``) or an id (``int``) of a process on its node."""

_ADDRESS = re.compile(r"^tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$")
_NAME = re.compile(r"^[^\s/#]+$")
_INCARNATION = re.compile(r"^[0-9a-f]{1,16}$")


@dataclass(frozen=True, slots=True)
class url:  # noqa: N801 - the historical spelling is part of the public API
    """Which process: a resource at an address.

    Args:
        resource: name or id of the process on its node.
        address: where the node listens, ``tcp://host:port``.
        incarnation: the life of the node that is meant, or None for whichever answers.

    Raises:
        ValueError: the address or the name is malformed; the text shows it.
        TypeError: the resource is neither ``str`` nor ``int``.

    Thread-safe: an immutable value.
    """

    resource: Resource
    address: str
    incarnation: int | None = None

    def __post_init__(self) -> None:
        check_address(self.address)
        check_resource(self.resource)

    def __str__(self) -> str:
        bound = "" if self.incarnation is None else f"#{self.incarnation:x}"
        return f"{self.address}/{self.resource}{bound}"


def check_address(address: str) -> str:
    """Return `address` unchanged, or raise ValueError that shows what is wrong with it."""
    match = _ADDRESS.match(address) if isinstance(address, str) else None
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError(
            f"malformed address {address!r}; it looks like 'tcp://10.1.1.15:54321'"
        )
    return address


def check_resource(resource: Resource) -> Resource:
    """Return `resource` unchanged, or raise TypeError or ValueError about it."""
    if isinstance(resource, bool) or not isinstance(resource, (str, int)):
        raise TypeError(f"a process is named by str or int, not {resource!r}")
    if isinstance(resource, int):
        if resource < 0:
            raise ValueError(f"a process id is not negative, got {resource}")
    elif not _NAME.match(resource) or resource.isdecimal():
        raise ValueError(
            f"malformed name {resource!r}; a name has no space, '/' or '#' and is no number"
        )
    return resource


def check_name(name: str) -> str:
    """Return `name` unchanged, or raise TypeError or ValueError: it is to be given to a process.

    A number is refused, for the node may give the same one to another process as its id.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"a process's name is text, not {name!r}; numbers are the ids that nodes give out"
        )
    check_resource(name)
    return name


def parse(text: str) -> url:
    """Read the text form of a url.

    Raises:
        ValueError: the text is not ``tcp://host:port/resource[#incarnation]``.
    """
    body, _, bound = text.partition("#")
    address, slash, resource = body.rpartition("/")
    if (
        not slash
        or address.endswith("/")
        or ("#" in text and not _INCARNATION.match(bound))
    ):
        raise ValueError(
            f"malformed url {text!r}; it looks like 'tcp://10.1.1.15:54321/my_proc'"
        )
    return url(
        int(resource) if resource.isdecimal() else resource,
        address,
        int(bound, 16) if bound else None,
    )
