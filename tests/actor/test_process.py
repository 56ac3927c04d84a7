"""Process classes: three spellings, what is a handler, what a process hands on of itself."""

import copy
import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import pytest

from splice.actor.handlers import blocking, handlers_of
from splice.actor.process import Process, ProcessMeta
from splice.actor.proxy import Proxy
from splice.errors import SpliceError
from splice.testing.actors import World


class Plain(Process):
    def add(self, a, b):
        return a + b


class Both(Process, metaclass=ProcessMeta):
    def add(self, a, b):
        return a + b


class MetaOnly(metaclass=ProcessMeta):
    def add(self, a, b):
        return a + b


class Register(Process):
    """Keeps what it is given."""

    def __init__(self):
        self.known = []

    def register(self, proc, *more, **named):
        self.known += [proc, *more, *named.values()]

    def only(self, proc):
        self.known.append(proc)

    def all(self):
        return self.known

    def me(self):
        return self

    def mine(self):
        return self.sp_proxy

    def hand_on(self, other):
        other.only(self).get()
        other.register(self, self, proc_by_name=self).get()


# ---- classes


@pytest.mark.parametrize("cls", [Plain, Both, MetaOnly])
def test_each_spelling_makes_a_process_class(world: World, cls: type) -> None:
    assert world.wait(world.spawn(cls).add(1, 2)) == 3


def test_the_metaclass_alone_adds_process_to_the_bases() -> None:
    assert issubclass(MetaOnly, Process)


def test_a_class_may_be_called_process_too() -> None:
    made = ProcessMeta("Process", (), {})
    assert issubclass(made, Process)


def test_a_process_class_still_makes_ordinary_objects() -> None:
    ordinary = Plain()
    assert (ordinary.add(1, 2), ordinary.sp_is_running) == (3, False)


def test_an_ordinary_object_has_no_proxy_and_says_why() -> None:
    with pytest.raises(
        SpliceError, match="this Plain is an ordinary object; only spawn"
    ):
        _ = Plain().sp_proxy


def test_a_subclass_inherits_and_overrides_handlers(world: World) -> None:
    class Louder(Plain):
        def add(self, a, b):
            return super().add(a, b) * 10

        def shout(self):
            return "!"

    louder = world.spawn(Louder)
    assert (world.wait(louder.add(1, 2)), world.wait(louder.shout())) == (30, "!")


def test_a_class_with_slots_is_a_process_class(world: World) -> None:
    class Slim(Process):
        __slots__ = ("n",)

        def __init__(self, n):
            self.n = n

        def get_n(self):
            return self.n

    assert world.wait(world.spawn(Slim, 5).get_n()) == 5


def test_a_frozen_dataclass_is_a_process_class(world: World) -> None:
    @dataclass(frozen=True)
    class Point(Process):
        x: int

        def where(self):
            return self.x

    assert world.wait(world.spawn(Point, 3).where()) == 3


def test_an_abstract_class_can_be_mixed_in(world: World) -> None:
    class Meta(ProcessMeta, type(ABC)):
        pass

    class Shape(Process, metaclass=Meta):
        @abstractmethod
        def area(self): ...

    class Square(Shape):
        def area(self):
            return 4

    assert world.wait(world.spawn(Square).area()) == 4


# ---- handlers


def test_public_methods_are_handlers_and_nothing_else() -> None:
    class Mixed(Process):
        limit = 3

        def public(self): ...

        def _private(self): ...

        def sp_hook(self): ...

        @classmethod
        def make(cls): ...

        @staticmethod
        def helper(): ...

        @property
        def size(self): ...

        class Inner: ...

    assert list(handlers_of(Mixed)) == ["public"]


def test_a_decorated_method_is_a_handler(world: World) -> None:
    def loud(function):
        @functools.wraps(function)
        def wrapper(self, *args):
            return function(self, *args).upper()

        return wrapper

    class Crier(Process):
        @loud
        def cry(self, text):
            return text

        @functools.lru_cache  # noqa: B019 - what it makes is no function
        def cached(self, n):
            return n

    crier = world.spawn(Crier)
    assert (world.wait(crier.cry("a")), world.wait(crier.cached(1))) == ("A", 1)


def test_an_async_handler_cannot_be_blocking() -> None:
    with pytest.raises(TypeError, match=r"both is async def and cannot be @blocking"):

        @blocking
        async def both(self): ...


def test_calls_inside_a_process_are_ordinary_calls(world: World) -> None:
    class Twice(Process):
        def once(self, n):
            return n + 1

        def twice(self, n):
            return self.once(self.once(n))

    assert world.wait(world.spawn(Twice).twice(0)) == 2


# ---- handing on


def test_a_process_hands_on_its_proxy_as_any_direct_argument(world: World) -> None:
    one, other = world.spawn(Register), world.spawn(Register)
    world.wait(one.hand_on(other))
    assert world.wait(other.all()) == [one] * 4


def test_a_process_of_a_derived_metaclass_hands_on_its_proxy(world: World) -> None:
    class Meta(ProcessMeta):
        pass

    class Derived(Register, metaclass=Meta):
        pass

    one, other = world.spawn(Derived), world.spawn(Register)
    world.wait(one.hand_on(other))
    assert world.wait(other.all()) == [one] * 4


def test_a_process_answers_with_its_proxy(world: World) -> None:
    register = world.spawn(Register)
    answers = [world.wait(register.me()), world.wait(register.mine())]
    assert answers == [register, register]
    assert all(isinstance(answer, Proxy) for answer in answers)


def test_an_ordinary_object_of_a_process_class_is_passed_as_it_is(world: World) -> None:
    register, ordinary = world.spawn(Register), Plain()
    world.wait(register.only(ordinary))
    assert world.wait(register.all())[0] is ordinary


def test_the_constructor_can_hand_on_the_process(world: World) -> None:
    class Announcing(Process):
        def __init__(self, register):
            register.only(self).get()

        def ping(self):
            return "pong"

    register = world.spawn(Register)
    world.spawn(Announcing, register)
    (announced,) = world.wait(register.all())
    assert world.wait(announced.ping()) == "pong"


def test_arguments_near_are_passed_by_reference(world: World) -> None:
    register = world.spawn(Register)
    mine: list[Any] = []
    world.wait(register.only(mine))
    assert world.wait(register.all())[0] is mine


def test_a_process_keeps_its_proxy_after_its_end(world: World) -> None:
    class Last(Process):
        def __init__(self, seen):
            self.seen = seen

        def sp_terminate(self, reason):
            self.seen.append(self)

    seen: list[Any] = []
    last = world.spawn(Last, seen)
    world.wait(world.stop(last))
    assert seen[0].sp_proxy == last


def test_pickled_a_running_process_is_its_proxy(world: World) -> None:
    register = world.spawn(Register)
    rebuild, arguments = world.cell(register).object.__reduce_ex__(5)
    assert rebuild is world.rebuild
    assert arguments == (register.sp_url, f"{__name__}:Register")


def test_pickled_an_ordinary_object_of_a_process_class_is_itself() -> None:
    again = copy.copy(Register())
    assert type(again) is Register
    assert again.known == []
