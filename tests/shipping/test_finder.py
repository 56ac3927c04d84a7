"""The finder: asks about what may be had, once, and never about what is here."""

import importlib
import sys

import pytest
from tests.shipping.trees import forget, write

from splice.errors import DependencyRefused, DependencyTransferError
from splice.shipping.answers import Catalogue
from splice.shipping.finder import Finder


class Source:
    """What a fetcher would find, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.names = {"shipped", "space", "missing_after_all"}
        self.generation = "1"
        self.asked = []
        self.catalogues = 0

    def catalogue(self, known):
        self.catalogues += 1
        if known == self.generation:
            return None
        return Catalogue(self.generation, frozenset(self.names), False)

    def folder_of(self, name):
        self.asked.append(name)
        if name == "missing_after_all":
            return None
        if name.startswith("denied"):
            raise DependencyRefused(f"{name} is denied", name=name)
        return self.folder


@pytest.fixture
def source(tmp_path):
    return Source(
        write(
            tmp_path,
            {"shipped/__init__.py": "", "shipped/part.py": "", "space/one.py": "N = 1"},
        )
    )


@pytest.fixture
def finder(source, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    finder = Finder(source)
    finder.install()
    yield finder
    forget("shipped", "space")


def test_a_module_is_found_where_it_was_put(finder, source):
    module = importlib.import_module("shipped.part")
    assert module.__file__ == str(source.folder / "shipped/part.py")
    assert source.asked == ["shipped"]
    assert sys.path[-1] == str(source.folder)


def test_what_is_not_in_the_catalogue_is_missing_without_a_question(finder, source):
    for _ in range(3):
        with pytest.raises(ModuleNotFoundError, match="never_heard_of"):
            importlib.import_module("never_heard_of")
    assert source.asked == []
    assert source.catalogues == 1


def test_a_missing_submodule_of_a_package_that_is_here_is_really_missing(
    finder, source
):
    source.names.add("pytest")
    with pytest.raises(ModuleNotFoundError, match=r"pytest\.never"):
        importlib.import_module("pytest.never")
    assert source.asked == []


def test_the_children_of_a_namespace_are_asked_about_one_by_one(finder, source):
    assert importlib.import_module("space.one").N == 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("space.two")
    assert source.asked == ["space", "space.two"]


def test_the_standard_library_and_splice_are_never_asked_about(finder, source):
    source.names |= {"json", "splice"}
    assert finder.find_spec("json") is None
    assert finder.find_spec("splice") is None
    assert source.catalogues == 0


def test_what_the_client_does_not_have_after_all_is_asked_about_once(finder, source):
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("missing_after_all")
    assert source.asked == ["missing_after_all"]


def test_a_refusal_is_remembered(finder, source):
    source.names.add("denied")
    for _ in range(2):
        with pytest.raises(DependencyRefused, match="denied is denied"):
            importlib.import_module("denied")
    assert source.asked == ["denied"]


def test_a_new_generation_forgets_what_was_absent(finder, source):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("missing_after_all")
    finder.look_again()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("missing_after_all")
    assert (source.asked, source.catalogues) == (["missing_after_all"], 2)
    finder.look_again()
    source.generation = "2"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("missing_after_all")
    assert len(source.asked) == 2


def test_what_fetching_itself_imports_is_not_fetched(finder, source):
    def folder_of(name):
        source.asked.append(name)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("space")
        return source.folder

    source.folder_of = folder_of
    importlib.import_module("shipped")
    assert source.asked == ["shipped"]


def test_a_failed_transfer_is_no_import_error_and_is_tried_again(finder, source):
    def fail(name):
        source.asked.append(name)
        raise DependencyTransferError("the disk is full")

    source.folder_of = fail
    for _ in range(2):
        with pytest.raises(DependencyTransferError, match="the disk is full"):
            importlib.import_module("shipped")
    assert source.asked == ["shipped", "shipped"]


def test_what_the_worker_has_may_come_from_the_client_if_it_is_preferred(
    source, tmp_path, monkeypatch
):
    own = write(tmp_path / "own", {"shipped/__init__.py": ""})
    monkeypatch.setattr(sys, "path", [str(own), *sys.path])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    Finder(source, prefer_client=True).install()
    module = importlib.import_module("shipped")
    forget("shipped")
    assert module.__file__ == str(source.folder / "shipped/__init__.py")
