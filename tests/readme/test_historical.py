"""Every example of the README of 2012 works as printed; see CORRECTIONS.md."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = sorted((HERE / "examples").glob("*.py"))

pytestmark = pytest.mark.system


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(path, run, promised, words_of, tmp_path):
    source = path.read_text(encoding="utf-8")
    assert words_of(run(source, tmp_path)) == promised(source)


def corrections() -> list[tuple[str, str]]:
    """The table of CORRECTIONS.md: what is printed, and what is run in its place."""
    text = (HERE / "CORRECTIONS.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(.+?)` \| `(.*?)` \|", text, re.MULTILINE)


def printed() -> list[str]:
    """The printed pieces of code, in order."""
    text = (HERE / "printed.rst").read_text(encoding="utf-8")
    pieces = re.findall(r"^::\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(piece) for piece in pieces]


def corrected(piece: str) -> str:
    for wrong, right in corrections():
        piece = piece.replace(wrong, right)
    return piece


def statements(source: str) -> set[str]:
    """All statements of a program, without its comments and its layout."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt)
    }


@pytest.mark.parametrize("piece", printed(), ids=lambda piece: piece.split("\n")[0])
def test_a_printed_piece_of_code_stands_in_an_example(piece):
    wanted = {ast.unparse(node) for node in ast.parse(corrected(piece)).body}
    found = [
        path
        for path in EXAMPLES
        if wanted <= statements(path.read_text(encoding="utf-8"))
    ]
    assert found != []


@pytest.mark.parametrize("correction", corrections(), ids=lambda pair: pair[0])
def test_a_correction_is_needed(correction):
    wrong, _ = correction
    assert any(wrong in piece for piece in printed())
