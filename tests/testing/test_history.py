from splice.testing.history import (
    Event,
    History,
    What,
    address_of,
    is_bound,
    name_of,
    node_of,
)


def numbered(count: int) -> History:
    return History(
        Event(float(n), What.SENT, n, "n1.1:p1", "n2.1:p1") for n in range(count)
    )


def test_an_event_is_one_readable_line() -> None:
    event = Event(1000.5, What.SENT, 7, "n1.1:p1", "n2:p2", "echo")
    assert str(event) == " 1000.5000  sent     #7     n1.1:p1 -> n2:p2  echo"


def test_a_fault_tells_how_long_it_lasts() -> None:
    event = Event(1.0, What.FAULT, place="n1.1", other="n2.1", text="cut", seconds=2.5)
    assert str(event).endswith("n1.1 -> n2.1  cut for 2.500 s")


def test_the_same_events_have_the_same_digest_and_others_another() -> None:
    assert numbered(5).digest() == numbered(5).digest()
    assert numbered(5).digest() != numbered(6).digest()


def test_a_difference_too_small_to_be_shown_is_in_the_digest() -> None:
    one, other = (
        History([Event(at, What.UP, place="n1.1")]) for at in (1.0, 1.0000001)
    )
    assert str(one) == str(other)
    assert one.digest() != other.digest()


def test_what_matters_is_shown_with_its_neighbours_and_the_gaps_are_told() -> None:
    lines = numbered(100).around({50}).splitlines()
    marked = [line for line in lines if line.startswith(">")]
    assert len(marked) == 1
    assert "#50 " in marked[0]
    assert lines[0].strip() == "... 38 events"
    assert len(lines) == 26


def test_deaths_and_faults_are_always_shown() -> None:
    history = numbered(100)
    history.add(Event(101.0, What.DOWN, place="n2.1", text="kill"))
    assert "down" in history.around({1}).splitlines()[-1]


def test_places_are_taken_apart() -> None:
    assert [node_of("n2.1:p5"), address_of("n2.1:p5"), name_of("n2.1:p5")] == [
        "n2.1",
        "n2",
        "p5",
    ]
    assert is_bound("n2.1:p5")
    assert not is_bound("n2:p5")
