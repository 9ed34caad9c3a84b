"""A process that sends back what it gets: the server against which a relay is calibrated.

``python _echo.py`` writes its port and ends when its stdin ends. Standard library only: it is run
by its path.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := connection.recv(1 << 16):
            connection.sendall(data)
    except OSError:
        pass
    connection.close()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _address = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=_accept, args=(_listener,), daemon=True).start()
    print(_listener.getsockname()[1], flush=True)  # noqa: T201 - the parent reads it
    sys.stdin.read()
