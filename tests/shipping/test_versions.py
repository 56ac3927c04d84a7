"""Versions of both sides: what differs is told once, when it is imported."""

import sys

import pytest
from tests.shipping.trees import install

from splice.shipping.supplier import Supplier
from splice.shipping.versions import Difference, Watch, differences, versions_in


@pytest.fixture
def site(tmp_path):
    install(tmp_path, "Two_tops", "1.0", {"one.py": "", "two/a.py": ""})
    install(tmp_path, "same", "2.0", {"same.py": ""})
    install(tmp_path, "alone", "3.0", {"alone.py": ""})
    return str(tmp_path)


CLIENT = {"two_tops": "1.1", "same": "2.0", "elsewhere": "4.0"}
TWO = Difference("two_tops", "1.0", "1.1")


def test_versions_stand_in_the_names_of_metadata_folders(site):
    assert versions_in([site]) == {"two_tops": "1.0", "same": "2.0", "alone": "3.0"}


def test_only_what_both_have_can_differ(site):
    assert differences(CLIENT, [site]) == {"one": TWO, "two": TWO}


def test_a_copy_that_another_one_shadows_differs_from_nothing(site, tmp_path):
    second = tmp_path / "second"
    install(second, "same", "1.0", {"same.py": ""})
    assert "same" not in differences(CLIENT, [site, str(second)])


def test_a_checkout_whose_metadata_has_no_version_is_not_compared(site, tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / "two_tops.egg-info").mkdir(parents=True)
    assert versions_in([str(checkout), site])["two_tops"] == "1.0"
    assert differences(CLIENT, [str(checkout), site]) == {"one": TWO, "two": TWO}


def test_a_difference_is_told_with_the_first_import_of_the_distribution(
    site, monkeypatch
):
    monkeypatch.setattr(sys, "path", [site])
    told = []
    watch = Watch(CLIENT, told.append)
    for name in ("json", "same", "alone", "elsewhere", "two", "one", "two"):
        assert watch.find_spec(name) is None
    watch.find_spec("two.a", [site])
    assert told == [TWO]


def test_the_client_warns_once_whoever_tells_it(caplog):
    supplier = Supplier()
    for difference in (TWO, Difference("two_tops", "1.0", "1.1")):
        supplier.differs(difference)
    (record,) = caplog.records
    assert record.message == (
        "workers use two_tops 1.0, which they have themselves; this program has 1.1: install "
        'one version on both, or open the session with ship="client"'
    )
