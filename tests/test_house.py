"""The rules of the house that no linter knows: words, sizes, and where errors are caught."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "splice"

MODULE_LINES = 450
"""A module has 100 to 400 lines; a few more are no reason to cut a thought in two."""

BROAD_EXCEPTS = {
    "cluster/batches.py:Cutter._cut": "the iterable of a map",
    "cluster/bench.py:Bench._batch": "a function or items that cannot be rebuilt",
    "cluster/bench.py:Bench._call": "the function of a call",
    "cluster/bench.py:Bench._run": "the function of a map",
    "cluster/bench.py:_again": "the function of a map",
    "cluster/maps.py:_collect": "none: it settles the promise of a map_async",
    "cluster/clerk.py:Clerk._settle": "a callback of a future",
    "cluster/clerk.py:Clerk.submit": "__reduce__ of arguments; it becomes the future's",
    "cluster/initializer.py:initialize": "the initializer of an executor",
    "cluster/output.py:Output._call": "the function that is given as output",
    "cluster/output.py:_print": "what sys.stdout is",
    "cluster/output.py:Output._show": "what sys.stdout is; filters of loggers",
    "cluster/records.py:RecordHandler.emit": "__str__ and __repr__ of what is logged",
    "cluster/running.py:MapRun._next_items": "the iterable of a map",
    "cluster/worker.py:_live_as_node": "none: it is raised on the main thread, or logged",
    "actor/cleaning.py:_call": "sp_terminate",
    "actor/cleaning.py:_cleaning": "an async sp_terminate",
    "actor/handlers.py:BlockingHandler._work": "a blocking handler",
    "actor/scheduler.py:Scheduler.handle": "a handler, by direct call",
    "actor/scheduler.py:Scheduler.run": "a handler; the class of its answer",
    "actor/inbox.py:_call_into": "what another thread wants done on the loop",
    "actor/supervisor.py:Supervisor._carry_out": "the constructor of a child",
    "actor/supervisor.py:_answering.handler": "the constructor of a child",
    "actor/spawning.py:_Construct.start": "the constructor of a process",
    "actor/waiters.py:Callback._call": "a done callback",
    "actor/waiters.py:FutureWaiter.settled": "a callback of a future",
    "actor/waiters.py:Then._settle": "a function given to `then`",
    "errors.py:shown": "__repr__ of whatever a message to people names",
    "net/codec.py:_encode_arguments": "__reduce__ and __getstate__ of arguments",
    "net/codec.py:_formatted": "__str__ of an error, in its traceback",
    "net/codec.py:_pickle": "__reduce__ and __getstate__; cloudpickle tries again",
    "net/codec.py:_text": "__str__ of an error",
    "net/codec.py:_travels": "__reduce__ and __getstate__, one part at a time",
    "net/codec.py:_tried_out": "constructor and __setstate__ of an error",
    "net/codec.py:decode": "__setstate__ of whatever arrives",
    "net/codec.py:encode": "__reduce__ and __getstate__ of a value",
    "net/culprit.py:_parts": "__repr__ and __reduce__ of what could not travel",
    "node/child.py:OsChild._call_back": "what the starter wants told of its child",
    "node/hosting.py:NodeThread._live": "none: it is raised in the thread that starts the node",
    "node/node.py:_settle_by": "what another thread wants done; constructors run there",
    "shipping/supplier.py:_telling.tell": "importers of the client",
    "testing/campaign.py:run_one": "none: a defect of splice, which is what it looks for",
    "testing/simulation.py:SimLauncher._boot": "init of a forked node",
    "node/lifeline.py:main": "init of a forked node",
}
"""Each `except Exception` or `except BaseException` in src that may swallow: its function, and
whose code it is that may raise anything.  Only code of the user may."""

FORBIDDEN_WORDS = {
    "async result": "promise",
    "canned": "frame, codec",
    "cloud": "session",
    "cluster head": "master",
    "compensator": "link, monitor",
    "egg": "unit",
    "exec loop": "scheduler",
    "host": "node (a host name is fine)",
    "host process": "agent",
    "job": "batch, or an item of a map",
    "package server": "supplier",
    "pid": "id, or url",
    "task": "batch, process, or an item of a map",
    "tasklet": "process",
    "uncan": "codec",
    "wait handle": "promise",
}
"""Words of the glossary that splice never uses, and what it says instead."""

ALLOWED_WORDS: dict[str, dict[str, str]] = {
    "async result": {"cluster/pool.py": "a class of multiprocessing's"},
    "egg": {
        "shipping/distributions.py": "the suffix of an old kind of metadata",
        "shipping/versions.py": "the same",
    },
    "host": {
        "actor/rings.py": "an attribute of a scope of anyio",
        "cluster/admission.py": "the host name of an address",
        "cluster/daemon.py": "the host name of an address",
        "config.py": "the host name of an address",
        "net/": "the host name of an address",
        "uri.py": "the host name of an address",
    },
    "job": {"cluster/backend.py": "an argument of joblib's"},
    "pid": {
        "cluster/": "the number of an OS process",
        "testing/": "the number of an OS process that is played",
        "node/": "the number of an OS process",
    },
    "task": {
        "cluster/futures.py": "an argument of concurrent.futures's",
        "cluster/pool.py": "the same",
        "cluster/progress.py": "a line of rich's progress display",
        "actor/": "asyncio's tasks, which run async handlers",
        "node/": "asyncio's tasks, on the loop of the node",
        "testing/": "asyncio's tasks, on the virtual loop",
    },
}
"""Where a forbidden word is right after all, because it is somebody else's: modules or folders
of src, with the reason."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


every_module = pytest.mark.parametrize("path", modules(), ids=name_of)


@every_module
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"


@every_module
def test_a_module_is_small_enough_to_be_read_at_once(path: Path) -> None:
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= MODULE_LINES, f"{name_of(path)} has {count} lines: two ideas in it?"


@every_module
def test_a_module_does_not_come_in_by_the_users_door(path: Path) -> None:
    assert list(root_imports(tree_of(path))) == []


def root_imports(tree: ast.Module) -> Iterator[str]:
    """Yield each import of the root package, but not that of a module below it."""
    below = {path.stem for path in SOURCE.iterdir()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ("import splice" for a in node.names if a.name == "splice")
        elif isinstance(node, ast.ImportFrom) and node.module == "splice":
            names = (alias.name for alias in node.names)
            yield from (f"from splice import {n}" for n in names if n not in below)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import splice", ["import splice"]),
        ("from splice import sync", ["from splice import sync"]),
        ("from splice import errors", []),
        ("from splice.uri import url", []),
    ],
)
def test_an_import_of_the_root_package_is_seen(line: str, found: list[str]) -> None:
    assert list(root_imports(ast.parse(line))) == found


def test_errors_of_any_kind_are_caught_only_where_the_users_code_is_called() -> None:
    found = {
        place
        for path in modules()
        for place in broad_excepts(tree_of(path), name_of(path))
    }
    assert found == set(BROAD_EXCEPTS), "see BROAD_EXCEPTS: each place needs its reason"


def broad_excepts(tree: ast.AST, place: str) -> Iterator[str]:
    """Yield the function of each handler that catches everything, as ``file:Class.function``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ExceptHandler) and swallows_anything(node):
            yield place
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            joint = "." if ":" in place else ":"
            yield from broad_excepts(node, f"{place}{joint}{node.name}")
        else:
            yield from broad_excepts(node, place)


def swallows_anything(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler catches every error and does not always pass it on as it came."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False  # it only cleans up
    kind = handler.type
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    names = {ast.unparse(each).rpartition(".")[2] for each in kinds if each is not None}
    return kind is None or bool(names & {"Exception", "BaseException"})


@pytest.mark.parametrize(
    "clause",
    [
        "except Exception:",
        "except BaseException as error:",
        "except (KeyError, Exception):",
        "except:",
    ],
)
def test_a_handler_that_catches_everything_is_seen(clause: str) -> None:
    lines = ["class A:", "  def b(self):", "    try: c()", f"    {clause}", "      d()"]
    assert list(broad_excepts(ast.parse("\n".join(lines)), "x.py")) == ["x.py:A.b"]


@pytest.mark.parametrize(
    "handler", ["except (KeyError, OSError): b()", "except BaseException: b(); raise"]
)
def test_a_handler_that_catches_one_kind_or_only_cleans_up_is_fine(
    handler: str,
) -> None:
    assert list(broad_excepts(ast.parse(f"try: a()\n{handler}"), "x.py")) == []


@every_module
def test_a_module_uses_the_words_of_the_glossary(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [
        f"line {line}: {word!r}, say {FORBIDDEN_WORDS[word]}"
        for line, word in forbidden_words(text)
        if not name_of(path).startswith(tuple(ALLOWED_WORDS.get(word, {})))
    ]
    assert found == [], f"{name_of(path)} uses words that docs/glossary.md replaces"


def forbidden_words(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and word for each forbidden word, also inside ``snake_case`` and ``CamelCase``."""
    for number, line in enumerate(text.splitlines(), 1):
        apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", line)
        words = " ".join(re.findall(r"[a-z]+", apart.lower()))
        for word in FORBIDDEN_WORDS:
            if re.search(rf"\b{word}s?\b", words):
                yield number, word


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("class HostProcess:", ["host", "host process"]),
        ("self._host_proc = None", ["host"]),
        ("# gives out the tasks", ["task"]),
        ("import cloudpickle, joblib", []),
        ("class NodeLost: pass", []),
    ],
)
def test_a_forbidden_word_is_seen(line: str, words: list[str]) -> None:
    assert [word for _, word in forbidden_words(line)] == words


def test_importing_splice_loads_neither_asyncio_nor_zeromq_nor_the_node() -> None:
    """The first two take longer than all of splice; they are loaded with the first node."""
    late = {"asyncio", "zmq", "ssl", "splice.node.node", "splice.net.channel"}
    script = f"import sys, splice; print(*{late} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_worker_loads_nothing_of_the_clients_side() -> None:
    """It would take a third of a session's start."""
    late = {"splice.cluster.sessions", "splice.cluster.hub", "splice.shipping.supplier"}
    script = f"import sys, splice.cluster.worker; print(*{late} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
