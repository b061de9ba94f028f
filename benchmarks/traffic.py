"""What benchmarks let happen, each in a process of its own.

    traffic.py accept PORT                      serves: accepts and closes
    traffic.py answer PORT                      serves: accepts, reads a request, answers it and closes
    traffic.py request ADDRESS COUNT PORT TIMES connects to PORT of COUNT addresses from ADDRESS on, TIMES each, sends
                                                a request, reads the answer to its end and closes
    traffic.py visit ADDRESS COUNT PORT TIMES   connects and closes at once
    traffic.py talk COUNT                       sends and receives COUNT messages over one connection
    traffic.py start COUNT                      starts a program that ends at once, COUNT times
    traffic.py call COUNT                       makes COUNT system calls that do next to nothing
    traffic.py spin PROCESSOR                   keeps a processor from sleeping, giving way to all others of
                                                its session

Prints "ready" when it serves or spins; the seconds it took, of the processor's time for `call`.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from ipaddress import IPv4Address
from itertools import repeat


def _serve(port: int, answer: bytes) -> None:
    with socket.create_server(("", port), backlog=4096) as server:
        print("ready", flush=True)
        while True:
            with server.accept()[0] as peer:
                if answer:
                    peer.recv(1000)
                    peer.send(answer)


def _visit(addresses: list[str], port: int, times: int, request: bytes) -> None:
    for address in addresses:
        for _ in range(times):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.connect((address, port))
                if request:
                    client.send(request)
                    while client.recv(1000):
                        pass


def _talk(count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other = server.accept()[0]
        for _ in range(count):
            one.send(b"a line of some length\n")
            other.recv(100)


def _start(count: int) -> None:
    for _ in range(count):
        os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)


def _call(count: int) -> None:
    for _ in repeat(None, count):
        os.getppid()


def _spin(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print("ready", flush=True)
    while True:
        pass


def main(arguments: list[str]) -> None:
    """Does what the arguments say (see above)."""
    clock = time.perf_counter
    started = clock()
    match arguments:
        case ["accept" | "answer" as verb, port]:
            _serve(int(port), b"An answer of a line, as short as any.\n" if verb == "answer" else b"")
        case ["request" | "visit" as verb, first, count, port, times]:
            addresses = [str(IPv4Address(first) + index) for index in range(int(count))]
            _visit(addresses, int(port), int(times), b"a request\n" if verb == "request" else b"")
        case ["talk", count]:
            _talk(int(count))
        case ["start", count]:
            _start(int(count))
        case ["call", count]:
            clock = time.process_time
            started = clock()
            _call(int(count))
        case ["spin", processor]:
            _spin(int(processor))
        case _:
            sys.exit(__doc__)
    print(clock() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
