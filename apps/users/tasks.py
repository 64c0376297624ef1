"""Letters, and what goes away with time."""

from uuid import UUID

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.users import mail
from apps.users.models import Invitation, Session
from everquant.api.models import IdempotencyKey

_RETRY = RetryStrategy(max_attempts=6, exponential_wait=4)


@app.task(retry=_RETRY)
def send_invitation(*, invitation_id: str) -> None:
    mail.send_invitation_mail(invitation_id=UUID(invitation_id))


@app.task(retry=_RETRY)
def send_password_reset(*, email: str) -> None:
    mail.send_reset_mail(email=email)


@app.periodic(cron="17 * * * *")
@app.task(queueing_lock="users.purge", pass_context=False)
def purge_expired(timestamp: int) -> None:
    """Expired sign-ins and invitations, and answers kept for an Idempotency-Key."""
    Session.purge()
    Invitation.purge()
    IdempotencyKey.purge()
