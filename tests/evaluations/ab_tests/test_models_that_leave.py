"""A variant whose model is switched off while the test runs: its requests are refused, and no guardrail sees them."""

import pytest

from apps.evaluations.ab_tests.looking_after import look_after
from apps.evaluations.models import ABIncident
from apps.prompts.models import ABTest
from tests.evaluations.ab_tests.drafts import CANDIDATE, CONTROL, act, make_draft
from tests.executions.conftest import PROMPTS

pytestmark = pytest.mark.django_db


@pytest.fixture
def spare(make_model, model):
    """The model of the candidate; the control has the default one."""
    return make_model("gpt-5")


@pytest.fixture
def test_of_it(editor, prompt, spare):
    variants = [{**CONTROL, "weight": 0.01}, {**CANDIDATE, "weight": 0.99, "model_id": str(spare.id)}]
    test = make_draft(editor, prompt, variants=variants)
    act(editor, test, "start")
    return test


@pytest.fixture
def switch(django_capture_on_commit_callbacks):
    def save(row, *, is_active):
        row.is_active = is_active
        with django_capture_on_commit_callbacks(execute=True):
            row.save()

    return save


@pytest.fixture
def look(test_of_it, django_capture_on_commit_callbacks):
    def at_it():
        with django_capture_on_commit_callbacks(execute=True):
            look_after(test_of_it["id"])
        return ABTest.objects.get().status

    return at_it


def statuses(editor, prompt):
    """What the requests of some units are answered with, of which nearly all have the candidate."""
    url = f"{PROMPTS}/{prompt['id']}/execute"
    bodies = [{"variables": {"name": "Ada"}, "unit_id": f"u{number}"} for number in range(6)]
    return {editor.client.post(url, body).status_code for body in bodies}


def test_a_test_is_paused_when_a_candidates_model_is_gone(editor, prompt, spare, test_of_it, switch, look):
    assert look() == "running"
    switch(spare, is_active=False)
    assert 400 in statuses(editor, prompt)
    assert look() == "paused"
    assert statuses(editor, prompt) == {200}
    stored, incident = ABTest.objects.get(), ABIncident.objects.get()
    told = "formal: its model cannot be called. No such model, or it is not active."
    assert (stored.pause_reason, incident.message, incident.variant) == (told, told, "formal")
    act(editor, test_of_it, "resume", status=409)
    switch(spare, is_active=True)
    act(editor, test_of_it, "resume", force=True, reason="It is back.")
    assert (look(), statuses(editor, prompt)) == ("running", {200})
    switch(spare.provider, is_active=False)
    assert (look(), ABIncident.objects.count()) == ("paused", 2)


def test_where_the_controls_model_is_gone_too_a_pause_helps_nobody(model, spare, test_of_it, switch, look):
    switch(model, is_active=False)
    switch(spare, is_active=False)
    assert look() == "running"
    assert not ABIncident.objects.exists()
