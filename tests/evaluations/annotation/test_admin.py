"""Operators annotate in the admin: one task after another, by a form made of the score configs."""

import re
import shutil
import subprocess

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationTask
from apps.executions.models import Score
from apps.users.models import User
from tests.evaluations.annotation.annotating import claim, config_of, fill, items

pytestmark = pytest.mark.django_db
ADMIN = "/admin/evaluations"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def operator():
    client = Client()
    client.user = User.objects.create_superuser("op@example.com", "correct horse battery")
    client.force_login(client.user)
    return client


@pytest.fixture
def queue(make_queue, editor):
    made = make_queue(name=f"Q {EVIL}", instructions=f"Be fair. {EVIL}")
    fill(editor, made, items=[{"input": {"messages": [{"role": "user", "content": EVIL}]}, "output": EVIL}, *items(2)])
    return AnnotationQueue.objects.get(id=made["id"])


def page(queue, annotation=None):
    return f"{ADMIN}/annotationqueue/{queue.pk}/annotate/" + (f"{annotation.pk}/" if annotation else "")


def said(queue, annotation, **values):
    """A filled in form: categories are numbered in their order."""
    form = {"helpful": "true", "tone": "0", "score": "4.5", "why": "", **values}
    ids = {criterion.score_config.name: criterion.score_config_id for criterion in queue.criteria.all()}
    named = {str(ids.get(name, name)): value for name, value in form.items()}
    return {"action": "submit", "annotation": str(annotation.pk), "comment": "", **named}


def begin(operator, queue):
    operator.post(page(queue), {"action": "begin"})
    return Annotation.objects.get(annotator_id=operator.user.id, status="open")


def test_a_task_is_begun_submitted_and_the_next_one_shown(operator, queue):
    assert "Begin" in operator.get(page(queue)).text
    assert Annotation.objects.count() == 0, "to look claims nothing"
    first = begin(operator, queue)
    shown = operator.get(page(queue)).text
    assert str(first.pk) in shown
    for expected in ("0 of 3 tasks complete", 'type="radio"', 'data-key="3"', 'type="number"', 'min="1"', 'max="5"'):
        assert expected in shown, expected
    answer = operator.post(page(queue), said(queue, first, comment="Fine"), follow=True)
    first.refresh_from_db()
    names = {str(criterion.score_config_id): criterion.score_config.name for criterion in queue.criteria.all()}
    assert {names[key]: value for key, value in first.values.items()} == {"helpful": True, "tone": "kind", "score": 4.5}
    assert (first.status, first.comment) == ("submitted", "Fine")
    assert "1 of 3 tasks complete" in answer.text
    second = Annotation.objects.get(status="open")
    assert second.task_id != first.task_id
    assert str(second.pk) in answer.text


def test_what_users_wrote_is_text(operator, queue):
    begin(operator, queue)
    for path in (page(queue), f"{ADMIN}/annotationqueue/", f"{ADMIN}/annotationqueue/{queue.pk}/change/"):
        shown = operator.get(path).text
        assert EVIL not in shown
        assert "alert(1)" in shown
    task = AnnotationTask.objects.first()
    assert EVIL not in operator.get(f"{ADMIN}/annotationtask/{task.pk}/change/").text


def test_there_is_no_script_in_the_page_itself(operator, queue):
    """Beyond those of the admin, that every page has."""
    begin(operator, queue)
    own = operator.get(page(queue)).text.split('id="annotate"', 1)[1].split("</dialog>")[0]
    assert "<script" not in own
    assert not re.search(r"\son[a-z]+=", own)
    assert "style=" not in own


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"helpful": ""}, "helpful"),
        ({"helpful": "maybe"}, "helpful"),
        ({"tone": ""}, "tone"),
        ({"tone": "3"}, "tone"),
        ({"tone": "kind"}, "tone"),
        ({"score": ""}, "score"),
        ({"score": "0.5"}, "score"),
        ({"score": "nan"}, "score"),
        ({"score": "much"}, "score"),
        ({"why": "a\x00b"}, "why"),
        ({"why": "x" * 5001}, "why"),
        ({"comment": "x" * 5001}, "comment"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_said_at_its_field_and_the_rest_is_kept(operator, queue, values, field):
    opened = begin(operator, queue)
    answer = operator.post(page(queue), said(queue, opened, **values))
    assert answer.status_code == 200
    ids = {criterion.score_config.name: str(criterion.score_config_id) for criterion in queue.criteria.all()}
    after = answer.text.split(f'name="{ids.get(field, field)}"', 1)[1].split('class="an-question"', 1)[0]
    assert 'role="alert"' in after
    assert answer.text.count('role="alert"') == 1
    if field != "score":
        assert 'value="4.5"' in answer.text
    opened.refresh_from_db()
    assert (opened.status, opened.values) == ("open", {})


def test_a_task_is_skipped_or_given_back(operator, queue):
    first = begin(operator, queue)
    operator.post(page(queue), {"action": "skip", "annotation": str(first.pk)})
    first.refresh_from_db()
    assert first.status == "skipped"
    second = Annotation.objects.get(status="open")
    answer = operator.post(page(queue), {"action": "release", "annotation": str(second.pk)}, follow=True)
    assert "Begin" in answer.text
    assert not Annotation.objects.filter(pk=second.pk).exists()
    assert set(AnnotationTask.objects.values_list("taken_count", flat=True)) == {0}


def test_what_was_submitted_can_be_changed_but_not_skipped(operator, queue, execute, prompt, editor):
    done = execute(prompt)
    AnnotationTask.objects.update(execution_id=done["id"])
    first = begin(operator, queue)
    operator.post(page(queue), said(queue, first))
    shown = operator.get(page(queue, first)).text
    assert 'value="4.5"' in shown
    assert len(re.findall(r"<input type=\"radio\"[^>]*checked", shown)) == 2
    operator.post(page(queue), said(queue, first, helpful="false"))
    assert Score.objects.get(name="helpful").value is False
    refused = operator.post(page(queue), {**said(queue, first), "action": "skip"})
    assert 'role="alert"' in refused.text
    assert Score.objects.count() == 3
    assert page(queue, first) in operator.get(page(queue)).text, "the way back to it"


def test_nothing_left_an_inactive_queue_and_one_of_others_are_told(operator, make_queue, editor):
    empty = AnnotationQueue.objects.get(id=make_queue()["id"])
    begun = operator.post(page(empty), {"action": "begin"}, follow=True)
    assert "There is nothing left for you" in begun.text
    AnnotationQueue.objects.update(assignees=[editor.user.id])
    assert "assigned to others" in operator.post(page(empty), {"action": "begin"}, follow=True).text
    AnnotationQueue.objects.update(is_active=False)
    assert "not active" in operator.get(page(empty)).text


def test_another_persons_task_cannot_be_submitted(operator, queue, editor):
    theirs = Annotation.objects.get(id=claim(editor, {"id": queue.id})["id"])
    operator.post(page(queue), said(queue, theirs))
    theirs.refresh_from_db()
    assert (theirs.status, theirs.values) == ("open", {})
    assert operator.get(page(queue, theirs)).status_code == 404


def test_a_claim_that_was_lost_is_told_and_what_was_typed_is_kept(operator, queue, editor):
    AnnotationTask.objects.exclude(pk=AnnotationTask.objects.first().pk).delete()
    opened = begin(operator, queue)
    Annotation.objects.update(claimed_until=timezone.now())
    claim(editor, {"id": queue.id})
    answer = operator.post(page(queue), said(queue, opened, comment="My words"))
    assert "others have taken the task since" in answer.text
    assert "My words" in answer.text


def test_only_staff_that_may_annotate_gets_in(queue, client):
    assert client.get(page(queue)).status_code == 302
    looker = User.objects.create_user("look@example.com", "correct horse battery", is_staff=True)
    looker.user_permissions.set(
        Permission.objects.filter(content_type__app_label="evaluations", codename__startswith="view")
    )
    client.force_login(looker)
    assert client.get(page(queue)).status_code == 403
    assert client.post(page(queue), {"action": "begin"}).status_code == 403
    assert client.get(f"{ADMIN}/annotationqueue/").status_code == 200
    assert Annotation.objects.count() == 0


def test_unknown_and_deleted_queues_are_not_found(operator, queue):
    queue.soft_delete()
    assert operator.get(page(queue)).status_code == 404
    assert operator.get(f"{ADMIN}/annotationqueue/odd/annotate/").status_code in {302, 404}


def test_the_lists_and_pages_are_there(operator, queue):
    first = begin(operator, queue)
    operator.post(page(queue), said(queue, first))
    assert "1 of 3" in operator.get(f"{ADMIN}/annotationqueue/").text
    assert "op@example.com" in operator.get(f"{ADMIN}/annotation/").text
    assert "4.5" in operator.get(f"{ADMIN}/annotation/{first.pk}/change/").text
    assert operator.get(f"{ADMIN}/annotationtask/").status_code == 200
    assert operator.get(f"{ADMIN}/annotationtask/{first.task_id}/change/").status_code == 200


def test_an_operator_changes_a_queue(operator, queue):
    body = {"name": "Renamed", "instructions": "", "annotations_per_task": "3", "is_active": "on"}
    inline = {"criteria-TOTAL_FORMS": "0", "criteria-INITIAL_FORMS": "0"}
    answer = operator.post(f"{ADMIN}/annotationqueue/{queue.pk}/change/", {**body, **inline})
    assert answer.status_code == 302, re.findall(r"errorlist.*?</ul>", answer.text, re.DOTALL)
    queue.refresh_from_db()
    assert (queue.name, queue.annotations_per_task, queue.criteria.count()) == ("Renamed", 3, 4)


@pytest.mark.skipif(shutil.which("node") is None, reason="node checks the syntax")
def test_the_script_is_a_script():
    path = settings.BASE_DIR / "static/evaluations/annotate.js"
    done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_config_with_ten_categories_has_a_digit_for_each(operator, make_queue, editor, organization):
    many = config_of(organization, "kind", "categorical", categories=[{"label": f"c{n}"} for n in range(12)])
    made = make_queue(configs=[many])
    fill(editor, made)
    queue = AnnotationQueue.objects.get(id=made["id"])
    begin(operator, queue)
    assert re.findall(r'data-key="(\d)"', operator.get(page(queue)).text) == [*"1234567890"]
