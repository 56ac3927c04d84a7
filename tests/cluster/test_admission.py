"""Who comes with which key, and what is said about it; never the key itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from splice.cluster.admission import denied, handing_on, is_here, master_key, member_key
from splice.errors import AccessDenied
from splice.net.keys import Keys, find_key

FAR = "tcp://192.0.2.77:50000"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user without a key."""
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}


def test_a_master_makes_the_key_and_says_how_it_gets_to_others(
    environ: dict[str, str], tmp_path: Path
) -> None:
    keys = master_key(environ)
    text = handing_on(keys, "master-node")
    assert f"scp master-node:{tmp_path}/splice/key ~/.config/splice/key" in text
    assert keys.fingerprint in text
    assert keys.reveal() not in text


def test_a_key_of_the_environment_is_handed_on_by_its_name(
    environ: dict[str, str],
) -> None:
    keys = master_key(environ | {"SPLICE_KEY": "ab" * 32})
    assert "comes from SPLICE_KEY: set the same" in handing_on(keys, "master-node")


def test_a_master_without_a_place_for_its_key_refuses_to_start() -> None:
    with pytest.raises(AccessDenied, match="name a file for it in SPLICE_KEY_FILE"):
        master_key({"HOME": "/proc/nowhere"})


def test_an_instance_without_a_key_makes_none_for_a_master_elsewhere(
    environ: dict[str, str], tmp_path: Path
) -> None:
    where = re.escape(
        f"mkdir -p -m 700 {tmp_path}/splice"
        f" && scp 192.0.2.77:~/.config/splice/key {tmp_path}/splice/key"
    )
    with pytest.raises(AccessDenied, match=where):
        member_key(FAR, environ | {"SPLICE_KEY": ""})
    assert not (tmp_path / "splice").exists()


def test_an_instance_on_the_masters_machine_may_make_the_key(
    environ: dict[str, str],
) -> None:
    made = member_key("tcp://127.0.0.1:50000", environ)
    assert made == find_key(None, environ)


def test_an_instance_takes_the_key_it_is_given(environ: dict[str, str]) -> None:
    assert member_key(FAR, environ | {"SPLICE_KEY": "cd" * 32}).secret == b"\xcd" * 32


def test_a_wrong_key_is_named_with_its_file_and_what_to_copy_there() -> None:
    keys = Keys(bytes(32), "/home/ada/.config/splice/key")
    text = str(denied(FAR, keys))
    assert (
        f"(fingerprint {keys.fingerprint}, from /home/ada/.config/splice/key)" in text
    )
    assert "scp 192.0.2.77:~/.config/splice/key /home/ada/.config/splice/key" in text


@pytest.mark.parametrize(
    ("address", "expected"),
    [("tcp://127.0.0.1:1", True), ("tcp://localhost:1", True), (FAR, False)],
)
def test_a_machine_knows_its_own_addresses(address: str, expected: bool) -> None:
    assert is_here(address) is expected
