"""An evaluator's score."""

from typing import Any, ClassVar

from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeKind, Result


class Evaluate(NodeKind):
    """Output: `{"score", "label", "passed", "reason"}`."""

    kind = "evaluate"
    literals = frozenset({"config"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Scores an output.",
        {
            "evaluator": fields.name("[a-z][a-z0-9_]*", 64, "Its kind, such as exact_match."),
            "config": {"type": "object", "description": "The evaluator's own configuration."},
            "output": fields.value("What is scored."),
            "expected": fields.value("What it is compared with."),
            "input": fields.value("What the output answers."),
        },
        "evaluator",
        "output",
    )

    def run(self, call: NodeCall) -> Result:
        raise NotImplementedError
