"""Designate a python class as a splice process."""

from splice import runtime, Process, ProcessMeta, sync, syncmany  # noqa: I001 - as printed


class MyProc(Process, metaclass=ProcessMeta):
    def some_handler(self, some_param):
        return some_param


class Short(metaclass=ProcessMeta):
    """Process is added to the parents when it is not specified."""

    def some_handler(self, some_param):
        return some_param


class Old(Process):
    """The line of Python 2 does no harm."""

    __metaclass__ = ProcessMeta

    def some_handler(self, some_param):
        return some_param


print(issubclass(Short, Process))  # True
print(sync(runtime.spawn(MyProc).some_handler("Hello World!")))  # Hello World!
promises = [
    runtime.spawn(cls).some_handler(cls.__name__) for cls in (MyProc, Short, Old)
]
print(syncmany(promises))  # ['MyProc', 'Short', 'Old']
