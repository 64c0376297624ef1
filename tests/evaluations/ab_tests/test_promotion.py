"""What a stopped test ends with: a label that moves if it is where it was, and back again."""

import pytest
from rest_framework.test import APIClient

from apps.evaluations.models import ABArm, ABArmMeasure
from apps.prompts.models import ABTest, PromptLabelEvent, PromptVersion
from apps.users.models import AuditEntry
from tests.evaluations.ab_tests.conftest import AB_TESTS
from tests.evaluations.ab_tests.drafts import (
    CANDIDATE,
    CONTROL,
    act,
    add_version,
    body_of,
    create,
    label,
    make_draft,
)
from tests.evaluations.ab_tests.test_lifecycle import at_once
from tests.executions.conftest import PROMPTS

pytestmark = pytest.mark.django_db

FORCED = {"variant": "formal", "force": True, "reason": "Sure."}


@pytest.fixture
def stopped(editor, prompt):
    """A stopped test of the prompt, with nothing seen; fields are those of the draft."""

    def make(person=editor, **fields):
        test = make_draft(person, prompt, **fields)
        act(person, test, "start")
        act(person, test, "stop", reason="Enough.")
        return test

    return make


def labelled(person, prompt, name="production"):
    """The version that a label names; None when it is not set."""
    return person.client.get(f"{PROMPTS}/{prompt['id']}").json()["data"]["labels"].get(name)


def see(test, successes):
    """As if so many of a thousand units of each variant had succeeded."""
    for variant, yes in successes.items():
        ABArm.objects.create(
            test_id=test["id"], phase=1, variant=variant, units=1000, exposures=1000, squared_exposures=1000
        )
        ABArmMeasure.objects.create(
            test_id=test["id"],
            phase=1,
            variant=variant,
            measure="success",
            units=1000,
            sum_k=1000,
            sum_kk=1000,
            sum_s=yes,
            sum_ss=yes,
            sum_sk=yes,
            sum_m=yes,
            sum_mm=yes,
        )


def test_a_winner_is_promoted_and_rolled_back(editor, prompt, execute):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    see(test, {"control": 500, "formal": 800})
    act(editor, test, "stop", reason="Enough.")
    promoted = act(editor, test, "promote", variant="formal", reason="Better.")
    assert (promoted["status"], promoted["winner"], promoted["conclusion_reason"]) == ("promoted", "formal", "Better.")
    assert (promoted["replaced_version"], promoted["promoted_version"]) == (1, 2)
    assert promoted["concluded_at"] is not None
    assert labelled(editor, prompt) == execute(prompt)["version_number"] == 2
    event = PromptLabelEvent.objects.order_by("-id")[0]
    assert (event.from_version.version_number, event.to_version.version_number) == (1, 2)
    assert (event.created_by_id, event.reason) == (editor.user.id, "A/B test Greeting: formal promoted. Better.")
    back = act(editor, test, "rollback", reason="Complaints.")
    assert (back["status"], back["conclusion_reason"], back["winner"]) == ("rolled_back", "Complaints.", "formal")
    assert labelled(editor, prompt) == execute(prompt)["version_number"] == 1
    entries = AuditEntry.objects.filter(object_pk=test["id"], action=AuditEntry.Action.UPDATE, actor=editor.user)
    moves = [entry.changes["status"] for entry in entries.order_by("id") if "status" in entry.changes]
    assert moves[-2:] == [["stopped", "promoted"], ["promoted", "rolled_back"]]


def test_what_speaks_against_a_variant_is_told_and_passed_over_by_force_only(editor, prompt):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    see(test, {"control": 800, "formal": 300})
    act(editor, test, "stop", reason="Enough.")
    refused = act(editor, test, "promote", status=409, variant="formal")
    assert set(refused["details"]) == {"reasons.0", "reasons.1"}
    assert "worse than the control" in refused["details"]["reasons.0"]
    assert "guardrail error_rate" in refused["details"]["reasons.1"]
    assert refused["details"]["reasons.0"] in refused["message"]
    assert (labelled(editor, prompt), ABTest.objects.get().status) == (1, "stopped")
    unexplained = act(editor, test, "promote", status=400, variant="formal", force=True)
    assert set(unexplained["details"]) == {"reason"}
    assert act(editor, test, "promote", **FORCED)["status"] == "promoted"
    assert labelled(editor, prompt) == 2


def test_too_few_units_speak_against_any_variant(editor, prompt, stopped):
    test = stopped()
    assert "units" in act(editor, test, "promote", status=409, variant="formal")["details"]["reasons.0"]
    assert labelled(editor, prompt) == 1


def test_a_second_promotion_of_the_same_variant_changes_nothing(editor, prompt, stopped):
    test = stopped(
        variants=[{**CONTROL, "weight": 0.4}, {**CANDIDATE, "weight": 0.3}, {**CANDIDATE, "name": "c", "weight": 0.3}]
    )
    promoted = act(editor, test, "promote", **FORCED)
    events = PromptLabelEvent.objects.count()
    assert act(editor, test, "promote", **FORCED) == promoted
    assert act(editor, test, "promote", status=409, **{**FORCED, "variant": "c"})["details"] == {"status": "promoted"}
    assert PromptLabelEvent.objects.count() == events


def test_a_variant_with_a_model_and_parameters_becomes_a_version(editor, prompt, make_model, model, execute):
    own = make_model("echo", kind="echo")
    add_version(editor, prompt)
    add_version(editor, prompt, content="Ahoy {{name}}", parameters={"top_p": 0.5, "temperature": 1})
    add_version(editor, prompt, content="Something else")
    label(editor, prompt, 1)
    variant = {**CANDIDATE, "version": 3, "model_id": str(own.id), "parameters": {"temperature": 0}}
    test = create(editor, body_of(prompt, variants=[CONTROL, variant]))
    act(editor, test, "start")
    act(editor, test, "stop", reason="Enough.")
    promoted = act(editor, test, "promote", **FORCED)
    assert (promoted["promoted_version"], labelled(editor, prompt)) == (5, 5)
    made = PromptVersion.objects.get(prompt_id=prompt["id"], version_number=5)
    assert (made.content, made.model_id) == ("Ahoy {{name}}", own.id)
    assert made.parameters == {"top_p": 0.5, "temperature": 0}
    assert (made.created_by_id, "formal" in made.message) == (editor.user.id, True)
    assert execute(prompt)["model_id"] == str(own.id)
    act(editor, test, "rollback", reason="No.")
    assert labelled(editor, prompt) == 1


def test_a_label_that_is_elsewhere_stays_there(editor, prompt, stopped):
    variant = {**CANDIDATE, "parameters": {"temperature": 0}}
    test = stopped(variants=[CONTROL, variant])
    label(editor, prompt, 2)
    refused = act(editor, test, "promote", status=409, **FORCED)
    assert refused["details"] == {"expected_version": "The label is at version 2."}
    stored = ABTest.objects.get()
    assert (stored.status, stored.winner, stored.promoted_version_id) == ("stopped", "", None)
    assert PromptVersion.objects.filter(prompt_id=prompt["id"]).count() == 2
    label(editor, prompt, 1)
    act(editor, test, "promote", **FORCED)
    label(editor, prompt, 1)
    refused = act(editor, test, "rollback", status=409, reason="No.")
    assert refused["details"] == {"expected_version": "The label is at version 1."}
    assert ABTest.objects.get().status == "promoted"


def test_a_label_that_was_not_set_is_set_and_taken_away_again(editor, prompt, execute):
    add_version(editor, prompt, content="Newer {{name}}")
    variants = [{**CONTROL, "version": 2}, {**CANDIDATE, "version": 1}]
    test = create(editor, body_of(prompt, variants=variants))
    act(editor, test, "start")
    act(editor, test, "stop", reason="Enough.")
    promoted = act(editor, test, "promote", **FORCED)
    assert (promoted["replaced_version"], promoted["promoted_version"]) == (None, 1)
    assert labelled(editor, prompt) == execute(prompt)["version_number"] == 1
    act(editor, test, "rollback", reason="No.")
    assert labelled(editor, prompt) is None
    assert execute(prompt)["version_number"] == 2


def test_traffic_goes_back_to_the_control_when_a_newer_version_is_current(editor, prompt, execute):
    add_version(editor, prompt)
    variants = [{**CONTROL, "version": 2}, {**CANDIDATE, "version": 1, "parameters": {"temperature": 0}}]
    test = create(editor, body_of(prompt, variants=variants))
    act(editor, test, "start")
    act(editor, test, "stop", reason="Enough.")
    assert act(editor, test, "promote", **FORCED)["promoted_version"] == 3
    act(editor, test, "rollback", reason="No.")
    assert labelled(editor, prompt) == execute(prompt)["version_number"] == 2


def test_a_label_that_was_taken_away_meanwhile_is_not_set(editor, prompt, stopped):
    test = stopped()
    assert editor.client.delete(f"{PROMPTS}/{prompt['id']}/labels/production").status_code == 204
    refused = act(editor, test, "promote", status=409, **FORCED)
    assert refused["details"] == {"expected_version": "The label is not set."}
    assert labelled(editor, prompt) is None


def test_another_label_than_production_is_moved(editor, prompt):
    test = make_draft(editor, prompt, label="winner")
    act(editor, test, "start")
    act(editor, test, "stop", reason="Enough.")
    act(editor, test, "promote", **FORCED)
    assert (labelled(editor, prompt, "winner"), labelled(editor, prompt)) == (2, 1)


def test_what_was_stopped_ends_without_a_move(editor, prompt, stopped):
    test = stopped()
    events = PromptLabelEvent.objects.count()
    ended = act(editor, test, "rollback", reason="The control is fine.")
    assert (ended["status"], ended["winner"], ended["promoted_version"]) == ("rolled_back", "", None)
    assert (PromptLabelEvent.objects.count(), labelled(editor, prompt)) == (events, 1)


@pytest.mark.parametrize("variant", ["control", "unknown", "", "A B", 5, None])
def test_only_a_candidate_is_promoted(variant, editor, prompt, stopped):
    test = stopped()
    assert set(act(editor, test, "promote", status=400, **{**FORCED, "variant": variant})["details"]) == {"variant"}


def test_a_protected_label_is_moved_by_those_who_may(admin, editor, prompt, stopped):
    test = stopped(admin)
    protect = {"protected_labels": ["production"]}
    assert admin.client.patch("/api/v1/organizations/current", protect).status_code == 200
    act(editor, test, "promote", status=403, **FORCED)
    assert labelled(editor, prompt) == 1
    act(admin, test, "promote", **FORCED)
    act(editor, test, "rollback", status=403, reason="No.")
    assert labelled(editor, prompt) == 2
    assert act(admin, test, "rollback", reason="No.")["status"] == "rolled_back"


def test_a_key_needs_the_right_to_change_prompts_too(editor, prompt, stopped):
    test = stopped()
    scopes = ["abtests:execute", "abtests:read"]
    secret = editor.client.post("/api/v1/api-keys", {"name": "k", "scopes": scopes}).json()["data"]["secret"]
    by_key = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")
    for action, body in (("promote", FORCED), ("rollback", {"reason": "No."})):
        answer = by_key.post(f"{AB_TESTS}/{test['id']}/{action}", body)
        assert answer.status_code == 403, answer.content
    assert labelled(editor, prompt) == 1


def test_a_promotion_policy_is_obeyed_whatever_is_forced(admin, prompt, stopped, make_dataset, make_evaluator):
    test = stopped(admin)
    dataset, evaluator = make_dataset(["a"]), make_evaluator("json_valid")
    policy = {
        "prompt": prompt["slug"],
        "label": "production",
        "dataset": str(dataset.dataset_id),
        "evaluators": [{"evaluator": str(evaluator.evaluator_id), "name": "valid"}],
        "rules": [{"type": "absolute", "metric": "valid", "min": 0.5}],
    }
    assert admin.client.post("/api/v1/promotion-policies", policy).status_code == 201
    refused = act(admin, test, "promote", status=409, **FORCED)
    assert set(refused["details"]) == {"GATE_MISSING"}
    assert (labelled(admin, prompt), ABTest.objects.get().status) == (1, "stopped")


def test_nothing_is_promoted_on_a_deleted_prompt(admin, prompt, stopped):
    test = stopped(admin)
    assert admin.client.delete(f"{PROMPTS}/{prompt['id']}").status_code == 204
    assert set(act(admin, test, "promote", status=409, **FORCED)["details"]) == {"prompt_id"}
    assert act(admin, test, "rollback", reason="Gone.")["status"] == "rolled_back"


@pytest.mark.django_db(transaction=True)
def test_of_two_promotions_at_once_one_moves_the_label(editor, prompt, stopped):
    cool = {**CANDIDATE, "name": "cool", "weight": 0.3, "parameters": {"temperature": 0}}
    test = stopped(variants=[{**CONTROL, "weight": 0.4}, {**CANDIDATE, "weight": 0.3}, cool])
    url = f"{AB_TESTS}/{test['id']}/promote"
    answers = at_once(editor, [(url, {**FORCED, "variant": name}) for name in ("formal", "cool")])
    assert [status for status, _ in answers] == [200, 409]
    winner = answers[0][1]["data"]
    assert labelled(editor, prompt) == winner["promoted_version"]
    assert PromptLabelEvent.objects.count() == 2
