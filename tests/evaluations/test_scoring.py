"""Evaluators, their versions and trials over HTTP."""

from decimal import Decimal

import pytest
from rest_framework.test import APIClient

from apps.evaluations.evaluators import DETERMINISTIC
from apps.evaluations.models import Evaluator, EvaluatorVersion
from apps.executions.models import Execution, Source
from apps.models.models import LLMModel
from apps.users.models import ApiKey, AuditEntry
from apps.workflows.evaluating import Evaluator as Kind
from apps.workflows.evaluating import Score, evaluators
from tests.evaluations.conftest import EVALUATORS

pytestmark = pytest.mark.django_db
KINDS, TRIALS, CONFIGS = f"{EVALUATORS}/kinds", f"{EVALUATORS}/test", "/api/v1/score-configs"


@pytest.fixture
def create(editor):
    def make(path=EVALUATORS, client=None, **fields):
        said = {"name": "Mentions", "kind": "contains", "config": {"texts": ["refund"]}} if path == EVALUATORS else {}
        response = (client or editor.client).post(path, {**said, **fields})
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make


def failed(response, status):
    assert response.status_code == status, response.content
    return response.json()["error"]["details"]


def test_every_kind_is_described(viewer):
    kinds = {kind["kind"]: kind for kind in viewer.client.get(KINDS).json()["data"]["kinds"]}
    assert set(kinds) == set(evaluators())
    assert {kind.kind for kind in DETERMINISTIC} <= set(kinds)
    assert all(kind["description"] and kind["config_schema"]["type"] == "object" for kind in kinds.values())
    assert kinds["latency"]["direction"] == "lower"
    assert kinds["latency"]["measures_call"] is True
    assert kinds["levenshtein"]["config_schema"]["properties"]["trim"]["default"] is True
    assert kinds["exact_match"]["needs_expected"] is True


def test_an_evaluator_is_kept_as_it_was_given(editor, organization):
    body = {
        "slug": "mentions/refund",
        "name": "Mentions a refund",
        "description": "The word, in any case.",
        "kind": "contains",
        "config": {"texts": ["refund"], "ignore_case": True},
    }
    response = editor.client.post(EVALUATORS, {**body, "message": "First"})
    data = response.json()["data"]
    assert (response.status_code, response.headers["Location"]) == (201, f"{EVALUATORS}/{data['id']}")
    assert data == {
        **body,
        "id": data["id"],
        "organization_id": str(organization.id),
        "version": 1,
        "score_type": "numeric",
        "direction": "higher",
        "score_config_id": None,
        "created_by": str(editor.user.id),
        "created_at": data["created_at"],
        "updated_at": data["updated_at"],
    }
    read = editor.client.get(f"{EVALUATORS}/{data['id']}")
    assert (read.json()["data"], read.headers["ETag"]) == (data, response.headers["ETag"])
    version = EvaluatorVersion.objects.get()
    assert (version.message, version.kind_version, version.created_by) == ("First", 1, editor.user)
    assert AuditEntry.objects.for_organization(organization.id).filter(object_pk=data["id"]).count() == 1


def test_a_configuration_makes_a_version_and_a_name_does_not(editor, create):
    made = create()
    path = f"{EVALUATORS}/{made['id']}"
    renamed = editor.client.patch(path, {"name": "Renamed", "config": {"texts": ["refund"]}}).json()["data"]
    assert (renamed["name"], renamed["version"], renamed["slug"]) == ("Renamed", 1, "mentions")
    changed = editor.client.patch(path, {"config": {"texts": ["refunds"]}, "message": "Plural"}).json()["data"]
    assert (changed["version"], changed["config"]) == (2, {"texts": ["refunds"]})
    whole = editor.client.put(path, {"name": "Whole", "kind": "contains"}).json()["data"]
    assert (whole["version"], whole["config"], whole["slug"]) == (3, {}, "mentions")
    listed = editor.client.get(f"{path}/versions").json()["data"]
    assert [(one["version_number"], one["message"]) for one in listed] == [(3, ""), (2, "Plural"), (1, "")]
    assert editor.client.get(f"{path}/versions/1").json()["data"]["config"] == {"texts": ["refund"]}
    assert editor.client.get(f"{path}/versions/4").status_code == 404


def test_a_write_is_guarded_by_the_etag_of_a_read(editor, create):
    path = f"{EVALUATORS}/{create()['id']}"
    tag = editor.client.get(path).headers["ETag"]
    assert editor.client.patch(path, {"name": "A"}, headers={"If-Match": tag}).status_code == 200
    assert editor.client.patch(path, {"name": "B"}, headers={"If-Match": tag}).status_code == 412


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"slug": "No Slug"}, "slug"),
        ({"kind": "magic"}, "kind"),
        ({"kind": ["contains"]}, "kind"),
        ({"config": []}, "config"),
        ({"config": {"texts": []}}, "config.texts"),
        ({"config": {"texts": [1]}}, "config.texts.0"),
        ({"config": {"surprise": 1}}, "config"),
        ({"config": {"texts": ["x"], "mode": "none", "pad": "x" * 65_536}}, "config"),
        ({"kind": "regex", "config": {"pattern": "("}}, "config.pattern"),
        ({"kind": "json_schema", "config": {"schema": {"properties": {"a": {"type": 7}}}}},
         "config.schema.properties.a.type"),
        ({"score_config_id": "0199d1c0-0000-7000-8000-000000000000"}, "score_config_id"),
        ({"score_config_id": 7}, "score_config_id"),
        ({"version": 2}, "version"),
        ({"message": "x" * 501}, "message"),
    ],
)  # fmt: skip
def test_bad_evaluators_are_refused_by_field(editor, create, body, field):
    details = failed(editor.client.post(EVALUATORS, {"name": "New", "kind": "contains", **body}), 400)
    assert list(details) == [field]
    if "kind" not in body:
        path = f"{EVALUATORS}/{create()['id']}"
        assert list(failed(editor.client.patch(path, body), 400)) == [field]
    assert EvaluatorVersion.objects.count() == ("kind" not in body)


def test_the_kind_is_fixed_and_slugs_are_unique_among_the_living(editor, admin, create):
    made, other = create(), create(slug="other", name="Other")
    path = f"{EVALUATORS}/{made['id']}"
    assert "kind" in failed(editor.client.patch(path, {"kind": "regex"}), 400)
    assert "slug" in failed(editor.client.post(EVALUATORS, {"name": "Mentions", "kind": "json_valid"}), 409)
    assert "slug" in failed(editor.client.patch(path, {"slug": "other", "config": {"texts": ["x"]}}), 409)
    assert EvaluatorVersion.objects.filter(evaluator_id=made["id"]).count() == 1
    assert admin.client.delete(f"{EVALUATORS}/{other['id']}").status_code == 204
    assert editor.client.get(f"{EVALUATORS}/{other['id']}").status_code == 404
    assert editor.client.patch(path, {"slug": "other"}).status_code == 200
    assert Evaluator.objects.get(id=other["id"]).is_deleted


def test_evaluators_are_found(editor, create):
    create(name="Apples", kind="contains")
    create(name="Pears", kind="json_valid", config={})
    for query, names in [
        ("", ["Pears", "Apples"]),
        ("?kind=json_valid", ["Pears"]),
        ("?slug=apples", ["Apples"]),
        ("?search=appl", ["Apples"]),
        ("?ordering=name", ["Apples", "Pears"]),
    ]:
        assert [one["name"] for one in editor.client.get(f"{EVALUATORS}{query}").json()["data"]] == names
    assert "kinds" in failed(editor.client.get(f"{EVALUATORS}?kinds=x"), 400)


def test_a_trial_answers_a_score_or_an_error(editor, create):
    path = f"{EVALUATORS}/{create()['id']}/test"

    def trial(**body):
        response = editor.client.post(path, body)
        assert response.status_code == 200, response.content
        return response.json()["data"]

    assert trial(output="A refund is due.") == {
        "score": {"score": 1.0, "passed": True, "label": None, "reason": "", "details": None},
        "error": None,
        "cost_usd": None,
        "execution_ids": [],
    }
    assert trial(output="No.")["score"]["reason"] == "Missing: refund"
    unsaved = trial(output="No.", config={"texts": ["No"]})
    assert unsaved["score"]["passed"] is True
    assert trial(output="yes", config={}, expected="yes")["score"]["score"] == 1
    missing = trial(output="yes", config={})
    assert (missing["score"], missing["error"]["code"]) == (None, "NOTHING_EXPECTED")
    assert trial(output=None, config={"texts": ["null"]})["score"]["score"] == 1
    editor.client.patch(path.removesuffix("/test"), {"config": {"texts": ["other"]}})
    assert trial(output="refund")["score"]["score"] == 0
    assert trial(output="refund", version=1)["score"]["score"] == 1
    assert EvaluatorVersion.objects.count() == 2


def test_what_is_measured_is_given_to_a_trial(editor):
    for body, score in [
        ({"kind": "latency", "config": {"threshold": 100}, "latency_ms": 120}, {"score": 120.0, "passed": False}),
        ({"kind": "cost", "cost_usd": "0.0025"}, {"score": 0.0025, "passed": None}),
    ]:
        data = editor.client.post(TRIALS, {"output": "x", **body}).json()["data"]
        assert {key: data["score"][key] for key in score} == score
    data = editor.client.post(TRIALS, {"output": "x", "kind": "latency"}).json()["data"]
    assert data["error"]["code"] == "NOT_MEASURED"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "output"),
        ({"output": "\x00"}, "output"),
        ({"output": [{"a": "\x00"}]}, "output.0.a"),
        ({"output": "x", "kind": "magic"}, "kind"),
        ({"output": "x", "kind": None}, "kind"),
        ({"output": "x", "config": {"texts": "x"}}, "config.texts"),
        ({"output": "x", "latency_ms": -1}, "latency_ms"),
        ({"output": "x", "latency_ms": 2**31}, "latency_ms"),
        ({"output": "x", "cost_usd": 0.1}, "cost_usd"),
        ({"output": "x", "cost_usd": "NaN"}, "cost_usd"),
        ({"output": "x", "metadata": []}, "metadata"),
        ({"output": "x", "version": 1}, "version"),
    ],
)
def test_bad_trials_are_refused_by_field(editor, body, field):
    assert list(failed(editor.client.post(TRIALS, {"kind": "contains", **body}), 400)) == [field]


def test_a_trial_is_of_a_version_or_of_a_configuration(editor, create):
    path = f"{EVALUATORS}/{create()['id']}/test"
    both = {"output": "x", "version": 1, "config": {"texts": ["x"]}}
    assert list(failed(editor.client.post(path, both), 400)) == ["config"]
    assert editor.client.post(path, {"output": "x", "version": 2}).status_code == 404
    assert list(failed(editor.client.post(path, {"output": "x", "config": {"texts": []}}), 400)) == ["config.texts"]


class Faulty(Kind):
    """Fails as no evaluator should."""

    kind = "faulty"
    config_schema = {"type": "object", "properties": {"nan": {"type": "boolean"}}}

    def evaluate(self, config, context):
        if config.get("nan"):
            return Score(float("nan"))
        raise RecursionError("too deep")


@pytest.fixture
def faulty():
    from apps.workflows import evaluating

    evaluating.register(Faulty())
    yield
    del evaluating._evaluators["faulty"]


@pytest.mark.usefixtures("faulty")
def test_a_crash_is_an_error_and_no_score(editor):
    data = editor.client.post(TRIALS, {"output": "x", "kind": "faulty"}).json()["data"]
    assert (data["score"], data["error"]) == (
        None,
        {"code": "INTERNAL", "message": "RecursionError: too deep"},
    )
    data = editor.client.post(TRIALS, {"output": "x", "kind": "faulty", "config": {"nan": True}}).json()["data"]
    assert (data["score"], data["error"]["code"]) == (None, "INVALID_SCORE")


def test_another_organization_finds_nothing(editor, outsider, create):
    made = create()
    mine = create(CONFIGS, name="Mine", type="numeric")
    for path in (f"{EVALUATORS}/{made['id']}", f"{EVALUATORS}/{made['id']}/versions", f"{CONFIGS}/{mine['id']}"):
        assert outsider.client.get(path).status_code == 404
    assert outsider.client.post(f"{EVALUATORS}/{made['id']}/test", {"output": "x"}).status_code == 404
    body = {"name": "New", "kind": "contains", "score_config_id": mine["id"]}
    assert list(failed(outsider.client.post(EVALUATORS, body), 400)) == ["score_config_id"]
    assert outsider.client.get(EVALUATORS).json()["data"] == []
    assert outsider.client.post(EVALUATORS, {"name": "Mentions", "kind": "contains"}).status_code == 201


@pytest.fixture
def judge(make_model):
    model = make_model(kind="echo")
    return {
        "kind": "llm_judge",
        "config": {"model_id": str(model.id), "rubric": "Is it kind?", "scale": {"type": "boolean"}},
    }


def test_a_trial_of_a_judge_is_recorded_and_paid_for(editor, judge):
    response = editor.client.post(TRIALS, {"output": "You are welcome.", **judge})
    data = response.json()["data"]
    assert (response.status_code, data["error"]) == (200, None)
    [execution] = Execution.objects.filter(source=Source.JUDGE)
    assert data["execution_ids"] == [str(execution.id)]
    assert Decimal(data["cost_usd"]) == execution.cost_usd > 0
    assert (execution.created_by_id, execution.organization_id) == (editor.user.id, editor.organization.id)


def test_models_of_a_trial_are_usable_ones_of_the_organization(editor, outsider, judge):
    body = {"output": "You are welcome.", **judge}
    assert list(failed(outsider.client.post(TRIALS, body), 400)) == ["config.model_id"]
    made = editor.client.post(EVALUATORS, {"name": "Judge", **judge})
    path = f"{EVALUATORS}/{made.json()['data']['id']}"
    LLMModel.objects.update(is_active=False)
    assert list(failed(editor.client.post(TRIALS, body), 400)) == ["config.model_id"]
    assert list(failed(editor.client.post(EVALUATORS, {"name": "Other", **judge}), 400)) == ["config.model_id"]
    data = editor.client.post(f"{path}/test", {"output": "x"}).json()["data"]
    assert (data["score"], bool(data["error"]["code"])) == (None, True)
    unknown = {**judge["config"], "model_id": "no uuid"}
    assert list(failed(editor.client.patch(path, {"config": unknown}), 400)) == ["config.model_id"]


def test_who_may_not_execute_prompts_has_no_model_called(editor, judge):
    key = ApiKey(organization=editor.organization, user=editor.user, name="k", scopes=["evaluations:execute"])
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {key.give_secret()}", raise_request_exception=False)
    key.save()
    assert client.post(TRIALS, {"output": "x", **judge}).status_code == 403
    assert client.post(TRIALS, {"output": "[]", "kind": "json_valid"}).status_code == 200
    assert not Execution.objects.exists()
