"""What pip really installs: editable projects of both kinds, and one while a session is open."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from tests.shipping.conftest import SRC
from tests.shipping.trees import forget, write

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300)]

BUILD = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "1.5"
[project.entry-points."a.group"]
plug = "{name}:plug"
[tool.setuptools.packages.find]
where = ["{where}"]
include = ["{name}*"]
"""

CODE = {
    "__init__.py": "from .deep import N\ndef plug(): return 'plugged'\n",
    "deep/__init__.py": "from .more import N\n",
    "deep/more.py": "N = 7\n",
    "text.txt": "data",
}


def lay_out(folder: Path, name: str, where: str) -> Path:
    """Write a project that setuptools can build."""
    files = {f"{where}/{name}/{path}": text for path, text in CODE.items()}
    files["pyproject.toml"] = BUILD.format(name=name, where=where)
    # setuptools finds the package of a flat layout by a hook, for this is none
    files[f"{where}/beside.py"] = "raise SystemExit\n"
    return write(folder, files)


def pip(*arguments: str) -> None:
    """Run pip; the test is skipped if it gets no build tool."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot build a project here: {done.stderr[-300:]}")


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """Where pip installs; what it puts on the path is taken off again."""
    for name in ("path", "meta_path", "path_hooks"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    yield tmp_path / "prefix"
    sys.path_importer_cache.clear()


@pytest.mark.parametrize(
    ("name", "where", "mark"),
    [
        ("path_kind", "src", "__editable__.path_kind-1.5.pth"),
        ("hook_kind", ".", "__editable___hook_kind_1_5_finder.py"),
    ],
)
def test_an_editable_project_runs_on_a_bare_worker(
    far_session, tmp_path, prefix, name, where, mark
):
    project = lay_out(tmp_path / name, name, where)
    pip("--prefix", str(prefix), "-e", str(project))
    base = {"base": str(prefix), "platbase": str(prefix)}
    installed = Path(sysconfig.get_path("purelib", vars=base))
    assert (installed / mark).exists()
    site.addsitedir(str(installed))

    def use():
        import importlib
        from importlib import metadata, resources

        package = importlib.import_module(name)
        text = resources.files(name).joinpath("text.txt").read_text()
        (entry,) = metadata.entry_points(group="a.group", name="plug")
        here = "store/units" in package.__file__
        return package.N, text, metadata.version(name), entry.load()(), here

    c = far_session(hide=(project, prefix))
    assert c.apply(use) == [(7, "data", "1.5", "plugged", True)]
    (found,) = c.dependencies()
    # the project and its metadata: nothing of what stands beside the package
    assert (found.name.replace("-", "_"), found.version) == (name, "1.5")
    write(project / where / name, {"deep/more.py": "N = 88\n"})
    again = far_session(hide=(project, prefix))
    assert again.apply(use) == [(88, "data", "1.5", "plugged", True)]
    forget(name)


NOTEBOOK = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell('''
import json, os, sys
from splice import runtime
from splice.cluster import session
from splice.node.launch import OsLauncher
runtime.node.children._launcher = OsLauncher(
    command=[sys._base_executable], path=json.loads(os.environ["BARE"]))
c = session(worker_count=1)
def use():
    try:
        import from_pip
    except ModuleNotFoundError as error:
        return error.name
    return from_pip.N
print("before:", c.apply(use))
''')
shell.run_cell("%pip install -q --no-deps " + os.environ["PROJECT"])
shell.run_cell("print('after:', c.apply(use)); c.shutdown()")
"""


def test_pip_in_a_running_notebook_is_seen_by_the_next_call(bare_path, tmp_path):
    pytest.importorskip("IPython")
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    base = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", vars=base))
    ours = f"{SRC}\n{sysconfig.get_path('purelib')}\n"
    write(packages, {"ours.pth": ours})
    project = lay_out(tmp_path / "project", "from_pip", "src")
    environment = {
        **os.environ,
        "BARE": json.dumps(bare_path),
        "PROJECT": str(project),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    done = subprocess.run(
        [str(home / "bin/python"), "-c", NOTEBOOK],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = f"{done.stdout}{done.stderr}"
    assert "before: ['from_pip']" in said, said
    if not (packages / "from_pip").exists():
        pytest.skip(f"pip cannot build a project here: {said[-300:]}")
    assert "after: [7]" in said, said
