"""Urls: which process, on which node, and optionally of which incarnation of it.

A url is a plain value.  ``url("my_proc", "tcp://10.1.1.15:54321")`` names the process that
bears the name ``my_proc`` at that address whenever a message is sent (unbound); a url that
carries an incarnation means that one life of the node and never its successor (bound).
One that splice has made also knows which bearer of a name it means: by a number that names no
other process of that node, the *serial*.  It stands in no text.

The text form is ``tcp://10.1.1.15:54321/my_proc``, with ``#1f2e…`` behind it when bound;
a resource that is a whole number is the id of a process without a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Resource = str | int
"""A name (``str``) or an id (``int``) of a process on its node."""


class BoundName(str):
    """The name of one very process: no later one that bears it has the same serial.

    Equal to the plain name, and pickled as that.
    """

    __slots__ = ("serial",)

    serial: int

    def __new__(cls, name: str, serial: int) -> BoundName:
        """Bind `name` to the process with that serial."""
        self = super().__new__(cls, name)
        self.serial = serial
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


_ADDRESS = re.compile(r"^tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$")
_NAME = re.compile(r"^[^\s/#]+$")
_INCARNATION = re.compile(r"^[0-9a-f]{1,16}$")
_BOUND = re.compile(r"([^\s/#]+)#([1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class url:  # noqa: N801 - the historical spelling is part of the public API
    """Which process: a resource at an address.

    Args:
        resource: name or id of the process on its node.
        address: where the node listens, ``tcp://host:port``.
        incarnation: the life of the node that is meant, or None for whichever answers.
        serial: of the process of that name that is meant, or None for whoever bears it; urls
            that differ only in this are equal.

    Raises:
        ValueError: the address, the name or the serial is malformed; the text shows it.
        TypeError: the resource is neither ``str`` nor ``int``.

    Thread-safe: an immutable value.
    """

    resource: Resource
    address: str
    incarnation: int | None = None
    serial: int | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_address(self.address)
        check_resource(self.resource)
        if self.serial is not None:
            _check_serial(self.serial, self.resource)
        if type(self.resource) is BoundName:  # that process is meant by serials only
            object.__setattr__(self, "resource", str(self.resource))

    @property
    def ident(self) -> Resource:
        """The resource; a `BoundName` where the url means one very process of that name."""
        if self.serial is None or self.incarnation is None:
            return self.resource
        return BoundName(str(self.resource), self.serial)

    @property
    def addressee(self) -> Resource:
        """How messages call the process: `addressee_of` its `ident`, made at once."""
        if self.serial is None or self.incarnation is None:
            return self.resource
        return f"{self.resource}#{self.serial}"

    def __str__(self) -> str:
        bound = "" if self.incarnation is None else f"#{self.incarnation:x}"
        return f"{self.address}/{self.resource}{bound}"


def bound_url(ident: Resource, address: str, incarnation: int | None) -> url:
    """Return the url of the process with the name or id `ident` of that life of a node."""
    if type(ident) is BoundName:
        return url(str(ident), address, incarnation, serial=ident.serial)
    return url(ident, address, incarnation)


def addressee_of(ident: Resource) -> Resource:
    """Return how messages call a process: by id, by name, or as ``name#serial``.

    No name has a ``#``, so whoever bears the name and one very process are told apart.
    """
    return f"{ident}#{ident.serial}" if type(ident) is BoundName else ident


def ident_of(addressee: Resource) -> Resource:
    """Return the name or id of the process that a message calls so; undoes `addressee_of`."""
    found = _BOUND.fullmatch(addressee) if isinstance(addressee, str) else None
    return addressee if found is None else BoundName(found[1], int(found[2]))


def plain(ident: Resource) -> Resource:
    """Return a name or id without what binds the name to one process; people are given this."""
    return str(ident) if isinstance(ident, str) else ident


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


def _check_serial(serial: int, resource: Resource) -> None:
    is_number = isinstance(serial, int) and not isinstance(serial, bool)
    if not is_number or serial < 1 or not isinstance(resource, str):
        raise ValueError(
            f"serial {serial!r} of {resource!r}; only names have one, which is 1 or more"
        )


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
