"""Queues of annotation over HTTP: made, filled from every source, claimed, submitted as scores, changed, given back."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationTask
from apps.executions.models import Execution, Score
from apps.users.models import ApiKey, AuditEntry
from tests.conftest import Client, make_person
from tests.evaluations.annotation.annotating import (
    ANNOTATIONS,
    QUEUES,
    TONES,
    annotate,
    claim,
    config_of,
    fill,
    items,
    put,
)
from tests.evaluations.conftest import finish

# Names of cases are the same in every process.
NOBODY = "5f0c1a52-0000-4000-8000-000000000000"
pytestmark = pytest.mark.django_db
GOOD = {"helpful": True, "tone": "kind", "score": 4.5}


def details(response, status=400):
    assert response.status_code == status, response.content
    return response.json()["error"]["details"]


def test_a_queue_is_made_changed_and_deleted(make_queue, editor, admin, viewer, configs):
    made = make_queue(name="Tone", instructions="Be fair.", annotations_per_task=2)
    assert [config["name"] for config in made["score_configs"]] == ["helpful", "tone", "score", "why"]
    assert made["score_configs"][1]["categories"] == TONES
    path = f"{QUEUES}/{made['id']}"
    assert viewer.client.get(path).json()["data"] == made
    assert [row["id"] for row in viewer.client.get(f"{QUEUES}?search=tone").json()["data"]] == [made["id"]]
    changed = editor.client.patch(path, {"score_config_ids": [configs[2].id, configs[0].id], "name": "Rated"})
    assert [config["name"] for config in changed.json()["data"]["score_configs"]] == ["score", "helpful"]
    body = {"name": "Rated", "score_config_ids": [configs[2].id]}
    whole = editor.client.put(path, body).json()["data"]
    assert (whole["instructions"], whole["annotations_per_task"], len(whole["score_configs"])) == ("", 1, 1)
    assert admin.client.delete(path).status_code == 204
    assert viewer.client.get(path).status_code == 404
    assert AnnotationQueue.objects.get().is_deleted
    again = make_queue(name="Rated")
    assert again["id"] != made["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"score_config_ids": []}, "score_config_ids"),
        ({"score_config_ids": "all"}, "score_config_ids"),
        ({"score_config_ids": [NOBODY]}, "score_config_ids.0"),
        ({"score_config_ids": [7]}, "score_config_ids.0"),
        ({"annotations_per_task": 0}, "annotations_per_task"),
        ({"annotations_per_task": 6}, "annotations_per_task"),
        ({"annotations_per_task": True}, "annotations_per_task"),
        ({"assignees": [NOBODY]}, "assignees.0"),
        ({"assignees": {}}, "assignees"),
        ({"is_active": "yes"}, "is_active"),
        ({"instructions": "a\x00b"}, "instructions"),
        ({"owner": 1}, "owner"),
    ],
    ids=str,
)
def test_what_is_no_queue_is_refused_at_its_field(make_queue, editor, configs, body, field):
    made = make_queue()
    whole = {"name": "New", "score_config_ids": [str(configs[0].id)], **body}
    assert field in details(editor.client.post(QUEUES, whole))
    assert field in details(editor.client.patch(f"{QUEUES}/{made['id']}", body))
    assert AnnotationQueue.objects.count() == 1
    assert editor.client.get(f"{QUEUES}/{made['id']}").json()["data"] == made


def test_names_configs_and_assignees_are_those_of_the_organization(make_queue, editor, viewer, outsider, configs):
    make_queue(name="Same")
    body = {"name": "Same", "score_config_ids": [configs[0].id]}
    assert details(editor.client.post(QUEUES, body), 409) == {"name": "Taken."}
    theirs = config_of(outsider.organization)
    configs[1].soft_delete()
    twice = [configs[0].id] * 2
    for ids, field in [([theirs.id], "score_config_ids.0"), ([configs[1].id], "score_config_ids.0"), (twice, "score_config_ids")]:  # fmt: skip  # noqa: E501
        assert field in details(editor.client.post(QUEUES, {"name": "New", "score_config_ids": ids}))
    for person in (outsider, viewer):
        named = {"name": "New", "score_config_ids": [configs[0].id], "assignees": [editor.user.id, person.user.id]}
        assert "assignees.1" in details(editor.client.post(QUEUES, named))
    assert outsider.client.post(QUEUES, body).status_code == 400


def test_tasks_are_snapshots_of_executions(make_queue, editor, execute, prompt):
    queue = make_queue()
    done = execute(prompt)
    told = fill(editor, queue, execution_ids=[done["id"]])
    assert told == {"added": 1, "already_there": 0}
    assert fill(editor, queue, execution_ids=[done["id"]]) == {"added": 0, "already_there": 1}
    row = editor.client.get(f"{QUEUES}/{queue['id']}/tasks").json()["data"][0]
    task = editor.client.get(f"/api/v1/annotation-tasks/{row['id']}").json()["data"]
    assert (task["execution_id"], task["input"], task["output"]) == (done["id"], {"name": "Ada"}, done["output"])
    assert task["context"] == {"messages": done["messages"]}
    assert (task["has_expected"], task["expected"]) == (False, None)
    other = execute(prompt, variables={"name": "Bob"})
    found = fill(editor, queue, execution_filter={"prompt_id": prompt["id"], "min_latency_ms": 0}, limit=1)
    assert found == {"added": 1, "already_there": 0}
    assert {str(one) for one in AnnotationTask.objects.values_list("execution_id", flat=True)} == {
        done["id"],
        other["id"],
    }
    assert fill(editor, queue, execution_filter={"status": "failed"}) == {"added": 0, "already_there": 0}


def test_executions_without_an_output_and_of_others_are_refused(make_queue, editor, outsider, execute, prompt):
    queue, done = make_queue(), execute(prompt)
    path = f"{QUEUES}/{queue['id']}/tasks"
    assert outsider.client.post(path, {"execution_ids": [done["id"]]}).status_code == 404
    Execution.objects.filter(id=done["id"]).update(organization_id=outsider.organization.id)
    refused = details(editor.client.post(path, {"execution_ids": [done["id"], str(uuid4())]}))
    assert set(refused) == {"execution_ids.0", "execution_ids.1"}
    assert fill(editor, queue, execution_filter={})["added"] == 0
    assert AnnotationTask.objects.count() == 0


@pytest.fixture
def evaluated(make_dataset, make_evaluator, make_evaluation):
    """Five items, two subjects, two metrics: one case failed, one metric erred, one case is disputed."""
    version = make_dataset([{"input": n, "expected": n} for n in range(5)])
    metrics = {"exact": make_evaluator(), "judge": make_evaluator()}
    evaluation = make_evaluation(version, [{}, {}], metrics)
    rows = [
        [[True, True], [True, True]],
        [[False, False], [True, True]],
        [[True, False], [True, True]],
        [[True, "INVALID_ANSWER"], [True, True]],
        ["PROVIDER_ERROR", [False, True]],
    ]
    return finish(evaluation, rows)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ({}, [0, 0, 1, 1, 2, 2, 3, 3, 4]),
        ({"filter": {"which": "failed"}}, [1, 2, 4]),
        ({"filter": {"which": "failed", "metric": "judge"}}, [1, 2]),
        ({"filter": {"which": "failed", "subject": 1}}, [4]),
        ({"filter": {"which": "errors"}}, [3]),
        ({"filter": {"which": "errors", "metric": "exact"}}, []),
        ({"filter": {"which": "disagreement"}}, [2, 4]),
        ({"limit": 2}, [0, 0]),
    ],
    ids=str,
)
def test_tasks_are_cases_of_an_evaluation(make_queue, editor, evaluated, body, inputs):
    queue = make_queue()
    told = fill(editor, queue, evaluation_id=str(evaluated.id), **body)
    assert told == {"added": len(inputs), "already_there": 0}
    assert list(AnnotationTask.objects.order_by("position").values_list("input", flat=True)) == inputs
    assert all(task.has_expected and task.context == {} for task in AnnotationTask.objects.all())


def test_a_sample_is_the_same_for_the_same_seed(make_queue, editor, evaluated):
    def sample(seed):
        queue = make_queue()
        fill(editor, queue, evaluation_id=str(evaluated.id), limit=4, seed=seed)
        tasks = AnnotationTask.objects.filter(queue_id=queue["id"]).order_by("position")
        return list(tasks.values_list("source_key", flat=True))

    samples = {seed: sample(seed) for seed in range(5)}
    assert sample(3) == samples[3]
    assert len({tuple(sorted(one)) for one in samples.values()}) > 1
    assert all(len(set(one)) == 4 for one in samples.values())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "execution_ids"),
        ({"items": [], "evaluation_id": NOBODY}, "items"),
        ({"execution_ids": [], "limit": 1}, "execution_ids"),
        ({"execution_ids": [NOBODY], "items": [{"input": 1, "output": 2}]}, "execution_ids"),
        ({"execution_ids": [NOBODY], "limit": 1}, "limit"),
        ({"execution_filter": {}, "seed": 1}, "seed"),
        ({"execution_filter": []}, "execution_filter"),
        ({"execution_filter": {"colour": "red"}}, "execution_filter.colour"),
        ({"execution_filter": {"status": "odd"}}, "execution_filter.status"),
        ({"execution_filter": {"status": ""}}, "execution_filter.status"),
        ({"execution_filter": {"status": ["failed"]}}, "execution_filter.status"),
        ({"execution_filter": {"min_cost_usd": -1}}, "execution_filter.min_cost_usd"),
        ({"evaluation_id": NOBODY}, "evaluation_id"),
        ({"evaluation_id": "x"}, "evaluation_id"),
        ({"evaluation_id": NOBODY, "filter": {"which": "odd"}}, "filter.which"),
        ({"items": [{"input": 1}]}, "items.0.output"),
        ({"items": [{"input": 1, "output": 1, "score": 1}]}, "items.0.score"),
        ({"items": [{"input": 1, "output": 1, "context": []}]}, "items.0.context"),
        ({"items": [[]]}, "items.0"),
        ({"items": [{"input": "x" * 2**20, "output": 1}]}, "items.0"),
        ({"items": [{"input": 1, "output": "a\x00"}]}, "items.0.output"),
        ({"execution_filter": {}, "limit": 0}, "limit"),
        ({"execution_filter": {}, "limit": 10**30}, "limit"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_are_no_tasks_is_refused_at_its_field(make_queue, editor, body, field):
    queue = make_queue()
    assert field in details(editor.client.post(f"{QUEUES}/{queue['id']}/tasks", body))
    assert AnnotationTask.objects.count() == 0


def test_what_others_may_not_read_does_not_become_a_task(make_queue, editor, outsider, evaluated, execute, prompt):
    queue, done = make_queue(), execute(prompt)
    path = f"{QUEUES}/{queue['id']}/tasks"
    theirs = outsider.client.post(QUEUES, {"name": "T", "score_config_ids": [config_of(outsider.organization).id]})
    body = {"evaluation_id": str(evaluated.id)}
    refused = outsider.client.post(f"{QUEUES}/{theirs.json()['data']['id']}/tasks", body)
    assert "evaluation_id" in details(refused)
    key = ApiKey(organization=editor.organization, user=editor.user, name="k", scopes=["evaluations:update"])
    client = Client(HTTP_AUTHORIZATION=f"Bearer {key.give_secret()}")
    key.save()
    for one in ({"execution_ids": [done["id"]]}, {"execution_filter": {}}, body):
        assert client.post(path, one).status_code == 403
    assert client.post(path, {"items": items(1)}).status_code == 200


def test_a_task_is_claimed_and_submitted_as_scores_and_changed(make_queue, editor, execute, prompt, configs):
    queue, done = make_queue(), execute(prompt)
    fill(editor, queue, execution_ids=[done["id"]])
    opened = claim(editor, queue)
    assert (opened["status"], opened["annotator_id"]) == ("open", str(editor.user.id))
    assert (opened["task"]["output"], opened["task"]["open_count"]) == (done["output"], 1)
    assert claim(editor, queue)["id"] == opened["id"], "the open one comes again"
    response = put(editor, opened, {**GOOD, "why": "Because."}, "Well done.")
    said = response.json()["data"]
    assert (said["status"], said["values"]) == ("submitted", {**GOOD, "why": "Because."})
    assert said["task"]["submitted_count"] == 1
    assert said["duration_ms"] >= 0
    assert response["ETag"] == editor.client.get(f"{ANNOTATIONS}/{opened['id']}")["ETag"]
    scores = {score.name: score for score in Score.objects.all()}
    assert {name: score.value for name, score in scores.items()} == {**GOOD, "why": "Because."}
    assert {score.source for score in scores.values()} == {"human"}
    assert {score.comment for score in scores.values()} == {"Well done."}
    assert {score.created_by_id for score in scores.values()} == {editor.user.id}
    again = put(editor, opened, {**GOOD, "helpful": False}).json()["data"]
    assert {score.name: score.value for score in Score.objects.all()} == {**GOOD, "helpful": False}
    assert (again["submitted_at"], again["duration_ms"]) == (said["submitted_at"], said["duration_ms"])
    kept = AuditEntry.objects.for_organization(editor.organization.id).filter(content_type__model="score")
    assert kept.filter(action=AuditEntry.Action.DELETE).count() == 4
    assert claim(editor, queue) is None
    assert AnnotationTask.objects.values_list("taken_count", "submitted_count").get() == (1, 1)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "values.helpful"),
        ({**GOOD, "helpful": None}, "values.helpful"),
        ({**GOOD, "helpful": 1}, "values.helpful"),
        ({**GOOD, "helpful": "true"}, "values.helpful"),
        ({**GOOD, "tone": "odd"}, "values.tone"),
        ({**GOOD, "tone": ["kind"]}, "values.tone"),
        ({**GOOD, "score": 0.5}, "values.score"),
        ({**GOOD, "score": 5.1}, "values.score"),
        ({**GOOD, "score": True}, "values.score"),
        ({**GOOD, "score": "3"}, "values.score"),
        ({**GOOD, "score": 1e300}, "values.score"),
        ({**GOOD, "why": " "}, "values.why"),
        ({**GOOD, "why": 7}, "values.why"),
        ({**GOOD, "why": "x" * 5001}, "values.why"),
        ({**GOOD, "other": 1}, "values.other"),
        ([], "values"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_values_that_do_not_fit_are_refused_at_their_field(make_queue, editor, values, field):
    queue = make_queue()
    fill(editor, queue)
    assert field in details(put(editor, claim(editor, queue), values))
    assert Annotation.objects.get().status == "open"


def test_a_refused_change_of_scores_changes_nothing(make_queue, editor, execute, prompt, configs):
    queue, done = make_queue(configs=configs[:1]), execute(prompt)
    fill(editor, queue, execution_ids=[done["id"]])
    opened = claim(editor, queue)
    put(editor, opened, {"helpful": True})
    before = set(Score.objects.values_list("id", flat=True))
    configs[0].soft_delete()
    config_of(editor.organization, "helpful", "text")
    assert put(editor, opened, {"helpful": False}).status_code == 400
    assert set(Score.objects.values_list("id", flat=True)) == before
    assert Annotation.objects.get().values == {str(configs[0].id): True}


def test_nobody_does_a_task_twice_and_the_least_annotated_comes_first(make_queue, annotators):
    ann, ben, cleo = annotators
    queue = make_queue(ann, annotations_per_task=2)
    fill(ann, queue, 3)
    first = claim(ann, queue)["task"]["position"]
    put(ann, claim(ann, queue), GOOD)
    assert claim(ben, queue)["task"]["position"] == first + 1
    assert claim(ann, queue)["task"]["position"] == first + 2
    assert claim(cleo, queue)["task"]["position"] == first
    while (opened := claim(ben, queue)) is not None:
        put(ben, opened, GOOD)
    assert Annotation.objects.of_person(ben.user.id).count() == 2
    assert max(AnnotationTask.objects.values_list("taken_count", flat=True)) == 2


def test_others_annotations_are_not_touched(make_queue, editor, admin, annotators):
    queue = make_queue()
    fill(editor, queue)
    opened = claim(editor, queue)
    path = f"{ANNOTATIONS}/{opened['id']}"
    for other in (annotators[0], admin):
        assert put(other, opened, GOOD).status_code == 409
        assert other.client.post(f"{path}/skip").status_code == 409
        assert other.client.post(f"{path}/release").status_code == 409
        assert other.client.get(path).status_code == 200
    assert Annotation.objects.get().status == "open"


def test_only_the_assigned_annotate(make_queue, editor, admin, annotators, viewer):
    ann, ben, _ = annotators
    queue = make_queue(assignees=[str(ann.user.id)])
    fill(editor, queue)
    for other in (ben, editor, admin, viewer):
        assert other.client.post(f"{QUEUES}/{queue['id']}/next").status_code == 403
    assert claim(ann, queue)
    editor.client.patch(f"{QUEUES}/{queue['id']}", {"is_active": False})
    assert ann.client.post(f"{QUEUES}/{queue['id']}/next").status_code == 409
    assert put(ann, {"id": Annotation.objects.get().id}, GOOD).status_code == 200, "what was begun may end"


def test_skipped_ones_do_not_come_again_and_released_ones_do(make_queue, editor, annotators):
    queue = make_queue()
    fill(editor, queue, 2)
    first = claim(editor, queue)
    skipped = editor.client.post(f"{ANNOTATIONS}/{first['id']}/skip").json()["data"]
    assert (skipped["status"], skipped["claimed_until"]) == ("skipped", None)
    second = claim(editor, queue)
    assert second["task_id"] != first["task_id"]
    assert editor.client.post(f"{ANNOTATIONS}/{second['id']}/release").status_code == 204
    assert editor.client.get(f"{ANNOTATIONS}/{second['id']}").status_code == 404
    again = claim(editor, queue)
    assert again["task_id"] == second["task_id"]
    put(editor, again, GOOD)
    assert claim(editor, queue) is None
    for action in ("skip", "release"):
        assert editor.client.post(f"{ANNOTATIONS}/{again['id']}/{action}").status_code == 409
    assert claim(annotators[0], queue)["task_id"] == first["task_id"]
    assert put(editor, first, GOOD).status_code == 409, "another has it now"


def expire(**which):
    past = timezone.now() - timedelta(seconds=1)
    Annotation.objects.filter(status="open", **which).update(claimed_until=past)


def test_an_expired_claim_is_given_to_others_and_submitted_only_while_there_is_room(make_queue, editor, annotators):
    ann, ben, _ = annotators
    queue = make_queue()
    fill(editor, queue)
    late = claim(ann, queue)
    assert claim(ben, queue) is None
    expire()
    taken = claim(ben, queue)
    assert taken["task_id"] == late["task_id"]
    assert ann.client.get(f"{ANNOTATIONS}/{late['id']}").json()["data"]["status"] == "expired"
    assert put(ann, late, GOOD).status_code == 409
    ben.client.post(f"{ANNOTATIONS}/{taken['id']}/skip")
    assert put(ann, late, GOOD).status_code == 200, "there is room again"
    assert AnnotationTask.objects.values_list("taken_count", "submitted_count").get() == (1, 1)
    assert put(ben, taken, GOOD).status_code == 409


def test_an_expired_claim_that_nobody_wanted_is_still_ones_own(make_queue, editor):
    queue = make_queue()
    fill(editor, queue)
    opened = claim(editor, queue)
    expire()
    assert claim(editor, queue)["id"] == opened["id"]
    assert Annotation.objects.get().claimed_until > timezone.now() + timedelta(minutes=29)
    expire()
    assert put(editor, opened, GOOD).status_code == 200


def test_progress_tells_how_far_it_is(make_queue, editor, annotators, viewer):
    ann, ben, _ = annotators
    queue = make_queue(annotations_per_task=2)
    fill(editor, queue, 3)
    annotate(ann, queue, GOOD, GOOD, GOOD)
    annotate(ben, queue, GOOD)
    claim(ben, queue)
    told = viewer.client.get(f"{QUEUES}/{queue['id']}/progress").json()["data"]
    assert told["tasks"] == {"total": 3, "complete": 1, "begun": 2}
    assert told["annotations"] == {"open": 1, "submitted": 4, "skipped": 0, "expired": 0}
    counted = [(one["email"], one["submitted"], one["open"]) for one in told["annotators"]]
    assert counted == [("ann@acme.example", 3, 0), ("ben@acme.example", 1, 1)]


def test_annotations_are_listed_and_filtered(make_queue, editor, annotators, viewer):
    queue, other = make_queue(), make_queue()
    fill(editor, queue, 3)
    fill(editor, other, 1)
    annotate(annotators[0], queue, GOOD, GOOD)
    claim(annotators[1], queue)
    claim(annotators[1], other)
    path = f"{QUEUES}/{queue['id']}/annotations"

    def listed(query=""):
        return viewer.client.get(f"{path}{query}").json()["data"]

    assert len(listed()) == 3
    assert {row["status"] for row in listed("?status=submitted")} == {"submitted"}
    assert len(listed(f"?annotator_id={annotators[1].user.id}")) == 1
    assert listed("?status=submitted")[0]["values"] == GOOD
    assert viewer.client.get(f"{path}?status=odd").status_code == 400


def test_another_organizations_are_not_there(make_queue, editor, outsider):
    queue = make_queue()
    fill(editor, queue)
    opened = claim(editor, queue)
    task = opened["task_id"]
    for path in ("", "/tasks", "/annotations", "/progress", "/agreement", "/export"):
        assert outsider.client.get(f"{QUEUES}/{queue['id']}{path}").status_code == 404, path
    for path in (f"{QUEUES}/{queue['id']}/next", f"{ANNOTATIONS}/{opened['id']}/skip"):
        assert outsider.client.post(path).status_code == 404
    assert outsider.client.get(f"/api/v1/annotation-tasks/{task}").status_code == 404
    assert put(outsider, opened, GOOD).status_code == 404


def test_what_is_of_a_deleted_queue_is_gone_with_it(make_queue, editor, admin):
    queue = make_queue()
    fill(editor, queue)
    opened = claim(editor, queue)
    admin.client.delete(f"{QUEUES}/{queue['id']}")
    assert put(editor, opened, GOOD).status_code == 404
    assert editor.client.get(f"/api/v1/annotation-tasks/{opened['task_id']}").status_code == 404


def test_a_member_who_left_keeps_their_word(make_queue, editor, organization, sign_in):
    gone = make_person(organization, "gone@acme.example", "editor", sign_in)
    queue = make_queue()
    fill(editor, queue)
    annotate(gone, queue, GOOD)
    gone.membership.is_active = False
    gone.membership.save()
    gone.user.delete()
    told = editor.client.get(f"{QUEUES}/{queue['id']}/progress").json()["data"]["annotators"]
    assert [(one["email"], one["submitted"]) for one in told] == [(None, 1)]
