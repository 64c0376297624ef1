"""The ledger is written every hour, and what was repriced is seen within a minute."""

from procrastinate.contrib.django import app

from apps.analytics.billing.statements import close_all, revise_marked


@app.periodic(cron="7 * * * *")
@app.task(queueing_lock="analytics.close_ledger", pass_context=False)
def close_ledgers(timestamp: int) -> None:
    close_all()


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="analytics.revise_ledger", pass_context=False)
def revise_ledgers(timestamp: int) -> None:
    revise_marked()
