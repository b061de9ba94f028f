"""Pretends to have been logged in from this host:  forge.py GO PORT ADDRESS PORT

Waits for the named pipe GO, accepts a connection of its own on the first port, and then connects to ADDRESS.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

go, own_port, address, port = sys.argv[1:]
Path(go).read_bytes()
with socket.create_server(("127.0.0.1", int(own_port))) as listener:
    client = socket.create_connection(listener.getsockname())
    accepted = listener.accept()
    socket.create_connection((address, int(port))).close()
Path(go).write_bytes(b"done")
