"""The reference in docs/reference names everything, and its numbers are those of the code."""

import builtins
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import splice
from splice import cluster, errors, futures, joblib
from splice.cluster import Session
from splice.config import PROTOCOL_VERSION, Config
from splice.net import frames, handshake
from splice.worker_died import WorkerDied

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"

ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
]


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def codes(text: str) -> set[str]:
    """The names that stand in code style, also inside of longer code."""
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))


@pytest.mark.parametrize(
    "name", [*splice.__all__, *cluster.__all__, *futures.__all__, *joblib.__all__]
)
def test_a_public_name_stands_in_the_reference(name):
    assert name in codes(page("api"))


@pytest.mark.parametrize("owner", [Session, type(splice.runtime)])
def test_every_public_method_stands_in_the_reference(owner):
    public = {name for name in dir(owner) if not name.startswith("_")}
    assert public - codes(page("api")) == set()


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("runtime", type(splice.runtime)),
        ("promise", splice.Promise),
        ("proxy", splice.Proxy),
        ("c", Session),
    ],
)
def test_the_reference_names_nothing_that_there_is_not(name, owner):
    named = set(re.findall(rf"`{name}\.(\w+)", page("api"))) - {"handler"}
    assert named != set()
    assert named - set(dir(owner)) == set()


@pytest.mark.parametrize("kind", [*ERRORS, WorkerDied], ids=lambda kind: kind.__name__)
def test_an_error_stands_in_the_reference_with_the_built_in_it_is_one_of(kind):
    lines = [
        line for line in page("errors").splitlines() if f"`{kind.__name__}`" in line
    ]
    assert lines != []
    for base in kind.__bases__:
        if base.__module__ == builtins.__name__ and base not in (
            Exception,
            BaseException,
        ):
            assert any(f"`{base.__name__}`" in line for line in lines)


def test_the_reference_names_no_error_that_there_is_not():
    named = set(re.findall(r"^\| `(\w+)` \|", page("errors"), re.MULTILINE))
    assert named - {kind.__name__ for kind in [*ERRORS, WorkerDied]} == set()


def test_the_reference_has_every_setting_with_its_default():
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", page("configuration"), re.MULTILINE)
    config = Config()
    assert dict(rows) == {f.name: repr(getattr(config, f.name)) for f in fields(Config)}


def test_the_reference_tells_the_protocol_and_the_size_of_a_header():
    text = page("wire")
    header = frames.Header(frames.Kind.BEAT, 1, 1, 1, 0, 0, 0)
    assert f"Protocol {PROTOCOL_VERSION};" in text
    assert f"The header has {len(header.encode())} bytes." in text


def test_the_rows_of_the_header_add_up_to_its_size():
    text = page("wire")
    table = text[text.index("The header has") : text.index("A frame for another")]
    sizes = [int(size) for size in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    header = frames.Header(frames.Kind.BEAT, 1, 1, 1, 0, 0, 0)
    assert sum(sizes) == len(header.encode())


@pytest.mark.parametrize("kind", frames.Kind, ids=lambda kind: kind.name)
def test_a_kind_of_frame_stands_in_the_reference_with_its_number(kind):
    assert f"{kind.value} {kind.name.lower()}" in page("wire")


@pytest.mark.parametrize("reason", handshake.Reason, ids=lambda reason: reason.name)
def test_a_reason_to_refuse_stands_in_the_reference(reason):
    assert reason.value in codes(page("wire"))


def test_every_test_that_the_comparison_with_otp_names_exists():
    tests = REFERENCE.parents[1] / "tests"
    made = {
        found
        for path in tests.rglob("test_*.py")
        for found in (
            path.stem,
            *re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE),
        )
    }
    named = {code for code in codes(page("otp")) if code.startswith("test_")}
    assert len(named) > 100
    assert named - made == set()


def compared_with_otp() -> list[tuple[set[str], set[str], str]]:
    """The rows about cases of OTP: the cases, our tests, the verdict."""
    rows = re.findall(r"^\| (`\w+`.*?) \| (.*?) \| (.*) \|$", page("otp"), re.MULTILINE)
    return [(codes(cases), codes(tests), verdict) for cases, tests, verdict in rows]


def test_every_case_of_otp_has_one_verdict_and_a_test_where_it_applies():
    rows = [
        (cases, tests, verdict)
        for cases, tests, verdict in compared_with_otp()
        if not any(case.endswith("_SUITE") for case in cases)
    ]
    for cases, tests, verdict in rows:
        assert re.match(r"passes($|[,;] )|(differs|does not apply): ", verdict), cases
        assert bool(tests) is not verdict.startswith("does not apply"), cases
    all_cases = [case for cases, _, _ in rows for case in cases]
    assert len(all_cases) > 150
    assert len(all_cases) == len(set(all_cases))
