"""The cluster key is found, made once, kept from others, and never shown."""

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from splice.net.keys import Keys, find_key, key_path, read_key_file

SRC = Path(__file__).resolve().parents[2] / "src"
ONE = bytes(range(32))
OTHER = bytes(reversed(range(32)))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "given"
    path.write_text(OTHER.hex() + "\n")
    path.chmod(0o600)
    return path


# ------------------------------------------------------------------- where it is found


def test_the_argument_comes_first(key_file):
    environ = {"SPLICE_KEY_FILE": str(key_file), "SPLICE_KEY": OTHER.hex()}
    assert find_key(ONE, environ) == Keys(ONE)


def test_the_argument_may_be_hex_digits():
    assert find_key(ONE.hex(), {}) == Keys(ONE)


def test_the_file_of_the_environment_comes_before_its_key(key_file):
    environ = {"SPLICE_KEY_FILE": str(key_file), "SPLICE_KEY": ONE.hex()}
    assert find_key(None, environ) == Keys(OTHER)


def test_the_key_of_the_environment_comes_before_the_home(tmp_path):
    environ = {"SPLICE_KEY": ONE.hex(), "XDG_CONFIG_HOME": str(tmp_path)}
    assert find_key(None, environ) == Keys(ONE)
    assert list(tmp_path.iterdir()) == []


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        find_key(None, {"SPLICE_KEY_FILE": str(tmp_path / "absent")})


def test_the_key_says_where_it_was_found(key_file):
    assert find_key(None, {"SPLICE_KEY_FILE": str(key_file)}).source == str(key_file)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/splice/key"),
        ({"XDG_CONFIG_HOME": "x", "HOME": "/h"}, "/h/.config/splice/key"),
        ({"HOME": "/h"}, "/h/.config/splice/key"),
    ],
)
def test_the_home_of_the_key_follows_the_xdg_rules(environ, path):
    assert key_path(environ) == Path(path)


def test_a_user_without_home_in_the_environment_has_the_one_of_the_system():
    assert key_path({}) is None or key_path({}).parts[-3:] == (
        ".config",
        "splice",
        "key",
    )


# ------------------------------------------------------------------- how it is made


def test_a_key_is_made_at_first_need_and_found_again(tmp_path):
    environ = {"HOME": str(tmp_path)}
    assert find_key(None, environ) == find_key(None, environ)


def test_the_key_file_is_for_its_owner_only(tmp_path):
    old = os.umask(0)
    try:
        find_key(None, {"HOME": str(tmp_path)})
    finally:
        os.umask(old)
    path = tmp_path / ".config" / "splice" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_making_a_key_leaves_nothing_beside_it(tmp_path):
    find_key(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert [entry.name for entry in (tmp_path / "splice").iterdir()] == ["key"]


def test_two_users_have_different_keys(tmp_path):
    one, other = ({"HOME": str(tmp_path / name)} for name in ("one", "other"))
    assert find_key(None, one) != find_key(None, other)


def test_a_key_that_another_was_first_to_make_is_used(tmp_path, monkeypatch):
    link = Path.hardlink_to

    def late(path: Path, target: Path) -> None:
        path.write_text(ONE.hex())
        path.chmod(0o600)
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", late)
    assert find_key(None, {"HOME": str(tmp_path)}) == Keys(ONE)


@pytest.mark.system
def test_os_processes_that_start_at_once_agree_on_one_key(tmp_path):
    program = (
        "import sys; from splice.net.keys import find_key;"
        "print('ready', flush=True); input(); print(find_key().fingerprint)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(SRC), "XDG_CONFIG_HOME": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for one in running:
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.stdin.write("\n")
        one.stdin.flush()
    assert len({one.communicate(timeout=30)[0] for one in running}) == 1


def test_where_no_home_is_writable_the_key_is_in_memory(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    keys = find_key(None, {"HOME": str(tmp_path / "file" / "home")})
    assert keys.source == "memory"
    assert "no cluster key can be kept" in caplog.text


# ------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused_with_the_remedy(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(PermissionError, match=f"chmod 600 {key_file}"):
        read_key_file(key_file)


def test_a_loose_file_in_the_home_is_refused_and_not_replaced(tmp_path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    find_key(None, environ)
    (tmp_path / "splice" / "key").chmod(0o644)
    with pytest.raises(PermissionError, match="mode 0644"):
        find_key(None, environ)


@pytest.mark.parametrize(
    "text", ["", "abc", "g" * 64, ONE.hex()[:-2], ONE.hex() + "00", " ".join("ab" * 32)]
)
def test_what_is_no_key_is_refused_without_showing_it(text, key_file):
    key_file.write_text(text)
    with pytest.raises(ValueError, match="not 64 hex digits") as caught:
        read_key_file(key_file)
    assert str(key_file) in str(caught.value)
    assert not text or text not in str(caught.value).replace(str(key_file), "")


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        find_key(b"short", {})


# ------------------------------------------------------------------- what is shown


def test_the_key_is_not_in_its_repr():
    shown = repr(Keys(ONE)) + repr(Keys(ONE).member) + str(Keys(ONE))
    assert ONE.hex() not in shown
    assert repr(ONE) not in shown
    assert Keys(ONE).member.secret.decode() not in shown


def test_the_fingerprint_tells_keys_apart():
    assert Keys(ONE).fingerprint != Keys(OTHER).fingerprint
    assert Keys(ONE).fingerprint in repr(Keys(ONE))


def test_the_key_does_not_travel_in_messages():
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(Keys(ONE))


def test_the_key_can_be_handed_on():
    assert find_key(Keys(ONE).reveal(), {}) == Keys(ONE)


# ------------------------------------------------------------------- what is derived


def test_the_pairs_are_valid_for_curve():
    for pair in (Keys(ONE).server, Keys(ONE).member):
        assert zmq.curve_public(pair.secret) == pair.public


def test_what_is_derived_differs_by_use_and_by_key():
    derived = [
        value
        for keys in (Keys(ONE), Keys(OTHER))
        for value in (keys.server.secret, keys.member.secret, keys.handshake)
    ]
    assert len(set(derived)) == len(derived)


def test_the_derivation_stays_the_same_for_ever():
    assert Keys(ONE).fingerprint == "77276ccf"
