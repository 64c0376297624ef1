"""A/B tests from their start to their stop: what each state lets happen, and to whom."""

import threading

import pytest
from django.db import IntegrityError, connection, transaction
from rest_framework.test import APIClient

from apps.evaluations.ab_tests import services
from apps.evaluations.models import ABIncident
from apps.executions.models import Execution
from apps.prompts.models import ABPhase, ABTest, ABTestStatus, ABVariant, Prompt
from apps.users.models import AuditEntry
from apps.users.permissions import PERMISSIONS
from apps.users.principal import Principal
from everquant.api.errors import NotFound
from tests.evaluations.ab_tests.conftest import AB_TESTS
from tests.evaluations.ab_tests.drafts import (
    CANDIDATE,
    CONTROL,
    act,
    add_version,
    body_of,
    change,
    create,
    label,
    make_draft,
)
from tests.executions.conftest import PROMPTS

pytestmark = pytest.mark.django_db

ACTIONS = {
    "start": {},
    "pause": {"reason": "Wait."},
    "resume": {},
    "stop": {"reason": "Enough."},
    "promote": {"variant": "formal", "force": True, "reason": "Sure."},
    "rollback": {"reason": "No."},
}
STATES = ("draft", "running", "paused", "stopped", "promoted", "rolled_back")
ALLOWED = {
    ("draft", "start"): "running",
    ("running", "start"): "running",
    ("running", "pause"): "paused",
    ("running", "stop"): "stopped",
    ("paused", "resume"): "running",
    ("paused", "stop"): "stopped",
    ("stopped", "stop"): "stopped",
    ("stopped", "promote"): "promoted",
    ("stopped", "rollback"): "rolled_back",
    ("promoted", "promote"): "promoted",
    ("promoted", "rollback"): "rolled_back",
}
WAY = {
    "draft": (),
    "running": ("start",),
    "paused": ("start", "pause"),
    "stopped": ("start", "stop"),
    "promoted": ("start", "stop", "promote"),
    "rolled_back": ("start", "stop", "rollback"),
}


def operator_of(person):
    return Principal(
        person.user.id, person.organization.id, person.user.email, person.membership.role, frozenset(PERMISSIONS)
    )


def audited(test, **wanted):
    """Changes of the test, oldest first, by who made them."""
    entries = AuditEntry.objects.filter(object_pk=test["id"], action=AuditEntry.Action.UPDATE, **wanted).order_by("id")
    return [(entry.actor_id, entry.changes.get("status")) for entry in entries]


@pytest.mark.parametrize("state", STATES)
def test_what_each_state_lets_happen(state, editor, prompt):
    test = make_draft(editor, prompt)
    for action in WAY[state]:
        act(editor, test, action, **ACTIONS[action])
    for action, body in ACTIONS.items():
        block = transaction.atomic()
        with block:
            after = ALLOWED.get((state, action))
            answer = act(editor, test, action, status=200 if after else 409, **body)
            if after:
                assert answer["status"] == after
            else:
                assert answer["details"]["status"] == state
                assert state.replace("_", " ") in answer["message"]
            assert ABTest.objects.get().status == after or state
            transaction.set_rollback(True)


def test_a_start_splits_the_traffic(editor, prompt, execute):
    test = make_draft(editor, prompt)
    started = act(editor, test, "start", reason="Shorter is kinder.")
    assert started["phases"][0]["reason"] == "Shorter is kinder."
    assert (started["status"], started["phase"], started["started_at"] is not None) == ("running", 1, True)
    assert [(one["number"], one["weights"]) for one in started["phases"]] == [(1, {"control": 0.5, "formal": 0.5})]
    assert audited(test) == [(editor.user.id, ["draft", "running"])]
    seen = [execute(prompt, unit_id=f"u{number}") for number in range(12)]
    assert {one["ab_test"]["variant"] for one in seen} == {"control", "formal"}
    for one in seen:
        assert one["version_number"] == {"control": 1, "formal": 2}[one["ab_test"]["variant"]]
        assert (one["ab_test"]["id"], one["ab_test"]["phase"]) == (test["id"], 1)


def test_a_second_start_changes_nothing(editor, prompt):
    test = make_draft(editor, prompt)
    first = act(editor, test, "start")
    assert act(editor, test, "start") == first
    assert ABPhase.objects.count() == 1
    assert len(audited(test)) == 1


def test_a_start_plans_units_by_what_was_executed(editor, prompt, execute):
    for _ in range(20):
        execute(prompt)
    Execution.objects.filter(id__in=Execution.objects.values("id")[:4]).update(
        status="failed", error_code="SERVER_ERROR"
    )
    test = make_draft(editor, prompt, min_effect=0.1)
    assert test["planned_units"] is None
    started = act(editor, test, "start")
    assert 200 < started["planned_units"] < 5000
    assert sum(one["planned_units"] for one in started["variants"]) == started["planned_units"]


def test_a_plan_that_nobody_could_carry_out_is_stored_all_the_same(editor, prompt, execute):
    for _ in range(2):
        execute(prompt)
    Execution.objects.filter(id=Execution.objects.values("id")[:1]).update(status="failed", error_code="SERVER_ERROR")
    test = make_draft(editor, prompt, min_effect=1e-9)
    assert act(editor, test, "start")["planned_units"] == services.MOST_PLANNED


def test_what_is_deleted_meanwhile_does_not_start(admin, prompt):
    test = make_draft(admin, prompt)
    seen = ABTest.objects.get()
    assert admin.client.delete(f"{AB_TESTS}/{test['id']}").status_code == 204
    with pytest.raises(NotFound), transaction.atomic():
        services.start(test=seen, by=operator_of(admin))
    assert ABTest.objects.get().status == "draft"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"variants": []}, {"variants"}),
        ({"variants": [{**CONTROL, "weight": 1}]}, {"variants"}),
        ({"variants": [{**CONTROL, "is_control": False}, CANDIDATE]}, {"variants"}),
        ({"variants": [CONTROL, {**CANDIDATE, "weight": 0.4}]}, {"variants"}),
        ({"variants": [CONTROL, {**CANDIDATE, "weight": 0.50001}]}, {"variants"}),
        ({"variants": [{**CONTROL, "weight": 0}, {**CANDIDATE, "weight": 1}]}, {"variants"}),
        ({"variants": [{**CONTROL, "weight": 1}, {**CANDIDATE, "weight": 0}]}, {"variants"}),
        ({"variants": [{**CONTROL, "version": 2}, CANDIDATE]}, {"variants.0.version", "label"}),
        (
            {"variants": [CANDIDATE, {**CONTROL, "parameters": {"temperature": 0}}]},
            {"variants.1.parameters"},
        ),
        ({"label": "staging"}, {"label"}),
    ],
)
def test_what_keeps_a_test_from_starting_is_named(editor, prompt, fields, paths):
    test = make_draft(editor, prompt, **fields)
    assert label(editor, prompt, 2, "staging").status_code == 200
    refused = act(editor, test, "start", status=409)
    assert set(refused["details"]) == paths, refused
    stored = ABTest.objects.get()
    assert (stored.status, stored.started_at, ABPhase.objects.count()) == ("draft", None, 0)


@pytest.mark.parametrize("content", ["Hello!", "Hello, {{name}} of {{town}}!"])
def test_variants_take_what_the_control_is_given(content, editor, prompt):
    test = make_draft(editor, prompt)
    add_version(editor, prompt, content=content)
    change(editor, test, variants=[CONTROL, {**CANDIDATE, "version": 3}])
    assert set(act(editor, test, "start", status=409)["details"]) == {"variants.1.version"}
    change(editor, test, variants=[CONTROL, CANDIDATE])
    act(editor, test, "start")


def test_weights_need_only_be_1_up_to_rounding(editor, prompt):
    tenths = [{**CANDIDATE, "name": f"v{number}", "weight": 0.1} for number in range(1, 10)]
    test = make_draft(editor, prompt, variants=[{**CONTROL, "weight": 0.1}, *tenths])
    assert act(editor, test, "start")["status"] == "running"


def test_without_a_label_the_control_is_the_current_version(editor, prompt):
    add_version(editor, prompt)
    test = create(editor, body_of(prompt))
    assert set(act(editor, test, "start", status=409)["details"]) == {"variants.0.version"}
    swapped = [{**CONTROL, "version": 2}, {**CANDIDATE, "version": 1}]
    change(editor, test, variants=swapped)
    assert act(editor, test, "start")["status"] == "running"


def test_models_must_be_usable_and_the_prompt_active(editor, prompt, make_model, model):
    spare = make_model()
    variants = [CONTROL, {**CANDIDATE, "model_id": str(spare.id)}]
    test = make_draft(editor, prompt, variants=variants)
    spare.is_active = False
    spare.save()
    assert "variants.1.model_id" in act(editor, test, "start", status=409)["details"]
    spare.is_active = True
    spare.save()
    Prompt.objects.filter(id=prompt["id"]).update(is_active=False)
    assert set(act(editor, test, "start", status=409)["details"]) == {"prompt_id"}
    Prompt.objects.filter(id=prompt["id"]).update(is_active=True)
    assert act(editor, test, "start")["status"] == "running"


def test_a_prompt_has_one_live_test(editor, prompt):
    first = make_draft(editor, prompt)
    second = create(editor, body_of(prompt, name="Another"))
    act(editor, first, "start")
    refused = act(editor, second, "start", status=409)
    assert set(refused["details"]) == {"prompt_id"}
    act(editor, first, "pause", reason="Wait.")
    act(editor, second, "start", status=409)
    with pytest.raises(IntegrityError, match="prompts_abtest_one_live"), transaction.atomic():
        ABTest.objects.filter(id=second["id"]).update(status="paused", phase=1, started_at="2026-01-01T00:00Z")
    act(editor, first, "stop", reason="Enough.")
    assert act(editor, second, "start")["status"] == "running"


def test_a_protected_label_protects_what_is_served_in_its_place(admin, editor, prompt):
    test = make_draft(editor, prompt)
    assert admin.client.patch("/api/v1/organizations/current", {"protected_labels": ["production"]}).status_code == 200
    assert "protected" in act(editor, test, "start", status=403)["message"]
    assert change(editor, test, exposed_share=0.5)["exposed_share"] == 0.5
    act(admin, test, "start")
    for body in ({"exposed_share": 1.0}, {"weights": {"control": 0, "formal": 1}}):
        change(editor, test, status=403, **body)
    act(editor, test, "pause", reason="Wait.")
    act(editor, test, "resume", status=403)
    act(admin, test, "resume")
    assert act(editor, test, "stop", reason="Enough.")["status"] == "stopped"


def test_a_paused_test_gives_everybody_the_control(editor, prompt, execute):
    test = make_draft(editor, prompt, variants=[{**CONTROL, "weight": 0.01}, {**CANDIDATE, "weight": 0.99}])
    act(editor, test, "start")
    paused = act(editor, test, "pause", reason="Odd answers.")
    assert (paused["status"], paused["pause_reason"]) == ("paused", "Odd answers.")
    label(editor, prompt, 2)
    seen = [execute(prompt, unit_id=f"u{number}") for number in range(5)]
    assert {(one["version_number"], one["ab_test"]) for one in seen} == {(1, None)}
    resumed = act(editor, test, "resume", reason="They were right.")
    assert (resumed["status"], resumed["resume_reason"], resumed["phase"]) == ("running", "They were right.", 1)
    moves = [["draft", "running"], ["running", "paused"], ["paused", "running"]]
    assert audited(test) == [(editor.user.id, move) for move in moves]


def test_who_resumes_after_an_incident_forces_it(editor, prompt):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    stored = ABTest.objects.get()
    incident = ABIncident.objects.create(
        organization_id=stored.organization_id, test=stored, kind="guardrail", variant="formal", message="formal fails."
    )
    services.pause(test=stored, reason=incident.message, by=None, incident=incident)
    refused = act(editor, test, "resume", status=409, reason="Please.")
    assert "formal fails." in refused["message"]
    without = act(editor, test, "resume", status=400, force=True)
    assert set(without["details"]) == {"reason"}
    resumed = act(editor, test, "resume", force=True, reason="Known.")
    assert (resumed["status"], resumed["pause_reason"]) == ("running", "formal fails.")
    act(editor, test, "pause", reason="By hand.")
    assert act(editor, test, "resume")["status"] == "running"


def test_a_stop_freezes_the_results_and_gives_traffic_back(editor, prompt, execute):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    for number in range(6):
        execute(prompt, unit_id=f"u{number}")
    assert set(act(editor, test, "stop", status=400)["details"]) == {"reason"}
    stopped = act(editor, test, "stop", reason="Enough.")
    assert (stopped["status"], stopped["stop_reason"]) == ("stopped", "Enough.")
    assert stopped["phases"][0]["ended_at"] is not None
    frozen = ABTest.objects.get().final_results
    assert (frozen["status"], frozen["units"], frozen["exposures"]) == ("stopped", 6, 6)
    after = execute(prompt, unit_id="u1")
    assert (after["ab_test"], after["version_number"]) == (None, 1)
    assert act(editor, test, "stop", reason="Again.") == stopped
    assert ABTest.objects.get().final_results == frozen
    assert audited(test)[-1] == (editor.user.id, ["running", "stopped"])


@pytest.mark.parametrize("action", ["pause", "stop", "rollback"])
@pytest.mark.parametrize("reason", [None, "", 5, "a" * 501, "a\0"])
def test_reasons_are_text(action, reason, editor, prompt):
    test = make_draft(editor, prompt)
    said = {} if reason is None else {"reason": reason}
    assert set(act(editor, test, action, status=400, **said)["details"]) == {"reason"}


def test_a_prompt_with_a_live_test_stays_where_it_is(admin, prompt):
    test = make_draft(admin, prompt)
    url = f"{PROMPTS}/{prompt['id']}"
    act(admin, test, "start")
    refused = admin.client.delete(url)
    assert refused.status_code == 409
    assert refused.json()["error"]["details"] == {"AB_TEST_LIVE": test["id"]}
    assert admin.client.patch(url, {"slug": "elsewhere"}).status_code == 409
    assert admin.client.patch(url, {"name": "Another name"}).status_code == 200
    act(admin, test, "stop", reason="Enough.")
    assert admin.client.patch(url, {"slug": "elsewhere"}).status_code == 200
    assert admin.client.delete(url).status_code == 204


def test_a_draft_of_a_deleted_prompt_does_not_start(admin, prompt):
    test = make_draft(admin, prompt)
    assert admin.client.delete(f"{PROMPTS}/{prompt['id']}").status_code == 204
    assert act(admin, test, "start", status=409)["details"]["prompt_id"] == "The prompt is deleted."


def test_a_state_is_not_left_by_the_model_either(editor, prompt):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    with pytest.raises(IntegrityError, match="prompts_abtest_stopped_has_time"), transaction.atomic():
        ABTest.objects.filter(id=test["id"]).update(status=ABTestStatus.STOPPED)
    control = ABVariant.objects.get(is_control=True)
    with pytest.raises(IntegrityError, match="prompts_abvariant_one_control"), transaction.atomic():
        ABVariant.objects.exclude(pk=control.pk).update(is_control=True)


def at_once(person, paths):
    """The statuses and bodies of POSTs that begin together, each in its own thread and transaction."""
    barrier, answers = threading.Barrier(len(paths)), []

    def post(path):
        client = APIClient(HTTP_AUTHORIZATION=person.client.defaults["HTTP_AUTHORIZATION"])
        try:
            barrier.wait(30)
            answer = client.post(path[0], path[1])
            answers.append((answer.status_code, answer.json()))
        finally:
            connection.close()

    threads = [threading.Thread(target=post, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return sorted(answers, key=lambda answer: answer[0])


@pytest.mark.django_db(transaction=True)
def test_of_two_tests_that_start_at_once_one_runs(editor, prompt):
    tests = [make_draft(editor, prompt), create(editor, body_of(prompt)), create(editor, body_of(prompt))]
    answers = at_once(editor, [(f"{AB_TESTS}/{test['id']}/start", {}) for test in tests])
    assert [status for status, _ in answers] == [200, 409, 409]
    assert [set(body["error"]["details"]) for _, body in answers[1:]] == [{"prompt_id"}] * 2
    assert sorted(ABTest.objects.values_list("status", flat=True)) == ["draft", "draft", "running"]
    assert ABPhase.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_test_that_is_started_and_stopped_by_several_is_so_once(editor, prompt):
    test = make_draft(editor, prompt)
    answers = at_once(editor, [(f"{AB_TESTS}/{test['id']}/start", {})] * 4)
    assert [status for status, _ in answers] == [200] * 4
    assert (ABPhase.objects.count(), len(audited(test))) == (1, 1)
    answers = at_once(editor, [(f"{AB_TESTS}/{test['id']}/stop", {"reason": f"{n}"}) for n in range(4)])
    assert [status for status, _ in answers] == [200] * 4
    assert len({body["data"]["stop_reason"] for _, body in answers}) == 1
    moves = [status for _, status in audited(test) if status]
    assert moves == [["draft", "running"], ["running", "stopped"]]
