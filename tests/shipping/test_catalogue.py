"""The catalogue: which names the client has, found without importing any."""

import sys
import zipfile

import pytest
from tests.shipping.trees import install, write

from splice.shipping.catalogue import (
    catalogue_here,
    generation_here,
    has_foreign_finders,
    names_in,
)


def test_packages_modules_extensions_and_plain_folders_are_names(tmp_path):
    write(
        tmp_path,
        {
            "package/__init__.py": "",
            "module.py": "",
            "fast.cpython-311-x86_64-linux-gnu.so": "",
            "portion/inner/x.py": "",
            "lib-1.0.dist-info/METADATA": "",
            "no-name.py": "",
            "readme.txt": "",
            "_hidden.py": "",
        },
    )
    assert set(names_in(str(tmp_path))) == {
        "package",
        "module",
        "fast",
        "portion",
        "_hidden",
    }


def test_an_archive_offers_what_stands_at_its_top(tmp_path):
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("package/__init__.py", "")
        members.writestr("package/deep/x.py", "")
        members.writestr("single.py", "")
    assert set(names_in(str(archive))) == {"package", "single"}


def test_what_is_no_folder_offers_nothing(tmp_path):
    assert set(names_in(str(tmp_path / "missing"))) == set()


def test_the_standard_library_and_main_are_left_out(tmp_path, monkeypatch):
    write(tmp_path, {"json/__init__.py": "", "mine_alone.py": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    catalogue = catalogue_here()
    assert "mine_alone" in catalogue.names
    assert "pytest" in catalogue.names
    assert not {"json", "sys", "__main__"} & catalogue.names


def test_nothing_is_imported_for_it(tmp_path, monkeypatch):
    write(tmp_path, {"explosive/__init__.py": "raise SystemExit"})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "explosive" in catalogue_here().names


@pytest.fixture
def usual_finders(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[-3:])
    return sys.meta_path


def test_a_foreign_finder_opens_the_catalogue(usual_finders):
    assert not has_foreign_finders()
    assert not catalogue_here().may_have("never_heard_of")
    usual_finders.append(object())
    assert catalogue_here().may_have("never_heard_of")


def test_a_submodule_is_worth_a_question_if_its_top_is():
    assert catalogue_here().may_have("pytest.anything")


def test_the_generation_changes_when_something_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    before = generation_here()
    assert generation_here() == before
    install(tmp_path, "lib", "1.0", {"lib.py": ""})
    assert generation_here() != before


def test_an_archive_that_cannot_be_read_offers_nothing(tmp_path):
    archive = tmp_path / "broken.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("module.py", "")
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02")] = 0  # its directory; its end is as it should be
    archive.write_bytes(data)
    assert zipfile.is_zipfile(archive)
    assert set(names_in(str(archive))) == set()


def test_a_folder_that_cannot_be_read_offers_nothing(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr("splice.shipping.catalogue.os.scandir", refuse)
    assert set(names_in(str(tmp_path))) == set()
