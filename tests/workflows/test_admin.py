"""Operators see workflows and runs, cancel and retry runs, and decide approvals; history is only read."""

import re
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from apps.users.models import User
from apps.workflows.admin.approval_form import DecisionForm
from apps.workflows.admin.showing import duration
from apps.workflows.models import (
    Approval,
    ApprovalStatus,
    RunSource,
    Workflow,
    WorkflowLabel,
    WorkflowLabelEvent,
    WorkflowRun,
    WorkflowStep,
    WorkflowVersion,
)
from everquant.api.errors import BadRequest

pytestmark = pytest.mark.django_db
ADMIN = "/admin/workflows"
EVIL = "<script>alert(1)</script>"
DEFINITION = {
    "schema_version": 1,
    "inputs": {"type": "object"},
    "nodes": [
        {"id": "all", "kind": "map", "config": {"items": [1], "body": {"nodes": [
            {"id": "write", "kind": "template", "config": {"template": "x"}}], "edges": []}}},
        {"id": "end", "kind": "template", "name": EVIL, "config": {"template": "y"}},
    ],
    "edges": [{"from": "all", "to": "end"}],
    "outputs": {},
}  # fmt: skip
FORM = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number", "title": "Amount to pay", "exclusiveMinimum": 0},
        "count": {"type": "integer"},
        "is_gift": {"type": "boolean"},
        "size": {"type": "string", "enum": ["small", "large"]},
        "note": {"type": "string", "maxLength": 1000, "description": "For the shop."},
        "extra": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}


@pytest.fixture
def operator():
    client = Client()
    client.force_login(User.objects.create_superuser("op@example.com", "correct horse battery"))
    return client


@pytest.fixture
def looker():
    """A member of the staff who may look at workflows and change nothing."""
    user = User.objects.create_user("look@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="workflows", codename__startswith="view")
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def published(organization):
    workflow = Workflow.objects.create(
        organization=organization, slug="support/triage", name="Triage", draft={**DEFINITION, "layout": {"note": EVIL}}
    )
    version = WorkflowVersion.objects.create(
        organization=organization, workflow=workflow, version_number=1, definition=DEFINITION, message="First"
    )
    Workflow.objects.filter(pk=workflow.pk).update(current_version=version)
    label = {"organization": organization, "workflow": workflow, "name": "production"}
    WorkflowLabel.objects.create(**label, version=version)
    WorkflowLabelEvent.objects.create(**label, to_version=version, reason="Go")
    return SimpleNamespace(workflow=workflow, version=version)


@pytest.fixture
def make_run(organization, published):
    def make(status="running", **values):
        now = timezone.now()
        ended = {"finished_at": now} if status in {"failed", "succeeded"} else {"lease_expires_at": now + timedelta(1)}
        error = {"error_code": "BROKEN", "error_message": EVIL, "error_path": "end"} if status == "failed" else {}
        started = now - timedelta(seconds=90)
        return WorkflowRun.objects.create(
            organization=organization, workflow=published.workflow, version=published.version, version_number=1,
            status=status, source=RunSource.API, inputs={"ticket": EVIL}, queued_at=started, started_at=started,
            last_event=7, cost_usd=Decimal("0.0125"), input_tokens=1200, **ended, **error, **values,
        )  # fmt: skip

    return make


@pytest.fixture
def add_step():
    def add(run, path, status="succeeded", **values):
        now = timezone.now()
        defaults = {"input": {"text": EVIL}, "output": f"out of {path}", "handle": "ok", "finished_at": now}
        return WorkflowStep.objects.create(
            run=run, path=path, node_id=path.rsplit(".", 1)[-1].split("[")[0], kind="template", status=status,
            started_at=now - timedelta(seconds=2), **{**defaults, **values},
        )  # fmt: skip

    return add


@pytest.fixture
def approval(organization, make_run, add_step):
    run = make_run("waiting")
    add_step(run, "end", "waiting", finished_at=None, handle="", output=None)
    return Approval.objects.create(
        organization=organization, run=run, path="end", title="Refund of 70", message=f"Really? {EVIL}", form=FORM
    )


def page(client, path, expected=200, **query):
    answer = client.get(f"{ADMIN}{path}", query)
    assert answer.status_code == expected, path
    assert EVIL not in answer.text
    return answer.text


def test_pages_of_workflows_show_drawing_draft_labels_and_versions(operator, published):
    listed = page(operator, "/workflow/", q="triage")
    assert "support/triage" in listed
    assert "production → 1" in listed
    shown = page(operator, f"/workflow/{published.workflow.pk}/change/")
    for expected in (
        '<svg xmlns="',
        "all, map",
        "has changes that are not published",
        "workflows/drawing.css",
        "First",
    ):
        assert expected in shown
    assert "&quot;template&quot;: &quot;y&quot;" in shown
    version = page(operator, f"/workflowversion/{published.version.pk}/change/")
    assert '<svg xmlns="' in version
    assert "Go" in page(operator, "/workflowlabelevent/")


def test_a_draft_of_any_json_is_shown(operator, organization):
    odd = Workflow.objects.create(organization=organization, slug="odd", name="Odd", draft={"nodes": {"a": [EVIL]}})
    assert "There are no nodes yet." in page(operator, f"/workflow/{odd.pk}/change/")


def test_versions_and_history_are_only_read(operator, published, make_run, approval):
    run = make_run()
    rows = {"workflowversion": published.version, "workflowrun": run, "approval": approval}
    rows["workflowlabelevent"] = WorkflowLabelEvent.objects.get()
    for kind, row in rows.items():
        page(operator, f"/{kind}/")
        page(operator, f"/{kind}/add/", 403)
        assert operator.post(f"{ADMIN}/{kind}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    for kind in ("workflowversion", "workflowlabelevent", "workflowrun"):
        assert operator.post(f"{ADMIN}/{kind}/{rows[kind].pk}/change/", {"name": "x"}).status_code == 403
    page(operator, "/workflow/add/", 403)


def test_a_workflow_is_switched_off_and_its_draft_is_not_changed(operator, published):
    inlines = {
        f"{prefix}-{name}": "0"
        for prefix in ("label_set", "versions")
        for name in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS")
    }
    body = {"name": "Renamed", "description": "", "tags": "a", "draft": "{}", **inlines}
    answer = operator.post(f"{ADMIN}/workflow/{published.workflow.pk}/change/", body)
    assert answer.status_code == 302, answer.text
    changed = Workflow.objects.get()
    assert (changed.name, changed.is_active, changed.draft["layout"]) == ("Renamed", False, {"note": EVIL})


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ({}, True),
        ({"status__exact": "failed"}, True),
        ({"status__exact": "running"}, False),
        ({"q": "support/triage"}, True),
        ({"q": "support/other"}, False),
        ({"cost_usd_from": "1"}, False),
    ],
    ids=str,
)
def test_runs_are_filtered_and_searched(operator, make_run, query, is_found):
    run = make_run("failed")
    assert (str(run.pk) in page(operator, "/workflowrun/", **query)) is is_found


def test_runs_are_found_by_ids(operator, make_run, published, organization):
    run = make_run()
    for key in (run.pk, published.workflow.pk, organization.pk):
        assert str(run.pk) in page(operator, "/workflowrun/", q=str(key))


def test_a_workflow_leads_to_its_runs(operator, make_run, published):
    run = make_run()
    shown = page(operator, f"/workflow/{published.workflow.pk}/change/")
    path, query = re.search(r'href="/admin/workflows(/workflowrun/)\?(workflow__id__exact=[^"]+)"', shown).groups()
    name, value = query.split("=")
    assert str(run.pk) in page(operator, path, **{name: value})
    assert str(run.pk) not in page(operator, path, **{name: str(UUID(int=1))})


def test_statements_of_the_list_do_not_grow_with_it(operator, make_run, django_assert_num_queries):
    for _ in range(3):
        make_run()
    with django_assert_num_queries(4):
        page(operator, "/workflowrun/")


def test_the_page_of_a_run_shows_states_steps_and_failure(operator, make_run, add_step):
    run = make_run("failed", created_by_id=User.objects.get().pk)
    add_step(run, "all[0].write", cost_usd=Decimal("0.0025"), input_tokens=10, output_tokens=None)
    add_step(run, "all[1].write", "failed", error_code="TOO_LONG", error_message=EVIL, attempt=2)
    add_step(run, "all", "failed")
    shown = page(operator, f"/workflowrun/{run.pk}/change/")
    for expected in (
        'href="#step-all.write" aria-label="write, template, failed, 1 succeeded 1 failed"',
        'aria-label="&lt;script&gt;alert(1)&lt;/script&gt;, template, pending"',
        'id="step-all.write"', "attempt 2", "TOO_LONG", "BROKEN", "10 → -", "$0.0025", "$0.0125", "op@example.com",
        'data-finished="true"',
    ):  # fmt: skip
        assert expected in shown, expected
    assert shown.count('id="step-all.write"') == 1
    assert "out of all" not in shown


def test_what_had_not_ended_with_its_run_was_cut_off(operator, make_run, add_step):
    run = make_run("failed")
    add_step(run, "all", "waiting", finished_at=None)
    shown = page(operator, f"/workflowrun/{run.pk}/change/")
    assert 'aria-label="all, map, interrupted"' in shown
    assert "wf-time wf-interrupted" in shown


def test_what_a_step_was_given_and_gave_is_loaded_by_itself(operator, make_run, add_step):
    run, other = make_run("failed"), make_run("failed")
    step = add_step(run, "end", output={"text": f"{EVIL} it"})
    shown = page(operator, f"/workflowrun/{run.pk}/steps/{step.pk}/")
    assert "&lt;/script&gt; it" in shown
    page(operator, f"/workflowrun/{other.pk}/steps/{step.pk}/", 404)
    long = add_step(run, "all", output="x" * 300_000)
    assert "more characters" in page(operator, f"/workflowrun/{run.pk}/steps/{long.pk}/")


def test_a_page_that_is_open_learns_how_far_the_run_is(operator, make_run, add_step):
    run = make_run()
    state = operator.get(f"{ADMIN}/workflowrun/{run.pk}/state/").json()
    assert state == {"status": "running", "last_event": 7, "is_finished": False}
    add_step(run, "end", "running", finished_at=None)
    live = page(operator, f"/workflowrun/{run.pk}/live/")
    assert 'href="#step-end"' in live
    assert "<html" not in live
    assert 'data-finished="false"' in page(operator, f"/workflowrun/{run.pk}/change/")


def test_steps_of_long_runs_come_by_pages_and_the_drawing_leads_to_those_of_a_node(operator, make_run, add_step):
    run = make_run("failed")
    for number in range(103):
        add_step(run, f"all[{number}].write", "failed" if number == 50 else "succeeded")
    add_step(run, "all")
    first = page(operator, f"/workflowrun/{run.pk}/change/")
    assert 'href="?place=all.write#steps" aria-label="write, template, failed, 102 succeeded 1 failed"' in first
    assert "Page 1 of 2, 104 steps" in first
    assert "all[102].write" in page(operator, f"/workflowrun/{run.pk}/change/", page="2")
    failed = page(operator, f"/workflowrun/{run.pk}/change/", place="all.write", status="failed")
    assert re.findall(r"<code>(all\S*?)</code>", failed) == ["all[50].write"]
    assert re.findall(r"<code>(all\S*?)</code>", page(operator, f"/workflowrun/{run.pk}/live/", place="all")) == ["all"]
    for odd in ({"place": ".*"}, {"place": "("}, {"page": "x"}, {"status": "odd"}):
        page(operator, f"/workflowrun/{run.pk}/change/", **odd)


def test_statements_of_a_runs_page_do_not_grow_with_its_steps(operator, make_run, add_step, django_assert_num_queries):
    run = make_run("failed")
    for number in range(5):
        add_step(run, f"all[{number}].write")
    with django_assert_num_queries(8):
        page(operator, f"/workflowrun/{run.pk}/change/")


def test_a_run_is_cancelled_once(operator, make_run):
    run = make_run("waiting", cancel_requested_at=None)
    answer = operator.post(f"{ADMIN}/workflowrun/{run.pk}/cancel/", follow=True)
    assert "The run is being cancelled." in answer.text
    run.refresh_from_db()
    assert run.status == "cancelled"
    again = operator.post(f"{ADMIN}/workflowrun/{run.pk}/cancel/", follow=True)
    assert "The run has ended." in again.text
    assert operator.get(f"{ADMIN}/workflowrun/{run.pk}/cancel/").status_code == 405


def test_a_failed_run_is_done_again_from_a_node(operator, make_run, add_step):
    run = make_run("failed")
    add_step(run, "all")
    add_step(run, "end", "failed", handle="")
    assert '<option value="end">from &lt;script&gt;' in page(operator, f"/workflowrun/{run.pk}/change/")
    answer = operator.post(f"{ADMIN}/workflowrun/{run.pk}/retry/", {"from": "end"}, follow=True)
    assert "This is the new run." in answer.text
    again = WorkflowRun.objects.get(origin=run)
    assert (again.status, again.source, again.origin_node) == ("queued", "retry", "end")
    assert again.created_by_id == User.objects.get(email="op@example.com").pk
    refused = operator.post(f"{ADMIN}/workflowrun/{run.pk}/retry/", {"from": "no_such"}, follow=True)
    assert "no such node" in refused.text
    assert WorkflowRun.objects.count() == 2


def test_pending_approvals_come_first(operator, organization, make_run, approval):
    decided = {"organization": organization, "decided_at": timezone.now()}
    Approval.objects.create(run=make_run(), path="a", title="Older news", status=ApprovalStatus.REJECTED, **decided)
    listed = page(operator, "/approval/")
    assert listed.index("Refund of 70") < listed.index("Older news")


def test_the_form_is_made_of_the_schema(operator, approval):
    shown = page(operator, f"/approval/{approval.pk}/change/")
    for expected in (
        'type="number" name="data.amount"', "Amount to pay", 'type="checkbox" name="data.is_gift"', "For the shop.",
        '<textarea name="data.note"', '<textarea name="data.extra"', '<option value="large">',
        '<textarea name="comment"',
    ):  # fmt: skip
        assert expected in shown, expected


def test_an_operator_approves(operator, approval):
    body = {
        "decision": "approved", "data.amount": "70.5", "data.count": "", "data.size": "large", "data.note": "ok",
        "data.extra": '["a"]', "comment": "Fine",
    }  # fmt: skip
    answer = operator.post(f"{ADMIN}/approval/{approval.pk}/change/", body, follow=True)
    assert "Refund of 70: approved." in answer.text
    approval.refresh_from_db()
    assert (approval.status, approval.comment) == ("approved", "Fine")
    assert approval.data == {"amount": 70.5, "is_gift": False, "size": "large", "note": "ok", "extra": ["a"]}
    assert approval.decided_by.email == "op@example.com"
    approval.run.refresh_from_db()
    assert approval.run.status == "queued"
    again = operator.post(f"{ADMIN}/approval/{approval.pk}/change/", body)
    assert "Your decision" not in again.text
    approval.refresh_from_db()
    assert approval.comment == "Fine"


def test_an_operator_rejects_without_data(operator, approval):
    operator.post(f"{ADMIN}/approval/{approval.pk}/change/", {"decision": "rejected", "comment": "No"})
    approval.refresh_from_db()
    assert (approval.status, approval.comment) == ("rejected", "No")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data.amount": "0"}, "data.amount"),
        ({}, "data.amount"),
        ({"data.amount": "abc"}, "data.amount"),
        ({"data.amount": "nan"}, "data.amount"),
        ({"data.amount": "1", "data.count": "1.5"}, "data.count"),
        ({"data.amount": "1", "data.count": "9" * 30}, "data.count"),
        ({"data.amount": "1", "data.size": "huge"}, "data.size"),
        ({"data.amount": "1", "data.extra": "[1"}, "data.extra"),
        ({"data.amount": "1", "data.extra": "[1]"}, "data.extra"),
        ({"data.amount": "1", "data.extra": '["\\u0000"]'}, "data.extra"),
        ({"data.amount": "1", "data.note": "a\x00b"}, "data.note"),
        ({"data.amount": "1", "data.note": "x" * 1001}, "data.note"),
        ({"data.amount": "1", "comment": "x" * 2001}, "comment"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_at_its_field(operator, approval, body, field):
    answer = operator.post(f"{ADMIN}/approval/{approval.pk}/change/", {"decision": "approved", **body})
    assert answer.status_code == 200
    after = answer.text.split(f'name="{field}"', 1)[1].split('class="wf-field"', 1)[0]
    assert 'role="alert"' in after
    approval.refresh_from_db()
    assert approval.status == "pending"


def test_who_is_not_asked_is_told_so(operator, approval):
    Approval.objects.update(assignees=["user:somebody@example.com"])
    body = {"decision": "approved", "data.amount": "1"}
    answer = operator.post(f"{ADMIN}/approval/{approval.pk}/change/", body)
    assert 'role="alert"' in answer.text
    approval.refresh_from_db()
    assert approval.status == "pending"


def test_who_may_only_look_sees_no_buttons_and_decides_nothing(looker, make_run, approval):
    run = make_run()
    assert "/cancel/" not in page(looker, f"/workflowrun/{run.pk}/change/")
    assert "Your decision" not in page(looker, f"/approval/{approval.pk}/change/")
    assert looker.post(f"{ADMIN}/workflowrun/{run.pk}/cancel/").status_code == 403
    assert looker.post(f"{ADMIN}/approval/{approval.pk}/change/", {"decision": "approved"}).status_code == 403


def test_nobody_without_rights_gets_in(make_run, approval, client):
    run = make_run()
    paths = [
        f"/workflowrun/{run.pk}/change/", f"/workflowrun/{run.pk}/state/", f"/workflowrun/{run.pk}/live/",
        f"/approval/{approval.pk}/change/",
    ]  # fmt: skip
    for path in paths:
        assert client.get(f"{ADMIN}{path}").status_code == 302, path
    client.force_login(User.objects.create_user("staff@example.com", "correct horse battery", is_staff=True))
    for path in paths:
        assert client.get(f"{ADMIN}{path}").status_code == 403, path


def test_unknown_ones_are_not_found(operator):
    for path in ("workflowrun/odd/change", "approval/odd/change", f"workflowrun/{UUID(int=0)}/state"):
        assert operator.get(f"{ADMIN}/{path}/").status_code == 404, path


def test_a_box_of_json_takes_objects_only():
    form = DecisionForm({"type": "object", "minProperties": 1}, {"data": "[1]"})
    assert form.errors == {"data": ["An object is expected."]}
    form = DecisionForm({"type": "object", "minProperties": 1}, {"data": "["})
    assert list(form.errors) == ["data"]


@pytest.mark.parametrize(
    "schema",
    [{"type": "array"}, {"type": "object", "properties": {}, "minProperties": 1}, {"properties": {"a": True}}, [], 7],
    ids=str,
)
def test_forms_of_other_schemas_are_a_box_of_json_or_none(schema):
    form = DecisionForm(schema, {"data": '{"a": [1]}', "data.a": "[1]"})
    assert form.is_valid(), form.errors
    assert form.given_data() in ({"a": [1]}, None)


def test_errors_of_deeper_paths_are_shown_at_the_field_and_others_above():
    form = DecisionForm(FORM, {})
    assert form.is_valid()
    form.add_details(BadRequest("No.", details={"data.extra.0": "Not text.", "data.other": "Unknown."}))
    assert form.errors["data.extra"] == ["Not text."]
    assert form.non_field_errors() == ["data.other: Unknown."]
    form.add_details(BadRequest("Just no."))
    assert "Just no." in form.non_field_errors()


def test_durations_are_told_in_the_units_that_matter():
    told = [duration(timedelta(seconds=seconds)) for seconds in (0.3404, 12.46, 250, 12_000, 176_400)]
    assert told == ["340 ms", "12.5 s", "4 m 10 s", "3 h 20 m", "2 d 1 h"]
