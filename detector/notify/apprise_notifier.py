"""The channels that apprise reaches: mail, Slack and some hundred others. The one importer of apprise.

An apprise address holds secrets, and apprise writes addresses, tokens and payloads to its log. That log therefore goes
nowhere; what it says of a failure is taken out of it, masked, and becomes the reason that the outbox keeps.
"""

from __future__ import annotations

import logging
import re
import tempfile
import threading
from base64 import b64encode
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from detector.domain import Severity
from detector.errors import ConfigError, DeliveryError
from detector.notify.kinds import Form, Picture, kind_of
from detector.notify.leftovers import PREFIX
from detector.notify.mail_connection import keep_connections
from detector.notify.mail_text import beside_html
from detector.notify.markdown import escaped
from detector.notify.message import CHART_NAME, without_picture
from detector.notify.patience import Patience
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detector.notify.message import Message

_REASON_LIMIT = 500
# What remains unmasked of an address is short enough to occur in any text.
_SHORTEST_SECRET = 4
_SEPARATORS = re.compile(r"[/:@?&=,;#\s]+")
# The values of headers and parameters that are handed on to a web hook.
_EXTRA = re.compile(r"[?&][+:-][^=&]*=([^&]*)")
# The details of a failure, which apprise logs at debug level beside a warning that says little.
_DETAIL = re.compile(r"(?:[\w /]* Exception|Response Details):\s*(?P<detail>.*)", re.DOTALL)
# Of services with several ways in, those that take files.
_MODES_WITH_FILES = {"slack": ("bot",), "mattermost": ("bot",), "matrix": ("off",)}
# Characters that apprise puts between a subject and what follows it, where a service has no subjects.
_BESIDES = 16
# These repeat the address, its secrets shortened to their ends.
_NOT_LOADED = ("Could not load ", "Unparseable ", "Unsupported URL")


class AppriseNotifier:
    """One channel at an apprise address.

    Args:
        name: of the channel, for messages.
        url: the address; never shown.
        timeout_seconds: the longest to wait for a connection, and then for an answer.

    Raises:
        ConfigError: apprise does not understand the address.
    """

    def __init__(self, name: str, url: str, timeout_seconds: float) -> None:
        _LOG.silence()
        import apprise
        from apprise.attachment.file import AttachFile

        keep_connections()
        self._name = name
        self._patience_seconds = 2 * timeout_seconds
        self._patience: Patience[tuple[str | None, str | None]] = Patience(f"notify-{name}", self._patience_seconds)
        asset = apprise.AppriseAsset(
            app_id="detector",
            app_desc="Anomaly detection for bastion hosts",
            app_url="",
            # Icons would be fetched from a third party by whoever reads the message.
            image_url_mask="",
            image_url_logo="",
            # A redirect would carry the secrets of the address to wherever it points.
            http_redirects=False,
            # Everything happens in the calling thread.
            async_mode=False,
            service_timeout=0,
            pgp_autogen=False,
            pem_autogen=False,
        )
        with _LOG.heard() as told:
            plugin: Any = apprise.Apprise.instantiate(url, asset=asset)
        if plugin is None or told:
            # A warning is a part of the address that was passed over, a recipient perhaps.
            reason = _masked((each for each in told if not each.startswith(_NOT_LOADED)), _words(url) - _public(url))
            raise ConfigError(
                f"channel {name!r}: its address cannot be used" + (f": {reason}" if reason else ""),
                hint="see https://appriseit.com/services/ for the addresses of each service",
            )
        # What apprise itself shows of an address is public; but for a web hook it shows the path and the parameters.
        shown = _words(plugin.url(privacy=True)) | _public(url)
        self._secrets = (_words(url) - shown) | _words(plugin.fullpath) | _words(" ".join(_EXTRA.findall(url)))
        if plugin.password:
            # As it stands in a request, which some services repeat when they refuse it.
            basic = f"{plugin.user or ''}:{plugin.password}".encode()
            self._secrets.add(b64encode(basic).decode())
        plugin.socket_connect_timeout = plugin.socket_read_timeout = timeout_seconds
        # The outbox repeats what failed, and has to know that it did, whatever the address asks for.
        plugin.retry, plugin.optional = 0, False
        # Waiting between messages would hold up the other channels. A service that is asked too often refuses, and the
        # outbox comes back later.
        plugin.request_rate_per_sec = 0
        # What is too long for the service would be refused: its first lines say what matters.
        plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
        self._kind = kind_of(url.partition("://")[0].strip())
        # A service whose own format is HTML, and which has subjects, is mail; chats take but a few tags of it.
        if plugin.resolve_format(None) == apprise.NotifyFormat.HTML and plugin.title_maxlen > 0:
            self._form = Form.HTML
        else:
            self._form = Form.TEXT if self._kind.form is Form.HTML else self._kind.form
        native = _native_formats(plugin)
        self._declared = {Form.HTML: apprise.NotifyFormat.HTML, Form.TEXT: apprise.NotifyFormat.TEXT}.get(
            self._form,
            # Some show what they call text as Markdown: what they are handed is taken as it is.
            apprise.NotifyFormat.MARKDOWN if apprise.NotifyFormat.MARKDOWN in native else apprise.NotifyFormat.TEXT,
        )
        if self._form is not Form.HTML and self._declared in native:
            # Whatever the address asks for: what is escaped for one format is not for another. (On the way from text
            # to Markdown to Slack, a "<" stays as it is.)
            plugin.notify_format = self._declared
        if self._kind.name == "slack":
            plugin.use_blocks = True
        modes = _MODES_WITH_FILES.get(self._kind.name)
        takes_files = plugin.attachment_support and (modes is None or plugin.mode in modes)
        self._picture = self._kind.picture if takes_files else Picture.NONE
        if self._picture is Picture.INLINE:
            plugin.inline = True
        self._attach: Any = AttachFile
        self._most = self._kind.limit or plugin.body_maxlen
        # Of what the title, which stands in the body, takes a part.
        shared = plugin.title_maxlen <= 0 or plugin.overflow_amalgamate_title
        self._shared: int | None = plugin.body_maxlen if shared else None
        self._types = {
            Severity.INFORMATIONAL: apprise.NotifyType.INFO,
            Severity.LOW: apprise.NotifyType.INFO,
            Severity.MEDIUM: apprise.NotifyType.WARNING,
            Severity.HIGH: apprise.NotifyType.FAILURE,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        self._plugin = plugin
        self._sender: Any = apprise.Apprise(asset=asset)
        self._sender.add(plugin)

    def send(self, message: Message) -> str | None:
        """Hands `message` over, once; what kept its chart from going with it, if anything did.

        Raises:
            DeliveryError: it was refused, or there was no answer in time (it may have arrived even so).
        """
        try:
            reason, chart_fault = self._patience.call(lambda: self._attempt(message))
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._patience_seconds:g} s") from None
        except OSError as fault:
            # No descriptor is left, say, or no room for the picture.
            raise DeliveryError(f"nothing could be sent from this machine: {fault.strerror}") from fault
        if reason is not None:
            raise DeliveryError(reason)
        return chart_fault

    def written(self, message: Message) -> str:
        """The body as this channel is sent it."""
        if self._form is Form.HTML:
            return message.html
        room = self._most
        if self._shared is not None:
            room = min(room, self._shared - len(self._title(message)) - _BESIDES)
        body = message.fitting(self._form, room)
        if self._kind.name == "slack":
            # It counts what is sent, in which three characters are written as entities.
            while (over := len(escape(body, quote=False)) - room) > 0:
                body = message.fitting(self._form, len(body) - over)
        # Of what is blank some services say that they have taken it, and show nothing.
        return body if body.strip() else self._title(message)

    @property
    def takes_pictures(self) -> bool:
        """Whether a message's chart is sent with it."""
        return self._picture is not Picture.NONE

    @property
    def shows_html(self) -> bool:
        """Whether it is sent a message's HTML."""
        return self._form is Form.HTML

    def _title(self, message: Message) -> str:
        # "=?" begins an encoded word in the subject of a mail, which may say anything once it is decoded.
        title = message.title.replace("=?", "= ?")
        return escaped(title) if self._form is Form.MARKDOWN else title

    def _attempt(self, message: Message) -> tuple[str | None, str | None]:
        """None when the message was taken, else why not; and the same of its chart."""
        chart = message.chart if self.takes_pictures else None
        together = None if self._picture is Picture.AFTER else chart
        body = self.written(message)
        if together is None and self._form is Form.HTML:
            body = without_picture(body)
        title = self._title(message)
        reason = self._handed_over(message, title, body, together)
        if reason is not None or chart is None or together is not None:
            return reason, None
        return None, self._handed_over(message, "", f"Chart: {title}", chart)

    def _handed_over(self, message: Message, title: str, body: str, chart: bytes | None) -> str | None:
        # Some services' senders open the file by its path.
        with (
            tempfile.NamedTemporaryFile(prefix=PREFIX, suffix=".png") as file,
            _LOG.heard() as told,
            beside_html(message.plain or message.text),
        ):
            attach = None
            if chart is not None:
                file.write(chart)
                file.flush()
                attach = self._attach(path=file.name, name=CHART_NAME, mimetype="image/png")
            taken = self._sender.notify(
                title=title,
                body=body,
                body_format=self._declared,
                notify_type=self._types[message.severity],
                attach=attach,
            )
        return None if taken else _masked(told, self._secrets) or "refused without a reason"


class _Log(logging.Filter):
    """Lets nothing that apprise logs pass, and keeps what a thread asks to hear."""

    def __init__(self) -> None:
        super().__init__()
        self._listening = threading.local()

    def silence(self) -> None:
        """From here on apprise's log goes nowhere, whatever handlers there are."""
        logger = logging.getLogger("apprise")
        logger.addFilter(self)
        # The reasons of failures are told at debug level.
        logger.setLevel(logging.DEBUG)
        # At debug level it tells the path of each request, and for many services the path is the secret.
        logging.getLogger("urllib3").setLevel(logging.WARNING)

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        """What apprise warns of in this thread, and the details of failures, each once."""
        told: list[str] = []
        self._listening.told = told
        try:
            yield told
        finally:
            del self._listening.told

    def filter(self, record: logging.LogRecord) -> bool:
        """Always false."""
        told: list[str] | None = getattr(self._listening, "told", None)
        if told is None:
            return False
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            detail = _DETAIL.match(text)
            text = detail["detail"] if detail else ""
        if text and text not in told:
            told.append(text)
        return False


_LOG = _Log()


def _native_formats(plugin: Any) -> tuple[str, ...]:
    formats = type(plugin).notify_format
    return formats if isinstance(formats, tuple) else (formats,)


def _words(url: str) -> set[str]:
    """The words of an address, as they stand there and as they may stand in a message about it."""
    words = {url, *_SEPARATORS.split(url)}
    words |= {unquote(word) for word in words}
    words |= {quote(word, safe="") for word in words}
    return {word for word in words if len(word) >= _SHORTEST_SECRET}


def _public(url: str) -> set[str]:
    """The words that name what the others are: the scheme and the names of parameters."""
    return {*re.findall(r"^[a-z0-9]+(?=://)", url), *re.findall(r"[?&]([^=&]+)=", url)}


def _masked(told: Iterable[str], secrets: set[str]) -> str:
    text = "; ".join(each.strip().rstrip(".:") for each in told)
    # The longest first: a secret may contain another.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return visible(text, _REASON_LIMIT)
