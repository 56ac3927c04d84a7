"""Process and ProcessMeta: what turns a plain class into one of which processes are made.

::

    class Counter(Process): ...                         three spellings
    class Counter(Process, metaclass=ProcessMeta): ...  of the same
    class Counter(metaclass=ProcessMeta): ...

A process class stays an ordinary class: ``Counter()`` makes an ordinary object, to be tested
without any node.  Only `spawn` makes a process of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from splice.errors import SpliceError

if TYPE_CHECKING:
    from splice.actor.cell import Cell
    from splice.actor.proxy import Proxy


class ProcessMeta(type):
    """The metaclass of process classes: adds `Process` to the bases where it is missing."""

    def __new__(  # noqa: D102 - what every metaclass has
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        **options: Any,
    ) -> ProcessMeta:
        process = ProcessMeta._process
        if process is not None and not any(issubclass(b, process) for b in bases):
            bases = (*bases, process)
        return super().__new__(mcs, name, bases, namespace, **options)

    _process: ClassVar[type | None] = None


class Process(metaclass=ProcessMeta):
    """The base of all process classes.

    Public methods are handlers: a call on a proxy is a message to them.  Inside its own handlers
    ``self.x()`` is an ordinary call.

    Attributes:
        sp_trap_exit: get exits of linked processes as ``sp_exited(exit)`` instead of dying.
        sp_mailbox_limit: messages the mailbox may hold, None for no limit.
    """

    __slots__ = ("_sp_cell",)

    sp_trap_exit: ClassVar[bool] = False
    sp_mailbox_limit: ClassVar[int | None] = None

    _sp_cell: Cell

    @property
    def sp_is_running(self) -> bool:
        """Whether this object is a process, and not just an object of its class."""
        return hasattr(self, "_sp_cell")

    @property
    def sp_proxy(self) -> Proxy:
        """The proxy of this very process, to be handed on.

        Raises:
            SpliceError: the object was made by calling its class, not by `spawn`.
        """
        if not hasattr(self, "_sp_cell"):
            raise SpliceError(
                f"this {type(self).__name__} is an ordinary object; only spawn makes a process"
            )
        return self._sp_cell.proxy_as(type(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        # a running process travels as its proxy; an ordinary object like any other
        if hasattr(self, "_sp_cell"):
            return self.sp_proxy.__reduce_ex__(protocol)
        return super().__reduce_ex__(protocol)


ProcessMeta._process = Process
