"""The floor between two OS processes: bare pyzmq, DEALER to ROUTER, one message a frame.

Run as a program it is the echo.  Messages are pickled tuples ``(number, handler, arguments)``, as
little as a library of calls can send; arrays travel out of band (pickle protocol 5), uncopied.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import time
from typing import Any

import zmq

now = time.perf_counter


class ZmqEcho:
    """A client with an echo in an OS process of its own.

    Args:
        scheme: ``"ipc"`` or ``"tcp"``.
        is_for_arrays: whether arrays are echoed, or small messages.
    """

    def __init__(self, scheme: str, *, is_for_arrays: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="splice-bench-")
        kind = "arrays" if is_for_arrays else "calls"
        where = (
            f"ipc://{self._folder.name}/echo"
            if scheme == "ipc"
            else "tcp://127.0.0.1:*"
        )
        self._child = subprocess.Popen(
            [sys.executable, __file__, kind, where],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.connect(self._child.stdout.readline().strip())
        self._told = 0

    def __enter__(self) -> ZmqEcho:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.send_multipart((b"quit", b""))
        self._child.wait(10)
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._socket.close()
        self._folder.cleanup()

    def ask_rate(self, count: int) -> float:
        """Ask in sequence; asks a second."""
        socket, dumps, loads = self._socket, pickle.dumps, pickle.loads
        start = now()
        for i in range(count):
            socket.send(dumps((i, "echo", (i,)), 5))
            loads(socket.recv())
        return count / (now() - start)

    def piped_rate(self, count: int) -> float:
        """Ask with all questions outstanding; asks a second."""
        socket, dumps, loads = self._socket, pickle.dumps, pickle.loads
        start = now()
        for i in range(count):
            socket.send(dumps((i, "echo", (i,)), 5))
        for _ in range(count):
            loads(socket.recv())
        return count / (now() - start)

    def tell_rate(self, count: int) -> float:
        """Send one way, and ask at the end how many came; messages a second."""
        socket, dumps = self._socket, pickle.dumps
        start = now()
        for i in range(count):
            socket.send(dumps((i, "tell", (i,)), 5))
        socket.send(dumps((0, "count", ()), 5))
        self._told += count
        assert pickle.loads(socket.recv())[1] == self._told
        return count / (now() - start)

    def array_rate(self, array: Any, count: int) -> float:
        """Have an array echoed; its megabytes times round trips a second."""
        start = now()
        for _ in range(count):
            buffers: list[pickle.PickleBuffer] = []
            head = pickle.dumps(array, 5, buffer_callback=buffers.append)
            self._socket.send_multipart((head, buffers[0].raw()), copy=False)
            head_frame, data = self._socket.recv_multipart(copy=False)
            echoed = pickle.loads(head_frame.buffer, buffers=[data.buffer])
        assert echoed.nbytes == array.nbytes
        return float(array.nbytes * count / 1e6 / (now() - start))


def main(kind: str, where: str) -> None:
    """Be the echo at `where` until told to quit."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    socket.set_hwm(0)
    socket.bind(where)
    print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    _serve_arrays(socket) if kind == "arrays" else _serve_calls(socket)


def _serve_calls(socket: zmq.Socket[bytes]) -> None:
    told = 0
    while True:
        who, message, *rest = socket.recv_multipart()
        if rest:
            return
        number, handler, args = pickle.loads(message)
        if handler == "tell":
            told += 1
        else:
            answer = told if handler == "count" else args[0]
            socket.send_multipart((who, pickle.dumps((number, answer), 5)))


def _serve_arrays(socket: zmq.Socket[bytes]) -> None:
    while True:
        who, head, data = socket.recv_multipart(copy=False)
        if head.bytes == b"quit":
            return
        array = pickle.loads(head.buffer, buffers=[data.buffer])
        buffers: list[pickle.PickleBuffer] = []
        head_bytes = pickle.dumps(array, 5, buffer_callback=buffers.append)
        socket.send_multipart((who.bytes, head_bytes, buffers[0].raw()), copy=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
