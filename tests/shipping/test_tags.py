"""Compiled code: where it runs, and what is said where it does not."""

from dataclasses import replace

import pytest

from splice.shipping.manifest import File
from splice.shipping.tags import Facts, extension_tag, facts_here, obstacle

CLIENT = Facts(
    "3.11.7", "cpython-311-x86_64-linux-gnu", "a70d", "linux", "x86_64", (2, 36)
)
LATER = replace(CLIENT, python="3.12.1", soabi="cpython-312-x86_64-linux-gnu")
EARLIER = replace(CLIENT, python="3.7.16", soabi="cpython-37m-x86_64-linux-gnu")
ARM = replace(CLIENT, machine="aarch64")
MAC = replace(CLIENT, system="darwin", glibc=None)
OLD_GLIBC = replace(CLIENT, glibc=(2, 17))
MUSL = replace(CLIENT, glibc=None)

EXTENSION = "m/_x.cpython-311-x86_64-linux-gnu.so"
STABLE = "m/_x.abi3.so"
BARE = "m/_x.so"
BUNDLED = "m.libs/libopenblas64_p-r0-0cf96a72.3.23.dev.so"
MANYLINUX = "cp311-cp311-manylinux_2_27_x86_64"


def why(path, worker, *tags, client=CLIENT):
    return obstacle(
        [File("m/__init__.py", 1, ""), File(path, 1, "")], tags, client, worker
    )


@pytest.mark.parametrize("worker", [LATER, ARM, MAC, OLD_GLIBC, MUSL])
def test_pure_python_runs_everywhere(worker):
    assert why("m/data.txt", worker) is None


@pytest.mark.parametrize("path", [EXTENSION, STABLE, BARE, BUNDLED])
def test_everything_runs_on_a_worker_like_the_client(path):
    assert why(path, CLIENT, MANYLINUX) is None


def test_an_extension_does_not_run_on_another_python():
    assert why(EXTENSION, LATER) == (
        f"{EXTENSION} was built for Python 3.11.7 (cpython-311-x86_64-linux-gnu), the "
        "worker has Python 3.12.1 (cpython-312)"
    )


def test_an_extension_without_a_tag_belongs_to_its_python():
    assert "built for Python 3.11.7" in why(BARE, LATER)


def test_a_plain_library_of_a_wheel_for_any_python_runs_on_another_one():
    assert why(BARE, LATER, "py3-none-manylinux_2_17_x86_64") is None


def test_an_extension_for_the_stable_abi_runs_on_later_pythons():
    assert why(STABLE, LATER, "cp38-abi3-manylinux_2_17_x86_64") is None


def test_an_extension_for_the_stable_abi_of_a_later_python_is_refused():
    reason = why(STABLE, EARLIER, "cp38-abi3-manylinux_2_17_x86_64")
    assert (
        reason == "it was built for Python 3.8 and later, the worker has Python 3.7.16"
    )


@pytest.mark.parametrize("worker", [ARM, MAC])
def test_a_library_does_not_run_on_another_platform(worker):
    reason = why(EXTENSION, worker)
    assert "was built for linux on x86_64" in reason
    assert f"{worker.system} on {worker.machine}" in reason


def test_a_wheel_wants_the_glibc_of_its_tag():
    reason = why(EXTENSION, OLD_GLIBC, MANYLINUX)
    assert reason == "it was built for glibc 2.27 and later, the worker has 2.17"
    assert why(EXTENSION, OLD_GLIBC, "cp311-cp311-manylinux2014_x86_64") is None


def test_a_wheel_with_two_tags_runs_where_the_lesser_one_does():
    tags = ("cp311-cp311-manylinux_2_17_x86_64", MANYLINUX)
    assert why(EXTENSION, OLD_GLIBC, *tags) is None


def test_what_was_built_here_wants_the_glibc_of_here():
    reason = why(EXTENSION, OLD_GLIBC, "cp311-cp311-linux_x86_64")
    assert reason == "it was built for glibc 2.36 and later, the worker has 2.17"


def test_glibc_and_another_c_library_do_not_mix():
    assert "the worker has another C library" in why(EXTENSION, MUSL, MANYLINUX)
    tag = "cp311-cp311-musllinux_1_2_x86_64"
    assert "another C library than glibc 2.36" in why(
        EXTENSION, CLIENT, tag, client=MUSL
    )


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        (EXTENSION, "cpython-311-x86_64-linux-gnu"),
        (STABLE, "abi3"),
        (BARE, ""),
        (BUNDLED, ""),
        ("libgomp-a34b3233.so.1.0.0", ""),
    ],
)
def test_the_tag_stands_between_the_first_dot_and_the_end(name, tag):
    assert extension_tag(name) == tag


def test_the_facts_of_this_interpreter_are_complete():
    facts = facts_here()
    assert facts.soabi.startswith(facts.tag)
    assert str(facts.minor) in facts.tag
    assert facts.magic
