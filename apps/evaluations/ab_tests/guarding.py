"""What a test does of itself: it pauses where a candidate breaks a guardrail for certain, and everybody is told.

A guardrail pauses a test once for a variant: who resumes it then has seen it.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from procrastinate.contrib.django import app

from apps.evaluations.ab_tests.checking import without_model
from apps.evaluations.ab_tests.services import locked_test, pause
from apps.evaluations.ab_tests.variants import variants_of
from apps.evaluations.models import ABIncident
from apps.organizations.models import Organization
from apps.organizations.webhooks import emit
from apps.prompts.models import REASON_LENGTH, ABTest, ABTestStatus
from apps.users.models import Membership
from apps.users.permissions import Role
from everquant.db import release_connection

logger = structlog.get_logger(__name__)

EVENT = "ab_test.paused"
SEND_TASK = "evaluations.send_ab_test_paused"
_KIND = ABIncident.Kind
_MAIL = """\
The A/B test "{name}" of {organization} on EverQuant was paused: all traffic gets the control.

{message}

Its results are at {url}/results.
"""
_TOLD_BY_MAIL = ("ab_test_id", "organization_id", "name", "message")

Json = dict[str, Any]


def guard(test: ABTest, results: Json) -> ABIncident | None:
    """Pause the test if a guardrail is broken that has not paused it before; the incident, if it did.

    Shares of traffic that are not the weights are noted, once; they stop a promotion, not the test.
    """
    if not results["sample_ratio"]["is_mismatch"] and _first_broken(results, set()) is None:
        return None
    with transaction.atomic():
        locked = locked_test(test)
        if locked.status != ABTestStatus.RUNNING:
            return None
        known = set(ABIncident.objects.filter(test=test).values_list("kind", "variant", "details__guardrail"))
        _note_sample_ratio(locked, results["sample_ratio"], known)
        broken = _first_broken(results, known)
        if broken is None:
            return None
        incident = _incident(locked, *broken)
        _pause(locked, incident)
    return incident


def guard_models(test: ABTest) -> ABIncident | None:
    """Pause the test if a candidate's model cannot be called any more; the incident, if it did.

    Its requests are refused before anything is recorded of them, so that no guardrail sees it. Where the control's
    model cannot be called either, a pause would help nobody.
    """
    failing = without_model(test, variants_of(test))
    if not failing or any(variant.is_control for variant, _ in failing):
        return None
    with transaction.atomic():
        locked = locked_test(test)
        if locked.status != ABTestStatus.RUNNING:
            return None
        told = " ".join(f"{variant.name}: its model cannot be called. {why}" for variant, why in failing)
        incident = ABIncident.objects.create(
            organization_id=test.organization_id,
            test=test,
            kind=_KIND.GUARDRAIL,
            variant=failing[0][0].name,
            message=told[:REASON_LENGTH],
            details={"without_model": {variant.name: why for variant, why in failing}},
        )
        _pause(locked, incident)
    return incident


def _pause(locked: ABTest, incident: ABIncident) -> None:
    pause(test=locked, reason=incident.message, by=None, incident=incident)
    _tell(locked, incident)
    logger.warning("ab_test_paused", ab_test_id=str(locked.id), reason=incident.message)


def _first_broken(results: Json, known: set[tuple[Any, ...]]) -> tuple[Json, Json] | None:
    """The guardrail and the arm, but for those that have paused the test already."""
    for state in results["guardrails"]:
        for arm in state["arms"]:
            if arm["status"] == "broken" and (_KIND.GUARDRAIL, arm["variant"], state["name"]) not in known:
                return state, arm
    return None


def _incident(test: ABTest, state: Json, arm: Json) -> ABIncident:
    value, control_value = (_plain(arm[name]) for name in ("value", "control_value"))
    margin = f"{100 * state['margin']:.4g}% of it" if state["is_relative"] else _plain(state["margin"])
    message = (
        f"{arm['variant']}: {state['name']} is {value}, {control_value} of the control; it may be worse by {margin}."
    )
    return ABIncident.objects.create(
        organization_id=test.organization_id,
        test=test,
        kind=_KIND.GUARDRAIL,
        variant=arm["variant"],
        message=message[:REASON_LENGTH],
        details={"guardrail": state["name"], **{name: state[name] for name in ("measure", "margin", "is_relative")}}
        | {name: arm[name] for name in ("value", "control_value", "low", "high")},
    )


def _plain(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _note_sample_ratio(test: ABTest, found: Json, known: set[tuple[Any, ...]]) -> None:
    if not found["is_mismatch"] or any(kind == _KIND.SAMPLE_RATIO for kind, *_ in known):
        return
    message = f"The variants' units are not shared out by their weights (p = {found['p_value']:.2g})."
    ABIncident.objects.create(
        organization_id=test.organization_id, test=test, kind=_KIND.SAMPLE_RATIO, message=message, details=found
    )
    logger.warning("ab_test_sample_ratio_mismatch", ab_test_id=str(test.id), p_value=found["p_value"])


def _tell(test: ABTest, incident: ABIncident) -> None:
    told = {
        "ab_test_id": test.id,
        "organization_id": test.organization_id,
        "prompt_id": test.prompt_id,
        "name": test.name,
        "variant": incident.variant,
        "message": incident.message,
        "details": incident.details,
        "paused_at": test.paused_at,
    }
    emit(organization_id=test.organization_id, event=EVENT, data=told)
    members = Membership.objects.for_organization(test.organization_id).in_force()
    emails = set(members.filter(role=Role.ADMIN).values_list("user__email", flat=True))
    emails |= set(members.filter(user_id=test.created_by_id).values_list("user__email", flat=True))
    letter = app.configure_task(SEND_TASK)
    for email in sorted(emails):
        letter.defer(email=email, told={name: str(told[name]) for name in _TOLD_BY_MAIL})


def send_mail_of_pause(*, email: str, told: Mapping[str, str]) -> None:
    words = {name: " ".join(value.split()) for name, value in told.items()}
    body = _MAIL.format(
        name=words["name"],
        message=words["message"],
        organization=Organization.objects.values_list("name", flat=True).get(id=words["organization_id"]),
        url=f"{settings.PUBLIC_URL}/api/v1/ab-tests/{words['ab_test_id']}",
    )
    release_connection()
    send_mail(f"A/B test {words['name']} was paused", body, settings.DEFAULT_FROM_EMAIL, [email])
