"""Workers that have nothing but splice run what imports whatever the client has."""

from __future__ import annotations

import os
import sys
import zipfile

import pytest
from tests.shipping.trees import forget, install, write

from splice import runtime
from splice.errors import CompositeError, DependencyRefused

pytestmark = pytest.mark.system


def test_a_project_with_relative_imports_and_data_runs_on_a_bare_worker(
    far_session, project
):
    write(
        project,
        {
            "mine/__init__.py": "from .tools import double",
            "mine/tools.py": (
                "from importlib import resources\n"
                "from .deep.more import PLUS\n"
                "def double(n): return 2 * n + PLUS\n"
                "def text(): return resources.files('mine').joinpath('a.txt').read_text()\n"
            ),
            "mine/deep/__init__.py": "",
            "mine/deep/more.py": "PLUS = 1",
            "mine/a.txt": "data",
        },
    )
    import mine
    from mine.tools import text

    c = far_session(hide=(project,))
    assert c.map(mine.double, range(5)) == [1, 3, 5, 7, 9]
    assert c.apply(text) == ["data"]
    (found,) = c.dependencies()
    assert (found.name, found.version, found.files) == ("mine", "", 5)
    assert found.origin == str(project / "mine")
    assert found.transfers == 1
    forget("mine")


def test_a_distribution_brings_metadata_and_entry_points(far_session, project):
    install(
        project,
        "lib",
        "1.2",
        {"lib/__init__.py": "def plug(): return 'plugged'"},
        **{"entry_points.txt": "[a.group]\nname = lib:plug\n"},
    )

    def use():
        from importlib import metadata

        import lib

        (entry,) = metadata.entry_points(group="a.group")
        return metadata.version("lib"), entry.load()(), lib.__file__

    c = far_session(hide=(project,))
    ((version, plugged, file),) = c.apply(use)
    assert (version, plugged) == ("1.2", "plugged")
    assert "splice/store/units" in file


def test_a_namespace_package_in_portions(far_session, project, tmp_path, monkeypatch):
    other = tmp_path / "other"
    write(project, {"space/one.py": "N = 1"})
    write(other, {"space/two/__init__.py": "N = 2"})
    monkeypatch.syspath_prepend(str(other))

    def use():
        import space.one
        import space.two

        try:
            import space.three
        except ModuleNotFoundError as error:
            return space.one.N, space.two.N, error.name

    c = far_session(hide=(project, other))
    assert c.apply(use) == [(1, 2, "space.three")]


def test_a_namespace_package_has_portions_on_both_sides(far_session, project, tmp_path):
    write(project, {"shared/ours.py": "N = 'client'", "shared/both.py": "N = 'client'"})
    theirs = write(
        tmp_path / "theirs",
        {"shared/theirs.py": "N = 'worker'", "shared/both.py": "N = 'worker'"},
    )

    def use():
        import shared.both
        import shared.ours
        import shared.theirs

        return shared.both.N, shared.ours.N, shared.theirs.N

    c = far_session(hide=(project,), has=(theirs,))
    assert c.apply(use) == [("worker", "client", "worker")]


def test_code_in_an_archive_runs_on_a_bare_worker(
    far_session, project, tmp_path, monkeypatch
):
    archive = tmp_path / "archives" / "code.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped/__init__.py", "from .part import N")
        file.writestr("zipped/part.py", "N = 4")
        file.writestr("zipped/text.txt", "data")
        file.writestr("zipped_alone.py", "N = 5")
    monkeypatch.syspath_prepend(str(archive))

    def use():
        from importlib import resources

        import zipped
        import zipped_alone

        text = resources.files(zipped).joinpath("text.txt").read_text()
        return zipped.N, text, zipped_alone.N

    c = far_session(hide=(archive.parent,))
    assert c.apply(use) == [(4, "data", 5)]
    assert {found.origin for found in c.dependencies()} == {str(archive)}


def test_a_package_that_is_too_large_is_refused_on_the_worker(far_session, project):
    write(project, {"heavy/__init__.py": "", "heavy/data": "x" * 2000})

    def use():
        try:
            import heavy  # noqa: F401
        except ImportError as error:
            return type(error).__name__, str(error)

    c = far_session(max_unit_bytes=1000, hide=(project,))
    ((kind, text),) = c.apply(use)
    assert kind == "DependencyRefused"
    assert "heavy has 2,000 bytes, more than the 1,000 of max_unit_bytes" in text


def test_what_nobody_has_is_missing_without_a_question(far_session):
    def use():

        def attempt():
            try:
                import never_heard_of  # noqa: F401
            except ModuleNotFoundError as error:
                return error.name

        attempt()
        asked = sys.modules["splice.shipping.installed"].finder._fetcher
        asked._ask = None  # whoever asks now fails
        return attempt()

    assert far_session().apply(use) == ["never_heard_of"]


def test_numpy_comes_with_its_libraries_once_for_two_workers(far_session):
    numpy = pytest.importorskip("numpy")

    def use():
        import numpy as np

        return float(np.linalg.inv(np.eye(3) * 2).sum()), np.__version__

    c = far_session(2)
    assert c.apply(use) == [(1.5, numpy.__version__)] * 2
    (found,) = [each for each in c.dependencies() if each.name == "numpy"]
    assert (found.workers, found.transfers) == (2, 1)


def test_arguments_that_need_a_shipped_module_are_unpacked(far_session):
    numpy = pytest.importorskip("numpy")
    c = far_session()
    assert c.map(lambda a: float(a.sum()), [numpy.ones(3), numpy.ones(4)]) == [3, 4]


def test_a_process_spawned_on_a_worker_gets_modules_by_class_message_and_import(
    far_session, project
):
    write(
        project,
        {
            "served.py": (
                "from splice import Process\n"
                "class Served(Process):\n"
                "    def __init__(self, first): self.seen = [first.n]\n"
                "    def take(self, value): self.seen.append(value.n); return self.seen\n"
                "    def use(self):\n"
                "        import used_late\n"
                "        return used_late.N\n"
                "    async def use_async(self):\n"
                "        import used_later\n"
                "        return used_later.N\n"
            ),
            "values.py": "class V:\n    def __init__(self, n): self.n = n\n",
            "values_late.py": "class V:\n    def __init__(self, n): self.n = n\n",
            "used_late.py": "N = 'late'",
            "used_later.py": "N = 'later'",
        },
    )
    import served
    import values
    import values_late

    c = far_session(hide=(project,))
    proc = runtime.spawn(served.Served, values.V(0), sp_dest=c.workers[0])
    promises = [proc.take(v) for v in (values.V(1), values_late.V(2), values.V(3))]
    assert promises[-1].get(timeout=20) == [0, 1, 2, 3]
    assert proc.use().get(timeout=20) == "late"
    assert proc.use_async().get(timeout=20) == "later"
    forget("served", "values", "values_late")


def test_init_and_threads_and_multiprocessing_children_have_it(far_session, project):
    write(project, {"early.py": "N = 1", "threaded.py": "N = 2"})

    def init():
        import early

        assert early.N == 1

    def use():
        import threading

        found = []

        def work():
            import threaded

            found.append(threaded.N)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        import multiprocessing

        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(eval, ("__import__('early').N",)))
        return found

    c = far_session(init=init, hide=(project,))
    assert c.apply(use) == [[2, 2, 2, 2, 1]]


def test_what_is_denied_is_refused_and_an_optional_import_goes_on(far_session, project):
    write(project, {"secret.py": ""})

    def use():
        try:
            import secret  # noqa: F401
        except ImportError as error:
            return type(error).__name__, str(error)

    c = far_session(deny=["secret"], hide=(project,))
    assert c.apply(use) == [
        ("DependencyRefused", "module secret is denied by the session (deny=)")
    ]


def test_a_refusal_reaches_the_caller_as_what_it_is(far_session, project):
    write(project, {"secret.py": "def f(): pass"})
    import secret

    c = far_session(deny=["secret"], hide=(project,))
    with pytest.raises(CompositeError) as raised:
        c.apply(secret.f)
    assert isinstance(raised.value.errors[0], DependencyRefused)
    forget("secret")


def test_an_edited_module_is_new_in_the_next_session(far_session, project):
    write(project, {"edited.py": "N = 1"})

    def use():
        import edited

        return edited.N

    first = far_session(hide=(project,))
    assert first.apply(use) == [1]
    write(project, {"edited.py": "N = 22"})
    assert first.apply(use) == [1]
    assert far_session(hide=(project,)).apply(use) == [22]


def test_what_is_installed_during_a_session_is_seen_by_the_next_call(
    far_session, project
):
    def use():
        try:
            import late_comer
        except ModuleNotFoundError:
            return None
        return late_comer.N

    c = far_session(hide=(project,))
    assert c.apply(use) == [None]
    write(project, {"late_comer.py": "N = 3"})
    assert c.apply(use) == [3]


def test_a_session_without_shipping_ships_nothing(far_session, project):
    write(project, {"kept.py": ""})

    def use():
        try:
            import kept  # noqa: F401
        except ModuleNotFoundError as error:
            return error.name

    c = far_session(ship="off", hide=(project,))
    assert c.apply(use) == ["kept"]
    assert c.dependencies() == []


def test_the_client_may_be_preferred_to_what_the_worker_has(far_session, project):
    write(project, {"click/__init__.py": "mine = True"})

    def use():
        import click

        return getattr(click, "mine", False)

    loaded = {name: m for name, m in sys.modules.items() if name.startswith("click")}
    for name in loaded:
        del sys.modules[name]
    try:
        assert far_session(hide=(project,)).apply(use) == [False]
        assert far_session(ship="client", hide=(project,)).apply(use) == [True]
    finally:
        sys.modules.update(loaded)


def test_a_worker_with_another_version_of_its_own_is_warned_of_once(
    far_session, project, caplog
):
    install(project, "click", "0.1", {"click/__init__.py": ""})

    def use():
        import click

        return click.__file__

    c = far_session(2, hide=(project,))
    assert all("store" not in place for place in c.apply(use))
    c.apply(use)
    c.dependencies()  # behind what workers tell, which is in order
    (said,) = [r.message for r in caplog.records if "which they have" in r.message]
    assert said.startswith("workers use click 8")
    assert "this program has 0.1: install one version on both, or open" in said


def test_a_forked_copy_of_a_worker_says_that_it_cannot_fetch(far_session, project):
    write(project, {"forked.py": ""})

    def use():
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                import forked  # noqa: F401
            except BaseException as error:
                os.write(write, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(write)
        os.wait()
        return os.read(read, 1000).decode()

    (text,) = far_session(hide=(project,)).apply(use)
    assert text.startswith("DependencyTransferError: module forked cannot be fetched")


def test_an_import_on_the_loop_and_one_on_the_main_thread_let_each_other_go_on(
    far_session, project
):
    write(
        project,
        {
            "meeting.py": (
                "import threading\n"
                "begun, waiting = threading.Event(), threading.Event()\n"
            ),
            "outer.py": (
                "import meeting\n"
                "meeting.begun.set()\n"
                "assert meeting.waiting.wait(20)\n"
                "import inner\n"
            ),
            "inner.py": "N = 1",
            "other.py": "N = 2",
            "looped.py": (
                "from splice import Process\n"
                "class Looped(Process):\n"
                "    def has_begun(self):\n"
                "        import meeting\n"
                "        return meeting.begun.is_set()\n"
                "    def use(self):\n"
                "        import meeting\n"
                "        meeting.waiting.set()\n"
                "        import other\n"
                "        return other.N\n"
            ),
        },
    )
    import looped

    def init():
        import meeting  # noqa: F401

    def use():
        import outer

        return outer.inner.N

    c = far_session(init=init, hide=(project,))
    proc = runtime.spawn(looped.Looped, sp_dest=c.workers[0])
    answer = c.submit(use)
    while not proc.has_begun().get(timeout=20):
        pass  # each look is a round trip
    assert proc.use().get(timeout=25) == 2
    assert answer.get(timeout=25) == 1
    forget("looped", "meeting")
