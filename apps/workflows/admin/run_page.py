"""What the page of a run shows: how far it is, its drawing, its approvals, and its steps page by page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone

from apps.users.models import User
from apps.workflows.admin.showing import STATUS_COLOURS, dollars, drawing, duration, pretty, span
from apps.workflows.models import StepStatus, WorkflowRun, WorkflowStep

STEPS_PER_PAGE = 100
MOST_STATES = 20_000
_PLACE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Row:
    """A step as it is shown. `left` and `width` are its share of the run's time in percent."""

    step: WorkflowStep
    anchor: str
    status: StepStatus
    colour: str
    took: str
    left: float
    width: float
    tokens: str
    cost: str


def live_part(run: WorkflowRun, query: Mapping[str, str]) -> dict[str, Any]:
    """Everything that changes while it runs. `query` holds page, place (a path without indexes) and status."""
    now = timezone.now()
    steps = _wanted(run.steps.defer("input", "output"), query)
    paginator = Paginator(steps, STEPS_PER_PAGE)
    page = paginator.get_page(query.get("page"))
    return {
        "run": run,
        "colour": STATUS_COLOURS.get(run.status, ""),
        "facts": _facts(run, now),
        "drawing": drawing(
            run.version.definition,
            _states(run),
            title=f"Run of {run.workflow.slug}, version {run.version_number}: {run.get_status_display()}",
            link=_links(is_on_page=paginator.num_pages == 1 and not _is_filtered(query)),
        ),
        "approvals": [
            {"row": approval, "colour": STATUS_COLOURS.get(approval.status, "")}
            for approval in run.approvals.select_related("decided_by").order_by("id")[:STEPS_PER_PAGE]
        ],
        "rows": _rows(run, page, now),
        "page": page,
        "place": query.get("place", ""),
        "status": query.get("status", ""),
        "statuses": StepStatus.choices,
        "outputs_json": pretty(run.outputs) if run.outputs is not None else "",
    }


def step_of(run: WorkflowRun, step_id: int) -> dict[str, Any]:
    """One attempt with its values; raises Http404 for another run's."""
    step = run.steps.filter(pk=step_id).first()
    if step is None:
        raise Http404
    return {
        "row": step,
        "input": pretty(step.input) if step.input is not None else "",
        "output": pretty(step.output) if step.status == StepStatus.SUCCEEDED or step.output is not None else "",
    }


def retry_choices(run: WorkflowRun) -> list[tuple[str, str]]:
    """Nodes from which it can be done again, failed ones first."""
    definition = run.version.definition
    names = {node["id"]: node.get("name") or node["id"] for node in definition.get("nodes", [])}
    failed = {_top(path) for path, status in _states(run).items() if status == StepStatus.FAILED}
    in_order = sorted(names, key=lambda node_id: node_id not in failed)
    return [(node_id, f"{names[node_id]} (failed)" if node_id in failed else names[node_id]) for node_id in in_order]


def _facts(run: WorkflowRun, now: datetime) -> list[tuple[str, str]]:
    by = run.created_by_id
    asked_by = User.objects.filter(pk=by).values_list("email", flat=True).first() if by else ""
    facts = [
        ("Organization", run.organization.name),
        ("Source", run.get_source_display()),
        ("Asked by", asked_by or ""),
        ("Queued", f"{run.queued_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Took" if run.is_finished else "So far", duration(span(run.created_at, run.finished_at or now))),
        ("At work", f"{run.active_ms:,} ms"),
        ("Steps", f"{run.node_count:,}"),
        ("Tokens", f"{run.input_tokens:,} → {run.output_tokens:,}"),
        ("Cost", dollars(run.cost_usd)),
    ]
    if run.wake_at is not None and not run.is_finished:
        facts.append(("Goes on", f"{run.wake_at:%Y-%m-%d %H:%M:%S} UTC"))
    return [(name, value) for name, value in facts if value]


def _states(run: WorkflowRun) -> dict[str, str]:
    """Status of the newest attempt by path."""
    newest = run.steps.order_by("path", "-attempt").distinct("path")
    found = newest.values_list("path", "status")[:MOST_STATES]
    return {path: _shown(run, status) for path, status in found}


def _shown(run: WorkflowRun, status: str) -> str:
    """What had not ended when the run did was cut off."""
    is_cut_off = run.is_finished and status in {StepStatus.RUNNING, StepStatus.WAITING}
    return StepStatus.INTERRUPTED.value if is_cut_off else status


def _wanted(steps: QuerySet[WorkflowStep], query: Mapping[str, str]) -> QuerySet[WorkflowStep]:
    place = query.get("place", "")
    if _PLACE.fullmatch(place):
        steps = steps.filter(path__regex="^" + r"\.".join(f"{part}(\\[[0-9]+\\])?" for part in place.split(".")) + "$")
    if query.get("status") in StepStatus.values:
        steps = steps.filter(status=query["status"])
    return steps.order_by("id")


def _is_filtered(query: Mapping[str, str]) -> bool:
    return bool(query.get("place") or query.get("status"))


def _links(*, is_on_page: bool) -> Any:
    """To a node's first step on the page, or to a page of all its steps when there are too many for one."""
    return lambda path: f"#step-{path}" if is_on_page else f"?place={path}#steps"


def _rows(run: WorkflowRun, page: Page[WorkflowStep], now: datetime) -> list[Row]:
    seen: set[str] = set()
    rows = []
    for step in page.object_list:
        place = _INDEX.sub("", step.path)
        rows.append(_row(run, step, "" if place in seen else f"step-{place}", run.finished_at or now))
        seen.add(place)
    return rows


def _row(run: WorkflowRun, step: WorkflowStep, anchor: str, until: datetime) -> Row:
    """`until` is the end of the timeline: the run's, or now."""
    whole = max(0.001, (until - run.created_at).total_seconds())
    left = min(99.0, max(0.0, (step.started_at - run.created_at).total_seconds() / whole * 100))
    length = ((step.finished_at or until) - step.started_at).total_seconds() / whole * 100
    status = StepStatus(_shown(run, step.status))
    has_no_time = step.is_reused or status == StepStatus.SKIPPED
    return Row(
        step=step,
        anchor=anchor,
        status=status,
        colour=STATUS_COLOURS.get(status, ""),
        took="" if has_no_time else duration(span(step.started_at, step.finished_at)),
        left=0.0 if step.is_reused else left,
        width=0.0 if step.is_reused else max(1.0, min(100.0 - left, length)),
        tokens=_tokens(step),
        cost=dollars(step.cost_usd),
    )


def _tokens(step: WorkflowStep) -> str:
    if step.input_tokens is None and step.output_tokens is None:
        return ""
    return " → ".join("-" if count is None else f"{count:,}" for count in (step.input_tokens, step.output_tokens))


def _top(path: str) -> str:
    return _INDEX.sub("", path.split(".", 1)[0])
