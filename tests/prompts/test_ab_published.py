"""The read by slug gives a unit its variant, and nobody else's."""

import pytest

from apps.prompts.models import ABAssignment, ABVariant
from tests.evaluations.ab_tests.conftest import make_ab_test  # noqa: F401 (a fixture)
from tests.executions.conftest import make_model  # noqa: F401 (a fixture)
from tests.prompts.conftest import URL

HELLO = f"{URL}/by-slug/greetings/hello"
SAID = {"control": "Hello, {{name}}!", "candidate-1": "Dear {{name}},"}


@pytest.fixture
def running(make_ab_test, create):  # noqa: F811
    return make_ab_test(create())


def read(client, query=""):
    response = client.get(HELLO + query)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def test_each_unit_reads_its_variant(running, viewer):
    found = {}
    for _ in range(2):
        for unit in "abcdefghij":
            data = read(viewer.client, f"?unit_id={unit}")
            said = data["ab_test"]
            assert (said["id"], said["phase"]) == (str(running.id), 1)
            assert data["content"] == SAID[said["variant"]]
            assert data["version"] == 1 + (said["variant"] == "candidate-1")
            assert found.setdefault(unit, said["variant"]) == said["variant"]
    assert set(found.values()) == set(SAID)
    assert dict(ABAssignment.objects.filter(test=running).values_list("unit_id", "variant")) == found


def test_who_names_no_unit_or_a_version_reads_as_without_a_test(running, viewer):
    for query in ("", "?unit_id=", "?unit_id=ada&version=1", "?unit_id=ada&label=production"):
        data = read(viewer.client, query)
        assert (data["ab_test"], data["version"]) == (None, 1)
    assert not ABAssignment.objects.exists()


def test_a_variant_has_its_own_model_and_parameters(make_ab_test, make_model, create, viewer):  # noqa: F811
    test = make_ab_test(create(parameters={"temperature": 0.1, "top_p": 0.5}), weights=(0, 1))
    model = make_model()
    ABVariant.objects.filter(test=test, name="candidate-1").update(model=model, parameters={"temperature": 0.9})
    data = read(viewer.client, "?unit_id=ada")
    assert (data["model_id"], data["parameters"]) == (str(model.id), {"temperature": 0.9, "top_p": 0.5})
    assert read(viewer.client)["parameters"] == {"temperature": 0.1, "top_p": 0.5}


def test_a_known_unit_costs_no_query_and_no_body_when_nothing_has_changed(running, viewer, django_assert_num_queries):
    first = viewer.client.get(f"{HELLO}?unit_id=ada")
    with django_assert_num_queries(0):
        second = viewer.client.get(f"{HELLO}?unit_id=ada", HTTP_IF_NONE_MATCH=first.headers["ETag"])
    assert (second.status_code, second.content) == (304, b"")


def test_changes_of_the_test_are_seen_by_the_next_read(running, viewer, django_capture_on_commit_callbacks):
    variant = read(viewer.client, "?unit_id=ada")["ab_test"]["variant"]
    for status, expected in (("paused", None), ("running", variant), ("stopped", None)):
        running.status, running.stopped_at = status, running.started_at if status == "stopped" else None
        with django_capture_on_commit_callbacks(execute=True):
            running.save()
        data = read(viewer.client, "?unit_id=ada")
        assert (data["ab_test"] or {}).get("variant") == expected
        assert data["content"] == SAID[expected or "control"]


def test_a_test_with_segments_is_not_for_reads_which_have_no_metadata(make_ab_test, create, viewer):  # noqa: F811
    rule = {"key": "plan", "operator": "equals", "value": "pro"}
    make_ab_test(create(), weights=(0, 1), segments={"include": [rule]})
    assert read(viewer.client, "?unit_id=ada")["ab_test"] is None


@pytest.mark.parametrize("unit", ["a%00b", "x" * 201])
def test_bad_units(running, viewer, unit):
    response = viewer.client.get(f"{HELLO}?unit_id={unit}")
    assert response.status_code == 400
    assert list(response.json()["error"]["details"]) == ["unit_id"]


def test_of_another_organization_there_is_nothing_to_read(running, outsider):
    assert outsider.client.get(f"{HELLO}?unit_id=ada").status_code == 404
    assert not ABAssignment.objects.exists()
