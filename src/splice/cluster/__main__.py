"""A census of Python's own standard library, taken by all CPUs of this machine.

Each source file is parsed on some worker: an OS process that starts with the session, gets the
function `survey` sent by value, and ends with the session.  Then one OS process does it again.
"""

import ast
import sysconfig
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from splice.cluster import session


def survey(path: Path) -> dict[str, Any]:
    """Count what one file holds, or tell why it does not parse."""
    source = path.read_bytes()
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError) as error:
        return {"path": path, "failure": f"{type(error).__name__}: {error}"}
    found: dict[str, Any] = {"lines": source.count(b"\n"), "classes": 0, "functions": 0}
    longest, modules = (0, ""), set()
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            found["classes"] += 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found["functions"] += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            longest = max(longest, (length, f"{path.stem}.{node.name}"))
        elif isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return found | {"longest": longest, "modules": modules}


def show(title: str, rows: Iterable[tuple[str, int]]) -> None:
    """Print a table of names and numbers."""
    table = Table(title=title, show_header=False, min_width=40)
    table.add_column()
    table.add_column(justify="right")
    for name, number in rows:
        table.add_row(name, f"{number:,}")
    console.print(table)


console = Console()
library = Path(sysconfig.get_path("stdlib"))
files = [
    path for path in sorted(library.rglob("*.py")) if "site-packages" not in path.parts
]

start = perf_counter()
with session() as c:
    workers = len(c.workers)
    surveys = c.map(survey, files, progress=True)
together = perf_counter() - start

parsed = [found for found in surveys if "failure" not in found]
totals = [
    (key, sum(found[key] for found in parsed))
    for key in ("lines", "classes", "functions")
]
imports = Counter(name for found in parsed for name in found["modules"])
longest = sorted((found["longest"] for found in parsed), reverse=True)[:5]

show("The standard library", [("files", len(files)), *totals])
show("Most imported (files)", imports.most_common(5))
show("Longest functions (lines)", [(name, length) for length, name in longest])
for found in surveys:
    if "failure" in found:
        console.print(
            f"does not parse: {found['path'].relative_to(library)}: {found['failure']}"
        )

start = perf_counter()
with console.status("The same once more, in one OS process ..."):
    again = [survey(path) for path in files]
alone = perf_counter() - start
console.print(
    f"{workers} workers, started and ended: {together:.2f} s; one OS process: {alone:.2f} s;"
    f" {alone / together:.2f} times as fast, and the results are"
    f" {'the same' if again == surveys else 'not the same'}."
)
