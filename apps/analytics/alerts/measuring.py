"""What an alert sees at a moment: its metric in the window and, if it has a baseline, in that."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.analytics.models import Alert, AlertBaseline, AlertDirection, AlertMetric
from apps.analytics.queries.asking import ID_DIMENSIONS
from apps.analytics.queries.measuring import finished
from apps.analytics.rollups.reading import Cell, Scope, read, read_scores

MONEY = frozenset({AlertMetric.COST, AlertMetric.SPEND_RATE})
_SHARES = {AlertMetric.LATENCY_P50: 0.5, AlertMetric.LATENCY_P95: 0.95, AlertMetric.LATENCY_P99: 0.99}
_AGO = {AlertBaseline.DAY_BEFORE: timedelta(days=1), AlertBaseline.WEEK_BEFORE: timedelta(days=7)}


@dataclass(frozen=True, slots=True)
class Reading:
    """`value` in the metric's unit, None where nothing was measured; of `count` executions, or scores."""

    value: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """`change` is that of the baseline as a share of it. `is_breached` is None where too little is known to say."""

    window_from: datetime
    window_to: datetime
    reading: Reading
    baseline: Reading | None
    change: float | None
    is_breached: bool | None
    is_without_data: bool


def measure(alert: Alert, now: datetime) -> Measurement:
    """Of executions made from a window ago until now that have ended."""
    start = now - alert.window
    reading = read_window(alert, start, now)
    baseline = change = None
    if alert.baseline == AlertBaseline.NONE:
        found = reading.value
    else:
        ago = _AGO.get(AlertBaseline(alert.baseline), alert.window)
        baseline = read_window(alert, start - ago, now - ago)
        found = change = _change(reading.value, baseline.value)
    is_known = found is not None and all(each.count >= alert.min_count for each in (reading, baseline) if each)
    return Measurement(
        window_from=start,
        window_to=now,
        reading=reading,
        baseline=baseline,
        change=change,
        is_breached=_is_beyond(alert, found) if is_known and found is not None else None,
        is_without_data=reading.count < max(alert.min_count, 1),
    )


def read_window(alert: Alert, start: datetime, end: datetime) -> Reading:
    scope = Scope(alert.organization_id, scope_filters(alert.filters))
    if alert.metric == AlertMetric.SCORE_MEAN:
        scores = [cell for cell in read_scores(scope, boundaries=[start, end]) if cell.name == alert.score_name]
        count = sum(cell.count for cell in scores)
        return Reading(sum(cell.total for cell in scores) / count if count else None, count)
    has_latencies = alert.metric in _SHARES
    cells = read(scope, boundaries=[start, end], has_latencies=has_latencies)
    return _reading(AlertMetric(alert.metric), cells[0] if cells else Cell(0, ()), alert.window)


def _reading(metric: AlertMetric, cell: Cell, window: timedelta) -> Reading:
    if metric in _SHARES:
        return Reading(cell.latency.quantile(_SHARES[metric]), cell.latency.count)
    if metric == AlertMetric.ERROR_RATE:
        n = finished(cell)
        return Reading(cell.errors / n if n else None, n)
    cost = float(cell.cost_usd)
    return Reading(cost if metric == AlertMetric.COST else cost / (window / timedelta(hours=1)), cell.requests)


def scope_filters(filters: dict[str, list[str]]) -> dict[str, tuple[Any, ...]]:
    """As they are stored → as the rollups are asked."""
    return {
        name: tuple(UUID(value) if name in ID_DIMENSIONS else value for value in values)
        for name, values in filters.items()
    }


def _change(value: float | None, before: float | None) -> float | None:
    return None if value is None or not before else (value - before) / abs(before)


def _is_beyond(alert: Alert, found: float) -> bool:
    if alert.direction == AlertDirection.ABOVE:
        return found > alert.threshold
    return found < (alert.threshold if alert.baseline == AlertBaseline.NONE else -alert.threshold)
