"""Farm out work; nobody closes the session, and nothing is left behind."""

from splice.cluster import session

c = session(worker_count=2)

results = c.map(lambda v: v**2, range(100))
print(results == [v**2 for v in range(100)])  # True

results = c.map(lambda v, a: v**a, range(100), 5)
print(results == [v**5 for v in range(100)])  # True


def work(arg, named_arg=None):
    return arg, named_arg


c.apply(work, 5, named_arg=10)
print(c.apply(work, 5, named_arg=10))  # [(5, 10), (5, 10)]

closed_var = 5


def work(input):  # noqa: A002 - as printed
    return input * closed_var


results = c.map(work, range(10))
print(results)  # [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
