"""What a person can answer to an alert, as commands: data for messages, the same in each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from detector.domain import Alert


class Answer(NamedTuple):
    """A command, and what it is for."""

    purpose: str
    command: str


def answers(alert: Alert, *, about_capture: bool) -> tuple[Answer, ...]:
    """The commands, ready to be pasted: nothing from outside is in them.

    Args:
        alert: what they answer.
        about_capture: it has no rows, so that no filter can be made of them.

    Nobody is offered what is done already: to take on an alert that is over, or that somebody looks after.
    """
    number, said = alert.alert_id, list[Answer]()
    if alert.state != "resolved" and alert.acknowledged_by is None:
        said.append(Answer("take it on: no repeats", f"detector alerts ack {number}"))
    said.append(Answer("hear nothing of it for a week", f"detector alerts silence {number} --for 7d"))
    if not about_capture:
        said += [
            Answer("it is meant to be: never again", f"detector alerts benign {number}"),
            Answer("have its rule pass it over", f"detector rules tune --from-alert {number}"),
        ]
    return tuple(said)
