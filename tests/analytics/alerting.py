"""Alerts and the executions that they look at."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.analytics.alerts.evaluating import evaluate
from apps.analytics.models import Alert
from apps.executions.models import Execution, Score, Source, Status
from apps.organizations.models import Organization
from tests.analytics.making import key_at

ERRORS = {"name": "Errors", "metric": "error_rate", "threshold": 0.1, "window_minutes": 10}


def make_alert(organization: Organization, **given: Any) -> Alert:
    return Alert.objects.create(organization=organization, **{**ERRORS, "min_count": 1, **given})


class Calls:
    """Finished executions at chosen times."""

    def __init__(self, organization: Organization) -> None:
        self.organization, self.made = organization, 0

    def add(self, count: int, *, at: datetime, failed: int = 0, score: float | None = None, **given: Any) -> None:
        rows = [self._row(at, Status.FAILED if place < failed else Status.SUCCEEDED, given) for place in range(count)]
        Execution.objects.bulk_create(rows)
        if score is not None:
            common: dict[str, Any] = {"organization": self.organization, "type": "numeric", "source": "api"}
            Score.objects.bulk_create(
                Score(**common, name="quality", number=score, execution_id=row.id) for row in rows
            )

    def _row(self, at: datetime, status: Status, given: dict[str, Any]) -> Execution:
        self.made += 1
        usual = {"source": Source.API, "latency_ms": 100, "cost_usd": Decimal("0.5"), "price": {}, "input_tokens": 1}
        return Execution(
            id=key_at(at, self.made),
            organization_id=self.organization.id,
            status=status,
            created_at=at,
            started_at=at,
            finished_at=at,
            error_code="PROVIDER_ERROR" if status == Status.FAILED else "",
            **{**usual, **given},
        )


def minutes_ago(minutes: float, now: datetime | None = None) -> datetime:
    return (now or timezone.now()) - timedelta(minutes=minutes)


def look(alert: Alert, now: datetime | None = None) -> Alert:
    """Evaluate it as at this moment, and read it anew."""
    Alert.objects.filter(id=alert.id).update(evaluated_at=None)
    assert evaluate(alert.id, now)
    alert.refresh_from_db()
    return alert
