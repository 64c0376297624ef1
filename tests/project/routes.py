"""Every route of the API: which permission it needs, what to send it, and how many queries it costs.

A new route fails `test_permission_matrix.py` until it has its row here.
"""

from dataclasses import dataclass, field
from typing import Any

from apps.users.permissions import AUTHENTICATED, PERSON, PUBLIC

# Scored by the world's evaluator, where it is a judge.
JUDGED = "018f0000-0000-7000-8000-00000000ed01"
NO_BODY: dict[str, Any] = {}
PASSWORD = "a new password, long"


@dataclass(frozen=True)
class Route:
    """`queries` is for a caller whose membership is cached. `body` may name objects of the world: `{provider}`.

    `also` are permissions that a key needs besides, with spaces between them.
    """

    method: str
    path: str
    permission: str
    queries: int | None = None
    body: Any = field(default_factory=dict)
    query: str = ""
    also: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_object(self) -> bool:
        return "<uuid:" in self.path or "<path:" in self.path


def _prompt(slug: str) -> dict[str, Any]:
    return {"slug": slug, "name": "New", "type": "text", "content": "Hello, {{name}}!"}


_INVITATION = {"email": "new@acme.example", "role": "viewer"}
_PROVIDER = {"kind": "echo", "name": "Another"}
_WEBHOOK = {"name": "ci", "url": "https://hooks.example.invalid/in", "event_types": ["execution.failed"]}
_MODEL = {"provider_id": "{provider}", "slug": "another", "provider_model_name": "echo"}

_BUDGET = {"name": "New", "limit_usd": "5"}
_NEW_BUDGET = {**_BUDGET, "scope": "organization", "period": "month"}

_RETENTION = {"payload_days": 30, "execution_days": 400}

_ALERT = {"name": "New", "metric": "latency_p95_ms", "threshold": 2000, "window_minutes": 60}

_BATCH = {"prompt_id": "{prompt}", "rows": [{"variables": {"name": "Ada"}}]}

_SCHEDULE = {"name": "Nightly", "cron": "0 2 * * *", "inputs": {"ticket": "It burns"}}

_VERSION = {"version_number": 1, "content": "Hello"}
_DOCUMENT = {"prompts": [{"slug": "imported", "name": "Imported", "versions": [_VERSION]}]}
_EVALUATOR = {"slug": "new", "name": "New", "kind": "json_valid"}
_SCORE_CONFIG = {"name": "New", "type": "numeric"}
_QUEUE = {"name": "New", "score_config_ids": ["{score-config}"]}
_DEMANDS = {
    "dataset": "evaluated",
    "evaluators": [{"evaluator": "evaluated", "name": "valid"}],
    "rules": [{"type": "absolute", "metric": "valid", "min": 0.5}],
}
POLICY = {"prompt": "hello", "label": "guarded", "is_active": False, **_DEMANDS}
_DECISION = {"version": 1, "decision": "reject"}
_VARIANTS = [
    {"name": "control", "is_control": True, "weight": 0.5, "version": 1},
    {"name": "formal", "weight": 0.5, "version": 1, "parameters": {"temperature": 0}},
]
AB_TEST = {
    "name": "New",
    "prompt_id": "{prompt}",
    "variants": _VARIANTS,
    "metrics": [
        {"name": "success", "measure": "success"},
        {"name": "revenue", "measure": "custom:revenue", "direction": "increase"},
    ],
    "min_effect": 0.05,
}
_REASON = {"reason": "Sure."}
_WORKFLOW = {"slug": "new", "name": "New", "definition": {}}
_DATASET = {"name": "New"}
_ITEMS = {"items": [{"input": "Why?"}]}
_SPLITS = {"shares": {"train": 1}}

_EVALUATION = {
    "dataset": "evaluated",
    "subjects": [{"recorded": True}, {"prompt": "hello"}],
    "evaluators": [{"evaluator": "evaluated"}],
}
_RULE = {"type": "absolute", "metric": "valid", "min": 0.5}
_REPLAY = {"candidate": {"prompt": "hello"}, "evaluators": [{"evaluator": "evaluated"}]}

ROUTES = [
    Route("POST", "auth/login", PUBLIC),
    Route("POST", "auth/refresh", PUBLIC),
    Route("POST", "auth/logout", PUBLIC),
    Route("POST", "auth/register", PUBLIC),
    Route("POST", "auth/password/reset", PUBLIC),
    Route("POST", "auth/password/reset/confirm", PUBLIC),
    Route("POST", "auth/invitations/accept", PUBLIC),
    Route("GET", "auth/me", AUTHENTICATED, 2),
    Route("PATCH", "auth/me", PERSON, 8, body={"name": "New"}),
    Route("POST", "auth/password", PERSON, 9, body={"current_password": "{password}", "new_password": PASSWORD}),
    Route("POST", "auth/switch", PERSON, 3, body={"organization_id": "{organization}"}),
    Route("GET", "organizations/current", AUTHENTICATED, 1),
    Route("PATCH", "organizations/current", "organization:manage", 6, body={"name": "New"}),
    Route("GET", "roles", AUTHENTICATED, 0),
    Route("GET", "users", "users:manage", 2),
    Route("GET", "users/<uuid:pk>", "users:manage", 1),
    Route("PATCH", "users/<uuid:pk>", "users:manage", 5, body={"role": "editor"}),
    Route("DELETE", "users/<uuid:pk>", "users:manage", 8),
    Route("GET", "invitations", "users:manage", 2),
    Route("POST", "invitations", "users:manage", 5, body=_INVITATION),
    Route("GET", "invitations/<uuid:pk>", "users:manage", 1),
    Route("DELETE", "invitations/<uuid:pk>", "users:manage", 4),
    Route("POST", "invitations/<uuid:pk>/resend", "users:manage", 5),
    Route("GET", "api-keys", "apikeys:manage", 2),
    Route("POST", "api-keys", "apikeys:manage", 2, body={"name": "ci", "scopes": ["apikeys:manage"]}),
    Route("GET", "api-keys/<uuid:pk>", "apikeys:manage", 1),
    Route("PATCH", "api-keys/<uuid:pk>", "apikeys:manage", 4, body={"name": "New"}),
    Route("DELETE", "api-keys/<uuid:pk>", "apikeys:manage", 4),
    Route("POST", "api-keys/<uuid:pk>/rotate", "apikeys:manage", 6),
    Route("GET", "audit-logs", "audit:read", 2),
    Route("GET", "audit-logs/<uuid:pk>", "audit:read", 1),
    Route("GET", "webhooks", "webhooks:manage", 2),
    Route("POST", "webhooks", "webhooks:manage", 4, body=_WEBHOOK),
    Route("GET", "webhooks/<uuid:pk>", "webhooks:manage", 1),
    Route("PUT", "webhooks/<uuid:pk>", "webhooks:manage", 4, body=_WEBHOOK),
    Route("PATCH", "webhooks/<uuid:pk>", "webhooks:manage", 4, body={"name": "New"}),
    Route("DELETE", "webhooks/<uuid:pk>", "webhooks:manage", 7),
    Route("POST", "webhooks/<uuid:pk>/rotate-secret", "webhooks:manage", 4),
    Route("POST", "webhooks/<uuid:pk>/test", "webhooks:manage", 3),
    Route("GET", "webhooks/<uuid:pk>/deliveries", "webhooks:manage", 3),
    Route("GET", "webhooks/<uuid:pk>/deliveries/<uuid:delivery_id>", "webhooks:manage", 2),
    Route("POST", "webhooks/<uuid:pk>/deliveries/<uuid:delivery_id>/redeliver", "webhooks:manage", 4),
    Route("GET", "providers", "models:manage", 2),
    Route("POST", "providers", "models:manage", 2, body=_PROVIDER),
    Route("GET", "providers/<uuid:pk>", "models:manage", 1),
    Route("PUT", "providers/<uuid:pk>", "models:manage", 4, body=_PROVIDER),
    Route("PATCH", "providers/<uuid:pk>", "models:manage", 4, body={"name": "New"}),
    Route("DELETE", "providers/<uuid:pk>", "models:manage", 7),
    Route("POST", "providers/<uuid:pk>/test", "models:manage", 1, body={"model": "echo"}),
    Route("GET", "models", "prompts:read", 2),
    Route("POST", "models", "models:manage", 4, body=_MODEL),
    Route("GET", "models/catalog", "prompts:read", 0),
    Route("GET", "models/<uuid:pk>", "prompts:read", 1),
    Route("PUT", "models/<uuid:pk>", "models:manage", 5, body=_MODEL),
    Route("PATCH", "models/<uuid:pk>", "models:manage", 4, body={"name": "New"}),
    Route("DELETE", "models/<uuid:pk>", "models:manage", 8),
    Route("POST", "models/<uuid:pk>/test", "models:manage", 1),
    Route("GET", "prompts", "prompts:read", 2),
    Route("POST", "prompts", "prompts:create", 1, body=_prompt("new")),
    Route("GET", "prompts/by-slug/<path:slug>", "prompts:read", 1, query="?label=production"),
    Route("GET", "prompts/bundle", "prompts:read", 2),
    Route("GET", "prompts/export", "prompts:read", 2),
    Route("POST", "prompts/import", "prompts:create", 2, body=_DOCUMENT),
    Route("GET", "prompts/<uuid:pk>", "prompts:read", 1),
    Route("PUT", "prompts/<uuid:pk>", "prompts:update", 11, body=_prompt("hello")),
    Route("PATCH", "prompts/<uuid:pk>", "prompts:update", 6, body={"name": "New"}),
    Route("DELETE", "prompts/<uuid:pk>", "prompts:delete", 6),
    Route("POST", "prompts/<uuid:pk>/restore", "prompts:delete", 6),
    Route("POST", "prompts/<uuid:pk>/duplicate", "prompts:create", 3, body={"slug": "copy"}),
    Route("POST", "prompts/<uuid:pk>/render", "prompts:read", 1, body={"variables": {"name": "Ada"}}),
    Route("POST", "prompts/<uuid:pk>/execute", "prompts:execute", 2, body={"variables": {"name": "Ada"}}),
    Route("POST", "prompts/by-slug/<path:slug>/execute", "prompts:execute", 3, body={"variables": {"name": "Ada"}}),
    Route("GET", "prompts/<uuid:pk>/versions", "prompts:read", 3),
    Route("POST", "prompts/<uuid:pk>/versions", "prompts:update", 7, body={"content": "Bye, {{name}}!"}),
    Route("GET", "prompts/<uuid:pk>/versions/<int:number>", "prompts:read", 2),
    Route("GET", "prompts/<uuid:pk>/versions/<int:number>/diff", "prompts:read", 2, query="?against=1"),
    Route("POST", "prompts/<uuid:pk>/versions/<int:number>/restore", "prompts:update", 8),
    Route("GET", "prompts/<uuid:pk>/labels/<str:label>", "prompts:read", 4),
    Route("PUT", "prompts/<uuid:pk>/labels/<str:label>", "prompts:update", 8, body={"version": 1}),
    Route("DELETE", "prompts/<uuid:pk>/labels/<str:label>", "prompts:update", 8),
    Route("GET", "executions", "executions:read", 4),
    Route("GET", "executions/<uuid:pk>", "executions:read", 2),
    Route("POST", "executions/<uuid:pk>/cancel", "prompts:execute", 6),
    Route("POST", "executions/<uuid:pk>/retry", "prompts:execute", 6),
    Route("GET", "executions/<uuid:pk>/events", "executions:read", 2),
    Route("POST", "executions/batch", "prompts:execute", 6, body=_BATCH),
    Route("GET", "executions/batches", "executions:read", 2),
    Route("GET", "executions/batches/<uuid:pk>", "executions:read", 1),
    Route("POST", "executions/batches/<uuid:pk>/cancel", "prompts:execute", 10),
    Route("POST", "executions/batches/<uuid:pk>/retry", "prompts:execute", 7),
    Route("GET", "executions/<uuid:pk>/scores", "executions:read", 3),
    Route("POST", "executions/<uuid:pk>/scores", "executions:score", 4, body={"name": "helpful", "value": 1}),
    Route("GET", "workflows", "workflows:read", 2),
    Route("POST", "workflows", "workflows:create", 2, body=_WORKFLOW),
    Route("GET", "workflows/schema", "workflows:read", 0),
    Route("POST", "workflows/validate", "workflows:read", 0, body={"definition": {}}),
    Route("POST", "workflows/import", "workflows:create", 3, body={"kind": "everquant.workflow", **_WORKFLOW}),
    Route("GET", "workflows/<uuid:pk>", "workflows:read", 1),
    Route("PUT", "workflows/<uuid:pk>", "workflows:update", 7, body=_WORKFLOW),
    Route("PATCH", "workflows/<uuid:pk>", "workflows:update", 6, body={"name": "New"}),
    Route("DELETE", "workflows/<uuid:pk>", "workflows:delete", 5),
    Route("POST", "workflows/<uuid:pk>/restore", "workflows:delete", 6),
    Route("POST", "workflows/<uuid:pk>/duplicate", "workflows:create", 3, body={"slug": "copy"}),
    Route("POST", "workflows/<uuid:pk>/publish", "workflows:update", 14, body={"labels": ["staging"]}),
    Route("GET", "workflows/<uuid:pk>/diagram", "workflows:read", 2, query="?version=1"),
    Route("GET", "workflows/<uuid:pk>/export", "workflows:read", 1, query="?format=json"),
    Route("POST", "workflows/<uuid:pk>/execute", "workflows:execute", 2, body={"inputs": {"ticket": "T"}}),
    Route("GET", "workflows/<uuid:pk>/runs", "workflows:read", 3),
    Route("GET", "workflows/<uuid:pk>/versions", "workflows:read", 3),
    Route("GET", "workflows/<uuid:pk>/versions/<int:number>", "workflows:read", 2),
    Route("GET", "workflows/<uuid:pk>/versions/<int:number>/diff", "workflows:read", 2, query="?against=1"),
    Route("POST", "workflows/<uuid:pk>/versions/<int:number>/restore", "workflows:update", 4),
    Route("GET", "workflows/<uuid:pk>/labels/<str:label>", "workflows:read", 4),
    Route("PUT", "workflows/<uuid:pk>/labels/<str:label>", "workflows:update", 8, body={"version": 1}),
    Route("DELETE", "workflows/<uuid:pk>/labels/<str:label>", "workflows:update", 8),
    Route("GET", "workflow-runs", "workflows:read", 2),
    Route("GET", "workflow-runs/<uuid:pk>", "workflows:read", 1),
    Route("GET", "workflow-runs/<uuid:pk>/steps", "workflows:read", 2),
    Route("GET", "workflow-runs/<uuid:pk>/events", "workflows:read", 1),
    Route("GET", "workflow-runs/<uuid:pk>/diagram", "workflows:read", 2),
    Route("POST", "workflow-runs/<uuid:pk>/cancel", "workflows:execute", 5),
    Route("POST", "workflow-runs/<uuid:pk>/retry", "workflows:execute", 3),
    Route("POST", "workflow-runs/<uuid:pk>/fork", "workflows:execute", 3, body={"node": "say"}),
    Route("POST", "workflow-runs/<uuid:pk>/resume", PERSON, 11, body={"decision": "approved"}),
    Route("GET", "workflow-approvals", "workflows:read", 2),
    Route("GET", "workflow-approvals/<uuid:pk>", "workflows:read", 1),
    Route("GET", "workflows/<uuid:pk>/schedules", "workflows:read", 3),
    Route("POST", "workflows/<uuid:pk>/schedules", "workflows:update", 5, body=_SCHEDULE, also="workflows:execute"),
    Route("GET", "workflow-schedules", "workflows:read", 2),
    Route("GET", "workflow-schedules/<uuid:pk>", "workflows:read", 1),
    Route("PUT", "workflow-schedules/<uuid:pk>", "workflows:update", 5, body=_SCHEDULE, also="workflows:execute"),
    Route(
        "PATCH", "workflow-schedules/<uuid:pk>", "workflows:update", 5, body={"name": "New"}, also="workflows:execute"
    ),
    Route("DELETE", "workflow-schedules/<uuid:pk>", "workflows:update", 3),
    Route("GET", "workflows/<uuid:pk>/triggers", "workflows:read", 3),
    Route(
        "POST", "workflows/<uuid:pk>/triggers", "workflows:update", 5, body={"name": "Calls"}, also="workflows:execute"
    ),
    Route("GET", "workflow-triggers", "workflows:read", 2),
    Route("GET", "workflow-triggers/<uuid:pk>", "workflows:read", 1),
    Route(
        "PUT", "workflow-triggers/<uuid:pk>", "workflows:update", 5, body={"name": "Calls"}, also="workflows:execute"
    ),
    Route(
        "PATCH", "workflow-triggers/<uuid:pk>", "workflows:update", 4, body={"name": "New"}, also="workflows:execute"
    ),
    Route("DELETE", "workflow-triggers/<uuid:pk>", "workflows:update", 3),
    Route("POST", "workflow-triggers/<uuid:pk>/rotate-secret", "workflows:update", 4, also="workflows:execute"),
    Route("POST", "workflow-triggers/<uuid:pk>/fire", PUBLIC),
    Route("GET", "billing/budgets", "billing:manage", 2),
    Route("POST", "billing/budgets", "billing:manage", 6, body=_NEW_BUDGET),
    Route("GET", "billing/budgets/<uuid:pk>", "billing:manage", 1),
    Route("PUT", "billing/budgets/<uuid:pk>", "billing:manage", 4, body=_BUDGET),
    Route("PATCH", "billing/budgets/<uuid:pk>", "billing:manage", 4, body={"name": "New"}),
    Route("DELETE", "billing/budgets/<uuid:pk>", "billing:manage", 6),
    Route("GET", "billing/usage", "billing:manage", 1),
    Route("GET", "billing/statements", "billing:manage", 1),
    Route("GET", "billing/statements/<month:month>", "billing:manage", 6),
    Route("GET", "alerts", "analytics:read", 2),
    Route("POST", "alerts", "organization:manage", 4, body=_ALERT),
    Route("GET", "alerts/<uuid:pk>", "analytics:read", 1),
    Route("PUT", "alerts/<uuid:pk>", "organization:manage", 6, body=_ALERT),
    Route("PATCH", "alerts/<uuid:pk>", "organization:manage", 4, body={"name": "New"}),
    Route("DELETE", "alerts/<uuid:pk>", "organization:manage", 6),
    Route("GET", "alerts/<uuid:pk>/current", "analytics:read", 3),
    Route("GET", "alerts/<uuid:pk>/events", "analytics:read", 3),
    Route("POST", "alerts/<uuid:pk>/mute", "organization:manage", 4, body={"minutes": 60, "reason": "Known"}),
    Route("POST", "alerts/<uuid:pk>/unmute", "organization:manage", 1),
    Route("POST", "alerts/<uuid:pk>/test", "organization:manage", 7),
    Route("GET", "retention", "organization:manage", 1),
    Route("PUT", "retention", "organization:manage", 7, body=_RETENTION),
    Route("GET", "datasets", "datasets:read", 2),
    Route("POST", "datasets", "datasets:create", 2, body=_DATASET),
    Route("GET", "datasets/<uuid:pk>", "datasets:read", 1),
    Route("PUT", "datasets/<uuid:pk>", "datasets:update", 5, body=_DATASET),
    Route("PATCH", "datasets/<uuid:pk>", "datasets:update", 5, body=_DATASET),
    Route("DELETE", "datasets/<uuid:pk>", "datasets:delete", 4),
    Route("POST", "datasets/<uuid:pk>/restore", "datasets:delete", 5),
    Route("GET", "datasets/<uuid:pk>/versions", "datasets:read", 3),
    Route("GET", "datasets/<uuid:pk>/versions/<int:number>", "datasets:read", 2),
    Route("GET", "datasets/<uuid:pk>/versions/<int:number>/diff", "datasets:read", 5),
    Route("GET", "datasets/<uuid:pk>/items", "datasets:read", 4),
    Route("POST", "datasets/<uuid:pk>/items", "datasets:update", 10, body=_ITEMS),
    Route("POST", "datasets/<uuid:pk>/items/delete", "datasets:update", 8, body={"ids": ["{item}"]}),
    Route("POST", "datasets/<uuid:pk>/items/from-executions", "datasets:update", 11, also="executions:read"),
    Route("GET", "datasets/<uuid:pk>/items/<uuid:item_id>", "datasets:read", 2),
    Route("PUT", "datasets/<uuid:pk>/items/<uuid:item_id>", "datasets:update", 10, body={"input": "Why?"}),
    Route("PATCH", "datasets/<uuid:pk>/items/<uuid:item_id>", "datasets:update", 10, body={"split": "test"}),
    Route("DELETE", "datasets/<uuid:pk>/items/<uuid:item_id>", "datasets:update", 9),
    Route("POST", "datasets/<uuid:pk>/splits", "datasets:update", 14, body=_SPLITS),
    Route("GET", "datasets/<uuid:pk>/export", "datasets:read", 2),
    Route("POST", "datasets/<uuid:pk>/import", "datasets:update", 29),
    Route("GET", "datasets/<uuid:pk>/imports", "datasets:read", 3),
    Route("GET", "datasets/<uuid:pk>/imports/<uuid:import_id>", "datasets:read", 2),
    Route("POST", "datasets/<uuid:pk>/imports/<uuid:import_id>/cancel", "datasets:update", 4),
    Route("POST", "datasets/<uuid:pk>/imports/<uuid:import_id>/resume", "datasets:update", 5),
    Route("GET", "promotion-policies", "evaluations:read", 5),
    Route("POST", "promotion-policies", "prompts:protect", 10, body={**POLICY, "label": "new"}),
    Route("GET", "promotion-policies/<uuid:pk>", "evaluations:read", 4),
    Route("PUT", "promotion-policies/<uuid:pk>", "prompts:protect", 13, body=_DEMANDS),
    Route("PATCH", "promotion-policies/<uuid:pk>", "prompts:protect", 13, body={"min_approvals": 1}),
    Route("DELETE", "promotion-policies/<uuid:pk>", "prompts:protect", 5),
    Route("GET", "promotion-policies/<uuid:pk>/status", "evaluations:read", 7, query="?version=1"),
    Route(
        "POST",
        "promotion-policies/<uuid:pk>/evaluate",
        "evaluations:execute",
        16,
        body={"version": 1},
        also="prompts:execute",
    ),
    Route(
        "POST",
        "promotion-policies/<uuid:pk>/gate",
        "evaluations:execute",
        19,
        body={"evaluation_id": "{evaluation}"},
    ),
    Route("GET", "promotion-policies/<uuid:pk>/approvals", "evaluations:read", 3),
    Route("POST", "promotion-policies/<uuid:pk>/approvals", PERSON, 12, body=_DECISION, also="prompts:update"),
    Route("DELETE", "promotion-policies/<uuid:pk>/approvals/<uuid:approval_id>", PERSON, 8, also="prompts:update"),
    Route("GET", "evaluations", "evaluations:read", 4),
    Route("POST", "evaluations", "evaluations:execute", 12, body=_EVALUATION, also="prompts:execute"),
    Route("POST", "evaluations/estimate", "evaluations:execute", 7, body=_EVALUATION, also="prompts:execute"),
    Route(
        "POST", "evaluations/replay", "evaluations:execute", 21, body=_REPLAY, also="prompts:execute datasets:create"
    ),
    Route("GET", "evaluations/<uuid:pk>", "evaluations:read", 3),
    Route("PATCH", "evaluations/<uuid:pk>", "evaluations:update", 6, body={"name": "New"}),
    Route("DELETE", "evaluations/<uuid:pk>", "evaluations:delete", 5),
    Route("POST", "evaluations/<uuid:pk>/cancel", "evaluations:execute", 12),
    Route("POST", "evaluations/<uuid:pk>/resume", "evaluations:execute", 9),
    Route("POST", "evaluations/<uuid:pk>/retry-errors", "evaluations:execute", 9),
    Route("GET", "evaluations/<uuid:pk>/summary", "evaluations:read", 8),
    Route("GET", "evaluations/<uuid:pk>/results", "evaluations:read", 8),
    Route("GET", "evaluations/<uuid:pk>/cases/<int:case_id>", "evaluations:read", 7),
    Route("GET", "evaluations/<uuid:pk>/diff", "evaluations:read", 10),
    Route("GET", "evaluations/<uuid:pk>/export", "evaluations:read", 3),
    Route("GET", "evaluations/<uuid:pk>/compare", "evaluations:read", 5),
    Route("POST", "evaluations/<uuid:pk>/gate", "evaluations:execute", 8, body={"rules": [_RULE]}),
    Route("GET", "evaluations/<uuid:pk>/gates", "evaluations:read", 3),
    Route("GET", "evaluators", "evaluations:read", 2),
    Route("POST", "evaluators", "evaluations:create", 4, body=_EVALUATOR),
    Route("GET", "evaluators/kinds", "evaluations:read", 0),
    Route("POST", "evaluators/test", "evaluations:execute", 0, body={"kind": "json_valid", "output": "[]"}),
    Route("GET", "evaluators/<uuid:pk>", "evaluations:read", 1),
    Route("PUT", "evaluators/<uuid:pk>", "evaluations:update", 5, body=_EVALUATOR),
    Route("PATCH", "evaluators/<uuid:pk>", "evaluations:update", 5, body={"name": "New"}),
    Route("DELETE", "evaluators/<uuid:pk>", "evaluations:delete", 4),
    Route("POST", "evaluators/<uuid:pk>/test", "evaluations:execute", 1, body={"output": "[]"}),
    Route("GET", "evaluators/<uuid:pk>/agreement", "evaluations:read", 2),
    Route("POST", "evaluators/<uuid:pk>/agreement", "evaluations:execute", 9, body={"evaluation_id": JUDGED}),
    Route("GET", "judge-agreements", "evaluations:read", 2),
    Route("GET", "judge-agreements/<uuid:pk>", "evaluations:read", 1),
    Route("GET", "evaluators/<uuid:pk>/versions", "evaluations:read", 3),
    Route("GET", "evaluators/<uuid:pk>/versions/<int:number>", "evaluations:read", 2),
    Route("GET", "score-configs", "evaluations:read", 2),
    Route("POST", "score-configs", "evaluations:create", 2, body=_SCORE_CONFIG),
    Route("GET", "score-configs/<uuid:pk>", "evaluations:read", 1),
    Route("PUT", "score-configs/<uuid:pk>", "evaluations:update", 4, body=_SCORE_CONFIG),
    Route("PATCH", "score-configs/<uuid:pk>", "evaluations:update", 4, body={"name": "New"}),
    Route("DELETE", "score-configs/<uuid:pk>", "evaluations:delete", 4),
    Route("GET", "annotation-queues", "evaluations:read", 3),
    Route("POST", "annotation-queues", "evaluations:create", 6, body=_QUEUE),
    Route("GET", "annotation-queues/<uuid:pk>", "evaluations:read", 2),
    Route("PUT", "annotation-queues/<uuid:pk>", "evaluations:update", 6, body=_QUEUE),
    Route("PATCH", "annotation-queues/<uuid:pk>", "evaluations:update", 5, body={"name": "New"}),
    Route("DELETE", "annotation-queues/<uuid:pk>", "evaluations:delete", 5),
    Route("GET", "annotation-queues/<uuid:pk>/tasks", "evaluations:read", 3),
    Route(
        "POST",
        "annotation-queues/<uuid:pk>/tasks",
        "evaluations:update",
        6,
        body={"items": [{"input": 1, "output": 2}]},
    ),
    Route("POST", "annotation-queues/<uuid:pk>/next", "executions:score", 6),
    Route("GET", "annotation-queues/<uuid:pk>/annotations", "evaluations:read", 5),
    Route("GET", "annotation-queues/<uuid:pk>/progress", "evaluations:read", 5),
    Route("GET", "annotation-queues/<uuid:pk>/agreement", "evaluations:read", 3),
    Route("GET", "annotation-queues/<uuid:pk>/export", "evaluations:read", 2),
    Route(
        "POST",
        "annotation-queues/<uuid:pk>/dataset",
        "datasets:update",
        13,
        body={"slug": "labelled"},
        also="datasets:create",
    ),
    Route("GET", "annotation-tasks/<uuid:pk>", "evaluations:read", 1),
    Route("GET", "annotations/<uuid:pk>", "evaluations:read", 2),
    Route("PUT", "annotations/<uuid:pk>", "executions:score", 9, body={"values": {"S": 1}}),
    Route("POST", "annotations/<uuid:pk>/skip", "executions:score", 8),
    Route("POST", "annotations/<uuid:pk>/release", "executions:score", 5),
    Route("GET", "ab-tests", "abtests:read", 4),
    Route("POST", "ab-tests", "abtests:create", 11, body=AB_TEST),
    Route("POST", "ab-tests/plan", "abtests:read", 0, body={"min_effect": 0.05, "baseline": 0.5}),
    Route("GET", "ab-tests/<uuid:pk>", "abtests:read", 3),
    Route("PUT", "ab-tests/<uuid:pk>", "abtests:update", 7, body=AB_TEST),
    Route("PATCH", "ab-tests/<uuid:pk>", "abtests:update", 8, body={"name": "Newer"}),
    Route("DELETE", "ab-tests/<uuid:pk>", "abtests:delete", 5),
    Route("POST", "ab-tests/<uuid:pk>/start", "abtests:execute", 15),
    Route("POST", "ab-tests/<uuid:pk>/stop", "abtests:execute", 21, body=_REASON),
    Route("POST", "ab-tests/<uuid:pk>/pause", "abtests:execute", 8, body=_REASON),
    Route("POST", "ab-tests/<uuid:pk>/resume", "abtests:execute", 10),
    Route(
        "POST",
        "ab-tests/<uuid:pk>/promote",
        "abtests:execute",
        27,
        body={**_REASON, "variant": "formal", "force": True},
        also="prompts:update",
    ),
    Route("POST", "ab-tests/<uuid:pk>/rollback", "abtests:execute", 20, body=_REASON, also="prompts:update"),
    Route("POST", "ab-tests/<uuid:pk>/assign", "prompts:execute", 4, body={"unit_id": "ada"}),
    Route("POST", "ab-tests/<uuid:pk>/exposures", "prompts:execute", 5, body={"exposures": [{"unit_id": "eve"}]}),
    Route(
        "POST",
        "ab-tests/<uuid:pk>/observations",
        "prompts:execute",
        3,
        body={"observations": [{"unit_id": "ada", "values": {"revenue": 1}}]},
    ),
    Route("GET", "ab-tests/<uuid:pk>/results", "abtests:read", 6),
    Route("GET", "ab-tests/<uuid:pk>/series", "abtests:read", 2),
    Route("GET", "analytics/overview", "analytics:read", 2),
    Route("GET", "analytics/timeseries", "analytics:read", 4, query="?group_by=prompt&group_by=model"),
    Route("GET", "analytics/breakdown", "analytics:read", 3),
    Route("GET", "analytics/latency", "analytics:read", 3, query="?group_by=user"),
    Route("GET", "analytics/costs", "analytics:read", 6, query="?group_by=api_key"),
    Route("GET", "analytics/quality", "analytics:read", 11, query="?group_by=model&compare=previous"),
    Route("GET", "analytics/top", "analytics:read", 3),
]
