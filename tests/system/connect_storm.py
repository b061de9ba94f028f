"""A client and its server for tests of the real kernel: many connects, quickly.

    connect_storm.py serve ADDRESS PORT              accepts and closes until it is killed
    connect_storm.py connect ADDRESS PORT COUNT      one connect after another to one port
    connect_storm.py scan ADDRESS FIRST COUNT        one connect each to COUNT ports from FIRST on

Prints "ready" when it serves, and the seconds it took when it has connected.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

# A closing socket resets the connection: no TIME_WAIT, so that local ports do not run out.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _serve(address: str, port: int) -> None:
    with socket.create_server((address, port), family=_family(address), backlog=4096) as server:
        print("ready", flush=True)
        while True:
            server.accept()[0].close()


def _connect(address: str, ports: list[int]) -> None:
    family = _family(address)
    started = time.perf_counter()
    for port in ports:
        client = socket.socket(family, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        client.connect_ex((address, port))
        client.close()
    print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", address, port]:
            _serve(address, int(port))
        case ["connect", address, port, count]:
            _connect(address, [int(port)] * int(count))
        case ["scan", address, first, count]:
            _connect(address, list(range(int(first), int(first) + int(count))))
        case _:
            sys.exit(__doc__)
