"""Fork a splice node."""

import psutil

from splice import runtime

nodes = runtime.fork(10)  # Spawn 10 nodes (OS processes)

print(len(nodes), len(set(nodes)))  # 10 10
print(len(psutil.Process().children()))  # 10
