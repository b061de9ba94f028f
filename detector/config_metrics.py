"""`[metrics]`: where figures for Prometheus and the answer to "is it healthy?" are served."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from detector.config_section import Section
from detector.errors import ConfigError

_UNIX = "unix:"
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Loopback:
    """A port that programs of this machine alone can reach."""

    host: str
    port: int


class Metrics(Section, frozen=True):
    """Figures for Prometheus, and /healthz."""

    listen: str = ""
    """`127.0.0.1:9469`, `[::1]:9469`, or `unix:/run/detector/metrics.sock`. Empty: nothing is served."""

    @property
    def address(self) -> Loopback | Path | None:
        """Where to listen; None: nowhere.

        Raises:
            ConfigError: it is none of a port of a loopback address and a full path.
        """
        if not self.listen:
            return None
        if self.listen.startswith(_UNIX):
            path = Path(self.listen.removeprefix(_UNIX))
            if not path.is_absolute():
                raise _refused(self.listen, "has no full path")
            return path
        host, _, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            loopback = host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            raise _refused(self.listen, "names no address") from None
        if not loopback:
            raise _refused(self.listen, "is no address of this machine alone")
        if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MOST_PORT):
            raise _refused(self.listen, "has no port of 1 to 65535")
        return Loopback("127.0.0.1" if host == "localhost" else host, int(port))


def check_metrics(metrics: Metrics, source: str) -> None:
    """Refuses an address that cannot be listened at.

    Raises:
        ConfigError: with the file and the key.
    """
    try:
        _ = metrics.address
    except ConfigError as fault:
        raise ConfigError(f"{source}: {fault.message}", hint=fault.hint) from None


def _refused(listen: str, why: str) -> ConfigError:
    return ConfigError(
        f"metrics.listen: {listen!r} {why}",
        hint="write 127.0.0.1:9469, [::1]:9469 or unix:/run/detector/metrics.sock",
    )
