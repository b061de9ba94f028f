"""Prints alerts as blocks on a terminal or into a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.errors import DeliveryError
from detector.visible import visible

if TYPE_CHECKING:
    from typing import TextIO

    from detector.notify.message import Message


class ConsoleNotifier:
    """The channel "console": a text stream."""

    takes_pictures = False
    shows_html = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, message: Message) -> None:
        """Writes a block, with an empty line after it, in what characters the stream can show.

        Raises:
            DeliveryError: the stream is closed or full.
        """
        lines = "".join(f"{visible(line)}\n" for line in message.block.splitlines())
        encoding = self._stream.encoding or "utf-8"
        shown = lines.encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(f"{shown}\n")
            self._stream.flush()
        except (OSError, ValueError) as fault:
            raise DeliveryError(f"console: {fault}") from fault
