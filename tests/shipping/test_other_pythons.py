"""Workers of another Python: code by name runs, code by value is refused, nothing crashes."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.shipping.conftest import NEEDED
from tests.shipping.trees import forget, write

import splice
from splice import Process, runtime
from splice.cluster.sessions import Session
from splice.cluster.terms import Terms
from splice.config import Config
from splice.errors import CompositeError, NodeLost, VersionMismatch
from splice.node import current
from splice.node.hosting import NodeThread
from splice.node.launch import OsLauncher

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300)]

SRC = Path(splice.__file__).parents[1]
PYENV = Path.home() / ".pyenv" / "versions"


@pytest.fixture(scope="module", params=["3.12", "3.13"])
def other_python(request, tmp_path_factory):
    """Another interpreter, and a path with what splice needs there."""
    found = sorted(PYENV.glob(f"{request.param}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {request.param} below {PYENV}")
    site = tmp_path_factory.mktemp("other")
    done = subprocess.run(
        [str(found[-1]), "-m", "pip", "install", "-q", "--target", str(site), *NEEDED],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"pip cannot install what splice needs: {done.stderr[-200:]}")
    script = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    library = subprocess.check_output([found[-1], "-c", script], text=True).strip()
    return str(found[-1]), [library, f"{library}/lib-dynload", str(site), str(SRC)]


@pytest.fixture
def open_skewed(other_python, tmp_path, monkeypatch):
    """Open sessions on workers of the other Python."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command, path = other_python
    thread = NodeThread(Config(allow_version_skew=True))
    node = thread.start()
    node.children._launcher = OsLauncher(command=[command], path=path)
    token = current.decoding.set(node)
    opened = []

    def open_one(**options):
        opened.append(Session(Terms(worker_count=1, **options)))
        return opened[-1]

    try:
        yield open_one
    finally:
        for session in opened:
            session.shutdown()
        current.decoding.reset(token)
        node.begin_shut_down()
        thread.join(20)


@pytest.fixture
def skewed(open_skewed):
    """A session on a worker of the other Python."""
    return open_skewed()


def test_a_function_of_a_pure_module_runs_by_name(skewed, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(
        tmp_path, {"by_name.py": "import sys\ndef f(n): return n, sys.version_info[1]"}
    )
    import by_name

    ((n, minor),) = skewed.map(by_name.f, [5])
    assert n == 5
    assert minor > sys.version_info[1]
    forget("by_name")


def test_a_function_by_value_is_refused_before_it_is_touched(skewed):
    with pytest.raises(CompositeError) as raised:
        skewed.map(lambda n: n, [1])
    assert isinstance(raised.value.errors[0], VersionMismatch)
    with pytest.raises(CompositeError) as raised:
        skewed.apply(lambda: None)
    assert isinstance(raised.value.errors[0], VersionMismatch)
    assert skewed.apply(len, "alive") == [5]


def test_processes_and_messages_by_value_are_refused_and_the_worker_lives(
    skewed, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(
        tmp_path,
        {
            "taking.py": (
                "from splice import Process\n"
                "class Taking(Process):\n"
                "    def take(self, value): return value\n"
            )
        },
    )
    import taking

    class Local(Process):
        pass

    (worker,) = skewed.workers
    with pytest.raises(VersionMismatch):
        runtime.spawn(Local, sp_dest=worker)
    proc = runtime.spawn(taking.Taking, sp_dest=worker)
    with pytest.raises(VersionMismatch):
        proc.take(lambda: None).get(timeout=20)
    with pytest.raises(VersionMismatch):
        proc.take([{"deep": lambda: None}]).get(timeout=20)
    assert proc.take(3).get(timeout=20) == 3
    assert skewed.statistics().deaths == 0
    forget("taking")


def test_an_init_by_value_is_refused_where_the_session_is_opened(open_skewed):
    # the worker ends as with any init that fails; its end tells why, and is no crash
    with pytest.raises(NodeLost, match=r"VersionMismatch: .* by value") as raised:
        open_skewed(init=lambda: None)
    assert "exited with code 1" in str(raised.value)


def test_an_extension_of_this_python_is_refused_with_both_versions(
    skewed, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    write(tmp_path, {"compiled/__init__.py": "", f"compiled/_c{suffix}": ""})
    with pytest.raises(CompositeError, match="DependencyRefused") as raised:
        skewed.apply(__import__, "compiled")
    text = str(raised.value)
    assert f"built for Python {sys.version.split()[0]}" in text
    assert "the worker has Python 3.1" in text
