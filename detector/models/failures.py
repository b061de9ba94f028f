"""The failures channels: more connects fail than this host's do, to one destination or to new ones on one port.

Both ask for the probability of at least so many failures among so many connects, when each fails with a probability
that is itself uncertain: the upper tail of a beta-binomial distribution (Skellam, "A probability distribution derived
from the binomial distribution", 1948). Its mean is the host's share of failures, to a known destination its own. New
destinations on one port that fail one after another are the sign of a scan (Jung et al., "Fast portscan detection using
sequential hypothesis testing", 2004). Constants: docs/models.md, "Failures".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from detector.models.ageing import left
from detector.models.window import HOUR_SECONDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.features import Arranged, EndpointSubjects
    from detector.models.state import Subjects

_STRENGTH = 10.0  # connects that the host's share is worth against those that are counted
_OWN_WEIGHT, _OWN_MOST = 0.5, 20.0  # what a destination's own past is worth
_ROW_MOST = 2.0  # failures of one destination in one snapshot that the host's share learns from
_MOST_CONNECTS = 400  # more are scaled down: the tail is then far out
_LARGEST = 30.0
_TWO = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failures within about an hour, for m endpoints; one element for each."""

    failed: npt.NDArray[np.float64]
    """Of the connects to the destination, a sum that fades with exp(-age / 1 h)."""
    ended: npt.NDArray[np.float64]
    """Connects that ended, in the same sense."""
    to_destination: npt.NDArray[np.float64]
    """-log10 of the tail; 0 where nothing fails now."""
    young_failed: npt.NDArray[np.float64]
    """New endpoints of the same port that failed altogether."""
    young_ended: npt.NDArray[np.float64]
    """New endpoints of the same port."""
    to_port: npt.NDArray[np.float64]
    """-log10 of the tail over these, of the hour or of the snapshot; 0 where the endpoint is not one of them."""
    usual: npt.NDArray[np.float64]
    """The host's share of failures."""


def judge(
    subjects: Subjects,
    arranged: Arranged,
    numbers: EndpointSubjects,
    hosts: npt.NDArray[np.int64],
    *,
    now_seconds: float,
) -> Failures:
    """Compares failures with the host's and the destination's past, as things stood before this snapshot."""
    values = subjects.values
    outbound = arranged.outbound
    destinations, ports = values.of(numbers.destination), values.of(numbers.port)
    fading = left(now_seconds - destinations["outcome_seconds"], HOUR_SECONDS)
    failed_now, ended_now = (_of_each(numbers.destination, of) for of in (arranged.failed, arranged.ended))
    failed = destinations["failed_recent"] * fading + failed_now
    ended = destinations["ended_recent"] * fading + ended_now
    usual = (values["failed"][hosts] + 0.5) / (values["ended"][hosts] + _STRENGTH)
    strength = _STRENGTH * usual
    own_failed = _OWN_WEIGHT * np.minimum(destinations["failed"], _OWN_MOST)
    own_other = _OWN_WEIGHT * np.clip(destinations["ended"] - destinations["failed"], 0.0, _OWN_MOST)
    fails = outbound & (arranged.failed > 0)
    to_destination = _tails(failed, ended, strength + own_failed, _STRENGTH - strength + own_other, fails)

    young = _young(subjects, arranged, numbers, now_seconds)
    wholly = young & (arranged.failed > 0) & (arranged.ended <= arranged.failed)
    port_fading = left(now_seconds - ports["outcome_seconds"], HOUR_SECONDS)
    failed_here, ended_here = _of_each(numbers.port, wholly), _of_each(numbers.port, young)
    young_failed = ports["failed_recent"] * port_fading + failed_here
    young_ended = ports["ended_recent"] * port_fading + ended_here
    # In an hour a quick scan can drown in what else was new; a slow one does not show in a snapshot.
    to_port = np.maximum(
        _tails(failed_here, ended_here, strength, _STRENGTH - strength, wholly & (failed_here >= _TWO)),
        _tails(young_failed, young_ended, strength, _STRENGTH - strength, wholly & (young_failed >= _TWO)),
    )
    return Failures(
        failed=failed,
        ended=ended,
        to_destination=to_destination,
        young_failed=young_failed,
        young_ended=young_ended,
        to_port=to_port,
        usual=usual,
    )


def learn(
    subjects: Subjects,
    arranged: Arranged,
    numbers: EndpointSubjects,
    hosts: npt.NDArray[np.int64],
    failures: Failures,
    suspicious: npt.NDArray[np.bool_],
    *,
    now_seconds: float,
) -> None:
    """Takes the outcomes of this snapshot into the state; what is suspicious (m,) not into what is usual."""
    values = subjects.values
    outbound = arranged.outbound
    destination, port = numbers.destination[outbound], numbers.port[outbound]
    values["failed_recent"][destination] = failures.failed[outbound]
    values["ended_recent"][destination] = failures.ended[outbound]
    values["outcome_seconds"][destination] = now_seconds
    values["failed_recent"][port] = failures.young_failed[outbound]
    values["ended_recent"][port] = failures.young_ended[outbound]
    values["outcome_seconds"][port] = now_seconds
    usual = outbound & ~suspicious
    np.add.at(values["failed"], numbers.destination[usual], arranged.failed[usual])
    np.add.at(values["ended"], numbers.destination[usual], arranged.ended[usual])
    np.add.at(values["failed"], hosts[usual], np.minimum(arranged.failed[usual], _ROW_MOST))
    np.add.at(values["ended"], hosts[usual], arranged.ended[usual])


def _young(
    subjects: Subjects, arranged: Arranged, numbers: EndpointSubjects, now_seconds: float
) -> npt.NDArray[np.bool_]:
    first = subjects.values["first_seconds"][numbers.pair]
    recent = ~subjects.known[numbers.pair] | (now_seconds - first < HOUR_SECONDS)
    young: npt.NDArray[np.bool_] = arranged.outbound & recent
    return young


def _of_each(numbers: npt.NDArray[np.int64], amounts: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """The sum of amounts (m,) over the endpoints that share a subject, for each endpoint."""
    total = np.bincount(numbers, weights=amounts.astype(np.float64)).astype(np.float64)
    return total[numbers]


def _tails(
    failed: npt.NDArray[np.float64],
    ended: npt.NDArray[np.float64],
    alpha: npt.NDArray[np.float64],
    beta: npt.NDArray[np.float64],
    where: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    surprise = np.zeros(len(failed))
    chosen = np.flatnonzero(where)
    columns = zip(*(each[chosen].tolist() for each in (failed, ended, alpha, beta)), strict=True)
    surprise[chosen] = [_surprise(round(f), round(max(n, f)), round(a, 6), round(b, 6)) for f, n, a, b in columns]
    return surprise


# A scan has thousands of the same.
@lru_cache(maxsize=4096)
def _surprise(failed: int, ended: int, alpha: float, beta: float) -> float:
    if failed < 1:
        return 0.0
    if ended > _MOST_CONNECTS:
        failed, ended = max(1, int(failed * _MOST_CONNECTS / ended)), _MOST_CONNECTS
    return min(_LARGEST, -math.log10(max(beta_binomial_tail(failed, ended, alpha, beta), 10**-_LARGEST)))


def beta_binomial_tail(least: int, draws: int, alpha: float, beta: float) -> float:
    """P(X >= least) of a beta-binomial distribution, `least` at least 1; by the ratio of neighbouring terms."""
    if least > draws:
        return 0.0
    first = _log_choose(draws, least) + _log_beta(least + alpha, draws - least + beta) - _log_beta(alpha, beta)
    k = np.arange(least, draws)
    ratios = (draws - k) / (k + 1) * (k + alpha) / (draws - k - 1 + beta)
    return min(1.0, math.exp(first) * (1.0 + float(np.cumprod(ratios).sum())))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
