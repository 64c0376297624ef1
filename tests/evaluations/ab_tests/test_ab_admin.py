"""Operators see what tests come to, and start, stop, promote and roll them back as members do."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from apps.evaluations.models import ABArm, ABArmMeasure, ABIncident, ABPoint
from apps.prompts.models import ABTest, Prompt
from apps.users.models import AuditEntry, User
from tests.evaluations.ab_tests.conftest import SUCCESS

pytestmark = pytest.mark.django_db
PAGES = "/admin/prompts/abtest"
EVIL = "<script>alert(1)</script>"
COST = {"name": "cost", "measure": "cost_usd", "aggregation": "sum", "direction": "decrease"}


@pytest.fixture
def operator(db):
    user = User.objects.create_superuser("op@example.com", "correct horse battery")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def looker(db):
    user = User.objects.create_user("look@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_abtest"))
    client = Client()
    client.force_login(user)
    return client


def fill(test, *successes, units=400, points=30):
    """As if so many of the units of each variant, in order, had been a success, half an hour ago and since."""
    now = timezone.now()
    for variant, good in zip(test.variants.all(), successes, strict=True):
        key = {"test": test, "phase": 1, "variant": variant.name}
        ABArm.objects.create(**key, units=units, exposures=units, squared_exposures=units)
        sums = {"sum_s": good, "sum_ss": good, "sum_sk": good, "sum_m": good, "sum_mm": good}
        ABArmMeasure.objects.create(**key, measure="success", units=units, sum_k=units, sum_kk=units, **sums)
    for number in range(points):
        said = {
            "n": units,
            "value": 0.9,
            "difference": 0.1,
            "low": 0.1 - 1 / (number + 1),
            "high": 0.1 + 1 / (number + 1),
        }
        ABPoint.objects.create(
            test=test,
            taken_at=now - timedelta(minutes=points - number),
            units=units * number // points,
            metrics={"success": {variant.name: said for variant in test.variants.all() if not variant.is_control}},
        )
    return test


def page(client, test):
    return client.get(f"{PAGES}/{test.id}/change/").content.decode()


def act(client, test, name, **body):
    return client.post(f"{PAGES}/{test.id}/{name}/", body, follow=True).content.decode()


def status_of(test):
    return ABTest.objects.get(id=test.id).status


def test_the_page_says_what_may_be_concluded_and_why(operator, prompt, make_ab_test):
    test = fill(make_ab_test(prompt, metrics=[SUCCESS, COST], hypothesis="Warmth helps"), 200, 380)
    ABIncident.objects.create(organization_id=test.organization_id, test=test, kind="guardrail", message="Too slow")
    shown = page(operator, test)
    for said in (
        "candidate-1 is better", "Warmth helps", "Too slow", "<svg", "ab-band", "50\u00a0%", "95\u00a0%",
        "+45\u00a0pp", "better", "error_rate", "chi-square", "planned units", "cost",
        "control 50\u00a0%, candidate-1 50\u00a0%",
    ):  # fmt: skip
        assert said in shown, said


def test_the_list_shows_state_and_traffic(operator, prompt, make_ab_test):
    test = fill(make_ab_test(prompt, exposed_share=0.5, started_at=timezone.now() - timedelta(hours=12)), 200, 380)
    for query in ("", "greet", str(test.id), str(test.organization_id), prompt["slug"]):
        shown = operator.get(f"{PAGES}/", {"q": query}).content.decode()
        for said in ("Greeting", "Running", ">800<", "50\u00a0%", ">1,600<"):
            assert said in shown, (query, said)
    assert "Greeting" not in operator.get(f"{PAGES}/", {"q": "nothing"}).content.decode()


def test_the_rate_is_that_of_the_last_day(operator, prompt, make_ab_test):
    test = fill(make_ab_test(prompt, started_at=timezone.now() - timedelta(days=10)), 200, 380, points=0)
    ABPoint.objects.create(test=test, taken_at=timezone.now() - timedelta(days=2), units=600, metrics={})
    assert ">100<" in operator.get(f"{PAGES}/").content.decode()


def test_pages_ask_as_often_for_many_as_for_one(operator, make_prompt, make_ab_test, django_assert_num_queries):
    for count in (1, 3):
        for _ in range(count):
            test = fill(make_ab_test(make_prompt(), contents=["Dear {{name}},"] * count), *[300] * (count + 1))
        with django_assert_num_queries(4):
            operator.get(f"{PAGES}/")
        with django_assert_num_queries(13):
            page(operator, test)


def test_what_people_wrote_is_escaped(operator, prompt, make_ab_test):
    test = make_ab_test(prompt, name=EVIL, hypothesis=EVIL, stop_reason=EVIL, pause_reason=EVIL, winner=EVIL)
    test.variants.filter(is_control=False).update(name=f"v{EVIL}", parameters={"stop": EVIL})
    test.phases.update(reason=EVIL, weights={EVIL: 1})
    ABTest.objects.filter(id=test.id).update(segments={"include": [{"key": EVIL}]}, paused_at=timezone.now())
    fill(test, 300, 310)
    ABIncident.objects.create(
        organization_id=test.organization_id, test=test, kind="guardrail", variant=EVIL, message=EVIL
    )
    pages = [page(operator, test), operator.get(f"{PAGES}/").content.decode()]
    pages += [operator.get(f"{PAGES}/{test.id}/{name}/").content.decode() for name in ("pause", "promote")]
    pages += [operator.get("/admin/evaluations/abincident/").content.decode()]
    for shown in pages:
        assert EVIL not in shown
        assert "&lt;script&gt;alert(1)" in shown


@pytest.mark.parametrize("status", ["running", "paused", "draft"])
def test_a_test_that_nobody_was_in_has_a_page(operator, prompt, make_ab_test, status):
    times = {"paused_at": timezone.now()} if status == "paused" else {}
    shown = page(operator, make_ab_test(prompt, status=status, **times))
    assert "ab-band" not in shown
    expected = {"draft": "The test has not started", "running": "too few units were seen", "paused": "Resume…"}
    assert expected[status] in shown


def offered(client, test):
    shown = page(client, test)
    return [name for name in ("start", "pause", "resume", "stop", "promote", "rollback") if f'"../{name}/"' in shown]


def test_a_test_is_led_through_its_life(operator, prompt, make_ab_test):
    test = make_ab_test(prompt, status="draft")
    assert offered(operator, test) == ["start"]
    assert "share the prompt" in operator.get(f"{PAGES}/{test.id}/start/").content.decode()
    assert status_of(test) == "draft"
    assert "Greeting: started." in act(operator, test, "start", reason="Shorter is kinder")
    assert "Shorter is kinder" in page(operator, test)
    assert offered(operator, test) == ["pause", "stop"]
    assert "Greeting: paused." in act(operator, test, "pause", reason="Night")
    assert offered(operator, test) == ["resume", "stop"]
    assert "Greeting: resumed." in act(operator, test, "resume", reason="Morning")
    assert "Greeting: stopped." in act(operator, test, "stop", reason="Enough")
    assert offered(operator, test) == ["promote", "rollback"]
    body = {"variant": "candidate-1", "reason": "Well", "force": "on"}
    assert "Greeting: promoted." in act(operator, test, "promote", **body)
    assert Prompt.objects.get(id=prompt["id"]).labels == {"production": 2}
    assert offered(operator, test) == ["rollback"]
    assert "Greeting: rolled back." in act(operator, test, "rollback", reason="Complaints")
    assert Prompt.objects.get(id=prompt["id"]).labels == {"production": 1}
    assert offered(operator, test) == []
    shown = page(operator, test)
    for said in ("Paused: Night", "Resumed: Morning", "Stopped: Enough", "Rolled back: Complaints"):
        assert said in shown
    changes = AuditEntry.objects.get_for_object(test).filter(action=1)
    said = [
        (entry.changes["status"][1], entry.actor.email) for entry in changes.order_by("id") if "status" in entry.changes
    ]
    states = ["running", "paused", "running", "stopped", "promoted", "rolled_back"]
    assert said == [(state, "op@example.com") for state in states]


def test_what_speaks_against_a_promotion_is_said_on_the_form(operator, prompt, make_ab_test):
    test = make_ab_test(prompt)
    act(operator, test, "stop", reason="Enough")
    shown = act(operator, test, "promote", variant="candidate-1", reason="Well")
    assert "Not promoted without force" in shown
    assert "wf-failure" in shown
    assert status_of(test) == "stopped"
    assert Prompt.objects.get(id=prompt["id"]).labels == {"production": 1}


def test_one_that_was_paused_by_itself_is_resumed_only_with_force(operator, prompt, make_ab_test):
    now = timezone.now()
    test = make_ab_test(prompt, status="paused", paused_at=now, pause_reason="error_rate is broken.")
    ABIncident.objects.create(organization_id=test.organization_id, test=test, kind="guardrail", message="Broken")
    assert "paused by itself" in act(operator, test, "resume", reason="Morning")
    assert status_of(test) == "paused"
    act(operator, test, "resume", reason="It was the provider", force="on")
    assert status_of(test) == "running"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("stop", {}),
        ("stop", {"reason": "   "}),
        ("stop", {"reason": "\x00"}),
        ("stop", {"reason": "x" * 501}),
        ("pause", {}),
        ("resume", {"reason": "Not paused"}),
        ("start", {"reason": "Running"}),
        ("promote", {"reason": "Running", "variant": "candidate-1", "force": "on"}),
        ("promote", {"reason": "The control", "variant": "control"}),
        ("promote", {"reason": "Nobody", "variant": "nobody"}),
        ("rollback", {"reason": "Running"}),
    ],
)
def test_what_cannot_be_is_said_on_the_form_and_nothing_is_done(operator, prompt, make_ab_test, name, body):
    test = make_ab_test(prompt)
    answer = operator.post(f"{PAGES}/{test.id}/{name}/", body)
    if name == "start":  # which changes nothing of one that runs
        assert answer.status_code == 302
    else:
        assert answer.status_code == 200
        assert "wf-failure" in answer.content.decode()
    assert status_of(test) == "running"


def test_who_may_only_look_changes_nothing(looker, client, prompt, make_ab_test):
    test = make_ab_test(prompt)
    assert offered(looker, test) == []
    assert "Greeting" in page(looker, test)
    for ask in (looker.get, looker.post):
        assert ask(f"{PAGES}/{test.id}/stop/", {"reason": "x"}).status_code == 403
    assert client.get(f"{PAGES}/{test.id}/change/").status_code == 302
    assert client.post(f"{PAGES}/{test.id}/stop/", {"reason": "x"}).status_code == 302
    assert status_of(test) == "running"


def test_a_form_of_another_site_changes_nothing(operator, prompt, make_ab_test):
    test = make_ab_test(prompt)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(f"{PAGES}/{test.id}/stop/", {"reason": "x"}).status_code == 403
    assert operator.post(f"{PAGES}/{test.id}/change/", {"status": "stopped"}).status_code == 403
    assert status_of(test) == "running"


def test_what_is_not_there_is_not_found(operator, prompt, make_ab_test):
    test = make_ab_test(prompt, status="draft")
    for path in ("odd/change/", f"{prompt['id']}/change/", f"{prompt['id']}/start/", f"{test.id}/explode/"):
        assert operator.get(f"{PAGES}/{path}", follow=True).status_code == 404, path
    test.soft_delete()
    for path in ("change", "start"):
        assert operator.get(f"{PAGES}/{test.id}/{path}/").status_code == 404
    assert "Greeting" not in operator.get(f"{PAGES}/").content.decode()
    assert operator.get(f"{PAGES}/add/").status_code == 403


def test_incidents_and_observations_are_listed(operator):
    for name in ("abincident", "abobservation"):
        assert operator.get(f"/admin/evaluations/{name}/").status_code == 200
