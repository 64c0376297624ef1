"""Every route by anonymous, each role, another organization, and API keys with and without the scope."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import caches
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signals import request_finished
from django.db import close_old_connections, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from apps.evaluations.models import (
    DatasetImport,
    DatasetItem,
    Evaluation,
    EvaluationSubject,
    Evaluator,
    EvaluatorVersion,
)
from apps.executions.models import Execution, Status
from apps.executions.sweeping import finish_batches
from apps.models.services import create_default_models
from apps.prompts.models import ABAssignment, PromptVersion
from apps.users.models import ApiKey, AuditEntry
from apps.users.permissions import AUTHENTICATED, PERMISSIONS, PERSON, PUBLIC, ROLE_PERMISSIONS, Role
from apps.users.tenancy import TenantViewSet
from apps.workflows.models import Approval, RunStatus, WorkflowRun
from tests.conftest import PASSWORD, Client, Person, client_for, make_organization, make_person
from tests.evaluations.labelled import counted, judged_set, measured
from tests.evaluations.making import CASE_ID, make_ended_evaluation
from tests.project.routes import AB_TEST, JUDGED, POLICY, ROUTES, Route
from tests.workflows.starting import DEFINITION, make_workflow

# Savepoints are begin and commit outside of a test; content types are remembered by the process.
UNCOUNTED = ("SAVEPOINT", "RELEASE", 'SELECT "django_content_type"')


def routes_of_the_product() -> dict[tuple[str, str], str | None]:
    """(method, path) → permission, as the viewsets declare them."""

    def walk(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns, path)
            else:
                yield path, pattern.callback

    return {
        (method.upper(), path.removeprefix("api/v1/")): view.cls.permissions.get(action)
        for path, view in walk(get_resolver().url_patterns, "")
        if path.startswith(("api/v1/", "v1/"))
        for method, action in view.actions.items()
        if method != "head"  # DRF adds it to every GET that was asked for once
    }


def test_the_table_has_every_route_with_its_permission():
    assert {(r.method, r.path): r.permission for r in ROUTES} == routes_of_the_product()


@dataclass(frozen=True)
class World:
    """One of everything in the cast's organization, and everybody who may knock."""

    ids: dict[str, str]
    people: dict[str, Person]
    callers: dict[str, APIClient]


def key_client(person: Any, scopes: list[str]) -> APIClient:
    key = ApiKey(organization=person.organization, user=person.user, name="key", scopes=scopes)
    secret = key.give_secret()
    key.save()
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}", raise_request_exception=False)


def cast() -> dict[str, Person]:
    acme, other = make_organization("Acme"), make_organization("Other")
    roles = {role.value: make_person(acme, f"{role}@acme.example", role, client_for) for role in Role}
    return {**roles, "outsider": make_person(other, "oz@other.example", Role.ADMIN, client_for)}


@contextmanager
def undone() -> Iterator[None]:
    """A block as Django's TestCase wraps around its tests, in which the product works as if there were none."""
    block = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def made_once(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    """The world in a transaction that all tests of this file share: each costs more than what it tries."""
    with django_db_blocker.unblock(), undone():
        world = make_world()
        caches["default"].client.get_client().flushdb()  # as it is after every test
        yield world


@pytest.fixture
def world(made_once: World) -> Iterator[World]:
    """As it was made, whatever the tests before did to it."""
    with undone():
        yield made_once
        connection.check_constraints()
    for client in made_once.callers.values():
        client.cookies.clear()


@pytest.fixture
def admin(world: World) -> Person:
    return world.people["admin"]


@pytest.fixture
def outsider(world: World) -> Person:
    return world.people["outsider"]


def make_imported_dataset(admin: Person) -> tuple[str, str, str]:
    """The ids of a dataset, of its one item, and of an import that waits for a worker."""
    made = admin.client.post("/api/v1/datasets", {"name": "Questions"}).json()["data"]["id"]
    admin.client.post(f"/api/v1/datasets/{made}/items", {"items": [{"input": "What?"}]})
    queued = DatasetImport.objects.create(
        organization=admin.organization, dataset_id=made, format="csv", on_error="refuse", on_duplicate="skip",
        total_bytes=1,
    )  # fmt: skip
    return made, str(DatasetItem.objects.get(dataset_id=made).id), str(queued.id)


def make_world() -> World:
    people = cast()
    admin, editor, viewer, outsider = (people[name] for name in ("admin", "editor", "viewer", "outsider"))
    create_default_models(admin.organization)
    create_default_models(outsider.organization)
    post = admin.client.post
    prompt = post("/api/v1/prompts", {"slug": "hello", "name": "Hello", "type": "text", "content": "Hi, {{name}}!"})
    prompt_id = prompt.json()["data"]["id"]
    admin.client.put(f"/api/v1/prompts/{prompt_id}/labels/production", {"version": 1})
    # it does not apply, so that the queries of an execution are counted without it
    budget = {"name": "B", "scope": "organization", "period": "day", "limit_usd": "5", "is_active": False}
    made_budget = post("/api/v1/billing/budgets", budget)
    execution = post(f"/api/v1/prompts/{prompt_id}/execute", {"variables": {"name": "Ada"}})
    assert execution.status_code == 200, execution.content
    batch = post("/api/v1/executions/batch", {"prompt_id": prompt_id, "rows": [{"variables": {"name": "Ada"}}]})
    invitation = post("/api/v1/invitations", {"email": "guest@acme.example", "role": "viewer"})
    provider = post("/api/v1/providers", {"kind": "echo", "name": "Spare"})
    model = admin.client.get("/api/v1/models").json()["data"][0]
    webhook = {"name": "Ops", "url": "https://hooks.example.invalid/ops", "event_types": ["batch.completed"]}
    webhook_id = post("/api/v1/webhooks", webhook).json()["data"]["id"]
    delivery = post(f"/api/v1/webhooks/{webhook_id}/test", {})
    key = ApiKey(organization=editor.organization, user=editor.user, name="editor's", scopes=["prompts:read"])
    key.give_secret()
    key.save()
    starting = f"/api/v1/workflows/{make_workflow(admin).id}"
    schedule = post(f"{starting}/schedules", {"name": "S", "cron": "0 2 * * *", "inputs": {"ticket": "T"}})
    trigger = post(f"{starting}/triggers", {"name": "T"})
    admin.client.put(f"{starting}/labels/production", {"version": 1})
    run = post(f"{starting}/execute", {"inputs": {"ticket": "T"}}).json()["data"]
    everybody = [f"role:{role.value}" for role in Role]
    approval = Approval.objects.create(
        organization=admin.organization, run_id=run["id"], path="ask", assignees=everybody
    )
    evaluator = post("/api/v1/evaluators", {"name": "E", "kind": "json_valid"})
    score_config = post("/api/v1/score-configs", {"name": "S", "type": "numeric"})
    asked = {"name": "Q", "score_config_ids": [score_config.json()["data"]["id"]]}
    queue_id = post("/api/v1/annotation-queues", asked).json()["data"]["id"]
    queue = f"/api/v1/annotation-queues/{queue_id}"
    post(f"{queue}/tasks", {"items": [{"input": number, "output": "A"} for number in range(3)]})
    said = post(f"{queue}/next").json()["data"]["annotation"]
    admin.client.put(f"/api/v1/annotations/{said['id']}", {"values": {"S": 1}})
    opened = post(f"{queue}/next").json()["data"]["annotation"]
    evaluation = make_ended_evaluation(admin)
    dataset, item, imported = make_imported_dataset(admin)
    policy = post("/api/v1/promotion-policies", POLICY).json()["data"]["id"]
    rejection = post(f"/api/v1/promotion-policies/{policy}/approvals", {"version": 1, "decision": "reject"})
    ab_test = post("/api/v1/ab-tests", filled(AB_TEST, {"prompt": prompt_id}))
    alert = post("/api/v1/alerts", {"name": "A", "metric": "error_rate", "threshold": 0.1, "window_minutes": 60})
    ids = {
        "alerts": alert.json()["data"]["id"],
        "ab-tests": ab_test.json()["data"]["id"],
        "promotion-policies": policy,
        "rejection": rejection.json()["data"]["id"],
        "datasets": dataset,
        "items": item,
        "imports": imported,
        "evaluations": str(evaluation.id),
        "annotation-queues": queue_id,
        "annotation-tasks": said["task_id"],
        "annotations": opened["id"],
        "evaluators": evaluator.json()["data"]["id"],
        "judge-agreements": str(measured(EvaluatorVersion.objects.get(evaluator__name="E")).id),
        "score-configs": score_config.json()["data"]["id"],
        "billing": made_budget.json()["data"]["id"],
        "prompts": prompt_id,
        "executions/batches": batch.json()["data"]["id"],
        "executions": execution.json()["data"]["id"],
        "invitations": invitation.json()["data"]["id"],
        "models": model["id"],
        "providers": provider.json()["data"]["id"],
        "webhooks": webhook_id,
        "workflows": starting.rpartition("/")[2],
        "workflow-runs": run["id"],
        "workflow-approvals": str(approval.id),
        "workflow-schedules": schedule.json()["data"]["id"],
        "workflow-triggers": trigger.json()["data"]["id"],
        "deliveries": delivery.json()["data"]["id"],
        "api-keys": str(key.id),
        "users": str(viewer.user.id),
        "audit-logs": str(AuditEntry.objects.for_organization(admin.organization.id)[0].pk),
        "organization": str(admin.organization.id),
        "password": PASSWORD,
    }
    callers = {name: person.client for name, person in people.items()}
    return World(ids, people, {"anonymous": Client(raise_request_exception=False), **callers})


def filled(value: Any, ids: dict[str, str]) -> Any:
    """The body with `{provider}` and the like replaced by the world's."""
    if isinstance(value, dict):
        return {name: filled(child, ids) for name, child in value.items()}
    if isinstance(value, list):
        return [filled(child, ids) for child in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}") and "{" not in value[1:]:
        return ids.get(value[1:-1]) or ids[value[1:-1] + "s"]
    return value


def call(route: Route, world: World, client: APIClient) -> Any:
    collection = route.path.partition("/<uuid:pk>")[0]
    path = route.path.replace("<uuid:pk>", world.ids.get(collection) or world.ids.get(collection.split("/")[0], ""))
    path = path.replace("<uuid:delivery_id>", world.ids["deliveries"])
    path = path.replace("<int:number>", "1").replace("<str:label>", "production").replace("<path:slug>", "hello")
    path = path.replace("<int:case_id>", str(CASE_ID)).replace("<uuid:approval_id>", world.ids["rejection"])
    path = path.replace("<uuid:item_id>", world.ids["items"]).replace("<uuid:import_id>", world.ids["imports"])
    path = path.replace("<month:month>", f"{timezone.now():%Y-%m}")
    send = getattr(client, route.method.lower())
    body = [filled(route.body, world.ids)] if route.method in {"POST", "PUT", "PATCH"} else []
    form = {}
    if route.path == "datasets/<uuid:pk>/import":
        body, form = [{"file": SimpleUploadedFile("items.csv", b"input\nnew\n")}], {"format": "multipart"}
    answer = send(f"/api/v1/{path}{route.query}", *body, **form)
    if answer.streaming:
        leave(answer)
    return answer


def leave(answer: Any) -> None:
    """As the server does when its reader leaves; the world's connection stays open."""
    request_finished.disconnect(close_old_connections)
    try:
        answer.close()
    finally:
        request_finished.connect(close_old_connections)


RESTORES = {f"{collection}/<uuid:pk>/restore" for collection in ("prompts", "workflows", "datasets")}
# Models, budgets and prices of an organization are remembered by the process that executes.
REMEMBERS_MODELS = {
    "prompts/<uuid:pk>/execute",
    "prompts/by-slug/<path:slug>/execute",
    "executions/batch",
    "executions/<uuid:pk>/retry",
    "evaluations/estimate",
    "ab-tests/<uuid:pk>/start",
}
EVALUATIONS_BEFORE: dict[str, dict[str, Any]] = {
    "evaluations/<uuid:pk>/cancel": {"status": "queued", "finished_at": None},
    "evaluations/<uuid:pk>/resume": {"status": "cancelled"},
    "evaluations/<uuid:pk>/retry-errors": {"failed_count": 1},
}


AB_TEST_BEFORE = {
    "assign": ["start"],
    "stop": ["start"],
    "pause": ["start"],
    "exposures": ["start"],
    "observations": ["start"],
    "resume": ["start", "pause"],
    "promote": ["start", "stop"],
    "rollback": ["start", "stop", "promote"],
}


def prepare(route: Route, world: World) -> None:
    """What must have happened before the route can succeed, and before its queries are the usual ones."""
    prepare_evaluations(route, world)
    prepare_ab_tests(route, world)
    if route.path in REMEMBERS_MODELS:
        path, body = f"/api/v1/prompts/{world.ids['prompts']}/execute", {"variables": {"name": "Ada"}}
        by_default = world.callers["admin"].post(path, body)
        assert by_default.status_code == 200
        by_id = world.callers["admin"].post(path, {**body, "model_id": by_default.json()["data"]["model_id"]})
        assert by_id.status_code == 200
    if route.path in RESTORES:
        collection = route.path.split("/")[0]
        assert world.callers["admin"].delete(f"/api/v1/{collection}/{world.ids[collection]}").status_code == 204
    if route.path == "workflows/<uuid:pk>/publish":
        changed = {**DEFINITION, "outputs": {}}
        path = f"/api/v1/workflows/{world.ids['workflows']}"
        assert world.callers["admin"].patch(path, {"definition": changed}).status_code == 200
    if route.path in {"workflow-runs/<uuid:pk>/retry", "workflow-runs/<uuid:pk>/fork"}:
        end = {"status": RunStatus.CANCELLED, "finished_at": timezone.now()}
        WorkflowRun.objects.filter(id=world.ids["workflow-runs"]).update(**end)
    if route.path == "executions/<uuid:pk>/cancel":
        now = timezone.now()
        end = {"finished_at": None, "started_at": now, "lease_expires_at": now}
        Execution.objects.filter(id=world.ids["executions"]).update(status=Status.RUNNING, **end)
    if route.path == "executions/<uuid:pk>/retry":
        Execution.objects.filter(id=world.ids["executions"]).update(status=Status.CANCELLED)
    if route.path == "executions/batches/<uuid:pk>/retry":
        for execution in Execution.objects.filter(batch_id=world.ids["executions/batches"]):
            execution.fail(code="CONNECTION", message="")
        finish_batches()


def prepare_ab_tests(route: Route, world: World) -> None:
    collection, _, action = route.path.rpartition("/")
    for before in AB_TEST_BEFORE.get(action, []) if collection == "ab-tests/<uuid:pk>" else []:
        body = next(each.body for each in ROUTES if each.path == f"{collection}/{before}")
        answer = world.callers["admin"].post(f"/api/v1/ab-tests/{world.ids['ab-tests']}/{before}", body)
        assert answer.status_code == 200, answer.content
    if action == "observations":
        ABAssignment.objects.create(test_id=world.ids["ab-tests"], unit_id="ada", variant="control", phase=1)


def prepare_evaluations(route: Route, world: World) -> None:
    if str(route) == "POST evaluators/<uuid:pk>/agreement":
        judged_set(make_judge(world), counted((2, 1, 1, 2)), evaluation_id=UUID(JUDGED))
    if route.path == "promotion-policies/<uuid:pk>/gate":
        version = PromptVersion.objects.get(prompt_id=world.ids["prompts"], version_number=1)
        subjects = EvaluationSubject.objects.filter(evaluation_id=world.ids["evaluations"], position=1)
        subjects.update(
            kind="prompt", prompt_id=version.prompt_id, prompt_version_id=version.id, version_number=1, model_id=None
        )
    if route.path == "datasets/<uuid:pk>/imports/<uuid:import_id>/resume":
        end = {"status": "cancelled", "finished_at": timezone.now()}
        DatasetImport.objects.filter(id=world.ids["imports"]).update(**end)
    if route.path in EVALUATIONS_BEFORE:
        Evaluation.objects.filter(id=world.ids["evaluations"]).update(**EVALUATIONS_BEFORE[route.path])


def make_judge(world: World) -> EvaluatorVersion:
    """The world's evaluator, as a judge from now on."""
    evaluator = Evaluator.objects.get(id=world.ids["evaluators"])
    config = {"model_id": world.ids["models"], "rubric": "Polite.", "scale": {"type": "boolean"}}
    evaluator.kind = "llm_judge"
    evaluator.current_version = EvaluatorVersion.objects.create(
        organization_id=evaluator.organization_id, evaluator=evaluator, version_number=2, kind_version=1, config=config
    )
    evaluator.save()
    return evaluator.current_version


GUARDED = [route for route in ROUTES if route.permission != PUBLIC]


RESOURCES = sorted({route.path.split("/")[0] for route in GUARDED})


@pytest.mark.parametrize("resource", RESOURCES)
def test_who_may_not(resource, world, admin):
    """Nobody without the permission gets in, and another organization's admin finds nothing."""
    for route in GUARDED:
        if route.path.split("/")[0] == resource and route.path not in RESTORES:
            check_refusals(route, world, admin)


@pytest.mark.parametrize("path", sorted(RESTORES))
def test_who_may_not_restore(path, world, admin):
    route = next(route for route in GUARDED if route.path == path)
    prepare(route, world)
    check_refusals(route, world, admin)


def check_refusals(route: Route, world: World, admin: Person) -> None:
    assert call(route, world, world.callers["anonymous"]).status_code == 401, route
    for role, permissions in ROLE_PERMISSIONS.items():
        if route.permission not in {AUTHENTICATED, PERSON, *permissions}:
            assert call(route, world, world.callers[role]).status_code == 403, (route, role)
    if route.permission != AUTHENTICATED:
        others = sorted(set(PERMISSIONS) - {route.permission})
        assert call(route, world, key_client(admin, others)).status_code == 403, route
    if route.permission == PERSON:
        return
    if route.has_object:
        answer = call(route, world, world.callers["outsider"])
        assert answer.status_code == 404, (route, answer.content)
    elif route.method == "GET":
        text = call(route, world, world.callers["outsider"]).content.decode()
        assert not [name for name, value in world.ids.items() if value in text], route


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_who_may(route, world, admin):
    """Each role with the permission gets in, and an API key with its scope; the queries are counted."""
    prepare(route, world)
    admin.client.get("/api/v1/auth/me")
    with CaptureQueriesContext(connection) as queries:
        answer = call(route, world, admin.client)
    assert answer.status_code < 300, answer.content
    # what is prepared has no text here
    statements = [str(q["sql"]) for q in queries if not str(q["sql"]).startswith(UNCOUNTED)]
    assert len(statements) == route.queries, "\n".join(statements)
    for role in (Role.EDITOR, Role.VIEWER):
        has_other = not route.also or route.also in ROLE_PERMISSIONS[role]
        if has_other and route.permission in {AUTHENTICATED, PERSON, *ROLE_PERMISSIONS[role]}:
            assert call(route, world, world.callers[role]).status_code not in {401, 403}, role
    if route.permission != PERSON:
        # a key may not give away more than it has: to invite a viewer it needs a viewer's permissions
        scopes = sorted({route.permission, *route.also.split()} & set(PERMISSIONS) | ROLE_PERMISSIONS[Role.VIEWER])
        assert call(route, world, key_client(admin, scopes)).status_code not in {401, 403}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.permission == PUBLIC], ids=str)
def test_public_routes_take_no_nonsense(route, world):
    answer = call(route, world, world.callers["anonymous"])
    assert answer.status_code in {400, 401}
    assert answer.json()["success"] is False


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("post", "/api/v1/prompts", {"slug": "n", "name": "N", "type": "text", "content": "x", "model_id": "{model}"}),
        ("post", "/api/v1/models", {"provider_id": "{provider}", "slug": "n", "provider_model_name": "m"}),
    ],
)
def test_references_to_another_organization_read_as_unknown(method, path, field, world, outsider):
    answer = getattr(outsider.client, method)(path, filled(field, world.ids))
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) <= {"model_id", "provider_id"}


def test_another_organizations_model_cannot_be_executed(world, outsider):
    own = outsider.client.post("/api/v1/prompts", {"slug": "own", "name": "Own", "type": "text", "content": "Hi"})
    path = f"/api/v1/prompts/{own.json()['data']['id']}/execute"
    answer = outsider.client.post(path, {"model_id": world.ids["models"]})
    assert answer.status_code == 400
    assert "model_id" in answer.json()["error"]["details"]


def test_a_view_cannot_override_what_guards_tenants():
    for name in ("get_queryset", "permission_classes", "get_object", "initial", "authentication_classes"):
        with pytest.raises(TypeError, match=name):
            type("Leaky", (TenantViewSet,), {name: None, "__module__": "leaky"})
    with pytest.raises(TypeError, match="unknown permissions"):
        type("Vague", (TenantViewSet,), {"permissions": {"list": "everything"}, "__module__": "vague"})
