"""Outcomes: what workers have answered, made into what the user gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from splice.cluster.batches import Part
from splice.errors import CompositeError, SpliceError

OnError = Literal["raise", "return"]

SHOWN_ERRORS = 3
"""Failed items that the text of a CompositeError tells of; all of them are in ``errors``."""


def assemble(parts: Sequence[Part], on_error: OnError) -> list[Any]:
    """Return all values in the order of the items.

    Args:
        parts: the outcomes of all items, in any order.
        on_error: ``"return"`` puts errors into the places of their items.

    Raises:
        CompositeError: items failed, and `on_error` is ``"raise"``.
    """
    values: list[Any] = []
    errors: dict[int, BaseException] = {}
    for part in sorted(parts, key=lambda part: part.start):
        values += unpack_part(part, errors)
    if errors and on_error == "raise":
        results = {i: value for i, value in enumerate(values) if i not in errors}
        raise composite("item", results, errors)
    for index, error in errors.items():
        values[index] = error
    return values


def unpack_part(part: Part, errors: dict[int, BaseException]) -> list[Any]:
    """Return the values of a part; its errors go into `errors`, by index of the item."""
    everything = range(part.start, part.start + part.count)
    is_all = False
    for offset, packed in part.failures:
        error = packed.unpack_error()
        is_all = is_all or offset < 0
        failed = everything if offset < 0 else [part.start + offset]
        errors.update(dict.fromkeys(failed, error))
    if part.values is not None and not is_all:
        try:
            values: list[Any] = part.values.unpack()
        except SpliceError as error:  # an answer's class is not known here
            errors.update(dict.fromkeys(everything, error))
        else:
            return values
    return [None] * part.count


def composite(
    what: str, results: dict[int, Any], errors: dict[int, BaseException]
) -> CompositeError:
    """Make the error of a map or an apply of which something failed.

    Args:
        what: ``item`` or ``worker``.
        results: what there is, by index.
        errors: the rest, by index.
    """
    shown = "".join(
        f"\n  {what} {index}: {type(error).__name__}: {error}"
        for index, error in sorted(errors.items())[:SHOWN_ERRORS]
    )
    more = "\n  ..." if len(errors) > SHOWN_ERRORS else ""
    total = len(results) + len(errors)
    error = CompositeError(
        f"{len(errors)} of {total} {what}s failed:{shown}{more}", results, errors
    )
    error.__cause__ = errors[min(errors)]
    return error
