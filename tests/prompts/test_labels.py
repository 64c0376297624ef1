import pytest

from apps.prompts.models import PromptLabel, PromptLabelEvent
from apps.prompts.promotion import PromotionRefused, register_promotion_check, unregister_promotion_check
from tests.prompts.conftest import URL

pytestmark = pytest.mark.django_db


@pytest.fixture
def prompt(create, editor):
    prompt = create()
    editor.client.post(f"{URL}/{prompt['id']}/versions", {"content": "Two"})
    return prompt


@pytest.fixture
def label(prompt):
    return f"{URL}/{prompt['id']}/labels/production"


def test_a_label_is_set_moved_and_removed_and_its_history_stays(prompt, label, editor):
    first = editor.client.put(label, {"version": 1, "reason": "Launch"})
    assert first.status_code == 200
    editor.client.put(label, {"version": 2})
    editor.client.put(label, {"version": 2})
    data = editor.client.get(label).json()["data"]
    assert (data["name"], data["version"], data["is_protected"]) == ("production", 2, False)
    assert [(event["from_version"], event["to_version"], event["reason"]) for event in data["history"]] == [
        (1, 2, ""),
        (None, 1, "Launch"),
    ]
    assert {event["created_by"] for event in data["history"]} == {str(editor.user.id)}
    assert editor.client.get(f"{URL}/{prompt['id']}").json()["data"]["labels"] == {"production": 2}
    assert editor.client.get(URL).json()["data"][0]["labels"] == {"production": 2}
    assert editor.client.delete(label).status_code == 204
    assert editor.client.delete(label).status_code == 404
    after = editor.client.get(label).json()["data"]
    assert (after["version"], len(after["history"])) == (None, 3)
    assert editor.client.get(f"{URL}/{prompt['id']}/labels/other").status_code == 404


@pytest.mark.parametrize(
    ("name", "body", "status", "field"),
    [
        ("production", {}, 400, "version"),
        ("production", {"version": 9}, 404, "version"),
        ("production", {"version": "1"}, 400, "version"),
        ("production", {"version": True}, 400, "version"),
        ("production", {"version": 2**40}, 400, "version"),
        ("production", {"version": 1, "reason": "x" * 501}, 400, "reason"),
        ("production", {"version": 1, "x": 1}, 400, "x"),
        ("Production", {"version": 1}, 400, "label"),
        ("1", {"version": 1}, 400, "label"),
        ("a" * 65, {"version": 1}, 400, "label"),
        ("production", {"version": 1, "expected_version": 1}, 409, "expected_version"),
    ],
)
def test_bad_moves_are_refused(prompt, editor, name, body, status, field):
    response = editor.client.put(f"{URL}/{prompt['id']}/labels/{name}", body)
    assert response.status_code == status, response.content
    assert set(response.json()["error"]["details"]) == {field}
    assert not PromptLabelEvent.objects.exists()


def test_a_move_can_expect_where_the_label_is(label, editor):
    assert editor.client.put(label, {"version": 1, "expected_version": None}).status_code == 200
    assert editor.client.put(label, {"version": 2, "expected_version": None}).status_code == 409
    assert editor.client.put(label, {"version": 2, "expected_version": 2}).status_code == 409
    assert editor.client.put(label, {"version": 2, "expected_version": 1}).status_code == 200
    assert editor.client.delete(f"{label}?expected_version=1").status_code == 409
    assert editor.client.delete(f"{label}?expected_version=2").status_code == 204


def test_if_match_guards_a_label(label, editor):
    assert editor.client.put(label, {"version": 1}, HTTP_IF_MATCH='"x"').status_code == 412
    etag = editor.client.put(label, {"version": 1}).headers["ETag"]
    assert editor.client.get(label, HTTP_IF_NONE_MATCH=etag).status_code == 304
    assert editor.client.put(label, {"version": 2}, HTTP_IF_MATCH=etag).status_code == 200
    assert editor.client.put(label, {"version": 1}, HTTP_IF_MATCH=etag).status_code == 412


def test_protected_labels_are_moved_by_admins_only(label, prompt, editor, admin, organization):
    organization.protected_labels = ["production"]
    organization.save()
    assert editor.client.put(label, {"version": 1}).status_code == 403
    assert admin.client.put(label, {"version": 1}).json()["data"]["is_protected"] is True
    assert editor.client.put(label, {"version": 2}).status_code == 403
    assert editor.client.delete(label).status_code == 403
    assert editor.client.put(f"{URL}/{prompt['id']}/labels/staging", {"version": 2}).status_code == 200
    assert PromptLabel.objects.get(name="production").version.version_number == 1


@pytest.fixture
def refusals():
    moves = []

    def check(move):
        moves.append((move.label, move.from_version, move.to_version))
        if move.to_version is not None and move.to_version.version_number == 2:
            raise PromotionRefused("The gate is red.")

    register_promotion_check(check)
    yield moves
    unregister_promotion_check(check)


def test_a_promotion_check_can_refuse_a_move(label, editor, refusals):
    assert editor.client.put(label, {"version": 1}).status_code == 200
    response = editor.client.put(label, {"version": 2})
    assert response.status_code == 409
    assert response.json()["error"]["message"] == "The gate is red."
    assert PromptLabel.objects.get().version.version_number == 1
    assert PromptLabelEvent.objects.count() == 1
    assert editor.client.delete(label).status_code == 204
    assert [name for name, *_ in refusals] == ["production"] * 3


def test_viewers_do_not_move_labels(label, viewer):
    assert viewer.client.put(label, {"version": 1}).status_code == 403
    assert viewer.client.delete(label).status_code == 403
