"""Start a local cluster."""

import os

import psutil

from splice.cluster import session

c = session(worker_count=4)  # Omitting `worker_count` will result in using all CPUs
print(len(set(c.apply(os.getpid))))  # 4
c.shutdown()
print(len(psutil.Process().children()))  # 0

with session() as c:
    print(c.map(abs, [-1, -2, -3]))  # [1, 2, 3]
print(len(psutil.Process().children()))  # 0
