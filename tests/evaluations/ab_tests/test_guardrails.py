"""A candidate that breaks a guardrail for certain pauses its test, once, and everybody who is to know is told."""

from datetime import timedelta

import pytest
from django.core import mail
from django.test import TestCase
from django.utils import timezone

from apps.evaluations.ab_tests import looking_after, services
from apps.evaluations.ab_tests.collecting import collect
from apps.evaluations.ab_tests.looking_after import collect_all
from apps.evaluations.models import ABIncident, ABPending, ABPoint
from apps.evaluations.tasks import ab_test_tasks
from apps.executions.models import Execution
from apps.executions.tasks import run_queued
from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from apps.prompts.models import ABTest
from apps.users.models import Membership
from apps.users.permissions import ROLE_PERMISSIONS, Role
from apps.users.principal import Principal
from tests.conftest import make_person
from tests.evaluations.ab_tests.exposing import execution_of, expose

MOST_FAILURES = 12


@pytest.fixture(autouse=True)
def _mails_are_kept(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture
def endpoint(organization):
    made = WebhookEndpoint(
        organization=organization, name="h", url="https://example.com/hook", event_types=["ab_test.paused"]
    )
    made.set_secret("whsec_x")
    made.save()
    return made


@pytest.fixture
def principal(admin):
    return Principal(
        user_id=admin.user.id,
        organization_id=admin.organization.id,
        email=admin.user.email,
        role=Role.ADMIN,
        permissions=frozenset(ROLE_PERMISSIONS[Role.ADMIN]),
    )


def fail(test, count=MOST_FAILURES, variant="candidate-1"):
    for _ in range(count):
        expose(test, variant, status="failed")


def work(test, count=MOST_FAILURES, variant="control"):
    for _ in range(count):
        expose(test, variant)


def state(test):
    return ABTest.objects.get(id=test.id).status


def test_a_candidate_that_always_fails_is_paused_after_a_dozen_calls(prompt, make_ab_test, admin, editor, run_jobs):
    test = make_ab_test(prompt, name="Greeting\u2028{x}", created_by=editor.user)
    work(test)
    fail(test)
    ab_test_tasks.collect_ab_tests(0)
    test.refresh_from_db()
    incident = ABIncident.objects.get(test=test)
    assert (test.status, test.paused_at, test.pause_reason) == ("paused", incident.created_at, incident.message)
    assert (incident.kind, incident.variant) == ("guardrail", "candidate-1")
    assert incident.message == "candidate-1: error_rate is 1, 0 of the control; it may be worse by 0.1."
    assert incident.details["guardrail"] == "error_rate"
    assert set(run_jobs()) >= {"send_ab_test_paused"}
    assert sorted(letter.to for letter in mail.outbox) == [[admin.user.email], [editor.user.email]]
    assert mail.outbox[0].subject == "A/B test Greeting {x} was paused"
    assert incident.message in mail.outbox[0].body


def test_the_margin_is_told_as_it_is(prompt, make_ab_test):
    rail = {"name": "errors", "measure": "error_rate", "margin": 0.005, "is_relative": True}
    test = make_ab_test(prompt, guardrails=[rail])
    work(test)
    fail(test)
    collect_all()
    assert ABIncident.objects.get(test=test).message.endswith("it may be worse by 0.5% of it.")


def test_webhooks_are_told_of_a_pause(prompt, make_ab_test, endpoint):
    test = make_ab_test(prompt)
    work(test)
    fail(test)
    collect_all()
    told = WebhookDelivery.objects.get(endpoint=endpoint).payload
    assert (told["type"], told["data"]["ab_test_id"]) == ("ab_test.paused", str(test.id))
    assert told["data"]["details"]["value"] == 1


def test_traffic_gets_the_control_from_then_on(prompt, make_ab_test, execute):
    test = make_ab_test(prompt, weights=[0, 1])
    assert execute(prompt, unit_id="ada")["ab_test"]["variant"] == "candidate-1"
    work(test)
    fail(test)
    with TestCase.captureOnCommitCallbacks(execute=True):
        collect_all()
    answer = execute(prompt, unit_id="ada")
    assert (answer["ab_test"], answer["version_number"]) == (None, 1)


def test_a_few_failures_pause_nothing(prompt, make_ab_test):
    test = make_ab_test(prompt)
    work(test, 30)
    work(test, 27, "candidate-1")
    fail(test, 3)
    collect_all()
    assert (state(test), ABIncident.objects.count()) == ("running", 0)


def test_a_test_of_which_nothing_is_new_is_left_alone_for_a_while(prompt, make_ab_test, django_assert_num_queries):
    test = make_ab_test(prompt)
    expose(test)
    collect_all()
    with django_assert_num_queries(2):
        assert collect_all() == 0
    expose(test)
    assert collect_all() == 1


def test_who_died_before_it_acted_leaves_it_to_the_next_process(prompt, make_ab_test):
    test = make_ab_test(prompt)
    work(test)
    fail(test)
    assert collect(test) == 2 * MOST_FAILURES
    collect_all()
    assert state(test) == "paused"


def test_a_worker_that_is_full_of_calls_looks_after_tests_next():
    assert ab_test_tasks.collect_ab_tests.configure().job.priority > run_queued.configure().job.priority


def test_a_control_that_fails_as_well_pauses_nothing(prompt, make_ab_test):
    test = make_ab_test(prompt)
    fail(test, variant="control")
    fail(test)
    collect_all()
    assert state(test) == "running"


def test_one_breach_pauses_once_also_when_it_is_forced_on(prompt, make_ab_test, principal):
    test = make_ab_test(prompt)
    work(test)
    fail(test)
    collect_all()
    services.resume(test=test, by=principal, reason="It was the provider.", force=True)
    fail(test, 2)
    collect_all()
    assert (state(test), ABIncident.objects.count()) == ("running", 1)


def test_another_guardrail_pauses_again(prompt, make_ab_test, principal):
    slow = {"name": "slow", "measure": "latency_ms", "margin": 100, "is_relative": False}
    test = make_ab_test(prompt, guardrails=[slow], planned_units=400)
    work(test)
    fail(test)
    collect_all()
    services.resume(test=test, by=principal, reason="It was the provider.", force=True)
    rows = [execution_of(test, latency_ms=100 + number % 7) for number in range(200)]
    rows += [execution_of(test, "candidate-1", latency_ms=900 + number % 7) for number in range(200)]
    Execution.objects.bulk_create(rows)
    collect_all()
    found = ABIncident.objects.order_by("-id")[0]
    assert (state(test), found.details["guardrail"], ABIncident.objects.count()) == ("paused", "slow", 2)


def test_a_biased_split_is_noted_once_and_pauses_nothing(prompt, make_ab_test):
    test = make_ab_test(prompt)
    Execution.objects.bulk_create([execution_of(test, variant) for variant in ["control"] * 90 + ["candidate-1"] * 30])
    collect_all()
    expose(test)
    collect_all()
    incident = ABIncident.objects.get(test=test)
    assert (incident.kind, state(test)) == ("sample_ratio", "running")


def test_a_test_that_fails_holds_up_no_other(prompt, make_prompt, make_ab_test, caplog):
    broken, other = make_ab_test(prompt), make_ab_test(make_prompt())
    for test in (broken, other):
        expose(test)
    ABTest.objects.filter(id=broken.id).update(metrics=[{"name": "no measure"}])
    assert collect_all() == 1
    assert ABPending.objects.get().test_id == broken.id


def test_what_waits_for_a_test_that_is_gone_is_forgotten(prompt, make_ab_test):
    test = make_ab_test(prompt)
    expose(test)
    ABPending.objects.update(test_id="01890000-0000-7000-8000-000000000000")
    collect_all()
    assert ABPending.objects.count() == 0


def test_former_members_are_told_nothing(prompt, make_ab_test, organization, sign_in, run_jobs, admin):
    left = make_person(organization, "left@acme.example", Role.EDITOR, sign_in)
    test = make_ab_test(prompt, created_by=left.user)
    Membership.objects.filter(user=left.user).delete()
    work(test)
    fail(test)
    collect_all()
    run_jobs()
    assert [letter.to for letter in mail.outbox] == [[admin.user.email]]


def test_points_are_a_minute_apart_and_fewer_later(prompt, make_ab_test):
    test = make_ab_test(prompt)
    assert looking_after.look_after(test.id) == 0
    assert ABPoint.objects.count() == 0
    for _ in range(2):
        expose(test)
        collect_all()
    assert ABPoint.objects.get().units == 1
    ABPoint.objects.update(taken_at=timezone.now() - timedelta(seconds=61))
    assert collect_all() == 0
    assert ABPoint.objects.count() == 1
    collect_all(idle_s=0)
    assert [point.units for point in ABPoint.objects.all()] == [1, 2]
    point = ABPoint.objects.last()
    assert set(point.metrics["success"]) == {"control", "candidate-1"}
    assert point.metrics["success"]["control"]["n"] == 2


@pytest.mark.parametrize(("minutes", "is_due"), [(99, False), (101, True)])
def test_after_a_week_points_are_a_hundredth_of_the_time_apart(prompt, make_ab_test, minutes, is_due):
    test = make_ab_test(prompt, started_at=timezone.now() - timedelta(minutes=10_000))
    expose(test)
    collect_all()
    ABPoint.objects.update(taken_at=timezone.now() - timedelta(minutes=minutes))
    expose(test)
    collect_all()
    assert ABPoint.objects.count() == 1 + is_due
