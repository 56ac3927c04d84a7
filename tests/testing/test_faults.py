from random import Random

from splice.testing.faults import DEADLY, LASTING, Fault, Trouble, plan


def planned(seed: int, count: int = 200) -> list[Fault]:
    return plan(Random(seed), 3, seconds=10.0, count=count, loss_timeout=4.0)


def test_the_same_seed_plans_the_same_faults() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


def test_all_kinds_of_trouble_are_planned_in_the_order_of_time() -> None:
    faults = planned(1)
    assert {fault.trouble for fault in faults} == set(Trouble)
    assert faults == sorted(faults, key=lambda fault: fault.at)
    assert faults[0].at >= 0
    assert faults[-1].at <= 10


def test_a_fault_is_between_two_nodes() -> None:
    assert all(fault.one != fault.other for fault in planned(1))


def test_what_lasts_is_mostly_shorter_and_sometimes_longer_than_the_loss_timeout() -> (
    None
):
    lasting = [fault.seconds for fault in planned(1) if fault.trouble in LASTING]
    assert 0.6 < sum(seconds < 4.0 for seconds in lasting) / len(lasting) < 0.95


def test_most_of_the_dead_are_started_again() -> None:
    deaths = [fault.seconds > 0 for fault in planned(1) if fault.trouble in DEADLY]
    assert 0.6 < sum(deaths) / len(deaths) < 0.95
