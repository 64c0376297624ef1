"""A label with a policy moves only to a version that passed its gate and was approved by others."""

import re
import threading
from copy import copy
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from apps.evaluations.models import Dataset, Evaluation, Evaluator, PromotionApproval, PromotionGate
from apps.evaluations.promotion.policies import create_policy, update_policy
from apps.evaluations.runs.wishes import MetricWish
from apps.prompts.labelling import move_label, take_label_away
from apps.prompts.models import Prompt, PromptLabel
from apps.prompts.promotion import PromotionRefused
from apps.users.models import ApiKey, User
from apps.workflows.models import Workflow
from tests.evaluations.conftest import finish
from tests.evaluations.promotion.conftest import ACCURATE, ITEMS, NO_WORSE
from tests.workflows.conftest import blocked_session, definition, template

pytestmark = pytest.mark.django_db
APPS = Path(__file__).parents[3] / "apps"


def refused(answer, *codes):
    assert answer.status_code == 409, answer.content
    assert sorted(answer.json()["error"]["details"]) == sorted(codes)


def test_a_version_gets_there_by_gate_and_approvals(governed, bob, cleo):
    governed.guard(min_approvals=2)
    refused(governed.move(2), "GATE_MISSING", "APPROVALS_MISSING")
    gate = governed.put_through(2)
    assert (gate["verdict"], gate["version"], gate["revision"]) == ("pass", 2, 1)
    refused(governed.move(2), "APPROVALS_MISSING")
    for person in (bob, cleo):
        assert governed.decide(person, 2).status_code == 201
    assert governed.status(2)["may_move"] is True
    assert governed.move(2).status_code == 200
    assert governed.points_at() == 2


def test_labels_without_a_policy_move_freely(governed):
    governed.guard()
    assert governed.author.client.put(f"{governed.path}/labels/staging", {"version": 2}).status_code == 200
    assert governed.author.client.put(f"{governed.path}/labels/staging", {"version": 1}).status_code == 200
    assert governed.author.client.delete(f"{governed.path}/labels/staging").status_code == 204


def test_no_path_gets_around_a_policy(governed, editor, admin):
    governed.guard()
    owner = (Prompt if "prompts" in governed.path else Workflow).objects.get()
    versions = {version.version_number: version for version in owner.versions.all()}
    options = {"owner": owner, "name": "production", "may_move_protected": True}
    for by in (None, admin.user):
        with pytest.raises(PromotionRefused), transaction.atomic():
            move_label(version=versions[2], moved_by=by, **options)
        with pytest.raises(PromotionRefused), transaction.atomic():
            take_label_away(removed_by=by, **options)
    for person in (editor, admin):
        refused(governed.move(2, person), "GATE_MISSING")
        refused(person.client.delete(governed.label_path), "POLICY_IN_FORCE")
        refused(person.client.patch(governed.path, {"slug": "elsewhere"}), "POLICY_IN_FORCE")
    refused(admin.client.delete(governed.path), "POLICY_IN_FORCE")
    assert governed.points_at() == 1


def test_a_version_published_under_a_guarded_label_is_not_published(governed_workflow, editor):
    governed_workflow.guard()
    editor.client.patch(governed_workflow.path, {"definition": definition([template("c")])})
    refused(editor.client.post(f"{governed_workflow.path}/publish", {"labels": ["production"]}), "GATE_MISSING")
    assert Workflow.objects.get().current_version.version_number == 2
    assert governed_workflow.points_at() == 1


def test_what_makes_versions_moves_no_guarded_label(governed_prompt, editor):
    governed_prompt.guard()
    path = governed_prompt.path
    assert editor.client.post(f"{path}/versions/1/restore", {}).status_code == 201
    slug = editor.client.get(path).json()["data"]["slug"]
    exported = editor.client.get("/api/v1/prompts/export").json()["data"]["prompts"]
    document = [{**one, "labels": {"production": 2}} for one in exported if one["slug"] == slug]
    imported = editor.client.post("/api/v1/prompts/import", {"prompts": document, "on_conflict": "version"})
    assert imported.status_code == 200, imported.content
    copy = editor.client.post(f"{path}/duplicate", {"slug": "copy"}).json()["data"]
    assert copy["labels"] == {}
    assert governed_prompt.points_at() == 1


def test_the_admin_writes_no_labels(governed_prompt, governed_workflow):
    governed_prompt.guard()
    operator = Client()
    operator.force_login(User.objects.create_superuser("op@example.com", "correct horse battery"))
    prompt, label = Prompt.objects.get(), PromptLabel.objects.get()
    other = prompt.versions.get(version_number=2)
    inline = {
        "label_set-TOTAL_FORMS": 1, "label_set-INITIAL_FORMS": 1, "label_set-0-id": str(label.id),
        "label_set-0-prompt": str(prompt.id), "label_set-0-version": str(other.id), "label_set-0-DELETE": "on",
        "versions-TOTAL_FORMS": 0, "versions-INITIAL_FORMS": 0,
    }  # fmt: skip
    fields = {"slug": "elsewhere", "name": "New", "description": "", "tags": "", "is_active": "on"}
    answer = operator.post(f"/admin/prompts/prompt/{prompt.id}/change/", {**fields, **inline})
    assert answer.status_code == 302
    renamed = Prompt.objects.get()
    assert (renamed.name, renamed.slug) == ("New", prompt.slug)
    assert PromptLabel.objects.get().version_id == label.version_id
    assert operator.post(f"/admin/prompts/prompt/{prompt.id}/delete/", {"post": "yes"}).status_code == 403
    workflow = Workflow.objects.get()
    assert operator.post(f"/admin/workflows/workflow/{workflow.id}/delete/", {"post": "yes"}).status_code == 403


def test_only_one_module_writes_labels():
    writes = re.compile(r"label_set\.\w*(create|update|delete)|(Prompt|Workflow)Label(\.objects\.\w*create)?\(")
    found = {
        str(path.relative_to(APPS))
        for path in APPS.rglob("*.py")
        if "migrations" not in path.parts and writes.search(path.read_text())
    }
    assert found == {"prompts/labelling.py", "prompts/models/prompts.py", "workflows/models/workflows.py"}


@pytest.mark.parametrize(
    ("shares", "verdict", "code"),
    [({"passing": 10}, "fail", "GATE_FAIL"), ({"passing": 33}, "inconclusive", "GATE_INCONCLUSIVE")],
)
def test_a_gate_that_is_not_green_does_not_open(governed_prompt, shares, verdict, code):
    governed_prompt.guard(rules=[ACCURATE])
    assert governed_prompt.put_through(2, **shares)["verdict"] == verdict
    refused(governed_prompt.move(2), code)


def test_the_newest_verdict_counts(governed_prompt):
    governed_prompt.guard(rules=[ACCURATE])
    governed_prompt.put_through(2)
    governed_prompt.put_through(2, passing=5)
    refused(governed_prompt.move(2), "GATE_FAIL")


def test_an_evaluation_that_went_on_or_is_gone_opens_no_gate(governed_prompt):
    governed_prompt.guard()
    governed_prompt.put_through(2)
    Evaluation.objects.update(finished_at=timezone.now())
    refused(governed_prompt.move(2), "GATE_STALE")
    Evaluation.objects.update(deleted_at=timezone.now())
    refused(governed_prompt.move(2), "GATE_STALE")
    Evaluation.objects.all().delete()
    refused(governed_prompt.move(2), "GATE_MISSING")


def test_a_gate_is_for_one_version_and_one_baseline(governed_prompt):
    governed_prompt.guard()
    governed_prompt.author.client.post(f"{governed_prompt.path}/versions", {"content": "Hey, {{name}}!"})
    governed_prompt.put_through(2)
    governed_prompt.put_through(3)
    assert governed_prompt.move(2).status_code == 200
    refused(governed_prompt.move(3), "BASELINE_MOVED")
    refused(governed_prompt.move(1), "GATE_MISSING")
    assert governed_prompt.points_at() == 2


def test_a_model_that_changed_makes_a_verdict_stale(governed_prompt, make_model, model):
    governed_prompt.guard()
    governed_prompt.put_through(2)
    model.is_default = False
    model.save()
    make_model(is_default=True)
    refused(governed_prompt.move(2), "GATE_STALE")


def test_a_change_of_the_policy_ends_what_was_found(governed, bob):
    governed.guard(min_approvals=1)
    governed.put_through(2)
    governed.decide(bob, 2)
    assert governed.missing(2) == []
    path = governed.policy_path
    same = governed.admin.client.patch(path, {"min_approvals": 1, "is_active": True}).json()["data"]
    assert (same["revision"], governed.missing(2)) == (1, [])
    changed = governed.admin.client.patch(path, {"rules": [ACCURATE]}).json()["data"]
    assert changed["revision"] == 2
    refused(governed.move(2), "GATE_MISSING", "APPROVALS_MISSING")
    back = governed.admin.client.patch(path, {"rules": governed.policy["rules"]}).json()["data"]
    assert back["revision"] == 3
    refused(governed.move(2), "GATE_MISSING", "APPROVALS_MISSING")


def test_a_policy_that_is_off_or_deleted_demands_nothing(governed, admin):
    governed.guard()
    assert admin.client.patch(governed.policy_path, {"is_active": False}).status_code == 200
    assert governed.move(2).status_code == 200
    assert admin.client.patch(governed.policy_path, {"is_active": True}).status_code == 200
    refused(governed.move(1), "GATE_MISSING")
    assert admin.client.delete(governed.policy_path).status_code == 204
    assert governed.move(1).status_code == 200
    assert governed.author.client.delete(governed.label_path).status_code == 204


@pytest.mark.parametrize("rules", [[ACCURATE, NO_WORSE], [ACCURATE]])
def test_a_label_that_points_nowhere_is_set_by_the_rules_that_compare_nothing(governed_prompt, rules):
    governed_prompt.label = "stable"
    governed_prompt.guard(rules=rules)
    refused(governed_prompt.move(2), "GATE_MISSING")
    gate = governed_prompt.put_through(2)
    assert (gate["verdict"], gate["baseline_version_id"]) == ("pass", None)
    assert governed_prompt.move(2).status_code == 200


def test_where_every_rule_compares_the_first_move_has_no_gate(governed_prompt):
    governed_prompt.label = "stable"
    governed_prompt.guard(rules=[NO_WORSE])
    refused(governed_prompt.move(2), "NOTHING_TO_COMPARE")
    assert governed_prompt.gate(governed_prompt.evaluate(2)).status_code == 409


def test_a_policy_without_a_baseline_looks_at_the_candidate_alone(governed_prompt):
    governed_prompt.guard(rules=[ACCURATE], baseline="none")
    evaluation = governed_prompt.evaluate(2)
    assert evaluation.subjects.count() == 1
    assert governed_prompt.gate(evaluation).status_code == 200
    assert governed_prompt.move(2).status_code == 200


def other_evaluation(evaluation, change):
    """Another one as the policy demands it, but for one thing."""
    subjects, metrics = list(evaluation.subjects.all()), list(evaluation.metrics.all())
    evaluation.pk = uuid4()
    evaluation.save(force_insert=True)
    change(evaluation, subjects, metrics)
    for row in (*subjects, *metrics):
        row.pk = (evaluation.pk, row.position)
        row.save(force_insert=True)
    evaluation.save()
    return evaluation


def _other_parameters(evaluation, subjects, metrics):
    subjects[1].parameters = {"temperature": 0}


def _other_split(evaluation, subjects, metrics):
    evaluation.split = "easy"


def _fewer_items(evaluation, subjects, metrics):
    evaluation.item_limit = 5


def _more_repeats(evaluation, subjects, metrics):
    evaluation.repeats = 2


def _other_name(evaluation, subjects, metrics):
    metrics[0].name = "precision"


def _other_baseline(evaluation, subjects, metrics):
    subjects[0].prompt_version_id = uuid4()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_other_parameters, "subjects"), (_other_split, "split"), (_fewer_items, "split"), (_more_repeats, "repeats"),
        (_other_name, "evaluators"), (_other_baseline, "subjects"),
    ],
)  # fmt: skip
def test_a_gate_takes_only_what_the_policy_demands(governed_prompt, change, field):
    governed_prompt.guard()
    other = other_evaluation(governed_prompt.evaluate(2), change)
    answer = governed_prompt.gate(other, version=2)
    assert answer.status_code == 409, answer.content
    assert field in answer.json()["error"]["details"]
    assert not PromotionGate.objects.exists()


def _bad_first(evaluation, subjects, metrics):
    weak = copy(subjects[0])
    weak.kind, weak.name, weak.position, weak.prompt_version_id = "inline", "weak", 0, None
    for subject in subjects:
        subject.position += 1
    subjects.insert(0, weak)


@pytest.mark.parametrize("baseline", ["label", "none"])
def test_pairs_are_judged_against_what_the_label_points_at(governed_prompt, make_evaluator, make_model, baseline):
    """Whoever puts something weak first would win against that."""
    judge = make_evaluator("pairwise_judge", {"model_id": str(make_model().id), "rubric": "Which?"})
    wins = {"evaluators": [{"evaluator": judge.evaluator.slug, "name": "wins"}], "baseline": baseline}
    governed_prompt.guard(**wins, rules=[{"type": "max_missing", "metric": "wins", "max": 0.1}])
    client, current = governed_prompt.author.client, governed_prompt.path.rsplit("/", 1)[1]
    body = {
        "dataset": governed_prompt.policy["dataset_slug"],
        "subjects": [{"prompt": current, "version": number, "name": str(number)} for number in (1, 2)],
        "evaluators": wins["evaluators"],
    }
    answer = client.post("/api/v1/evaluations", body)
    assert answer.status_code == 201, answer.content
    made = Evaluation.objects.get(id=answer.json()["data"]["id"])
    weak = other_evaluation(Evaluation.objects.get(id=made.id), _bad_first)
    finish(weak, [[["NO_BASELINE"], [1.0], [1.0]]] * ITEMS)
    finish(made, [[["NO_BASELINE"], [1.0]]] * ITEMS)
    assert list(governed_prompt.gate(weak, version=2).json()["error"]["details"]) == ["subjects"]
    assert governed_prompt.gate(made).status_code == (200 if baseline == "label" else 409)


def test_an_evaluation_with_another_model_opens_no_gate(governed_prompt, make_model):
    governed_prompt.guard()
    evaluation = governed_prompt.evaluate(2)
    evaluation.subjects.filter(position=1).update(model_id=make_model().id)
    assert governed_prompt.gate(evaluation).status_code == 409


def test_an_evaluation_that_has_not_ended_has_no_verdict(governed_prompt):
    governed_prompt.guard()
    made = governed_prompt.author.client.post(f"{governed_prompt.policy_path}/evaluate", {"version": 2})
    answer = governed_prompt.gate(Evaluation.objects.get(id=made.json()["data"]["id"]))
    assert answer.status_code == 409


def test_approvals_of_the_author_and_of_the_mover_do_not_count(governed, editor, bob, cleo):
    governed.guard(min_approvals=1)
    governed.put_through(2)
    assert governed.decide(editor, 2).status_code == 403
    assert governed.decide(bob, 2).status_code == 201
    refused(governed.move(2, bob), "APPROVALS_MISSING")
    assert governed.missing(2, bob) == ["APPROVALS_MISSING"]
    assert governed.decide(bob, 2).status_code == 201
    assert PromotionApproval.objects.standing().count() == 1
    assert governed.move(2, cleo).status_code == 200


def test_approvals_of_those_who_left_or_may_no_longer_do_not_count(governed_prompt, bob, cleo):
    governed_prompt.guard(min_approvals=1)
    governed_prompt.put_through(2)
    governed_prompt.decide(bob, 2)
    governed_prompt.decide(cleo, 2, "reject")
    assert governed_prompt.missing(2) == ["REJECTED"]
    bob.membership.role = "viewer"
    bob.membership.save()
    cleo.membership.is_active = False
    cleo.membership.save()
    assert governed_prompt.missing(2) == ["APPROVALS_MISSING"]


def test_a_rejection_forbids_until_it_is_withdrawn(governed, bob, cleo):
    governed.guard(min_approvals=1)
    governed.put_through(2)
    governed.decide(bob, 2)
    rejection = governed.decide(cleo, 2, "reject").json()["data"]
    refused(governed.move(2), "REJECTED")
    path = f"{governed.policy_path}/approvals/{rejection['id']}"
    assert bob.client.delete(path).status_code == 403
    assert cleo.client.delete(path).status_code == 204
    assert cleo.client.delete(path).status_code == 409
    assert governed.move(2).status_code == 200
    listed = bob.client.get(f"{governed.policy_path}/approvals").json()["data"]
    assert [(one["decision"], one["email"], one["withdrawn_at"] is None) for one in listed] == [
        ("reject", "cleo@acme.example", False),
        ("approve", "bob@acme.example", True),
    ]


def test_people_approve_and_nobody_else(governed_prompt, viewer, outsider, bob):
    governed_prompt.guard(min_approvals=1)
    assert governed_prompt.decide(viewer, 2).status_code == 403
    assert governed_prompt.decide(outsider, 2).status_code == 404
    key = ApiKey(organization=bob.organization, user=bob.user, name="ci", scopes=["prompts:update"])
    secret = key.give_secret()
    key.save()
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")
    answer = client.post(f"{governed_prompt.policy_path}/approvals", {"version": 2, "decision": "approve"})
    assert answer.status_code == 403
    assert not PromotionApproval.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"version": 9, "decision": "approve"}, "version"),
        ({"version": "2", "decision": "approve"}, "version"),
        ({"version": 2, "decision": "perhaps"}, "decision"),
        ({"version": 2, "decision": "approve", "comment": "a\x00"}, "comment"),
        ({"version": 2, "decision": "approve", "user_id": "x"}, "user_id"),
        ({"decision": "approve"}, "version"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(governed_prompt, bob, body, field):
    governed_prompt.guard()
    answer = bob.client.post(f"{governed_prompt.policy_path}/approvals", body)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == [field]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"workflow": "also"}, "prompt"),
        ({"prompt": "missing/one"}, "prompt"),
        ({"dataset": "missing"}, "dataset"),
        ({"dataset_version": 7}, "dataset_version"),
        ({"evaluators": [{"evaluator": "missing"}]}, "evaluators.0.evaluator"),
        ({"evaluators": []}, "evaluators"),
        ({"rules": [{"type": "absolute"}]}, "rules.0.metric"),
        ({"rules": []}, "rules"),
        ({"baseline": "none"}, "rules.1.type"),
        ({"baseline": 5}, "baseline"),
        ({"min_approvals": 21}, "min_approvals"),
        ({"label": "Not A Label"}, "label"),
        ({"revision": 5}, "revision"),
        ({"rules": [{**ACCURATE, "metric": "speed"}]}, "rules.0.metric"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(governed_prompt, fields, path):
    answer = governed_prompt.make_policy(**{"label": "stable", **fields})
    assert answer.status_code == 400, answer.content
    assert path in answer.json()["error"]["details"]


def test_a_label_has_one_living_policy(governed):
    governed.guard()
    assert governed.make_policy(label="production").status_code == 409
    assert governed.admin.client.delete(governed.policy_path).status_code == 204
    governed.guard()


def test_policies_of_others_are_not_found(governed_prompt, outsider, make_policy):
    governed_prompt.guard()
    for path in ("", "/status?version=2", "/approvals"):
        assert outsider.client.get(f"{governed_prompt.policy_path}{path}").status_code == 404
    for path in ("/evaluate", "/gate"):
        assert outsider.client.post(f"{governed_prompt.policy_path}{path}", {"version": 2}).status_code in {400, 404}
    prompt = outsider.client.post("/api/v1/prompts", {"name": "Own", "content": "x"}).json()["data"]
    assert make_policy(prompt=prompt["id"]).status_code == 400


def test_an_evaluation_of_others_has_no_verdict_here(governed_prompt, outsider, make_dataset, make_evaluation):
    governed_prompt.guard()
    foreign = make_evaluation(make_dataset(["x"], of=outsider.organization), [{}], {})
    answer = governed_prompt.gate(foreign)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == ["evaluation_id"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["made", "switched on"])
def test_a_policy_that_comes_at_the_same_time_is_obeyed(governed_prompt, change):
    """The move waits for whoever makes it, or changes it."""
    policy = None
    if change == "switched on":
        governed_prompt.guard(is_active=False)
        policy = governed_prompt.stored()
    answers = []

    def move():
        try:
            answers.append(governed_prompt.move(2))
        finally:
            connection.close()

    mover = threading.Thread(target=move)
    with transaction.atomic():
        if policy is not None:
            update_policy(policy=policy, is_active=True)
        else:
            create_policy(
                target=Prompt.objects.get(),
                label="production",
                dataset=Dataset.objects.get().slug,
                dataset_version=None,
                metrics=[MetricWish(evaluator=Evaluator.objects.get().slug, name="accuracy")],
                rules=[ACCURATE],
                created_by_id=None,
            )
        mover.start()
        blocked_session()
    mover.join(30)
    refused(answers[0], "GATE_MISSING")
    assert governed_prompt.points_at() == 1
