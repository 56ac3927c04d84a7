"""Mapped: arrays that lie in a file of the user's own, which workers of this machine map too.

A `numpy.memmap` is pickled as what it holds: all of it would travel with each batch, and what a
worker writes to it would be lost, where joblib's own workers write to the file.  Used by
`cluster.backend`, for the arguments of the calls of a batch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Mapped:
    """Stands for an array that lies in a file; is that array when it has been unpickled.

    Attributes:
        make: maps the file: `numpy.memmap`.
        path: of the file.
        mode: as for `numpy.memmap`.
        kind: of the items, a ``dtype``.
        offset: of the first byte in the file.
        shape: of the array.
        order: ``"C"`` or ``"F"``.
    """

    make: type
    path: str
    mode: str
    kind: Any
    offset: int
    shape: tuple[int, ...]
    order: str

    def __reduce__(self) -> Any:
        where = self.path, self.kind, self.mode, self.offset, self.shape, self.order
        return self.make, where


def mapped(value: Any) -> Any:
    """Return what stands for an array that lies in a file; any other value as it is."""
    numpy = sys.modules.get("numpy")
    # not of a class of its own, which has more to it than its memory
    if numpy is None or type(value) not in {numpy.ndarray, numpy.memmap}:
        return value
    if not value.size:
        return value
    whole = _whole(value, numpy.memmap)
    if whole is None or not whole.filename or not Path(whole.filename).is_file():
        return value
    flags = value.flags
    # what was changed in a private copy is not in the file
    if whole.mode == "c" or not (flags.c_contiguous or flags.f_contiguous):
        return value
    return Mapped(
        numpy.memmap,
        str(Path(whole.filename).absolute()),
        "r+" if whole.mode == "w+" else whole.mode,  # "w+" would empty the file
        value.dtype,
        whole.offset + _address(value) - _address(whole),
        value.shape,
        "C" if flags.c_contiguous else "F",
    )


def _whole(array: Any, memmap: type) -> Any:
    """Return the array that has mapped the file of which `array` is a part, or None."""
    found = None
    while array is not None:
        if isinstance(array, memmap):
            found = array
        array = getattr(array, "base", None)
    return found


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
