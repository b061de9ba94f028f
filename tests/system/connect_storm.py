"""Clients and a server for tests of the real kernel: many connects and datagrams, quickly.

    connect_storm.py serve ADDRESS PORT              accepts and closes until it is killed
    connect_storm.py connect ADDRESS PORT COUNT      one connect after another to one port
    connect_storm.py abandon ADDRESS PORT COUNT      the same, each given up before anybody can answer
    connect_storm.py scan ADDRESS FIRST COUNT        one connect each to COUNT ports from FIRST on
    connect_storm.py scan ADDRESS FIRST COUNT TURNS  the same again and again
    connect_storm.py sweep ADDRESS COUNT FIRST PORTS that scan of PORTS ports, of COUNT addresses from ADDRESS on
    connect_storm.py send ADDRESS COUNT PORT SOCKETS for each line, which is a number, so many turns: each of SOCKETS
                                                     sockets sends to PORT of COUNT addresses from ADDRESS on
    connect_storm.py strew ADDRESS PORT COUNT        sends COUNT datagrams, each from a socket of its own

Prints "ready" when it serves; the seconds it took when it has connected or strewn; for each turn the time before and
after it, and "done" after the last.
Its command name is "storm-" and the number of the process that started it, which can tell its connects by that.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A closing socket resets the connection: no TIME_WAIT, so that local ports do not run out.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _addresses(first: str, count: int) -> list[str]:
    return [str(ip_address(first) + index) for index in range(count)]


def _serve(address: str, port: int) -> None:
    with socket.create_server((address, port), family=_family(address), backlog=4096) as server:
        print("ready", flush=True)
        while True:
            server.accept()[0].close()


def _connect(address: str, ports: Iterable[int], *, blocking: bool = True) -> None:
    family = _family(address)
    for port in ports:
        client = socket.socket(family, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if not blocking:
            client.setblocking(False)
        client.connect_ex((address, port))
        client.close()


def _sweep(addresses: Iterable[str], ports: range) -> None:
    for address in addresses:
        _connect(address, ports)


def _send(addresses: list[str], port: int, sockets: int) -> None:
    clients = [socket.socket(_family(addresses[0]), socket.SOCK_DGRAM) for _ in range(sockets)]
    for turns in sys.stdin:
        for _ in range(int(turns)):
            before = time.time()
            for client in clients:
                for address in addresses:
                    client.sendto(b"x", (address, port))
            print(before, time.time(), flush=True)
        print("done", flush=True)


def _strew(address: str, port: int, count: int) -> None:
    for _ in range(count):
        with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (address, port))


def main(arguments: list[str]) -> None:
    """Does what the arguments say (see above)."""
    Path("/proc/self/comm").write_text(f"storm-{os.getppid()}", encoding="ascii")
    started = time.perf_counter()
    match arguments:
        case ["serve", address, port]:
            _serve(address, int(port))
        case ["send", address, count, port, sockets]:
            _send(_addresses(address, int(count)), int(port), int(sockets))
            return
        case ["connect", address, port, count]:
            _connect(address, [int(port)] * int(count))
        case ["abandon", address, port, count]:
            _connect(address, [int(port)] * int(count), blocking=False)
        case ["scan", address, first, count]:
            _connect(address, range(int(first), int(first) + int(count)))
        case ["scan", address, first, count, turns]:
            _sweep([address] * int(turns), range(int(first), int(first) + int(count)))
        case ["sweep", address, count, first, ports]:
            _sweep(_addresses(address, int(count)), range(int(first), int(first) + int(ports)))
        case ["strew", address, port, count]:
            _strew(address, int(port), int(count))
        case _:
            sys.exit(__doc__)
    print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
