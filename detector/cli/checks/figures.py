"""Whether detection answers where its figures are to be served."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from detector.cli.checks.check import bad, doubtful, good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.cli.checks.check import Check
    from detector.config import Settings
    from detector.config_metrics import Loopback

_PATIENCE_SECONDS = 10.0


def figures(settings: Settings) -> Iterator[Check]:
    """What /healthz says; nothing if none is wanted."""
    address = settings.metrics.address
    if address is None:
        return
    where = settings.metrics.listen
    try:
        reasons = _asked(address)
    except (OSError, http.client.HTTPException, ValueError) as fault:
        finding = f"nothing that is understood answers at {where}: {fault}"
        yield doubtful("metrics", finding, "start detector detect; if it runs, see who holds it: ss -lnp")
        return
    if reasons:
        yield bad("metrics", f"{where} answers that something is wrong: {'; '.join(reasons)}", "see the other lines")
    else:
        yield good("metrics", f"{where} answers that all is well")


def _asked(address: Loopback | Path) -> list[str]:
    if isinstance(address, Path):
        connection = http.client.HTTPConnection("localhost", timeout=_PATIENCE_SECONDS)
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=_PATIENCE_SECONDS)
    try:
        if isinstance(address, Path):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(_PATIENCE_SECONDS)
            connection.sock.connect(str(address))
        connection.request("GET", "/healthz")
        told = json.loads(connection.getresponse().read())
        return [str(each) for each in told["reasons"]]
    except (KeyError, TypeError):
        raise ValueError("it is not detector") from None
    finally:
        connection.close()
