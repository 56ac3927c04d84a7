"""Manifests: ids, chunks, and what no worker accepts."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.shipping import manifest as module
from splice.shipping.manifest import (
    CHUNK_BYTES,
    BadManifest,
    Cut,
    File,
    Manifest,
    check_manifest,
    is_safe_path,
)


def file(path: str, content: bytes = b"x", *, is_executable: bool = False) -> File:
    digest = hashlib.sha256(content).hexdigest()
    return File(path, len(content), digest, is_executable)


def manifest(*files: File) -> Manifest:
    return Manifest("lib", "1.0", files)


def test_the_id_does_not_depend_on_the_order_of_the_files():
    one, two = file("a.py"), file("b.py")
    assert manifest(one, two).ident == manifest(two, one).ident


@pytest.mark.parametrize(
    "other", [file("b.py"), file("a.py", b"y"), file("a.py", is_executable=True)]
)
def test_the_id_depends_on_path_content_and_mode(other):
    assert manifest(file("a.py")).ident != manifest(other).ident


def test_a_manifest_of_its_own_id_is_accepted():
    good = manifest(file("lib/a.py"), file("lib/b.py"), file("lib.libs/c.so"))
    check_manifest(good, good.ident)


def test_a_manifest_with_the_id_of_another_unit_is_refused():
    with pytest.raises(BadManifest, match="not of"):
        check_manifest(manifest(file("a.py")), manifest(file("b.py")).ident)


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "../x", "a/../x", "a//b", "a/", "a\\b", "a\0b", "./a"]
)
def test_a_path_that_leads_elsewhere_is_refused(path):
    assert not is_safe_path(path)
    bad = manifest(file(path))
    with pytest.raises(BadManifest, match="a file named"):
        check_manifest(bad, bad.ident)


def test_two_files_in_one_place_are_refused():
    bad = manifest(file("a.py"), file("a.py", b"y"))
    with pytest.raises(BadManifest, match=r"two files named 'a\.py'"):
        check_manifest(bad, bad.ident)


def test_a_file_in_the_place_of_a_folder_is_refused():
    bad = manifest(file("a"), file("a/b/c.py"))
    with pytest.raises(BadManifest, match="as a file and as a folder"):
        check_manifest(bad, bad.ident)


def test_too_many_files_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 1)
    bad = manifest(file("a.py"), file("b.py"))
    with pytest.raises(BadManifest, match="2 files, more than 1"):
        check_manifest(bad, bad.ident)


@given(st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=8))
def test_the_chunks_are_the_files_one_after_the_other(sizes):
    cut = Cut(
        Manifest("m", "", tuple(File(str(i), n, "") for i, n in enumerate(sizes)))
    )
    at = dict.fromkeys(range(len(sizes)), 0)
    latest = 0
    for chunk in range(cut.count):
        pieces = list(cut.pieces(chunk))
        assert sum(piece.size for piece in pieces) == cut.length(chunk)
        for piece in pieces:
            assert piece.index >= latest
            latest = piece.index
            assert piece.offset == at[piece.index]
            at[piece.index] += piece.size
    assert list(at.values()) == sizes
