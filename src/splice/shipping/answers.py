"""Answers: what a client says of a module that a worker misses; they travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Ship = Literal["missing", "client", "off"]
"""What comes from the client: what the worker lacks, or all that it has not loaded yet, or
nothing."""

MAX_UNIT_BYTES: Final = 512 * 2**20
"""Over it a unit is refused: a folder of data beside the code, more often than code."""


class Changed(OSError):
    """A file is not what the manifest says any more, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the client could import at a moment.

    Attributes:
        generation: another one when something may have been installed or imported.
        names: top-level names.
        is_open: the client has finders that know more names: ask once about each.
    """

    generation: str
    names: frozenset[str]
    is_open: bool

    def may_have(self, name: str) -> bool:
        """Tell whether it is worth a question."""
        return self.is_open or name.partition(".")[0] in self.names


@dataclass(frozen=True, slots=True)
class Absent:
    """The client has no such module either."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A package without code of its own; its children are asked for one by one."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The client has it, but it must not or cannot run on that worker.

    Attributes:
        reason: a sentence with the facts of both sides.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Offer:
    """The unit that holds the module.

    Attributes:
        ident: its id.
        name: of the distribution, or of the module.
        version: of the distribution; empty for loose code.
        size: bytes.
    """

    ident: str
    name: str
    version: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


Answer = Absent | Namespace | Refused | Offer


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a session has shipped of one unit.

    Attributes:
        name: of the distribution, or of the module.
        version: of the distribution; empty for loose code.
        origin: the folder or archive at the client.
        size: bytes of its files.
        files: how many there are.
        workers: how many have used it.
        transfers: how often it was sent; once for each machine, if it was not there already.
        seconds: what the slowest transfer took; 0.0 if there was none.
    """

    name: str
    version: str
    origin: str
    size: int
    files: int
    workers: int
    transfers: int
    seconds: float
