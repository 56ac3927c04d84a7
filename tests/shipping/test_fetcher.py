"""The fetcher: a unit arrives whole and verified, or the error says why not."""

import os
import shutil
from concurrent.futures import Future

import pytest
from tests.shipping.trees import write

from splice.errors import DependencyRefused, DependencyTransferError, NodeLost
from splice.shipping import fetcher as module
from splice.shipping.fetcher import Fetcher, Rate
from splice.shipping.manifest import CHUNK_BYTES, Manifest
from splice.shipping.store import Store
from splice.shipping.supplier import Supplier


class Direct:
    """Waits for nobody: what is asked is answered on the spot."""

    def ask(self, handler, *args):
        answer = Future()
        try:
            answer.set_result(handler(*args))
        except Exception as error:
            answer.set_exception(error)
        return answer

    def get(self, promise):
        return promise.result()

    def pause(self, seconds):
        raise AssertionError("nobody else is at work")


class Client(Supplier):
    """A supplier that counts, and can be broken."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []
        self.spoil = lambda data: data

    def chunk(self, ident, number, is_compressed):
        self.asked.append((number, is_compressed))
        return self.spoil(super().chunk(ident, number, is_compressed))


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def fetcher(client, tmp_path):
    return Fetcher(client, lambda: Store(tmp_path / "store"), Direct())


def test_a_unit_of_many_chunks_arrives_as_it_is(site, client, fetcher):
    data = os.urandom(3 * CHUNK_BYTES + 7)
    write(site, {"large/__init__.py": "", "large/empty.txt": ""})
    (site / "large/data.bin").write_bytes(data)
    folder = fetcher.folder_of("large")
    assert (folder / "large/data.bin").read_bytes() == data
    assert (folder / "large/empty.txt").read_bytes() == b""
    assert [number for number, _ in client.asked] == [0, 1, 2, 3]


def test_what_nobody_has_has_no_folder(fetcher):
    assert fetcher.folder_of("never_heard_of") is None


def test_a_refusal_is_an_import_error_that_names_the_module(site, tmp_path):
    write(site, {"secret.py": ""})
    client = Client(deny=["secret"])
    fetcher = Fetcher(client, lambda: Store(tmp_path / "store"), Direct())
    with pytest.raises(DependencyRefused, match="denied by the session") as raised:
        fetcher.folder_of("secret")
    assert isinstance(raised.value, ImportError)
    assert raised.value.name == "secret"


@pytest.mark.parametrize("text", ["another", "longer than before"])
def test_a_file_that_changes_under_way_is_fetched_anew(site, client, fetcher, text):
    place = site / "moving.py"
    write(site, {"moving.py": "initial"})

    def change_once(data):
        client.spoil = lambda data: data
        write(site, {"moving.py": text})
        os.utime(place, ns=(10**18, 10**18))
        return text.encode()[: len(data)]

    client.spoil = change_once
    folder = fetcher.folder_of("moving")
    assert (folder / "moving.py").read_text() == text


def test_a_stream_that_stays_broken_is_a_failed_transfer(site, client, fetcher):
    write(site, {"broken.py": "content"})
    client.spoil = lambda data: b"CONTENT"
    with pytest.raises(DependencyTransferError, match="another content") as raised:
        fetcher.folder_of("broken")
    assert not isinstance(raised.value, ImportError)


def test_a_manifest_of_another_unit_is_refused(site, client, fetcher):
    write(site, {"honest.py": ""})
    client.manifest = lambda ident: Manifest("honest", "", ())
    with pytest.raises(DependencyTransferError, match="honest came with files of unit"):
        fetcher.folder_of("honest")


def test_a_client_that_is_gone_is_a_failed_transfer(client, fetcher):
    def gone(*_):
        raise NodeLost("the node is gone")

    client.resolve = gone
    with pytest.raises(
        DependencyTransferError, match=r"x could not be fetched.*is gone"
    ):
        fetcher.folder_of("x")


def test_a_second_worker_fetches_nothing_and_is_counted(site, client, tmp_path):
    write(site, {"shared.py": "x"})
    for _ in range(2):
        Fetcher(client, lambda: Store(tmp_path / "store"), Direct()).folder_of("shared")
    assert len(client.asked) == 1
    (found,) = client.dependencies()
    assert (found.workers, found.transfers, found.size) == (2, 1, 1)


def test_a_slow_line_gets_compressed_chunks(site, client, fetcher, monkeypatch):
    monkeypatch.setattr(module, "SLOW_BYTES", 2**60)  # everything is slow
    data = bytes(30 * CHUNK_BYTES)
    write(site, {"large/__init__.py": ""})
    (site / "large/data.bin").write_bytes(data)
    folder = fetcher.folder_of("large")
    assert (folder / "large/data.bin").stat().st_size == len(data)
    assert not client.asked[0][1]
    assert client.asked[-1][1]


def test_a_rate_is_known_after_the_second_chunk():
    rate = Rate()
    assert not rate.is_below(100)
    rate.add(1000, 1.0)
    assert not rate.is_below(100)
    rate.add(1000, 21.0)
    assert rate.is_below(100)
    assert not rate.is_below(50)


def test_a_catalogue_travels_only_when_there_is_another_one(fetcher):
    first = fetcher.catalogue(None)
    assert "pytest" in first.names
    assert fetcher.catalogue(first.generation) is None


def test_a_unit_that_is_renewed_for_another_worker_is_begun_again(
    site, client, fetcher
):
    write(site, {"moving.py": "initial"})

    def renew_once(data):
        client.spoil = lambda data: data
        (ident,) = client._sources.units
        write(site, {"moving.py": "another"})
        os.utime(site / "moving.py", ns=(10**18, 10**18))
        client.renew(ident)
        return client.chunk(ident, 0, False)

    client.spoil = renew_once
    folder = fetcher.folder_of("moving")
    assert (folder / "moving.py").read_text() == "another"


def test_a_unit_that_is_here_is_used_though_it_was_renewed_for_another_worker(
    site, client, fetcher
):
    write(site, {"moving.py": "initial"})
    arrived = client.arrived

    def renew_and_note(offer, seconds):
        client.renew(offer.ident)
        arrived(offer, seconds)

    client.arrived = renew_and_note
    assert (fetcher.folder_of("moving") / "moving.py").read_text() == "initial"
    assert client.dependencies() == []


def test_a_file_that_vanishes_while_it_is_looked_at_is_looked_for_once_more(
    site, client, fetcher
):
    write(site, {"moving.py": "here"})
    resolve = client.resolve

    def vanish_once(*args):
        client.resolve = resolve
        raise FileNotFoundError("moving.py~")

    client.resolve = vanish_once
    assert (fetcher.folder_of("moving") / "moving.py").read_text() == "here"


@pytest.mark.parametrize("error", [KeyError("member"), ImportError("no source")])
def test_whatever_is_raised_at_the_client_is_a_failed_transfer(client, fetcher, error):
    def fail(*_):
        raise error

    client._sources.resolve = fail
    with pytest.raises(DependencyTransferError, match=r"cannot give x: (KeyE|Import)"):
        fetcher.folder_of("x")


def test_a_namespace_that_cannot_be_stored_is_a_failed_transfer(
    site, fetcher, tmp_path
):
    (site / "space_n").mkdir()
    assert (fetcher.folder_of("space_n") / "space_n").is_dir()
    shutil.rmtree(tmp_path / "store/namespaces")
    (tmp_path / "store/namespaces").touch()
    with pytest.raises(DependencyTransferError, match="space_n cannot be stored at"):
        fetcher.folder_of("space_n")


def test_a_worker_that_asks_twice_for_a_unit_is_counted_once(site, client, fetcher):
    write(site, {"asked.py": ""})
    for _ in range(2):
        fetcher.folder_of("asked")
    (found,) = client.dependencies()
    assert (found.workers, found.transfers) == (1, 1)
