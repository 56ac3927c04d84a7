"""The table: one line for each figure, from the records of the cases."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from bench.measuring import SPLICE

Record = dict[str, Any]


def draw(records: list[Record]) -> Table:
    """Return the table of all figures of splice, each with its floor and its target."""
    floors = {(r["case"], r["peer"]): r for r in records}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("case")
    table.add_column("splice", justify="right", style="bold")
    table.add_column("min .. max", justify="right", style="dim")
    table.add_column("unit")
    table.add_column("floor", justify="right")
    table.add_column("x floor", justify="right")
    table.add_column("calls", justify="right")
    table.add_column("target")
    for record in records:
        if record["peer"] == SPLICE:
            table.add_row(*_row(record, floors))
    return table


def draw_peers(records: list[Record]) -> Table:
    """Return the table of the comparison: a line for each contender of each row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("case")
    table.add_column("contender")
    table.add_column("value", justify="right", style="bold")
    table.add_column("min .. max", justify="right", style="dim")
    table.add_column("unit")
    table.add_column("splice is better by", justify="right")
    table.add_column("target")
    for record in records:
        low, high = record.get("spread", (0, 0))
        is_ours = record["peer"] == SPLICE
        table.add_row(
            record["title"] if is_ours else "",
            record["peer"],
            "failed" if record["value"] is None else short(record["value"]),
            f"{short(low)} .. {short(high)}",
            record["unit"],
            "" if is_ours else _ratio(record),
            _target(record),
        )
    return table


def _row(record: Record, floors: dict[tuple[str, str], Record]) -> list[str]:
    if record["value"] is None:
        return [
            record["title"],
            "[red]failed[/red]",
            "",
            "",
            "",
            "",
            "",
            record["unit"],
        ]
    floor = floors.get((record["case"], record.get("floor", "")))
    beside = "" if floor is None else f"{short(floor['value'])} {floor['peer']}"
    low, high = record["spread"]
    return [
        record["title"],
        short(record["value"]),
        f"{short(low)} .. {short(high)}",
        record["unit"],
        beside,
        _ratio(record),
        f"{record['calls']:.0f}" if "calls" in record else "",
        _target(record),
    ]


def _ratio(record: Record) -> str:
    if "ratio" not in record:
        return ""
    low, high = record["ratio_spread"]
    return f"{record['ratio']:.2f} ({low:.2f} .. {high:.2f})"


def _target(record: Record) -> str:
    if "target" not in record:
        return ""
    mark = "[green]met[/green]" if record["met"] else "[red]missed[/red]"
    return f"{record['target']} {mark}"


def short(value: float) -> str:
    """Return a number with three digits that count."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g} k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
