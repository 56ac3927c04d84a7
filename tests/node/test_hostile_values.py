"""Whatever the user's objects do when the engine touches them, nodes live on and callers hear."""

from __future__ import annotations

from typing import Any

import pytest

from splice import (
    Exit,
    Process,
    RemoteError,
    UnpicklableError,
    runtime,
    sync,
)
from splice.testing.actors import World
from splice.testing.simulation import Simulation

ESCAPES = [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException]


class Loads:
    """Raises when it arrives."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __setstate__(self, state: Any) -> None:
        raise state["error"]("in __setstate__")


class Dumps:
    """Raises when it leaves."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise self.error("in __reduce__")


class Fault(Exception):
    """An error that raises when it arrives or leaves."""

    def __init__(self, part: Any) -> None:
        self.part = part


class Shy(Exception):
    def __str__(self) -> str:
        raise SystemExit("in __str__")


class Picky(type):
    """The class of classes that cannot be hashed, as one with ``__eq__`` is."""

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(cls, name: str) -> Any:
        raise LookupError(name)


class Picked(metaclass=Picky):
    pass


class Unbound:
    """Like a proxy of a web framework outside of a request."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a request")


class Rude:
    """Raises whatever is asked of it."""

    def __eq__(self, other: object) -> bool:
        raise SystemExit("in __eq__")

    def __hash__(self) -> int:
        raise SystemExit("in __hash__")

    def __repr__(self) -> str:
        raise SystemExit("in __repr__")

    def __bool__(self) -> bool:
        raise SystemExit("in __bool__")


class RudeError(Exception):
    def __repr__(self) -> str:
        raise SystemExit("in __repr__")

    __str__ = __repr__


class Store(Process):
    def leave(self, kind: type) -> None:
        raise Exit(kind())

    def put(self, value: Any) -> str:
        return "got it"

    def give(self, kind: type, *args: Any) -> Any:
        return kind(*args)

    def fail(self, kind: type, *args: Any) -> Any:
        raise kind(*args)

    def fail_with(self, error: type[BaseException]) -> Any:
        raise Fault(Loads(error))

    def fail_unsent(self, error: type[BaseException]) -> Any:
        raise Fault(Dumps(error))


def ask_far(sim: Simulation, handler: str, *args: Any) -> Any:
    """Ask a store of another node, and then whether it still works."""
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        store = runtime.spawn(Store, sp_dest=two.address)
        try:
            return getattr(store, handler)(*args).get()
        finally:
            assert sync(store.put(1)) == "got it"

    return sim.run(one, scenario)


@pytest.mark.parametrize("error", ESCAPES)
def test_an_argument_that_raises_on_arrival_is_refused(
    sim: Simulation, error: type[BaseException]
) -> None:
    with pytest.raises(RemoteError, match=f"{error.__name__}: in __setstate__"):
        ask_far(sim, "put", Loads(error))


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, BaseException])
def test_an_argument_that_raises_on_leaving_is_named(
    sim: Simulation, error: type[BaseException]
) -> None:
    with pytest.raises(UnpicklableError, match=r"args\[0\] cannot.*in __reduce__"):
        ask_far(sim, "put", Dumps(error))


@pytest.mark.parametrize("error", ESCAPES)
def test_an_answer_that_raises_on_leaving_is_an_error_of_that_answer(
    sim: Simulation, error: type[BaseException]
) -> None:
    with pytest.raises(UnpicklableError, match="in __reduce__"):
        ask_far(sim, "give", Dumps, error)


@pytest.mark.parametrize("error", ESCAPES)
def test_an_answer_that_raises_on_arrival_is_an_error_of_that_answer(
    sim: Simulation, error: type[BaseException]
) -> None:
    with pytest.raises(RemoteError, match="in __setstate__"):
        ask_far(sim, "give", Loads, error)


@pytest.mark.parametrize("error", ESCAPES)
@pytest.mark.parametrize("handler", ["fail_with", "fail_unsent"])
def test_an_error_that_cannot_travel_is_told_in_words(
    sim: Simulation, handler: str, error: type[BaseException]
) -> None:
    with pytest.raises(RemoteError, match="Fault"):
        ask_far(sim, handler, error)


def test_an_error_whose_text_cannot_be_shown_is_an_error_all_the_same(
    sim: Simulation,
) -> None:
    with pytest.raises(Shy):
        ask_far(sim, "fail", Shy)


@pytest.mark.parametrize("kind", [Picked, Unbound, Rude])
def test_an_answer_is_not_asked_what_it_is(kind: type) -> None:
    world = World()
    store = world.spawn(Store)
    assert type(world.wait(store.give(kind))) is kind
    assert world.wait(store.put(kind())) == "got it"
    world.close()


@pytest.mark.parametrize("is_far", [False, True])
@pytest.mark.parametrize("kind", [Rude, RudeError])
def test_a_reason_that_cannot_be_shown_is_a_reason_all_the_same(
    sim: Simulation, kind: type, is_far: bool
) -> None:
    one, two = sim.node(), sim.node()

    def scenario() -> Any:
        place = (two if is_far else one).address
        watched, other = (runtime.spawn(Store, sp_dest=place) for _ in range(2))
        down = runtime.monitor(watched)
        _, queued = watched.leave(kind), watched.put(1)
        text = str(queued.exception())
        return text, type(down.get().reason), sync(other.put(1))

    text, reason, answer = sim.run(one, scenario)
    assert (reason, answer) == (kind, "got it")
    assert text.endswith(f"(<a {kind.__qualname__} that cannot be shown>)")
