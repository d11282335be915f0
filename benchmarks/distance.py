"""A network between an application and Redis: a proxy that holds back what passes it.

It is a process of its own, so that nobody who waits shares a processor's time or a lock with it.
Each piece goes on as it was read, in its order, a fixed time after it came, whatever came
before it: a second one does not wait for the first to arrive. Run by :func:`network`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from time import monotonic, sleep

HOST = "127.0.0.1"
#: More than any piece of these benchmarks but the largest values, which go in several pieces.
PIECE = 1 << 20


@contextmanager
def network(port: int, delay: float) -> Iterator[str]:
    """Give the URL by which a server is reached over a network.

    :param port: of the server, on this machine.
    :param delay: seconds that a piece is on its way, in each direction.
    """
    command = [sys.executable, __file__, str(port), repr(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"redis://{HOST}:{int(process.stdout.readline())}/0"
        finally:
            process.terminate()


def _pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Pass on what comes from one side to the other, until it ends."""
    under_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def deliver() -> None:
        while True:
            due, piece = under_way.get()
            if not piece:
                target.shutdown(socket.SHUT_WR)
                return
            if (left := due - monotonic()) > 0:
                sleep(left)
            target.sendall(piece)

    threading.Thread(target=deliver, daemon=True).start()
    while True:
        piece = source.recv(PIECE)
        under_way.put((monotonic() + delay, piece))
        if not piece:
            return


def main() -> None:
    port, delay = int(sys.argv[1]), float(sys.argv[2])
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((HOST, port))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for way in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(*way, delay), daemon=True).start()


if __name__ == "__main__":
    main()
