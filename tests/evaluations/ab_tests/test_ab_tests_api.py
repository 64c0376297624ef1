"""A/B tests as resources: what a draft may say, who sees it, and what may change when."""

import pytest

from apps.prompts.models import ABPhase, ABTest, ABVariant
from apps.users.models import AuditEntry
from tests.evaluations.ab_tests.conftest import AB_TESTS
from tests.evaluations.ab_tests.drafts import (
    CANDIDATE,
    CONTROL,
    act,
    add_version,
    body_of,
    change,
    create,
    make_draft,
)

pytestmark = pytest.mark.django_db

METRIC = {"name": "success", "measure": "success"}
LIMIT = {"measure": "error_rate", "margin": 0.1}


def test_a_draft_is_stored_with_what_follows_from_it(editor, prompt, model):
    add_version(editor, prompt)
    score = {"name": "helpful", "measure": "score:helpful", "aggregation": "ratio"}
    cost = {"name": "cost", "measure": "cost_usd"}
    said = body_of(
        prompt,
        hypothesis="Formal is better.",
        variants=[CONTROL, {**CANDIDATE, "model_id": str(model.id), "parameters": {"temperature": 0}}],
        metrics=[score, cost],
        guardrails=[{"measure": "latency_p95", "margin": 0.2, "is_relative": True}],
        segments={"include": [{"key": "country", "operator": "in", "value": ["de", "at"]}]},
        exposed_share=0.25,
    )
    answer = editor.client.post(AB_TESTS, said)
    assert answer.status_code == 201, answer.content
    data = answer.json()["data"]
    assert answer.headers["Location"] == f"{AB_TESTS}/{data['id']}"
    assert (data["status"], data["phase"], data["phases"], data["planned_units"]) == ("draft", 0, [], None)
    assert (data["primary_metric"], data["label"], data["mode"]) == ("helpful", "production", "fixed")
    assert [one["direction"] for one in data["metrics"]] == ["increase", "decrease"]
    assert data["metrics"][1]["aggregation"] == "mean"
    assert data["guardrails"][0]["name"] == "latency_p95"
    assert data["segments"] == said["segments"]
    assert data["variants"][1]["model_id"] == str(model.id)
    assert data["variants"][1]["parameters"] == {"temperature": 0}
    assert (data["variants"][0]["version"], data["variants"][1]["version"]) == (1, 2)
    read = editor.client.get(f"{AB_TESTS}/{data['id']}")
    assert read.json()["data"] == data
    assert read.headers["ETag"] == answer.headers["ETag"]
    stored = ABTest.objects.get(id=data["id"])
    assert (stored.created_by_id, stored.organization_id) == (editor.user.id, editor.organization.id)
    entry = AuditEntry.objects.get(object_pk=data["id"], action=AuditEntry.Action.CREATE)
    assert (entry.actor_id, entry.organization_id) == (editor.user.id, editor.organization.id)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"surprise": 1}, "surprise"),
        ({"weights": {"control": 1}}, "weights"),
        ({"prompt_id": "018f0000-0000-7000-8000-000000000000"}, "prompt_id"),
        ({"label": "Not a label"}, "label"),
        ({"mode": "greedy"}, "mode"),
        ({"mode": ["fixed"]}, "mode"),
        ({"exposed_share": 1.5}, "exposed_share"),
        ({"exposed_share": "1"}, "exposed_share"),
        ({"exposed_share": True}, "exposed_share"),
        ({"alpha": 0}, "alpha"),
        ({"power": 1}, "power"),
        ({"min_effect": 0}, "min_effect"),
        ({"min_effect": 1e300}, "min_effect"),
        ({"min_effect": -1}, "min_effect"),
        ({"segments": []}, "segments"),
        (
            {"segments": {"include": [{"key": "country", "operator": "like", "value": "d"}]}},
            "segments.include.0.operator",
        ),
        ({"segments": {"include": 5}}, "segments.include"),
        ({"variants": {"control": 1}}, "variants"),
        ({"variants": [5]}, "variants.0"),
        ({"variants": [{"name": "control"}]}, "variants.0.weight"),
        ({"variants": [{**CONTROL, "weight": 2}]}, "variants.0.weight"),
        ({"variants": [{**CONTROL, "weight": "0.5"}]}, "variants.0.weight"),
        ({"variants": [{**CONTROL, "version": 9}]}, "variants.0.version"),
        ({"variants": [{**CONTROL, "version": 10**9}]}, "variants.0.version"),
        ({"variants": [{**CONTROL, "name": "Not a name"}]}, "variants.0.name"),
        ({"variants": [{**CONTROL, "extra": 1}]}, "variants.0.extra"),
        ({"variants": [CONTROL, {**CONTROL, "is_control": False}]}, "variants.1.name"),
        ({"variants": [CONTROL, {**CANDIDATE, "version": 1, "is_control": True}]}, "variants.1.is_control"),
        ({"variants": [{**CONTROL, "model_id": "018f0000-0000-7000-8000-000000000000"}]}, "variants.0.model_id"),
        ({"variants": [{**CONTROL, "parameters": {"temperature": 9}}]}, "variants.0.parameters.temperature"),
        ({"variants": [{**CONTROL, "parameters": []}]}, "variants.0.parameters"),
        ({"variants": [CONTROL] * 11}, "variants"),
        ({"metrics": []}, "metrics"),
        ({"metrics": ["success"]}, "metrics.0"),
        ({"metrics": [METRIC] * 21}, "metrics"),
        ({"metrics": [METRIC, METRIC]}, "metrics.1.name"),
        ({"metrics": [{**METRIC, "measure": "speed"}]}, "metrics.0.measure"),
        ({"metrics": [{**METRIC, "measure": "score:"}]}, "metrics.0.measure"),
        ({"metrics": [{**METRIC, "measure": "custom:" + "a" * 65}]}, "metrics.0.measure"),
        ({"metrics": [{**METRIC, "measure": "success\n"}]}, "metrics.0.measure"),
        ({"metrics": [{**METRIC, "aggregation": "median"}]}, "metrics.0.aggregation"),
        ({"metrics": [{**METRIC, "direction": "up"}]}, "metrics.0.direction"),
        ({"metrics": [METRIC, {**METRIC, "name": "n", "direction": "decrease"}]}, "metrics.1.direction"),
        ({"primary_metric": "other"}, "primary_metric"),
        ({"guardrails": [{**LIMIT, "margin": -1}]}, "guardrails.0.margin"),
        ({"guardrails": [{"measure": "error_rate"}]}, "guardrails.0.margin"),
        ({"guardrails": [{**LIMIT, "measure": "score:unknown"}]}, "guardrails.0.measure"),
        ({"guardrails": [LIMIT, LIMIT]}, "guardrails.1.name"),
    ],
)
def test_what_is_not_valid_is_named_and_nothing_is_stored(editor, prompt, fields, path):
    answer = editor.client.post(AB_TESTS, {**body_of(prompt, variants=[CONTROL]), **fields})
    assert answer.status_code == 400, answer.content
    assert path in answer.json()["error"]["details"], answer.json()
    assert ABTest.objects.count() == ABVariant.objects.count() == 0


def test_what_is_another_organizations_is_not_there(editor, outsider, prompt, make_prompt, make_model):
    test = make_draft(editor, prompt)
    assert outsider.client.get(f"{AB_TESTS}/{test['id']}").status_code == 404
    assert outsider.client.get(AB_TESTS).json()["data"] == []
    for action in ("start", "stop", "pause", "resume", "promote", "rollback"):
        said = {} if action == "start" else {"reason": "Mine."}
        said = {**said, "variant": "formal"} if action == "promote" else said
        act(outsider, test, action, status=404, **said)
    assert "prompt_id" in create(outsider, body_of(prompt, variants=[]), status=400)["details"]
    own = make_prompt(outsider)
    theirs = make_model(of=editor.organization)
    said = body_of(own, variants=[{**CONTROL, "model_id": str(theirs.id)}])
    assert create(outsider, said, status=400)["details"] == {"variants.0.model_id": "No such object."}


def test_lists_are_filtered_and_searched(editor, prompt, make_prompt):
    first = make_draft(editor, prompt, name="Warm greeting")
    second = make_draft(editor, make_prompt(), name="Long answer", mode="bandit")
    act(editor, second, "start")

    def names(query):
        answer = editor.client.get(f"{AB_TESTS}?{query}")
        assert answer.status_code == 200, answer.content
        return [one["name"] for one in answer.json()["data"]]

    assert names("") == ["Long answer", "Warm greeting"]
    assert names("ordering=created_at") == ["Warm greeting", "Long answer"]
    assert names("search=warm") == ["Warm greeting"]
    assert names("status=running") == names("mode=bandit") == ["Long answer"]
    assert names(f"prompt_id={first['prompt_id']}") == ["Warm greeting"]
    assert editor.client.get(f"{AB_TESTS}?status=live").status_code == 400


def test_of_a_draft_everything_changes(editor, prompt, make_prompt):
    test = make_draft(editor, prompt)
    other = make_prompt(editor)
    add_version(editor, other)
    three = [{**CONTROL, "weight": 0.2}, {**CANDIDATE, "weight": 0.3}, {**CANDIDATE, "name": "third"}]
    assert [one["name"] for one in change(editor, test, variants=three)["variants"]] == ["control", "formal", "third"]
    moved = change(editor, test, prompt_id=other["id"], name="Other", mode="bandit", alpha=0.01)
    assert (moved["prompt_id"], moved["name"], moved["mode"], moved["alpha"]) == (other["id"], "Other", "bandit", 0.01)
    versions = ABVariant.objects.filter(test_id=test["id"]).values_list("version__prompt_id", flat=True)
    assert {str(one) for one in versions} == {other["id"]}
    weighed = change(editor, test, weights={"control": 0.5, "formal": 0.25, "third": 0.25})
    assert [one["weight"] for one in weighed["variants"]] == [0.5, 0.25, 0.25]
    assert weighed["phases"] == []
    replaced = editor.client.put(f"{AB_TESTS}/{test['id']}", body_of(other))
    assert replaced.status_code == 200
    data = replaced.json()["data"]
    assert (data["name"], data["mode"], data["alpha"], len(data["variants"])) == ("Greeting", "fixed", 0.05, 2)


def test_a_change_of_metrics_takes_its_primary_one_along(editor, prompt):
    test = make_draft(editor, prompt)
    latency = {"name": "speed", "measure": "latency_ms"}
    assert change(editor, test, 400, metrics=[latency])["details"] == {"primary_metric": "No metric has this name."}
    changed = change(editor, test, metrics=[latency], primary_metric="")
    assert (changed["primary_metric"], changed["metrics"][0]["direction"]) == ("speed", "decrease")


def test_a_move_to_a_prompt_without_the_versions_is_refused(editor, prompt, make_prompt):
    test, other = make_draft(editor, prompt), make_prompt()
    refused = change(editor, test, 400, prompt_id=other["id"])
    assert refused["details"] == {"variants.1.version": "The prompt has no version 2."}
    assert str(ABTest.objects.get().prompt_id) == prompt["id"]


def test_if_match_guards_changes(editor, prompt):
    test = make_draft(editor, prompt)
    url = f"{AB_TESTS}/{test['id']}"
    etag = editor.client.get(url).headers["ETag"]
    changed = editor.client.patch(url, {"name": "Other"}, headers={"If-Match": etag})
    assert changed.status_code == 200
    assert editor.client.patch(url, {"name": "Third"}, headers={"If-Match": etag}).status_code == 412
    assert editor.client.get(url).headers["ETag"] == changed.headers["ETag"]
    assert editor.client.get(url, headers={"If-None-Match": changed.headers["ETag"]}).status_code == 304


def test_what_runs_changes_its_text_its_ramp_and_its_weights(editor, prompt):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    ramped = change(editor, test, name="Other", hypothesis="H", exposed_share=0.5)
    assert (ramped["name"], ramped["exposed_share"], ramped["phase"], len(ramped["phases"])) == ("Other", 0.5, 1, 1)
    assert change(editor, test, weights={"control": 0.5, "formal": 0.5})["phase"] == 1
    weighed = change(editor, test, weights={"control": 0.2, "formal": 0.8}, reason="It looks good.")
    assert (weighed["phase"], [one["weight"] for one in weighed["variants"]]) == (2, [0.2, 0.8])
    first, second = weighed["phases"]
    assert (first["weights"], first["ended_at"] is not None) == ({"control": 0.5, "formal": 0.5}, True)
    assert (second["weights"], second["ended_at"]) == ({"control": 0.2, "formal": 0.8}, None)
    assert (second["reason"], second["created_by"]) == ("It looks good.", str(editor.user.id))
    entry = AuditEntry.objects.get(object_pk=str(ABPhase.objects.get(number=2).id))
    assert entry.actor_id == editor.user.id
    weights = AuditEntry.objects.filter(object_repr__in=["control", "formal"], action=AuditEntry.Action.UPDATE)
    assert sorted(entry.changes["weight"] for entry in weights) == [[0.5, 0.2], [0.5, 0.8]]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"weights": {}}, "weights"),
        ({"weights": 5}, "weights"),
        ({"weights": {"control": 1}}, "weights.formal"),
        ({"weights": {"control": 0.5, "formal": 0.4}}, "weights"),
        ({"weights": {"control": 0.5, "formal": "0.5"}}, "weights.formal"),
        ({"weights": {"control": 1.5, "formal": -0.5}}, "weights.control"),
        ({"weights": {"control": 0.5, "formal": 0.5, "third": 0}}, "weights.third"),
    ],
)
def test_weights_that_are_not_valid(editor, prompt, body, path):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    assert path in change(editor, test, 400, **body)["details"]
    assert ABPhase.objects.count() == 1


def test_what_runs_keeps_what_it_measures(editor, prompt):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    refused = change(editor, test, 409, alpha=0.01, metrics=[METRIC], min_effect=0.05, variants=[CONTROL], name="New")
    assert set(refused["details"]) == {"alpha", "variants"}
    url = f"{AB_TESTS}/{test['id']}"
    again = editor.client.put(url, body_of(prompt, name="New", exposed_share=0.5))
    assert (again.status_code, again.json()["data"]["name"]) == (200, "New")
    assert editor.client.put(url, body_of(prompt, power=0.9)).status_code == 409


def test_a_bandit_sets_its_weights_itself(editor, prompt):
    test = make_draft(editor, prompt, mode="bandit")
    act(editor, test, "start")
    assert "weights" in change(editor, test, 409, weights={"control": 0.2, "formal": 0.8})["details"]


def test_what_has_ended_changes_only_its_text(editor, prompt):
    test = make_draft(editor, prompt)
    act(editor, test, "start")
    act(editor, test, "stop", reason="Enough.")
    assert change(editor, test, hypothesis="Was wrong.")["hypothesis"] == "Was wrong."
    weights = {"control": 0.2, "formal": 0.8}
    assert set(change(editor, test, 409, exposed_share=0.5, weights=weights)["details"]) == {"exposed_share", "weights"}


def test_what_is_deleted_is_out_of_sight_but_not_while_it_is_live(admin, prompt):
    test = make_draft(admin, prompt)
    url = f"{AB_TESTS}/{test['id']}"
    act(admin, test, "start")
    assert admin.client.delete(url).status_code == 409
    act(admin, test, "stop", reason="Enough.")
    assert admin.client.delete(url).status_code == 204
    assert admin.client.get(url).status_code == 404
    assert ABTest.objects.get().is_deleted


def test_an_idempotency_key_makes_one_test(editor, prompt):
    said = body_of(prompt, variants=[])
    answers = [editor.client.post(AB_TESTS, said, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert ABTest.objects.count() == 1
