"""The Python in our own README and documents runs as it stands, and prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python\n" in page.read_text(encoding="utf-8") and "design" not in page.parts
]

pytestmark = pytest.mark.system


def program(page: Path) -> str:
    """All Python of a page, one block behind the other, each in its line of the page."""
    text = page.read_text(encoding="utf-8")
    lines: list[str] = []
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        above = text.count("\n", 0, block.start(1))
        lines += [""] * (above - len(lines)) + block[1].splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_prints_what_it_says(
    page, run_script, promised, words_of, tmp_path
):
    source = program(page)
    assert words_of(run_script(source, tmp_path)) == promised(source)


def test_the_tour_has_code_under_each_heading():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tour = text[text.index("## Quick tour") : text.index("## Reliability")]
    assert all("```python\n" in part for part in tour.split("\n### ")[1:])


def test_the_two_programs_of_the_guide_to_nodes_talk_to_each_other(tmp_path):
    text = (ROOT / "docs" / "guide" / "nodes.md").read_text(encoding="utf-8")
    for name in ("server.py", "client.py"):
        source = text.split(f"# {name}\n")[1].split("```")[0]
        (tmp_path / name).write_text(source, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, tmp_path / "server.py"], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            client = subprocess.run(
                [sys.executable, tmp_path / "client.py", address],
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
            assert (client.stdout, client.stderr) == ("hello Ada\n", "")
            assert server.wait(timeout=50) == 0
        finally:
            server.kill()
