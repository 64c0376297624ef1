"""What is answered of the executions that are counted together."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from apps.analytics.rollups.reading import Sums
from apps.evaluations.statistics.binary import wilson_interval
from everquant.histogram import Histogram, summaries

Json = dict[str, Any]
PERCENTILES = (50, 90, 95, 99)
_NAMES = tuple(f"p{share}_ms" for share in PERCENTILES)
CONFIDENCE = 0.95
COUNTS = (
    "requests", "errors", "cancelled", "cached", "unpriced", "input_tokens", "cached_input_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
MONEY = ("cost_usd", "saved_cost_usd")
_TOKENS = tuple(name for name in COUNTS if name.endswith("_tokens"))


def merged(cells: Sequence[Sums]) -> Sums:
    """One cell stands for itself: its histograms are not added to others."""
    if len(cells) == 1:
        return cells[0]
    found = Sums()
    for cell in cells:
        found.include(cell)
    return found


def finished(cell: Any) -> int:
    """Those that succeeded or failed: a success rate is of these."""
    return int(cell.requests - cell.cancelled)


def money(amount: Decimal) -> str:
    return f"{amount:f}"


def measures(cell: Any) -> Json:
    """Everything of a cell, for JSON; money as text, percentiles null where nothing was measured."""
    return measures_of([cell])[0]


def measures_of(cells: Sequence[Any]) -> list[Json]:
    """The same of each, which is quicker."""
    latencies = _waits_of([(cell.latency, cell.latency_sum_ms) for cell in cells])
    first_tokens = _waits_of([(cell.first_token, cell.first_token_sum_ms) for cell in cells])
    return [
        {
            **{name: getattr(cell, name) for name in COUNTS},
            "succeeded": finished(cell) - cell.errors,
            "success_rate": rate(finished(cell) - cell.errors, finished(cell)),
            **{name: money(getattr(cell, name)) for name in MONEY},
            "latency": latency,
            "first_token": first_token,
        }
        for cell, latency, first_token in zip(cells, latencies, first_tokens, strict=True)
    ]


def rate(successes: int, n: int) -> Json:
    """A share with its 95 % interval by Wilson (1927)."""
    if not n:
        return {"n": 0, "value": None, "low": None, "high": None}
    interval = wilson_interval(successes, n, CONFIDENCE)
    return {"n": n, "value": successes / n, "low": interval.low, "high": interval.high}


def waits(histogram: Histogram, sum_ms: int) -> Json:
    return _waits_of([(histogram, sum_ms)])[0]


def _waits_of(measured: Sequence[tuple[Histogram, int]]) -> list[Json]:
    found = summaries([histogram for histogram, _ in measured], [share / 100 for share in PERCENTILES])
    return [
        {"n": n, "mean_ms": sum_ms / n if n else None, **dict(zip(_NAMES, values, strict=True))}
        for (n, values), (_, sum_ms) in zip(found, measured, strict=True)
    ]


def tokens(cell: Any) -> int:
    return sum(getattr(cell, name) for name in _TOKENS)


def _error_rate(cell: Any) -> float | None:
    return cell.errors / finished(cell) if finished(cell) else None


def _surely_failing(cell: Any) -> float:
    """The lower end of the error rate's interval: one failure of one request is no high rate yet."""
    n = finished(cell)
    return wilson_interval(cell.errors, n, CONFIDENCE).low if n else 0.0


def _quantile(name: str, share: float) -> Callable[[Any], float | None]:
    return lambda cell: getattr(cell, name).quantile(share)


VALUES: dict[str, Callable[[Any], Any]] = {
    "requests": lambda cell: cell.requests,
    "errors": lambda cell: cell.errors,
    "error_rate": _error_rate,
    "cost_usd": lambda cell: cell.cost_usd,
    "saved_cost_usd": lambda cell: cell.saved_cost_usd,
    "tokens": tokens,
    "latency_p50_ms": _quantile("latency", 0.5),
    "latency_p95_ms": _quantile("latency", 0.95),
    "latency_p99_ms": _quantile("latency", 0.99),
    "first_token_p95_ms": _quantile("first_token", 0.95),
}
# Those of which the value of a whole is the sum of its parts.
ADDITIVE = frozenset({"requests", "errors", "cost_usd", "saved_cost_usd", "tokens"})

# Those that need histograms.
PERCENTILE_MEASURES = frozenset(name for name in VALUES if name.endswith("_ms"))


def rank_of(measure: str, cells: Sequence[Any]) -> Any:
    """What a group of these cells is ordered by; what has no value comes last."""
    if measure in ADDITIVE:
        return sum(map(VALUES[measure], cells))
    cell = merged(cells)
    return _surely_failing(cell) if measure == "error_rate" else VALUES[measure](cell) or 0


def as_number(value: Any) -> float | None:
    return None if value is None else float(value)


def relative(now: Any, before: Any) -> float | None:
    """The change as a share of what it was before; None where that, or one of both, is nothing."""
    return None if now is None or not before else float(now / before) - 1


def share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
