"""Shut down a splice node."""

import psutil

from splice import Process, runtime, sync


class Forks(Process):
    def fork(self):
        return list(runtime.fork(2))


def os_processes():
    return len(psutil.Process().children(recursive=True))


some_remote_address, other = runtime.fork(2)
sync(runtime.spawn(Forks, sp_dest=some_remote_address).fork())
sync(runtime.spawn(Forks, sp_dest=other).fork())
print(os_processes())  # 6

runtime.shutdown(remote_node=some_remote_address)  # Terminate a remote node
print(os_processes())  # 3

runtime.shutdown()  # Terminate the local node
print(os_processes())  # 0
