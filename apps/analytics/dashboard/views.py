"""The page after the login to the admin: how EverQuant does, for all organizations or one."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from apps.analytics.dashboard import showing, state, traffic, writing
from apps.analytics.dashboard.choosing import Choice, choose
from apps.analytics.dashboard.first_steps import first_steps
from apps.analytics.dashboard.periods import PERIODS
from apps.workflows.admin.showing import duration


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """UNFOLD's DASHBOARD_CALLBACK: the context of the admin's index with what templates/admin/index.html shows.

    Raises Http404 for an organization that the user does not see.
    """
    choice = choose(request)
    shown: dict[str, Any] = {"choice": choice, "periods": PERIODS.values(), "title": "Dashboard"}
    if choice.organization is not None or choice.is_of_all:
        shown |= _figures(request, choice)
    return {**context, **shown}


def _figures(request: HttpRequest, choice: Choice) -> dict[str, Any]:
    now, organization_id = timezone.now(), choice.organization_id
    found = traffic.read_traffic(organization_id, choice.period, now)
    address = partial(showing.address, request)

    def greatest(dimension: str, link: Callable[[Any], str]) -> Any:
        if not found.totals.requests:
            return []
        groups = traffic.read_greatest(organization_id, dimension, choice.period, now)
        return showing.groups(groups, found.totals, link=link)

    return {
        "as_of": now,
        "has_traffic": bool(found.totals.requests),
        "steps": [] if found.totals.requests else first_steps(request, choice),
        "tiles": showing.tiles(found),
        "panels": showing.panels(found.steps, choice.period),
        "prompts": greatest("prompt", lambda key: address("prompts_prompt", key=key)),
        "models": greatest("model", lambda key: address("models_llmmodel", key=key)),
        "alerts": showing.alerts(state.read_alerts(choice), now),
        "alerts_page": address("analytics_alertevent", "changelist"),
        "ab_tests": showing.ab_tests(state.read_ab_tests(choice)),
        "ab_tests_page": address("prompts_abtest", "changelist"),
        "budgets": showing.budgets(state.read_budgets(choice)),
        "budgets_page": address("executions_budget", "changelist"),
        "work": _work(choice, now),
        "jobs_page": address("procrastinate_procrastinatejob", "changelist"),
        "workers_page": address("procrastinate_procrastinateworker", "changelist"),
    }


def _work(choice: Choice, now: Any) -> dict[str, Any]:
    work = state.read_work(choice, now)
    return {
        "waiting": f"{work.waiting:,}{' or more' if work.is_capped else ''}",
        "running": writing.count(work.running),
        "oldest_waits": duration(work.oldest_waits),
        "jobs": [(name, writing.count(count)) for name, count in work.jobs],
        "workers": work.workers,
        "silent_for": duration(work.silent_for),
    }
