"""When a failed delivery is tried again, and when it is given up."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from detector.config import Notify
from detector.domain import Notification, NotificationState
from detector.notify.retry import RetryPolicy
from tests.builders import START
from tests.notify.samples import POLICY


def failed(**values: int) -> Notification:
    """A notification that was written at START."""
    return Notification(
        notification_id=values.get("notification_id", 1),
        alert_id=1,
        channel="mail",
        reason="opened",
        state=NotificationState.PENDING,
        attempts=0,
        created_at=START,
        next_attempt_at=START,
        delivered_at=None,
        last_error=None,
    )


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_waits_double_up_to_an_hour(number: int, attempts: int) -> None:
    """Each wait is the first one doubled for each failure, at most an hour, less a fifth at most."""
    full = min(15 * 2 ** min(attempts - 1, 30), 3600)
    assert 0.8 * full <= POLICY.wait(number, attempts).total_seconds() <= full
    assert POLICY.wait(number, attempts) == POLICY.wait(number, attempts)


def test_notifications_do_not_come_back_all_at_once() -> None:
    """The waits of many notifications are spread."""
    assert len({POLICY.wait(number, 5) for number in range(100)}) > 90


def test_it_is_given_up_after_the_stated_time() -> None:
    """Old and tried often enough: given up. Young, or tried seldom: tried again."""
    old = START + POLICY.give_up_after
    young = old - timedelta(seconds=1)
    assert POLICY.next_attempt(failed(), attempts=6, now=old) is None
    assert POLICY.next_attempt(failed(), attempts=6, now=young) == young + POLICY.wait(1, 6)
    assert POLICY.next_attempt(failed(), attempts=5, now=old) == old + POLICY.wait(1, 5)


def test_the_policy_of_a_configuration() -> None:
    """Seconds and hours of the configuration; a lease longer than any attempt."""
    policy = RetryPolicy.from_settings(Notify(retry_seconds=5, give_up_hours=2, timeout_seconds=30))
    assert policy.first_wait == timedelta(seconds=5)
    assert policy.give_up_after == timedelta(hours=2)
    assert policy.lease > timedelta(seconds=60)
