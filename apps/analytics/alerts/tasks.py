"""Alerts are evaluated every minute; who is to know gets a mail. Their history is kept for more than a year."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.analytics.alerts import telling
from apps.analytics.alerts.evaluating import evaluate_due, purge_events


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="analytics.evaluate_alerts", pass_context=False)
def evaluate_alerts(timestamp: int) -> None:
    evaluate_due()


@app.periodic(cron="47 3 * * *")
@app.task(queueing_lock="analytics.purge_alert_events", pass_context=False)
def purge_alert_events(timestamp: int) -> None:
    purge_events()


@app.task(name=telling.SEND_TASK, retry=RetryStrategy(max_attempts=telling.MOST_ATTEMPTS - 1, exponential_wait=4))
def send_alert_mail(*, email: str, told: dict[str, str], letter_id: str | None = None) -> None:
    telling.send_alert_mail(email=email, told=told, letter_id=letter_id)
