"""What an import on a worker means at the client: the unit, or why there is none."""

import hashlib
import json
import os
import sys
import types
import zipfile
from dataclasses import replace
from importlib.machinery import ModuleSpec

import pytest
from tests.shipping.trees import forget, install, write

from splice.shipping.answers import Changed
from splice.shipping.sources import Absent, Namespace, Offer, Refused, Sources
from splice.shipping.tags import facts_here

HERE = facts_here()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path of this interpreter."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def unit_of(sources, name):
    offer = sources.resolve(name, HERE)
    assert isinstance(offer, Offer), offer
    return sources.units[offer.ident]


def paths(unit):
    return [file.path for file in unit.manifest.files]


def contents(unit):
    """What a worker would unpack: path to text."""
    return {
        file.path: content.read(0, file.size).decode()
        for file, content in zip(unit.manifest.files, unit.contents, strict=True)
    }


def test_what_nobody_has_is_absent(site):
    assert Sources().resolve("never_heard_of", HERE) == Absent()


def test_the_standard_library_is_never_given():
    assert Sources().resolve("json", HERE) == Absent()


def test_a_distribution_is_one_unit_with_libraries_data_and_metadata(site):
    install(
        site,
        "lib",
        "1.2",
        {"lib/__init__.py": "a", "lib/data.bin": "b", "lib.libs/c.txt": "c"},
        **{"entry_points.txt": "[console_scripts]\n"},
    )
    unit = unit_of(Sources(), "lib")
    assert (unit.manifest.name, unit.manifest.version) == ("lib", "1.2")
    assert paths(unit) == [
        "lib-1.2.dist-info/METADATA",
        "lib-1.2.dist-info/RECORD",
        "lib-1.2.dist-info/WHEEL",
        "lib-1.2.dist-info/entry_points.txt",
        "lib.libs/c.txt",
        "lib/__init__.py",
        "lib/data.bin",
    ]


def test_two_modules_of_one_distribution_are_one_unit(site):
    install(site, "lib", "1.2", {"lib/__init__.py": "", "_lib_helper.py": ""})
    sources = Sources()
    assert sources.resolve("lib", HERE) == sources.resolve("_lib_helper", HERE)


def test_a_file_that_was_edited_in_site_packages_travels_as_it_is(site):
    install(site, "lib", "1.2", {"lib/__init__.py": "old", "lib/b.py": ""})
    edited = site / "lib/__init__.py"
    edited.write_text("new")
    later = (site / "lib-1.2.dist-info/RECORD").stat().st_mtime_ns + 10**9
    os.utime(edited, ns=(later, later))
    unit = unit_of(Sources(), "lib")
    digests = {file.path: file.digest for file in unit.manifest.files}
    assert digests["lib/__init__.py"] == hashlib.sha256(b"new").hexdigest()


def test_a_digest_of_record_is_taken_without_reading(site):
    install(site, "lib", "1.2", {"lib/__init__.py": "text"})
    record = site / "lib-1.2.dist-info/RECORD"
    place = site / "lib/__init__.py"
    place.write_text("more")  # the same size, and an older time
    before = record.stat().st_mtime_ns - 10**9
    os.utime(place, ns=(before, before))
    digests = {f.path: f.digest for f in unit_of(Sources(), "lib").manifest.files}
    assert digests["lib/__init__.py"] == hashlib.sha256(b"text").hexdigest()


def test_a_loose_package_is_a_tree_without_bytecode_and_hidden_folders(site):
    write(
        site,
        {
            "mine/__init__.py": "from . import part",
            "mine/part.py": "",
            "mine/data/table.csv": "1,2",
            "mine/__pycache__/part.cpython-311.pyc": "",
            "mine/.git/config": "",
        },
    )
    unit = unit_of(Sources(), "mine")
    assert paths(unit) == ["mine/__init__.py", "mine/data/table.csv", "mine/part.py"]
    assert unit.manifest.version == ""


def test_a_ring_of_links_is_walked_once(site):
    write(site, {"mine/__init__.py": "", "mine/deep/x.py": ""})
    (site / "mine/deep/up").symlink_to(site / "mine")
    assert "mine/deep/x.py" in paths(unit_of(Sources(), "mine"))


def test_a_loose_module_is_a_tree_of_one_file(site):
    write(site, {"single.py": "x = 1", "other.py": ""})
    assert contents(unit_of(Sources(), "single")) == {"single.py": "x = 1"}


def test_code_in_an_archive_travels_as_files(tmp_path, monkeypatch):
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("zipped/__init__.py", "a")
        members.writestr("zipped/data/t.txt", "b")
        members.writestr("zippedmodule.py", "c")
    monkeypatch.syspath_prepend(str(archive))
    sources = Sources()
    package = {"zipped/__init__.py": "a", "zipped/data/t.txt": "b"}
    assert contents(unit_of(sources, "zipped")) == package
    assert contents(unit_of(sources, "zippedmodule")) == {"zippedmodule.py": "c"}


def test_a_namespace_is_given_child_by_child(site, tmp_path, monkeypatch):
    install(site, "space-one", "1", {"space_n/one/__init__.py": "1"})
    write(tmp_path / "loose", {"space_n/two.py": "2"})
    monkeypatch.syspath_prepend(str(tmp_path / "loose"))
    sources = Sources()
    assert sources.resolve("space_n", HERE) == Namespace()
    assert unit_of(sources, "space_n.one").manifest.name == "space-one"
    assert contents(unit_of(sources, "space_n.two")) == {"space_n/two.py": "2"}
    assert sources.resolve("space_n.three", HERE) == Absent()


def test_an_editable_distribution_is_a_tree_with_its_metadata(
    site, tmp_path, monkeypatch
):
    project = write(tmp_path / "project/src", {"edited/__init__.py": "x"})
    monkeypatch.syspath_prepend(str(project))
    url = json.dumps(
        {"url": (tmp_path / "project").as_uri(), "dir_info": {"editable": True}}
    )
    install(
        site,
        "edited-lib",
        "3.0",
        {"__editable__.pth": str(project)},
        **{"direct_url.json": url},
    )
    unit = unit_of(Sources(), "edited")
    assert (unit.manifest.name, unit.manifest.version) == ("edited-lib", "3.0")
    assert paths(unit) == [
        "edited-lib-3.0.dist-info/INSTALLER",
        "edited-lib-3.0.dist-info/METADATA",
        "edited-lib-3.0.dist-info/WHEEL",
        "edited/__init__.py",
    ]


def test_looking_for_a_module_executes_nothing(site):
    write(site, {"explosive/__init__.py": "raise SystemExit", "explosive/x.py": ""})
    assert unit_of(Sources(), "explosive")
    assert "explosive" not in sys.modules


def test_a_module_that_only_its_loader_can_read_travels_as_source(monkeypatch):
    class Loader:
        def get_source(self, name):
            return "answer = 42"

    made = types.ModuleType("made_up")
    made.__spec__ = ModuleSpec("made_up", Loader(), origin="nowhere")
    monkeypatch.setitem(sys.modules, "made_up", made)
    assert contents(unit_of(Sources(), "made_up")) == {"made_up.py": "answer = 42"}


def test_a_module_without_source_is_refused_with_the_reason(monkeypatch):
    made = types.ModuleType("made_up")
    made.__spec__ = ModuleSpec("made_up", object())
    monkeypatch.setitem(sys.modules, "made_up", made)
    assert Sources().resolve("made_up", HERE) == Refused(
        "module made_up cannot be shipped: its loader, object, has no source of it"
    )


@pytest.mark.parametrize("denied", ["lib", "lib-dist", "LIB_DIST"])
def test_what_is_denied_is_refused_by_module_or_distribution(site, denied):
    install(site, "lib-dist", "1", {"lib/__init__.py": ""})
    answer = Sources(deny=[denied]).resolve("lib", HERE)
    assert isinstance(answer, Refused)
    assert "denied by the session" in answer.reason


def test_what_is_too_large_is_refused_with_the_numbers(site):
    write(site, {"large.py": "x" * 2000})
    answer = Sources(max_unit_bytes=1000).resolve("large", HERE)
    assert answer == Refused(
        "large has 2,000 bytes, more than the 1,000 of max_unit_bytes; install it on the "
        "worker or raise the limit"
    )


def test_compiled_code_is_refused_to_a_worker_that_cannot_run_it(site):
    write(site, {"fast/__init__.py": "", f"fast/_x.{HERE.soabi}.so": ""})
    other = replace(HERE, python="3.99.0", soabi="cpython-399-x86_64-linux-gnu")
    answer = Sources().resolve("fast", other)
    assert isinstance(answer, Refused)
    assert f"built for Python {HERE.python}" in answer.reason
    assert "the worker has Python 3.99.0" in answer.reason


def test_a_unit_is_pinned_at_what_it_was_first(site):
    write(site, {"pinned.py": "one"})
    sources = Sources()
    first = sources.resolve("pinned", HERE)
    write(site, {"pinned.py": "another"})
    assert sources.resolve("pinned", HERE) == first
    assert Sources().resolve("pinned", HERE) != first


def test_a_file_that_became_shorter_is_noticed_and_the_unit_made_anew(site):
    write(site, {"pinned.py": "a longer text"})
    sources = Sources()
    unit = unit_of(sources, "pinned")
    write(site, {"pinned.py": "short"})
    with pytest.raises(Changed, match=r"pinned\.py of pinned was changed while"):
        unit.chunk(0)
    sources.renew(unit.manifest.ident)
    assert unit_of(sources, "pinned").chunk(0) == b"short"


def test_what_was_absent_may_be_installed_later(site):
    sources = Sources()
    assert sources.resolve("late", HERE) == Absent()
    write(site, {"late.py": ""})
    sys.path_importer_cache.clear()
    assert isinstance(sources.resolve("late", HERE), Offer)
    forget("late")


def test_a_renewed_distribution_is_read_instead_of_believing_its_record(site):
    install(site, "lib", "1.2", {"lib/__init__.py": "text"})
    place = site / "lib/__init__.py"
    place.write_text("more")  # by an installer that keeps time and size
    os.utime(place, ns=(10**18, 10**18))
    sources = Sources()
    sources.renew(unit_of(sources, "lib").manifest.ident)
    digests = {f.path: f.digest for f in unit_of(sources, "lib").manifest.files}
    assert digests["lib/__init__.py"] == hashlib.sha256(b"more").hexdigest()


def digest_of(sources, name):
    (file,) = unit_of(sources, name).manifest.files
    return file.digest


def test_an_edit_that_leaves_size_and_time_is_seen_by_the_next_session(site):
    place = site / "pinned.py"
    for text in ("one", "two"):
        place.write_text(text)
        os.utime(place, ns=(10**18, 10**18))
        assert (
            digest_of(Sources(), "pinned") == hashlib.sha256(text.encode()).hexdigest()
        )


def test_a_file_whose_name_is_no_text_travels_with_its_package(site):
    write(site, {"mine/__init__.py": "", "mine/cool\udce9.txt": "x"})
    assert paths(unit_of(Sources(), "mine")) == [
        "mine/__init__.py",
        "mine/cool\udce9.txt",
    ]


def test_a_file_whose_name_is_no_text_travels_with_its_distribution(site):
    install(site, "lib", "1", {"lib/__init__.py": "", "lib/cool.txt": "x"})
    (site / "lib/cool.txt").rename(site / "lib/cool\udce9.txt")
    record = site / "lib-1.dist-info/RECORD"
    record.write_bytes(record.read_bytes().replace(b"cool.txt", b"cool\xe9.txt"))
    assert "lib/cool\udce9.txt" in paths(unit_of(Sources(), "lib"))


@pytest.mark.parametrize("damage", ["another", "cut"])
def test_an_archive_that_is_written_anew_meanwhile_is_noticed(
    tmp_path, monkeypatch, damage
):
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("zipped.py", "a")
    monkeypatch.syspath_prepend(str(archive))
    unit = unit_of(Sources(), "zipped")
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:-8])
    else:
        with zipfile.ZipFile(archive, "w") as members:
            members.writestr("other.py", "a")
    with pytest.raises(Changed, match=r"zipped\.py of .*code\.zip: "):
        unit.chunk(0)


def test_a_package_that_an_archive_has_no_more_is_no_empty_unit(tmp_path, monkeypatch):
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("zipped/__init__.py", "a")
    monkeypatch.syspath_prepend(str(archive))
    assert unit_of(Sources(), "zipped")
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("other.py", "a")
    with pytest.raises(Changed, match=r"zipped is not in .*code\.zip any more"):
        Sources().resolve("zipped", HERE)


def test_of_editable_distributions_in_one_folder_the_nearest_owns_a_module(
    site, tmp_path, monkeypatch
):
    code = write(tmp_path / "all/part/src", {"partial_n/__init__.py": "x"})
    monkeypatch.syspath_prepend(str(code))
    for name, folder in (("all", "all"), ("part", "all/part")):
        url = {"url": (tmp_path / folder).as_uri(), "dir_info": {"editable": True}}
        install(site, name, "1", {}, **{"direct_url.json": json.dumps(url)})
    assert unit_of(Sources(), "partial_n").manifest.name == "part"
