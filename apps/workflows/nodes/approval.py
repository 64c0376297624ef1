"""Waits for a person."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeKind, Result

APPROVED, REJECTED, EXPIRED = "approved", "rejected", "expired"
LONGEST_S = 90 * 86_400


class Approval(NodeKind):
    """Output: `{"decision", "data", "comment", "decided_by"}`."""

    kind = "approval"
    literals = frozenset({"form", "assignees"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Waits until somebody approves or rejects.",
        {
            "title": fields.value_of(description="At most 200 characters."),
            "message": fields.value("What there is to decide."),
            "assignees": {
                "type": "array",
                "description": "Who may decide: role:admin, user:ann@example.com. Nobody named: whoever may execute"
                " workflows.",
                "items": fields.name("(role:[a-z]{1,32}|user:[^\\s@]{1,200}@[^\\s@]{1,90})", 300, ""),
                "maxItems": 50,
            },
            "form": {"type": "object", "description": "JSON Schema of the data that is given with the decision."},
            "expires_s": fields.whole(1, LONGEST_S, "How many seconds it waits; without it, for ever."),
            "on_expire": fields.handle("By which edges it goes on when nobody has decided; without it, `expired`."),
        },
    )

    def handles(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        expiry = [config.get("on_expire", EXPIRED)] if "expires_s" in config else []
        return tuple(dict.fromkeys([APPROVED, REJECTED, *expiry]))

    def run(self, call: NodeCall) -> Result:
        raise NotImplementedError
