"""A server for IPv4 and IPv6, until standard input ends; prints "ready" when it serves.

serve.py FIRST LAST [PROTOCOL PORT]…    accepts and closes on the TCP ports FIRST to LAST, and on each PORT of another
                                        PROTOCOL (IP's number); swallows what comes to the UDP ports FIRST to LAST
"""

from __future__ import annotations

import selectors
import socket
import sys


def _bound(kind: socket.SocketKind, port: int, protocol: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET6, kind, protocol)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("::", port))
    made.setblocking(False)
    return made


def _listening(port: int, protocol: int = 0) -> socket.socket:
    made = _bound(socket.SOCK_STREAM, port, protocol)
    made.listen(128)
    return made


def _serve(ports: range, others: list[tuple[int, int]]) -> None:
    selector = selectors.DefaultSelector()
    for served in (
        *(_listening(port) for port in ports),
        *(_listening(port, protocol) for protocol, port in others),
        *(_bound(socket.SOCK_DGRAM, port) for port in ports),
        sys.stdin,
    ):
        selector.register(served, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if not isinstance(key.fileobj, socket.socket):
                return
            if key.fileobj.type == socket.SOCK_STREAM:
                key.fileobj.accept()[0].close()
            else:
                key.fileobj.recv(65536)


if __name__ == "__main__":
    match [int(argument) for argument in sys.argv[1:]]:
        case [first, last, *others]:
            _serve(range(first, last + 1), list(zip(others[::2], others[1::2], strict=True)))
        case _:
            sys.exit(__doc__)
