"""Alerts of budgets: found every minute, and sent to an organization's admins."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.executions.budgets.alerts import SEND_TASK, announce_alerts, send_alert_mail


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="executions.budget_alerts", pass_context=False)
def announce_budget_alerts(timestamp: int) -> None:
    announce_alerts()


@app.task(name=SEND_TASK, retry=RetryStrategy(max_attempts=6, exponential_wait=4))
def send_budget_alert(*, email: str, told: dict[str, str]) -> None:
    send_alert_mail(email=email, told=told)
