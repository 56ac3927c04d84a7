import pytest

from splice.net.machine import is_only_local, this_machine


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:5",
        "tcp://127.8.8.8:5",
        "tcp://localhost:5",
        "tcp://[::1]:5",
        "tcp://0.0.0.0:5",
        "ipc:///run/splice/socket",
    ],
)
def test_an_address_of_this_machine_means_another_node_elsewhere(address: str) -> None:
    assert is_only_local(address)


@pytest.mark.parametrize(
    "address", ["tcp://10.1.1.15:5", "tcp://[fe80::1]:5", "tcp://node-7.example:5"]
)
def test_other_addresses_may_mean_the_same_everywhere(address: str) -> None:
    assert not is_only_local(address)


def test_a_machine_keeps_its_name() -> None:
    assert this_machine() == this_machine() != ""
