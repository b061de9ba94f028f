"""A digest in a chat: nothing in it from outside is acted upon there, and it is not larger than the chat allows."""

from __future__ import annotations

import pytest

from detector.domain import Severity
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.digest_message import render_digest
from tests.hostile import NAMES
from tests.notify.digests import digest
from tests.notify.servers import TOKENS, SlackServer
from tests.notify.test_slack import _check_limits, one_server, server, texts

__all__ = ["one_server", "server"]

URL = f"slack://{'/'.join(TOKENS)}"


@pytest.mark.parametrize("options", ["", "?blocks=yes"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_a_digest_speaks_to_slack(server: SlackServer, name: str, options: str) -> None:
    """With long lists of such names, as with alerts."""
    AppriseNotifier("ops", URL + options, 5).send(render_digest(digest(name, many=5), Severity.MEDIUM))
    (post,) = server.posts
    for text in texts(post.body):
        assert "<" not in text
        assert ">" not in text
    _check_limits(post.body)
