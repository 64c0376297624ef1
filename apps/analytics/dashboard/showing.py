"""What the page shows: the figures of a period put into words, tables and charts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from apps.analytics.dashboard import charts, writing
from apps.analytics.dashboard.periods import Period, interval_title
from apps.analytics.dashboard.traffic import Group, Step, Traffic
from apps.analytics.queries.measuring import VALUES, tokens
from apps.workflows.admin.showing import duration

LEAST_REQUESTS, LEAST_ERROR_RATE = 4.0, 0.05
PERCENTILES = (
    ("p50", "latency_p50_ms", "half take longer"),
    ("p95", "latency_p95_ms", "1 of 20 takes longer"),
    ("p99", "latency_p99_ms", "1 of 100 takes longer"),
)
Row = dict[str, Any]


def tiles(traffic: Traffic) -> list[Row]:
    """The figures of the whole period, each with its change."""
    now, before = traffic.totals, traffic.previous
    rates = [VALUES["error_rate"](cell) for cell in (now, before)]
    unpriced = f"{writing.count(now.unpriced)} at an unknown price" if now.unpriced else ""
    return [
        {
            "name": "Requests",
            "value": writing.count(now.requests),
            "change": writing.change(now.requests, before.requests),
            "more": f"{writing.count(tokens(now))} tokens",
        },
        {
            "name": "Error rate",
            "value": writing.share(rates[0]),
            "change": writing.points(*rates),
            "more": f"{writing.count(now.errors)} failed",
        },
        {
            "name": "Cost",
            "value": writing.dollars(now.cost_usd),
            "change": writing.change(now.cost_usd, before.cost_usd),
            "more": unpriced or f"cache saved {writing.dollars(now.saved_cost_usd)}",
            "is_warning": bool(unpriced),
        },
        *(_latency_tile(*each, traffic) for each in PERCENTILES),
    ]


def _latency_tile(name: str, measure: str, more: str, traffic: Traffic) -> Row:
    now, before = (VALUES[measure](cell) for cell in (traffic.totals, traffic.previous))
    return {
        "name": f"Latency {name}",
        "value": writing.milliseconds(now),
        "change": writing.change(now, before),
        "more": more,
    }


def panels(steps: Sequence[Step], period: Period) -> list[Row]:
    """The charts, each with its table for those who do not see it, or want the numbers."""
    titles = [interval_title(step.start, step.end) for step in steps]
    titles[-1] += ", so far"
    starts = [*(step.start for step in steps), steps[-1].end]
    cells = [step.cell for step in steps]
    figures = [_requests(cells), _errors(cells), _costs(cells), _latencies(cells)]
    shown = []
    for title, legend, head, rows, draw in figures:
        said = [f"{when}\n" + "\n".join(map(_said, head, row)) for when, row in zip(titles, rows, strict=True)]
        chart = draw(charts.Axis(starts, said), title=f"{title} per {period.step_title}, last {period.title}")
        # Names of users' making are not in it; what is written is escaped there.
        table = list(zip(titles, rows, strict=True))
        shown.append({"title": title, "legend": legend, "head": head, "rows": table, "chart": SafeString(chart)})
    return shown


def _said(name: str, value: str) -> str:
    return f"{name}: {value}"


def _requests(cells: Sequence[Any]) -> Any:
    parts = [
        ("Succeeded", "db-good", [cell.requests - cell.errors - cell.cancelled for cell in cells]),
        ("Failed", "db-bad", [cell.errors for cell in cells]),
        ("Cancelled", "db-idle", [cell.cancelled for cell in cells]),
    ]
    rows = [[writing.count(values[place]) for _, _, values in parts] for place in range(len(cells))]
    series = [charts.Series(*part) for part in parts]

    def draw(axis: charts.Axis, *, title: str) -> str:
        return charts.bars(axis, series, title=title, write=writing.short, least=LEAST_REQUESTS)

    return "Requests", _legend(series), [name for name, _, _ in parts], rows, draw


def _errors(cells: Sequence[Any]) -> Any:
    rates = [VALUES["error_rate"](cell) for cell in cells]
    rows = [[writing.share(rate), writing.count(cell.errors)] for rate, cell in zip(rates, cells, strict=True)]
    series = [charts.Series("Error rate", "db-bad", rates)]

    def draw(axis: charts.Axis, *, title: str) -> str:
        return charts.bars(axis, series, title=title, write=writing.share, least=LEAST_ERROR_RATE)

    return "Error rate", [], ["Error rate", "Failed"], rows, draw


def _costs(cells: Sequence[Any]) -> Any:
    rows = [[writing.dollars(cell.cost_usd), writing.count(tokens(cell))] for cell in cells]
    series = [charts.Series("Cost", "db-cost", [float(cell.cost_usd) for cell in cells])]

    def draw(axis: charts.Axis, *, title: str) -> str:
        return charts.bars(axis, series, title=title, write=writing.short_dollars)

    return "Cost", [], ["Cost", "Tokens"], rows, draw


def _latencies(cells: Sequence[Any]) -> Any:
    series = [
        charts.Series(name, f"db-{name}", [VALUES[measure](cell) for cell in cells]) for name, measure, _ in PERCENTILES
    ]
    rows = [[writing.milliseconds(each.values[place]) for each in series] for place in range(len(cells))]

    def draw(axis: charts.Axis, *, title: str) -> str:
        return charts.lines(axis, series, title=title, write=writing.short_milliseconds)

    return "Latency", _legend(series), [each.name for each in series], rows, draw


def _legend(series: Sequence[charts.Series]) -> list[tuple[str, str]]:
    return [(each.name, each.kind) for each in series]


def groups(found: Sequence[Group], totals: Any, *, link: Any) -> list[Row]:
    """Rows of the greatest prompts or models; `link` gives the address of one, empty for none."""
    most = max((group.cell.requests for group in found), default=0)
    return [
        {
            "name": group.name or "none",
            "organization": group.organization,
            "link": link(group.id) if group.id and group.name else "",
            "requests": writing.count(group.cell.requests),
            "width": round(100 * group.cell.requests / most, 1),
            "share": writing.share(group.cell.requests / totals.requests if totals.requests else None),
            "error_rate": writing.share(VALUES["error_rate"](group.cell)),
            "p95": writing.milliseconds(VALUES["latency_p95_ms"](group.cell)),
            "cost": writing.dollars(group.cell.cost_usd),
        }
        for group in found
    ]


def budgets(found: Sequence[Any]) -> list[Row]:
    return [
        {
            "budget": budget,
            "spent": writing.dollars(budget.current_spent_usd or 0),
            "reserved": writing.dollars(budget.current_reserved_usd) if budget.current_reserved_usd else "",
            "limit": writing.dollars(budget.limit_usd),
            "share": writing.share(float(budget.gone)),
            "width": min(100.0, round(100 * float(budget.gone), 1)),
            "state": _budget_state(budget),
        }
        for budget in found
    ]


def _budget_state(budget: Any) -> str:
    """Colour of the bar: as long as no share that is told of is reached, it is calm."""
    if budget.gone >= 1:
        return "db-over"
    return "db-near" if any(float(budget.gone) >= share for share in budget.alert_at) else ""


def alerts(found: Sequence[Any], now: datetime) -> list[Row]:
    return [
        {"event": event, "since": duration(now - event.fired_at), "is_muted": event.alert.is_muted(now)}
        for event in found
    ]


def ab_tests(found: Sequence[Any]) -> list[Row]:
    return [
        {
            "test": test,
            "units": writing.count(test.units_seen),
            "planned": writing.count(test.planned_units) if test.planned_units else "",
            "width": min(100, round(100 * test.units_seen / test.planned_units)) if test.planned_units else None,
        }
        for test in found
    ]


def address(request: HttpRequest, model: str, page: str = "change", *, key: Any = None) -> str:
    """Of an admin page, empty for those who may not look at it."""
    app, name = model.split("_", 1)
    if not request.user.has_perm(f"{app}.view_{name}"):
        return ""
    return reverse(f"admin:{model}_{page}", args=[key] if key is not None else [])
