"""An evaluator's score."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.workflows.evaluating import (
    ABSENT,
    Context,
    EvaluationError,
    Evaluator,
    config_problems,
    evaluate,
    evaluators,
)
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result
from apps.workflows.nodes.resolving import resolved


class Evaluate(NodeKind):
    """Output: `{"score", "passed", "label", "reason"}`. What cannot be scored is a failure, never a low score."""

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

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        evaluator = evaluators().get(config["evaluator"])
        if evaluator is None or not _is_offered(evaluator):
            offered = sorted(kind for kind, one in evaluators().items() if _is_offered(one))
            return [("UNKNOWN_EVALUATOR", f"One of {', '.join(offered)}.", "evaluator")]
        problems = [
            ("INVALID_CONFIG", message, f"config/{where}".rstrip("/"))
            for message, where in config_problems(evaluator, config.get("config", {}))
        ]
        if evaluator.needs_expected and "expected" not in config:
            problems.append(("INVALID_CONFIG", "This evaluator compares with an expected value.", "expected"))
        return problems

    def run(self, call: NodeCall) -> Result:
        evaluator = evaluators().get(call.config["evaluator"])
        context = Context(resolved(call, "output"), resolved(call, "expected", default=ABSENT), resolved(call, "input"))
        said = {key: resolved(call, key) for key in ("output", "expected", "input") if key in call.config}
        if evaluator is None:
            raise NodeFailure("UNKNOWN_EVALUATOR", "There is no such evaluator any more.", input=said)
        try:
            score = evaluate(evaluator, call.config.get("config", {}), context)
        except EvaluationError as error:
            raise NodeFailure(error.code, error.message, input=said) from error
        output = {"score": score.score, "passed": score.passed, "label": score.label, "reason": score.reason}
        return Result(output, input=said)


def _is_offered(evaluator: Evaluator) -> bool:
    """A model's judgement is a node of its own here: `llm` with a response schema."""
    return not (evaluator.calls_models or evaluator.compares_two or evaluator.measures_call)
