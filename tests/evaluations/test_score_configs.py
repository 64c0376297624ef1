"""What score configs allow, of evaluators and of scores of executions."""

import pytest

from apps.evaluations.models import EvaluatorVersion, ScoreConfig
from apps.evaluations.scoring.checking import checked
from apps.executions.models import Score as ExecutionScore
from apps.workflows.evaluating import EvaluationError, Score
from tests.evaluations.conftest import EVALUATORS

pytestmark = pytest.mark.django_db
CONFIGS = "/api/v1/score-configs"
TONE = {"name": "tone", "type": "categorical", "categories": [{"label": "kind", "value": 1}, {"label": "rude"}]}


@pytest.fixture
def create(editor):
    def make(**fields):
        response = editor.client.post(CONFIGS, {"name": "quality", "type": "numeric", **fields})
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make


def failed(response, status):
    assert response.status_code == status, response.content
    return list(response.json()["error"]["details"])


def test_a_score_config_is_kept_as_it_was_given(editor, organization):
    response = editor.client.post(CONFIGS, {**TONE, "description": "How it sounds.", "direction": "none"})
    data = response.json()["data"]
    assert (response.status_code, response.headers["Location"]) == (201, f"{CONFIGS}/{data['id']}")
    assert data == {
        **TONE,
        "categories": [{"label": "kind", "value": 1.0}, {"label": "rude", "value": None}],
        "description": "How it sounds.",
        "direction": "none",
        "minimum": None,
        "maximum": None,
        "id": data["id"],
        "organization_id": str(organization.id),
        "created_by": str(editor.user.id),
        "created_at": data["created_at"],
        "updated_at": data["updated_at"],
    }
    assert editor.client.get(f"{CONFIGS}/{data['id']}").json()["data"] == data
    assert [one["name"] for one in editor.client.get(f"{CONFIGS}?type=categorical").json()["data"]] == ["tone"]
    assert editor.client.get(f"{CONFIGS}?type=numeric").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"type": "number"}, "type"),
        ({"minimum": "1"}, "minimum"),
        ({"minimum": True}, "minimum"),
        ({"maximum": 1e18 * 2}, "maximum"),
        ({"minimum": 1, "maximum": 1}, "maximum"),
        ({"type": "boolean", "minimum": 0}, "minimum"),
        ({"type": "categorical"}, "categories"),
        ({"categories": [{"label": "a"}]}, "categories"),
        ({"type": "categorical", "categories": [{"label": "a"}, {"label": "a"}]}, "categories"),
        ({"type": "categorical", "categories": [{"value": 1}]}, "categories.0.label"),
        ({"type": "categorical", "categories": [{"label": "a", "value": "1"}]}, "categories.0.value"),
        ({"type": "categorical", "categories": ["a"]}, "categories.0"),
        ({"type": "categorical", "categories": [{"label": "a", "colour": "red"}]}, "categories.0.colour"),
        ({"direction": "up"}, "direction"),
        ({"created_by": None}, "created_by"),
    ],
)
def test_bad_score_configs_are_refused_by_field(editor, create, body, field):
    assert failed(editor.client.post(CONFIGS, {"name": "new", "type": "numeric", **body}), 400) == [field]
    made = create()
    assert failed(editor.client.patch(f"{CONFIGS}/{made['id']}", body), 400) == [field]
    assert ScoreConfig.objects.get().name == "quality"


def test_what_is_not_given_counts_for_a_change(editor, create):
    made = create(minimum=1, maximum=5)
    path = f"{CONFIGS}/{made['id']}"
    assert failed(editor.client.patch(path, {"maximum": 1}), 400) == ["maximum"]
    assert failed(editor.client.patch(path, {"type": "boolean"}), 400) == ["minimum", "maximum"]
    changed = editor.client.put(path, {"name": "quality", "type": "boolean"}).json()["data"]
    assert (changed["type"], changed["minimum"], changed["maximum"]) == ("boolean", None, None)


def test_names_are_unique_among_the_living(editor, admin, create):
    made = create()
    other = create(name="other")
    assert failed(editor.client.post(CONFIGS, {"name": "quality", "type": "text"}), 409) == ["name"]
    assert failed(editor.client.patch(f"{CONFIGS}/{other['id']}", {"name": "quality"}), 409) == ["name"]
    assert admin.client.delete(f"{CONFIGS}/{made['id']}").status_code == 204
    assert editor.client.get(f"{CONFIGS}/{made['id']}").status_code == 404
    assert editor.client.patch(f"{CONFIGS}/{other['id']}", {"name": "quality"}).status_code == 200


def test_an_evaluator_names_a_score_config_of_its_type(editor, create):
    numeric, boolean = create(minimum=0, maximum=1, direction="lower"), create(name="yes", type="boolean")
    body = {"name": "E", "kind": "contains", "config": {"texts": ["a", "b"]}}
    wrong = editor.client.post(EVALUATORS, {**body, "score_config_id": boolean["id"]})
    assert failed(wrong, 400) == ["score_config_id"]
    made = editor.client.post(EVALUATORS, {**body, "score_config_id": numeric["id"]}).json()["data"]
    assert (made["score_config_id"], made["direction"]) == (numeric["id"], "lower")
    path = f"{EVALUATORS}/{made['id']}"
    assert editor.client.patch(path, {"score_config_id": None}).json()["data"]["version"] == 2
    assert editor.client.get(f"{path}/versions/1").json()["data"]["score_config_id"] == numeric["id"]


def test_what_versions_rely_on_does_not_change(editor, create):
    made = create(minimum=0, maximum=1)
    path = f"{CONFIGS}/{made['id']}"
    assert editor.client.patch(path, {"maximum": 2}).status_code == 200
    body = {"name": "E", "kind": "contains", "score_config_id": made["id"]}
    assert editor.client.post(EVALUATORS, body).status_code == 201
    assert failed(editor.client.patch(path, {"maximum": 3, "name": "new"}), 409) == ["maximum"]
    assert failed(editor.client.patch(path, {"direction": "lower"}), 409) == ["direction"]
    assert editor.client.patch(path, {"name": "new", "maximum": 2}).json()["data"]["name"] == "new"
    assert EvaluatorVersion.objects.get().score_config.maximum == 2


def test_a_trial_is_held_against_the_score_config(editor, create):
    made = create(minimum=0.5)
    body = {"name": "E", "kind": "contains", "config": {"texts": ["a", "b", "c"]}, "score_config_id": made["id"]}
    path = f"{EVALUATORS}/{editor.client.post(EVALUATORS, body).json()['data']['id']}/test"
    assert editor.client.post(path, {"output": "a b"}).json()["data"]["score"]["passed"] is False
    data = editor.client.post(path, {"output": "a"}).json()["data"]
    assert (data["score"], data["error"]["code"]) == (None, "OUT_OF_RANGE")


@pytest.mark.parametrize(
    ("config", "score", "expected"),
    [
        (None, Score(1e300), 1e300),
        (None, Score(float("nan")), "INVALID_SCORE"),
        (None, Score(float("inf")), "INVALID_SCORE"),
        ({"type": "numeric", "minimum": 1, "maximum": 5}, Score(1), 1),
        ({"type": "numeric", "minimum": 1, "maximum": 5}, Score(5.1), "OUT_OF_RANGE"),
        ({"type": "numeric", "minimum": 1}, Score(0.9), "OUT_OF_RANGE"),
        ({"type": "boolean"}, Score(1, passed=True), 1),
        ({"type": "boolean"}, Score(1), "NO_VERDICT"),
        (TONE, Score(0.2, label="kind"), 1),
        (TONE, Score(0.2, label="rude"), 0.2),
        (TONE, Score(0.2, label="KIND"), "UNKNOWN_CATEGORY"),
        (TONE, Score(0.2), "UNKNOWN_CATEGORY"),
    ],
)
def test_scores_of_evaluators_are_held_against_their_config(config, score, expected):
    said = None if config is None else ScoreConfig(**{"name": "n", **config})
    if isinstance(expected, str):
        with pytest.raises(EvaluationError) as caught:
            checked(score, said)
        assert caught.value.code == expected
    else:
        assert checked(score, said).score == expected


def test_scores_of_executions_are_held_against_the_config_of_their_name(editor, outsider, create, prompt, execute):
    create(minimum=1, maximum=5)
    create(**TONE)
    create(name="right", type="boolean")
    create(name="remark", type="text")
    outsider.client.post(CONFIGS, {"name": "unknown", "type": "boolean"})
    path = f"/api/v1/executions/{execute(prompt)['id']}/scores"
    for name, body, refused in [
        ("quality", {"value": 3}, None),
        ("quality", {"value": 1}, None),
        ("quality", {"value": 5.5}, "value"),
        ("quality", {"value": True}, "type"),
        ("quality", {"value": "good"}, "type"),
        ("tone", {"value": "kind"}, None),
        ("tone", {"value": "warm"}, "value"),
        ("tone", {"value": "kind", "type": "text"}, "type"),
        ("right", {"value": False}, None),
        ("right", {"value": 1}, "type"),
        ("remark", {"value": "Fine.", "type": "text"}, None),
        ("remark", {"value": "Fine."}, "type"),
        ("unknown", {"value": 99}, None),
    ]:
        before = ExecutionScore.objects.count()
        response = editor.client.post(path, {"name": name, **body})
        assert response.status_code == (400 if refused else 201), (name, body, response.content)
        assert ExecutionScore.objects.count() == before + (refused is None)
        if refused:
            assert failed(response, 400) == [refused]


def test_a_config_that_is_deleted_binds_no_more(admin, create, prompt, execute):
    made = create(minimum=1, maximum=5)
    path = f"/api/v1/executions/{execute(prompt)['id']}/scores"
    assert failed(admin.client.post(path, {"name": "quality", "value": 9}), 400) == ["value"]
    admin.client.delete(f"{CONFIGS}/{made['id']}")
    assert admin.client.post(path, {"name": "quality", "value": 9}).status_code == 201
