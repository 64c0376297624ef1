"""What one rule says: pass where a bound clears it, fail where the opposite bound excludes it, else inconclusive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apps.evaluations.comparing.columns import Subject
from apps.evaluations.comparing.metrics import Metric
from apps.evaluations.comparing.pairing import Pairs, Side, pairs_of, side_of
from apps.evaluations.comparing.rules import Rule
from apps.evaluations.comparing.testing import contrast_interval, difference_interval, level_interval, ratio_interval
from apps.evaluations.models import Verdict
from apps.evaluations.statistics.intervals import UNKNOWN, Interval, one_sided

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ruling:
    """`estimate` is what the limits are about: a mean, a difference, a ratio or a share. `reason` says why it is not
    decided, with its code.
    """

    verdict: Verdict
    estimate: float | None = None
    interval: Interval = UNKNOWN
    n: int = 0
    baseline_mean: float | None = None
    candidate_mean: float | None = None
    missing: dict[str, Any] | None = None
    code: str = ""
    reason: str = ""


def rule_on(
    rule: Rule, metric: Metric, candidate: Subject, baseline: Subject | None, doubt: str | None = None
) -> Ruling:
    """`doubt` is a reason not to let this metric decide."""
    if baseline is None or rule["type"] in {"absolute", "max_failure_rate"}:
        side = side_of(candidate, metric)
        ruling = _on_level(rule, metric, side)
        shares = [side.missing_share]
    else:
        pairs = pairs_of(baseline, candidate, metric, np.union1d(baseline.items, candidate.items))
        ruling = _on_pairs(rule, metric, pairs)
        shares = [pairs.baseline.missing_share, pairs.candidate.missing_share]
    return _restrained(rule, ruling, max(shares), doubt)


def _restrained(rule: Rule, ruling: Ruling, missing_share: float, doubt: str | None) -> Ruling:
    if doubt is not None:
        return _inconclusive(ruling, "JUDGE_NOT_TRUSTED", doubt)
    if ruling.n < rule["min_items"]:
        return _inconclusive(ruling, "TOO_FEW_ITEMS", f"{ruling.n} items, and {rule['min_items']} are needed.")
    if ruling.code:
        return ruling
    if ruling.verdict == Verdict.PASS and missing_share > rule["max_missing"]:
        said = f"{missing_share:.1%} of the scores are missing, more than {rule['max_missing']:.1%}."
        return _inconclusive(ruling, "TOO_MANY_MISSING", said)
    if ruling.verdict == Verdict.INCONCLUSIVE:
        return _inconclusive(ruling, "NOT_SHOWN", "The interval has the limit within it: more items would narrow it.")
    return ruling


def _inconclusive(ruling: Ruling, code: str, reason: str) -> Ruling:
    return Ruling(
        Verdict.INCONCLUSIVE,
        ruling.estimate,
        ruling.interval,
        ruling.n,
        ruling.baseline_mean,
        ruling.candidate_mean,
        ruling.missing,
        code,
        reason,
    )


def _on_level(rule: Rule, metric: Metric, side: Side) -> Ruling:
    values = side.values[side.has_value]
    interval = level_interval(metric, values, is_single=side.is_single, confidence=one_sided(rule["confidence"]))
    mean = float(values.mean()) if len(values) else None
    low, high = rule.get("min", -np.inf), rule.get("max", np.inf)
    verdict = Verdict.INCONCLUSIVE
    if interval.is_known and interval.low >= low and interval.high <= high:
        verdict = Verdict.PASS
    elif interval.is_known and (interval.high < low or interval.low > high):
        verdict = Verdict.FAIL
    missing = {"candidate": side.why_missing()}
    return Ruling(verdict, mean, interval, len(values), candidate_mean=mean, missing=missing)


def _on_pairs(rule: Rule, metric: Metric, pairs: Pairs) -> Ruling:
    before = float(pairs.before.mean()) if pairs.n else None
    after = float(pairs.after.mean()) if pairs.n else None
    missing = {"baseline": pairs.baseline.why_missing(), "candidate": pairs.candidate.why_missing()}
    known: Json = {"n": pairs.n, "baseline_mean": before, "candidate_mean": after, "missing": missing}
    needs_positive = rule["type"] == "ratio" or rule.get("margin_type") == "relative"
    if needs_positive and before is not None and before <= 0:
        said = "The baseline's mean is not above 0: there is no share of it."
        return Ruling(Verdict.INCONCLUSIVE, **known, code="NO_RATIO", reason=said)
    estimate, interval, limit = _RULED[rule["type"]](rule, metric, pairs)
    if not interval.is_known:
        said = "There is no interval: fewer than two items, or a ratio to hardly anything."
        return Ruling(Verdict.INCONCLUSIVE, estimate, **known, code="NO_INTERVAL", reason=said)
    return Ruling(_decided(rule, interval, limit), estimate, interval, **known)


def _decided(rule: Rule, interval: Interval, limit: float) -> Verdict:
    """The interval is of something of which more is better, but for ratios."""
    if rule["type"] == "ratio":
        passes, fails = interval.high <= limit, interval.low > limit
    elif rule["type"] == "better_than":
        passes, fails = interval.low > limit, interval.high <= limit
    else:
        passes, fails = interval.low >= limit, interval.high < limit
    return Verdict.PASS if passes else Verdict.FAIL if fails else Verdict.INCONCLUSIVE


def _ratio(rule: Rule, metric: Metric, pairs: Pairs) -> tuple[float | None, Interval, float]:
    if pairs.n == 0:
        return None, UNKNOWN, rule["max"]
    interval = ratio_interval(metric, pairs, one_sided(rule["confidence"]))
    return float(pairs.after.mean() / pairs.before.mean()), interval, rule["max"]


def _gain(rule: Rule, metric: Metric, pairs: Pairs) -> tuple[float | None, Interval, float]:
    """How much better the candidate is, in the metric's unit, or with a relative margin beyond that margin.

    A relative margin is a contrast of the two means with fixed weights, (1 ± margin) times the baseline's (Hauck and
    Anderson 1999), so that its limit is 0 and the baseline's own noise is in the interval.
    """
    if pairs.n == 0:
        return None, UNKNOWN, 0.0
    sign = -1.0 if metric.direction == "lower" else 1.0
    margin = rule["margin"] if rule["type"] == "better_than" else -rule["margin"]
    confidence = one_sided(rule["confidence"])
    if rule["margin_type"] == "relative":
        weights = (sign, -(sign + margin))
        contrast = weights[0] * pairs.after + weights[1] * pairs.before
        return float(contrast.mean()), contrast_interval(metric, pairs, weights, confidence), 0.0
    interval = difference_interval(metric, pairs, confidence)
    return sign * float(pairs.differences.mean()), _signed(interval, sign), margin


def _signed(interval: Interval, sign: float) -> Interval:
    if sign > 0 or not interval.is_known:
        return interval
    return Interval(-interval.high, -interval.low, interval.method, is_degenerate=interval.is_degenerate)


_RULED = {"ratio": _ratio, "no_worse_than": _gain, "better_than": _gain}


def rule_on_missing(rule: Rule, metrics: Sequence[Metric], candidate: Subject) -> Ruling:
    """Of the metric that misses most. The share is counted, not estimated: it passes or fails."""
    sides = [side_of(candidate, metric) for metric in metrics]
    worst = max(sides, key=lambda side: side.missing_share, default=None)
    if worst is None or not worst.expected_scores:
        return Ruling(Verdict.INCONCLUSIVE, code="TOO_FEW_ITEMS", reason="There are no scores to miss.")
    verdict = Verdict.PASS if worst.missing_share <= rule["max"] else Verdict.FAIL
    missing = {"candidate": worst.why_missing()}
    return Ruling(verdict, worst.missing_share, n=len(worst.values), missing=missing)
