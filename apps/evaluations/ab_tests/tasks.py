"""A/B tests are looked after every ten seconds; who is to know of a pause gets a mail."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.evaluations.ab_tests.guarding import SEND_TASK, send_mail_of_pause
from apps.evaluations.ab_tests.looking_after import collect_all

BEFORE_CALLS = 10
"""A worker whose places are all taken by slow calls takes this next, or a failing variant would go on for longer."""


@app.periodic(cron="* * * * * */10")
@app.task(queueing_lock="evaluations.collect_ab_tests", priority=BEFORE_CALLS, pass_context=False)
def collect_ab_tests(timestamp: int) -> None:
    collect_all()


@app.task(name=SEND_TASK, retry=RetryStrategy(max_attempts=6, exponential_wait=4))
def send_ab_test_paused(*, email: str, told: dict[str, str]) -> None:
    send_mail_of_pause(email=email, told=told)
