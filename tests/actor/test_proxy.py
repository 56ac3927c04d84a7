"""Proxies: the signatures of the handlers, checked at the caller; immutable values."""

import copy
import inspect
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splice.actor.process import Process
from splice.actor.proxy import AnyProxy, Proxy, proxy_class, tell
from splice.errors import NoSuchHandler, ProcessStopped
from splice.testing.actors import World


class Shapes(Process):
    """All kinds of signatures."""

    def none(self):
        return ()

    def two(self, a, b):
        """Take two."""
        return (a, b)

    def default(self, a, b=2, c=3):
        return (a, b, c)

    def keyword(self, a, *, b, c=3):
        return (a, b, c)

    def rest(self, a, *args, **kwargs):
        return (a, args, kwargs)

    def middle(self, a, b=2, *args, c=3, **kwargs):
        return (a, b, args, c, kwargs)

    def positional(self, a, b=2, /, c=3):
        return (a, b, c)

    def required(self, a, /, b):
        return (a, b)

    def anything(*args, **kwargs):
        return (args[1:], kwargs)

    def clash(self, _H, type, _near=1):  # noqa: A002 - names of ours
        return (_H, type, _near)

    def mutable(self, items=[]):  # noqa: B006 - the default is the callee's own
        items.append(1)
        return len(items)


class _Compiled:
    """A method as some compilers make them: callable, and silent about its signature."""

    __signature__ = "unknown"

    def __get__(self, owner, cls=None):
        return self if owner is None else partial(self, owner)

    def __call__(self, owner, *args, **kwargs):
        return args, kwargs


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("none", (), {}),
    ("two", (1, 2), {}),
    ("two", (1,), {"b": 2}),
    ("two", (), {"b": 2, "a": 1}),
    ("default", (1,), {}),
    ("default", (1, 5), {}),
    ("default", (1,), {"c": 9}),
    ("default", (), {"a": 1, "b": 7}),
    ("keyword", (1,), {"b": 2}),
    ("keyword", (1,), {"b": 2, "c": 4}),
    ("rest", (1,), {}),
    ("rest", (1, 2, 3), {"x": 4}),
    ("middle", (1,), {"c": 5}),
    ("middle", (1, 2, 3, 4), {"c": 5, "d": 6}),
    ("positional", (1,), {}),
    ("positional", (1, 5), {"c": 6}),
    ("positional", (1,), {"c": 6}),
    ("required", (1, 2), {}),
    ("required", (1,), {"b": 2}),
    ("anything", (1, 2), {"x": 3}),
    ("clash", (1,), {"type": 3}),
]
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("none", (1,), {}),
    ("two", (1,), {}),
    ("two", (1, 2, 3), {}),
    ("two", (1, 2), {"c": 3}),
    ("two", (1, 2), {"a": 3}),
    ("default", (), {}),
    ("keyword", (1, 2), {}),
    ("keyword", (1,), {}),
    ("rest", (), {}),
    ("positional", (), {"a": 1}),
    ("required", (1,), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_a_call_on_a_proxy_is_the_call_of_the_method(
    world: World, name: str, args: Any, kwargs: Any
) -> None:
    shapes = world.spawn(Shapes)
    there = world.wait(getattr(shapes, name)(*args, **kwargs))
    assert there == getattr(Shapes(), name)(*args, **kwargs)


@pytest.mark.parametrize(("name", "args", "kwargs"), WRONG)
def test_arguments_that_do_not_fit_are_a_type_error_at_the_caller(
    world: World, name: str, args: Any, kwargs: Any
) -> None:
    shapes = world.spawn(Shapes)
    with pytest.raises(TypeError, match=name):
        getattr(shapes, name)(*args, **kwargs)


@pytest.mark.parametrize(("name", "args", "kwargs"), WRONG)
def test_a_tell_checks_its_arguments_at_the_caller_too(
    world: World, name: str, args: Any, kwargs: Any
) -> None:
    shapes = world.spawn(Shapes)
    with pytest.raises(TypeError, match=name):
        tell(getattr(shapes, name), *args, **kwargs)


@given(
    args=st.lists(st.integers(), max_size=5),
    kwargs=st.dictionaries(st.sampled_from("abcdex"), st.integers(), max_size=4),
    name=st.sampled_from([n for n in proxy_class(Shapes).__dict__ if n[0] not in "_m"]),
)
def test_any_call_fits_the_proxy_exactly_if_it_fits_the_method(
    args: list[int], kwargs: dict[str, int], name: str
) -> None:
    world = World()
    shapes = world.spawn(Shapes)
    try:
        expected = getattr(Shapes(), name)(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            getattr(shapes, name)(*args, **kwargs)
    else:
        assert world.wait(getattr(shapes, name)(*args, **kwargs)) == expected
    world.close()


def test_defaults_are_those_of_the_process(world: World) -> None:
    shapes = world.spawn(Shapes)
    before = world.wait(shapes.mutable())
    assert world.wait(shapes.mutable()) == before + 1


def test_a_name_that_is_no_handler_is_an_attribute_error_at_once(world: World) -> None:
    with pytest.raises(
        AttributeError, match=r"Shapes has no handler 'fly'; it has: .*"
    ):
        _ = world.spawn(Shapes).fly


def test_private_names_are_no_handlers(world: World) -> None:
    assert not hasattr(world.spawn(Shapes), "_private")


def test_dir_lists_the_handlers(world: World) -> None:
    shown = [name for name in dir(world.spawn(Shapes)) if name[0] != "_"]
    handlers = "anything clash default keyword middle mutable none positional required"
    assert set(shown) == {*handlers.split(), "rest", "two", "sp_id", "sp_url"}


def test_signature_and_docstring_are_those_of_the_handler(world: World) -> None:
    shapes = world.spawn(Shapes)
    assert str(inspect.signature(shapes.default)) == "(a, b=2, c=3)"
    assert (shapes.two.__doc__, shapes.two.__name__) == ("Take two.", "two")
    assert type(shapes).__doc__ == Shapes.__doc__


def test_a_proxy_cannot_be_changed(world: World) -> None:
    with pytest.raises(AttributeError, match="'n' belongs to the process: send"):
        world.spawn(Shapes).n = 1


def test_proxies_of_one_process_are_equal_and_hash_alike(world: World) -> None:
    one, other = world.spawn(Shapes), world.spawn(Shapes)
    again = proxy_class(Shapes)(world.cell(one))
    assert (one == again, one == other, one == 1) == (True, False, False)
    assert len({one, again, other}) == 2


def test_a_proxy_is_its_own_copy_also_deep_inside_of_others(world: World) -> None:
    one = world.spawn(Shapes)
    assert copy.copy(one) is one
    assert copy.deepcopy({"a": [one]})["a"][0] is one


def test_a_proxy_knows_its_id_and_url(world: World) -> None:
    named = world.spawn(Shapes, name="shapes")
    assert (named.sp_id, str(named.sp_url)) == ("shapes", "tcp://127.0.0.1:1/shapes#1")


def test_the_repr_says_which_process_it_is(world: World) -> None:
    assert repr(world.spawn(Shapes, name="shapes")) == "<proxy of Shapes shapes>"


def test_a_block_stops_the_process_at_its_end(world: World) -> None:
    def story() -> Proxy:
        with world.spawn(Shapes) as shapes:
            shapes.none().get()
        return shapes

    shapes: Any = world.run(story)
    with pytest.raises(ProcessStopped):
        world.wait(shapes.none())


# ---- tell


def test_tell_sends_and_promises_delivery_only(world: World) -> None:
    class Log(Process):
        def __init__(self):
            self.lines = []

        def write(self, line, mark="."):
            self.lines.append(line + mark)
            return "never seen"

        def read(self):
            return self.lines

    log = world.spawn(Log)
    delivered = tell(log.write, "a")
    tell(log.write, "b", mark="!")
    assert delivered.get() is None
    assert world.wait(log.read()) == ["a.", "b!"]


def test_a_tell_to_an_ended_process_fails(world: World) -> None:
    shapes = world.spawn(Shapes)
    world.wait(world.stop(shapes))
    assert isinstance(tell(shapes.none).exception(), ProcessStopped)


@pytest.mark.parametrize("what", [print, lambda: None, "add", None])
def test_tell_wants_the_handler_of_a_proxy(what: Any) -> None:
    with pytest.raises(TypeError, match="tell wants the handler of a proxy, not"):
        tell(what)


def test_tell_wants_the_handler_of_one_proxy_not_of_the_class() -> None:
    with pytest.raises(TypeError, match="tell wants the handler of a proxy"):
        tell(proxy_class(Shapes).none)  # type: ignore[attr-defined]


# ---- proxies of classes that are not known here


def test_a_proxy_of_an_unknown_class_takes_any_public_name(world: World) -> None:
    shapes: Any = AnyProxy(world.cell(world.spawn(Shapes)))
    assert world.wait(shapes.default(1, c=9)) == (1, 2, 9)
    assert world.wait(tell(shapes.none)) is None


def test_the_process_itself_says_that_it_has_no_such_handler(world: World) -> None:
    shapes: Any = AnyProxy(world.cell(world.spawn(Shapes)))
    with pytest.raises(NoSuchHandler, match="Shapes has no handler 'fly'; it has: any"):
        world.wait(shapes.fly())


def test_a_proxy_of_an_unknown_class_takes_no_private_name(world: World) -> None:
    shapes: Any = AnyProxy(world.cell(world.spawn(Shapes)))
    with pytest.raises(AttributeError, match="'_x' is no handler"):
        _ = shapes._x


def test_arguments_that_do_not_fit_an_unknown_class_are_an_error_of_the_answer(
    world: World,
) -> None:
    shapes: Any = AnyProxy(world.cell(world.spawn(Shapes)))
    with pytest.raises(TypeError, match="missing 1 required"):
        world.wait(shapes.two(1))


def test_handlers_of_an_unknown_class_show_what_they_are(world: World) -> None:
    shapes: Any = AnyProxy(world.cell(world.spawn(Shapes)))
    assert repr(shapes.two) == "<handler two of <proxy of Shapes 1>>"


def test_a_handler_whose_signature_nobody_knows_takes_anything(world: World) -> None:
    class Silent(Process):
        fetch = _Compiled()

    silent = world.spawn(Silent)
    assert world.wait(silent.fetch(1, x=2)) == ((1,), {"x": 2})


def test_a_proxy_is_pickled_as_its_url_and_the_name_of_its_class(world: World) -> None:
    shapes = world.spawn(Shapes, name="shapes")
    rebuild, arguments = shapes.__reduce__()
    assert (rebuild, arguments[0]) == (world.rebuild, shapes.sp_url)
    assert arguments[1] == f"{__name__}:Shapes"
