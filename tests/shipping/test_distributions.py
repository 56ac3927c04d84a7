"""What an installer's metadata says of the files it has put there."""

import base64
import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from splice.shipping.distributions import Distribution, editable_owner_of, owner_of


@pytest.fixture
def folder(tmp_path):
    """The metadata folder of a distribution that has nothing in it yet."""
    made = tmp_path / "lib-1.0.dist-info"
    made.mkdir()
    return made


def test_a_distribution_holds_what_its_record_names(folder):
    (folder / "RECORD").write_text('lib.py,,\nlib/a.py,,\n"lib/b,c.py",,\n')
    distribution = Distribution(folder)
    assert distribution.holds("lib.py")
    assert distribution.holds("lib/a.py")
    assert distribution.holds("lib/b,c.py")
    assert not distribution.holds("a.py")
    assert not distribution.holds("lib/a")


def test_a_record_with_the_line_ends_of_windows_is_read(folder):
    (folder / "RECORD").write_bytes(b"lib/a.py,,\r\nlib/b.py,,\r\n")
    assert Distribution(folder).holds("lib/b.py")


def test_a_file_whose_name_is_no_text_is_looked_for_all_the_same(folder):
    (folder / "RECORD").write_bytes(b"lib/\xff.py,,\n")
    assert Distribution(folder).holds("lib/\udcff.py")
    assert not Distribution(folder).holds("lib/\udcfe.py")


def test_metadata_without_a_record_hold_nothing(folder):
    assert not Distribution(folder).holds("lib.py")


def test_metadata_that_are_one_file_hold_nothing(tmp_path):
    egg = tmp_path / "old-1.0.egg-info"
    egg.write_text("Name: old\n")
    (tmp_path / "old.py").touch()
    assert owner_of(tmp_path / "old.py", [str(tmp_path)]) is None


def test_the_owner_need_not_be_named_like_its_module(tmp_path, folder):
    (folder / "RECORD").write_text("lib.py,,\n")
    other = tmp_path / "scikit_something-1.0.dist-info"
    other.mkdir()
    (other / "RECORD").write_text("something.py,,\n")
    owner = owner_of(tmp_path / "something.py", [str(tmp_path)])
    assert owner is not None
    assert owner.folder == other


def test_a_digest_of_the_record_is_taken_as_it_stands_there(tmp_path, folder):
    # of other bytes than the file's, so that it can only come from there; many, so that each
    # digit of base64 occurs
    digests = {f"{number}.py": hashlib.sha256(b"%d" % number) for number in range(64)}
    lines = []
    for path, digest in digests.items():
        (tmp_path / path).write_text("other")
        text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={text},5\n")
    (folder / "RECORD").write_text("".join(lines))
    unit = Distribution(folder).unit()
    assert {file.path: file.digest for file in unit.manifest.files} == {
        path: digest.hexdigest() for path, digest in digests.items()
    }


@pytest.fixture
def stranger():
    """A folder of which a part is closed to us; not in pytest's, which root closes to others."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        closed = place / "closed-1.0.dist-info"
        closed.mkdir()
        (closed / "RECORD").write_text("lib.py,,\n")
        closed.chmod(0)
        is_root = not os.geteuid()
        if is_root:
            os.seteuid(65534)
        try:
            yield place
        finally:
            if is_root:
                os.seteuid(0)
            closed.chmod(0o700)


def test_metadata_that_may_not_be_read_own_nothing(stranger):
    # what `sudo pip install` leaves under a strict umask
    place, paths = stranger / "lib.py", [str(stranger)]
    assert owner_of(place, paths) is None
    assert editable_owner_of(place, paths) is None
